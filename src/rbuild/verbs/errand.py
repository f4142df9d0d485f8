"""One registry's share of a push: what goes there, in which order, and what came of it."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from rbuild.digest import Digest
from rbuild.errors import Exit, Problem, RbuildError, Where
from rbuild.events import Emit, Progress, StageDone
from rbuild.image.artifact import Artifact, Part
from rbuild.project import PROJECT_FILE
from rbuild.reference import Reference
from rbuild.registry.client import Registry
from rbuild.registry.delivery import Arrivals, Consignment, Means, deliver
from rbuild.registry.referrers import attach
from rbuild.registry.repository import Repository
from rbuild.registry.workers import in_parallel
from rbuild.store import Blob, MissingBlob
from rbuild.verbs.parcels import Parcel
from rbuild.verbs.workspace import Workspace

if TYPE_CHECKING:  # what only a push that signs needs
    from rbuild.signing.cosign import Attachment
    from rbuild.signing.key import SigningKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """An artifact that refers to an image: how many blobs it has, and the bytes that were sent for them."""

    artifact_type: str
    digest: Digest
    blobs: int
    bytes_sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """An image that a registry has: how many of its blobs were sent, mounted from elsewhere, there before."""

    stage: str
    reference: Reference
    tags: tuple[str, ...]
    bytes_sent: int
    sent: int
    mounted: int
    skipped: int
    attached: tuple[Attached, ...] = ()
    signed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of the images for one registry; with an error, those that are whole and tagged there."""

    registry: str
    images: tuple[Pushed, ...]
    error: RbuildError | None = None


@dataclass(frozen=True, slots=True)
class Shipment:
    """An image on its way to one repository."""

    parcel: Parcel
    where: Reference

    @property
    def repository(self) -> str:
        return self.where.repository


