"""`rbuild push`: the very bytes that the lock names, from the store into registries.

Blobs go first, then manifests by digest, what is published beside the images, tags last: so a tag never
stands for an image that is not all there. Then each manifest is read back by its tags, and compared with the
lock.
"""

from __future__ import annotations

import io
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from rbuild.destination import Destination
from rbuild.digest import Digest
from rbuild.errors import Exit, Problem, RbuildError, Where
from rbuild.events import Emit, Progress, StageDone
from rbuild.image.artifact import Artifact, Part
from rbuild.project import PROJECT_FILE
from rbuild.projectfile import Attach
from rbuild.reference import Reference
from rbuild.registry.client import Registry
from rbuild.registry.delivery import Arrivals, Consignment, Means, deliver
from rbuild.registry.patience import Limits
from rbuild.registry.referrers import attach
from rbuild.registry.repository import Repository
from rbuild.registry.workers import in_parallel
from rbuild.sources import Kept, kept_by
from rbuild.store import Blob, MissingBlob
from rbuild.verbs.gating import open_gate
from rbuild.verbs.parcels import Parcel, pack
from rbuild.verbs.workspace import Workspace

if TYPE_CHECKING:  # what only a push that signs needs
    from rbuild.signing.cosign import Attachment
    from rbuild.signing.key import SigningKey

_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a push: where to (none: the project's registry), which tags (None: the project's).

    `force` moves tags that are not listed as moving; `insecure` names registries that need no TLS. `now`
    (UTC) is the time by which waivers end; without it, no policy is asked. `attach` is what is published
    beside the images (None: what the project says); with `sign_key`, the images and what is said of them are
    signed. `sources` is how much is published to rebuild from (None: what the project says).
    """

    to: tuple[str, ...] = ()
    tags: tuple[str, ...] | None = None
    force: bool = False
    insecure: tuple[str, ...] = ()
    sources: Kept | None = None
    limits: Limits = _LIMITS
    now: datetime | None = None
    attach: tuple[Attach, ...] | None = None
    sign_key: SigningKey | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What became of a push: by registry, and the stages that policies refused, with the reason."""

    deliveries: tuple[Delivery, ...]
    refused: Mapping[str, RbuildError]


def push(workspace: Workspace, stages: Collection[str], request: Request, emit: Emit) -> Push:
    """Push the images of `stages`. Raises RbuildError for what is refused before anything is sent.

    A stage that policies refuse stays here, and the others go.
    """
    hosts = destinations(workspace, request.to)
    for insecure in request.insecure:
        _check_insecure(insecure, hosts)
    open_to_all = {insecure.partition("/")[0] for insecure in request.insecure}
    # A wrong name fails before the store is read.
    names = {
        host: {stage: [one.repository(workspace.project.name, stage) for one in ways] for stage in stages}
        for host, ways in hosts.items()
    }
    packed = pack(workspace, tuple(stages), request.tags, request.attach)
    parcels, stopped = _held(workspace, packed, names, request, emit)
    kept = request.sources if request.sources is not None else kept_by(workspace.project)
    with workspace.store.scratch("push-") as scratch:
        if kept is not Kept.NONE:
            from rbuild.verbs.sources import with_sources

            parcels = with_sources(workspace, parcels, kept, scratch)
        deliveries = _delivered(workspace, parcels, names, open_to_all, request, emit)
    return Push(deliveries=deliveries, refused=stopped)


def _delivered(
    workspace: Workspace,
    parcels: Sequence[Parcel],
    names: Mapping[str, Mapping[str, Sequence[Reference]]],
    open_to_all: Collection[str],
    request: Request,
    emit: Emit,
) -> tuple[Delivery, ...]:
    errands = []
    for host, repositories in names.items():
        registry = Registry(host, insecure=host in open_to_all, env=workspace.env, limits=request.limits)
        images = [_Image(parcel, where) for parcel in parcels for where in repositories[parcel.stage]]
        errands.append(_Errand(workspace, registry, images, request, emit))
    refused: list[Problem] = []
    ready: list[_Errand] = []
    done: dict[str, Delivery] = {}
    try:
        for errand in errands:
            try:
                refused += errand.look()
                ready.append(errand)
            except RbuildError as error:
                done[errand.host] = Delivery(registry=errand.host, images=(), error=error)
        if refused:
            raise RbuildError(refused, exit_code=Exit.FINDING)
        for errand in ready:
            done[errand.host] = errand.run()
    finally:
        for errand in errands:
            errand.close()
    return tuple(done[errand.host] for errand in errands)


def _held(
    workspace: Workspace,
    parcels: Sequence[Parcel],
    names: Mapping[str, Mapping[str, Sequence[Reference]]],
    request: Request,
    emit: Emit,
) -> tuple[Sequence[Parcel], Mapping[str, RbuildError]]:
    """The images that policies let go, and why they keep the others."""
    if (gate := open_gate(workspace, request.now, emit)) is None:
        return parcels, {}
    from rbuild.verbs.gate import Destined

    refused: dict[str, RbuildError] = {}
    signed = request.sign_key is not None
    for parcel in parcels:
        places = [place for repositories in names.values() for place in repositories[parcel.stage]]
        destined = [
            Destined(repository=place, tags=parcel.tags, moving=parcel.moving, signed=signed)
            for place in places
        ]
        try:
            gate.pushed(parcel.source, parcel.lock, parcel.locked, destined)
        except RbuildError as error:
            refused[parcel.stage] = error
    return [parcel for parcel in parcels if parcel.stage not in refused], refused


@dataclass(frozen=True, slots=True)
class _Image:
    """An image on its way to one repository."""

    parcel: Parcel
    where: Reference

    @property
    def repository(self) -> str:
        return self.where.repository


class _Errand:
    """All images that go to one registry."""

    def __init__(
        self, workspace: Workspace, registry: Registry, images: Sequence[_Image], request: Request, emit: Emit
    ) -> None:
        self.host = registry.host
        self._workspace = workspace
        self._registry = registry
        self._images = images
        self._force = request.force
        self._key = request.sign_key
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

    def _standing_tag(self, image: _Image, tag: str) -> Digest | None:
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

    def _look_beside(self, image: _Image) -> None:
        """An artifact whose manifest is there has all its blobs there: a registry takes it no other way."""
        repository = self._registry.repository(image.repository)
        self._new[image.repository] = [
            one for one in image.parcel.attachments if repository.has_manifest(str(one.digest)) is None
        ]
        for one in self._new[image.repository]:
            self._check_there(image, one, repository)

    def _check_there(self, image: _Image, one: Artifact, repository: Repository) -> None:
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

    def _put_manifest(self, image: _Image) -> None:
        parcel, repository = image.parcel, self._registry.repository(image.repository)
        if any(self._standing[image.repository, tag] == parcel.digest for tag in parcel.tags):
            return
        if repository.has_manifest(str(parcel.digest)) is None:
            repository.put_manifest(str(parcel.digest), parcel.manifest, parcel.media_type)

    def _attach(self, image: _Image) -> None:
        artifacts, missing = image.parcel.attachments, self._new[image.repository]
        repository = self._registry.repository(image.repository)
        if attach(repository, image.parcel.digest, artifacts, missing=missing):
            self._listed.add(image.repository)

    def _sign(self, image: _Image, key: SigningKey) -> None:
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

    def _put_tag(self, image: _Image, tag: str) -> None:
        if self._standing[image.repository, tag] != image.parcel.digest:
            repository = self._registry.repository(image.repository)
            repository.put_manifest(tag, image.parcel.manifest, image.parcel.media_type)

    def _read_back(self, image: _Image) -> None:
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


def _attached(image: _Image, one: Artifact, arrivals: Arrivals) -> Attached:
    known = {blob.digest for blob in image.parcel.blobs}
    mine = [arrivals.get((image.repository, part.digest)) for part in one.blobs if part.digest not in known]
    return Attached(
        artifact_type=one.artifact_type,
        digest=one.digest,
        blobs=len(one.blobs),
        bytes_sent=sum(arrival.sent for arrival in mine if arrival),
    )


def _pushed(image: _Image, arrivals: Arrivals, *, signed: bool) -> Pushed:
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


def _would_move(image: _Image, tag: str, digest: Digest | None) -> Problem:
    return Problem(
        what=f"the tag {tag} stands for another image, {digest}, and would move",
        where=Where(url=str(image.where.name), digest=str(image.parcel.digest)),
        hint=f"push with --force, or list its template under push.moving_tags in {PROJECT_FILE}",
    )


def destinations(workspace: Workspace, to: Sequence[str]) -> Mapping[str, list[Destination]]:
    """Where images go, by registry: to what is named, else to the project's registry.

    Raises RbuildError for a name that is none, and where nobody says where to.
    """
    texts = to or ((workspace.project.registry,) if workspace.project.registry else ())
    if not texts:
        raise RbuildError(
            "nobody says where to",
            where=Where(file=PROJECT_FILE),
            hint="rbuild push --to REGISTRY/PATH, or registry: in the project's file",
        )
    found: dict[str, list[Destination]] = {}
    for text in texts:
        one = Destination.parse(text)
        ways = found.setdefault(one.registry, [])
        if one not in ways:
            ways.append(one)
    return found


def _check_insecure(text: str, hosts: Mapping[str, object]) -> None:
    host = text.partition("/")[0]
    if host not in hosts:
        raise RbuildError(
            f"--insecure {text[:200]}: nothing is pushed there", hint=f"it can be {' or '.join(hosts)}"
        )