class Errand:
    """All images that go to one registry; `force` moves tags that may not, `key` signs.

    Ask first, with `look`, and then `run`; close it in the end.
    """

    def __init__(
        self,
        workspace: Workspace,
        registry: Registry,
        images: Sequence[Shipment],
        *,
        force: bool,
        key: SigningKey | None,
        emit: Emit,
    ) -> None:
        self.host = registry.host
        self._workspace = workspace
        self._registry = registry
        self._images = images
        self._force = force
        self._key = key
        self._emit = emit
        self._standing: dict[tuple[str, str], Digest | None] = {}  # by repository and tag
        self._new: dict[str, list[Artifact]] = {}  # by repository: artifacts that it has not
        self._listed: set[str] = set()  # repositories in which a list of referrers was written
        self._held: dict[Digest, Part] = {}  # blobs that are in memory, or in files

    def look(self) -> list[Problem]:
        """Ask what the tags stand for now; the problems are those that must not move, and would."""
        asked = [(image, tag) for image in self._images for tag in image.parcel.tags]
        found = in_parallel([partial(self._standing_tag, image, tag) for image, tag in asked])
        problems = []
        for (image, tag), digest in zip(asked, found, strict=True):
            self._standing[image.repository, tag] = digest
            stays = digest in (None, image.parcel.digest) or tag in image.parcel.moving or self._force
            if not stays:
                problems.append(_would_move(image, tag, digest))
        return problems

    def _standing_tag(self, image: Shipment, tag: str) -> Digest | None:
        return self._registry.repository(image.repository).has_manifest(tag)

    def run(self) -> Delivery:
        """Send everything."""
        started = time.monotonic()
        pushed: tuple[Pushed, ...] = ()
        error = None
        try:
            in_parallel([partial(self._look_beside, image) for image in self._images])
            arrivals = deliver(self._registry, self._consignments(), self._opened, self._told)
            in_parallel([partial(self._put_manifest, image) for image in self._images])
            in_parallel([partial(self._attach, image) for image in self._images])
            if self._key is not None:
                in_parallel([partial(self._sign, image, self._key) for image in self._images])
            tagged = [(image, tag) for image in self._images for tag in image.parcel.tags]
            in_parallel([partial(self._put_tag, image, tag) for image, tag in tagged])
            in_parallel([partial(self._read_back, image) for image in self._images])
            signed = self._key is not None
            pushed = tuple(_pushed(image, arrivals, signed=signed) for image in self._images)
        except RbuildError as failure:
            error = failure
        for stage, digest in {image.parcel.stage: image.parcel.digest for image in self._images}.items():
            self._emit(
                StageDone(
                    stage=stage,
                    outcome=f"{'pushed' if pushed else 'not pushed'} to {self.host}",
                    ok=error is None,
                    digest=str(digest),
                    seconds=round(time.monotonic() - started, 3),
                )
            )
        return Delivery(registry=self.host, images=pushed, error=error)

    def close(self) -> None:
        self._registry.close()

    def _look_beside(self, image: Shipment) -> None:
        """An artifact whose manifest is there has all its blobs there: a registry takes it no other way."""
        repository = self._registry.repository(image.repository)
        self._new[image.repository] = [
            one for one in image.parcel.attachments if repository.has_manifest(str(one.digest)) is None
        ]
        for one in self._new[image.repository]:
            self._check_there(image, one, repository)

    def _check_there(self, image: Shipment, one: Artifact, repository: Repository) -> None:
        """What an artifact is made of may have been fetched long ago, and elsewhere."""
        known = {blob.digest for blob in image.parcel.blobs}
        lost = [
            part
            for part in one.blobs
            if _is_stored(part)
            and part.digest not in known
            and not self._workspace.store.has(part.digest, part.size)
            and not repository.has_blob(part.digest)
        ]
        if lost:
            stage = image.parcel.stage
            raise RbuildError(
                f"{len(lost)} of {len(one.blobs)} blobs of {one.artifact_type} are not in the store",
                where=Where(key=f"stages.{stage}", digest=str(lost[0].digest)),
                hint=f"rbuild verify {stage} brings back what can still be had; or push with --sources none",
            )

    def _consignments(self) -> Iterable[Consignment]:
        """Each blob once, with all repositories that it goes to."""
        sizes: dict[Digest, int] = {}
        targets: dict[Digest, dict[str, None]] = {}
        sources: dict[Digest, dict[str, None]] = {}
        for image in self._images:
            beside = [part for one in self._new[image.repository] for part in one.blobs]
            self._held |= {part.digest: part for part in beside if not _is_stored(part)}
            for blob in [*image.parcel.blobs, *map(_blob, beside)]:
                sizes[blob.digest] = blob.size
                targets.setdefault(blob.digest, {})[image.repository] = None
                for base in image.parcel.bases:
                    if base.image.registry == self.host and blob.digest in base.layers:
                        sources.setdefault(blob.digest, {})[base.image.repository] = None
        for digest, size in sizes.items():
            yield Consignment(
                digest=digest,
                size=size,
                repositories=tuple(targets[digest]),
                sources=tuple(sources.get(digest, ())),
            )

    def _put_manifest(self, image: Shipment) -> None:
        parcel, repository = image.parcel, self._registry.repository(image.repository)
        if any(self._standing[image.repository, tag] == parcel.digest for tag in parcel.tags):
            return
        if repository.has_manifest(str(parcel.digest)) is None:
            repository.put_manifest(str(parcel.digest), parcel.manifest, parcel.media_type)

    def _attach(self, image: Shipment) -> None:
        artifacts, missing = image.parcel.attachments, self._new[image.repository]
        repository = self._registry.repository(image.repository)
        if attach(repository, image.parcel.digest, artifacts, missing=missing):
            self._listed.add(image.repository)

    def _sign(self, image: Shipment, key: SigningKey) -> None:
        """Sign the image, and all that is said of it; before its tags, which people verify by."""
        from rbuild.registry.cosigned import put_signed
        from rbuild.signing.cosign import attestation_tag, attestations, signature, signature_tag

        repository, digest = self._registry.repository(image.repository), image.parcel.digest
        named = image.where.at(digest)
        put_signed(repository, signature_tag(digest), lambda there: signature(key, named, existing=there))
        said = [(one.predicate_type, one.statement()) for one in image.parcel.documents]

        def attested(there: bytes | None) -> Attachment:
            return attestations(key, digest, said, existing=there)

        if said:
            put_signed(repository, attestation_tag(digest), attested)

    def _put_tag(self, image: Shipment, tag: str) -> None:
        if self._standing[image.repository, tag] != image.parcel.digest:
            repository = self._registry.repository(image.repository)
            repository.put_manifest(tag, image.parcel.manifest, image.parcel.media_type)

    def _read_back(self, image: Shipment) -> None:
        parcel, repository = image.parcel, self._registry.repository(image.repository)
        if image.repository in self._listed:  # somebody else may have written the same list meanwhile
            attach(repository, parcel.digest, parcel.attachments, missing=())
        for reference in parcel.tags or (str(parcel.digest),):
            found = repository.manifest(reference)
            if found is None or found.digest != parcel.digest:
                raise RbuildError(
                    f"the registry has {found.digest if found else 'no manifest'} under {reference},"
                    f" and {parcel.digest} was pushed",
                    where=Where(url=str(repository)),
                    hint="someone else may have pushed at the same time, or the registry rewrites manifests: "
                    "push again, and then ask whoever runs it",
                    exit_code=Exit.FINDING,
                )

    def _opened(self, digest: Digest, again: bool) -> BinaryIO:
        """Open a blob. A registry checks what it gets: only what has failed once is checked here."""
        if held := self._held.get(digest):
            return held.path.open("rb") if held.path else io.BytesIO(held.data or b"")
        store = self._workspace.store
        try:
            return store.open(digest) if again else store.path(digest).open("rb")
        except FileNotFoundError:
            raise MissingBlob(digest) from None

    def _told(self, done: int, total: int) -> None:
        self._emit(Progress(text=f"pushing to {self.host}", done=done, total=total))


def _is_stored(part: Part) -> bool:
    return part.data is None and part.path is None


def _blob(part: Part) -> Blob:
    return Blob(part.digest, part.size)


def _attached(image: Shipment, one: Artifact, arrivals: Arrivals) -> Attached:
    known = {blob.digest for blob in image.parcel.blobs}
    mine = [arrivals.get((image.repository, part.digest)) for part in one.blobs if part.digest not in known]
    return Attached(
        artifact_type=one.artifact_type,
        digest=one.digest,
        blobs=len(one.blobs),
        bytes_sent=sum(arrival.sent for arrival in mine if arrival),
    )


def _pushed(image: Shipment, arrivals: Arrivals, *, signed: bool) -> Pushed:
    mine = [arrivals[image.repository, blob.digest] for blob in image.parcel.blobs]
    means = [one.means for one in mine]
    return Pushed(
        stage=image.parcel.stage,
        reference=image.where.at(image.parcel.digest),
        tags=image.parcel.tags,
        bytes_sent=sum(one.sent for one in mine),
        sent=means.count(Means.SENT),
        mounted=means.count(Means.MOUNTED),
        skipped=means.count(Means.SKIPPED),
        attached=tuple(_attached(image, one, arrivals) for one in image.parcel.attachments),
        signed=signed,
    )


def _would_move(image: Shipment, tag: str, digest: Digest | None) -> Problem:
    return Problem(
        what=f"the tag {tag} stands for another image, {digest}, and would move",
        where=Where(url=str(image.where.name), digest=str(image.parcel.digest)),
        hint=f"push with --force, or list its template under push.moving_tags in {PROJECT_FILE}",
    )
