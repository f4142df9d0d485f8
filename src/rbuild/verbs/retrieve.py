"""An image in a registry, and the sources beside it: found, checked, laid out on this host.

Whoever wrote them is a stranger: nothing is believed but digests, and all that is written is in folders that
are given.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where, at
from rbuild.events import Emit, Note
from rbuild.image.artifact import Part, Referrer, read_artifact
from rbuild.image.config import read_config
from rbuild.image.manifest import read_manifest
from rbuild.lock import ImageLock, LayerLock, Lock
from rbuild.projecttar import large_path, lay_out
from rbuild.reference import Reference
from rbuild.registry.referrers import referrers
from rbuild.registry.repository import ManifestBytes, Repository
from rbuild.registry.workers import in_parallel
from rbuild.sources import (
    ARTIFACT_TYPE,
    BLOB_TYPE,
    EXECUTABLE,
    FILE_TYPE,
    KEPT,
    PROJECT_TYPE,
    TITLE,
    Kept,
    layers_kept,
    needs,
)
from rbuild.store import Blob, Store
from rbuild.verbs.fetching import TransferProgress, fetch_blobs

_MAX_CONFIG = 8 << 20
_MOST_SOURCES = 8  # artifacts that are tried


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedImage:
    """An image as a registry has it."""

    reference: Reference  # with its digest
    manifest: ManifestBytes
    image: ImageLock


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSources:
    """The artifact with the sources of an image; `parts` are its blobs."""

    digest: Digest
    kept: Kept
    parts: tuple[Part, ...]

    def blobs(self) -> Mapping[Digest, Blob]:
        """The responses, packages and parts of bases among them."""
        return {part.digest: _blob(part) for part in self.parts if part.media_type == BLOB_TYPE}


def find_image(repository: Repository, reference: Reference, store: Store, emit: Emit) -> PublishedImage:
    """The image that a reference means; its configuration is in the store then."""
    place = Where(url=str(reference))
    found = repository.manifest(str(reference.digest or reference.tag))
    if found is None:
        raise RbuildError("the registry has no such image", where=place, hint="check its name and digest")
    if reference.digest is None:
        emit(Note(text=f"{reference} is {found.digest} now"))
    with at(place):
        manifest = read_manifest(found.data)
        if manifest.config.size > _MAX_CONFIG:
            raise RbuildError(f"its configuration has {manifest.config.size} bytes")
        fetch_blobs(
            repository,
            store,
            [Blob(manifest.config.digest, manifest.config.size)],
            f"asking {reference.registry}",
            emit,
        )
        diff_ids = read_config(store.read(manifest.config.digest)).diff_ids
        if len(diff_ids) != len(manifest.layers):
            raise RbuildError(f"{len(diff_ids)} layers; the manifest has {len(manifest.layers)}")
    layers = [
        LayerLock(diff_id=diff_id, blob=layer.digest, size=layer.size)
        for diff_id, layer in zip(diff_ids, manifest.layers, strict=True)
    ]
    return PublishedImage(
        reference=reference.at(found.digest),
        manifest=found,
        image=ImageLock(manifest=found.digest, config=manifest.config.digest, layers=tuple(layers)),
    )


def fetch_image(repository: Repository, published: PublishedImage, store: Store, emit: Emit) -> None:
    """Have all of an image in the store."""
    blobs = [Blob(layer.blob, layer.size) for layer in published.image.layers]
    _check_space(store, blobs, "the published image has")
    fetch_blobs(repository, store, blobs, "fetching the published image", emit)
    store.put(published.manifest.data)


def find_sources(repository: Repository, published: PublishedImage) -> list[Referrer]:
    """The artifacts that are said to be the image's sources, those first that hold all."""
    found = referrers(repository, published.image.manifest, ARTIFACT_TYPE)
    if not found:
        raise RbuildError(
            "its sources are not published beside it, so nobody can rebuild it from the registry",
            where=Where(url=str(published.reference)),
            hint="rbuild push --sources pages, or --sources all, where its project is",
        )
    return sorted(found, key=lambda one: one.annotations.get(KEPT) != Kept.ALL.value)[:_MOST_SOURCES]


def lay_out_sources(
    repository: Repository,
    published: PublishedImage,
    listed: Referrer,
    folder: Path,
    store: Store,
    emit: Emit,
) -> PublishedSources:
    """Write the project of the sources into the new `folder`. Raises RbuildError where they are none."""
    with at(Where(url=str(repository), digest=str(listed.digest))):
        manifest = repository.manifest(str(listed.digest))
        if manifest is None:
            raise RbuildError("the registry lists these sources, and does not have them")
        parts = read_artifact(manifest.data, published.image.manifest, ARTIFACT_TYPE)
        archives = [part for part in parts if part.media_type == PROJECT_TYPE]
        if len(archives) != 1:
            raise RbuildError(f"the sources have {len(archives)} archives of a project; one is expected")
        files = [(large_path(part.annotations.get(TITLE, "")), part) for part in parts if _is_file(part)]
        _check_space(store, [*archives, *(part for _, part in files)])
        folder.mkdir()
        # Before the archive, which may hold links: nothing is written through one.
        progress = TransferProgress("fetching the project", sum(part.size for _, part in files), emit)
        in_parallel([partial(_fetch_file, repository, folder, *one, progress) for one in files])
        fetch_blobs(repository, store, map(_blob, archives), "fetching the project", emit)
        with store.space(), store.open(archives[0].digest) as packed:
            lay_out(packed, folder)
    said = listed.annotations.get(KEPT)
    return PublishedSources(
        digest=listed.digest, kept=Kept.ALL if said == Kept.ALL.value else Kept.PAGES, parts=parts
    )


def _fetch_file(
    repository: Repository, folder: Path, path: tuple[str, ...], part: Part, progress: TransferProgress
) -> None:
    place = folder.joinpath(*path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as file:

            def take(data: bytes) -> None:
                file.write(data)
                progress.came(len(data))

            repository.pull_blob(part.digest, part.size, take)
        place.chmod(0o755 if part.annotations.get(EXECUTABLE) == "true" else 0o644)
    except (FileExistsError, NotADirectoryError) as error:
        raise RbuildError(f"two files of the context are at {'/'.join(path)[:200]!r}") from error


def fetch_inputs(
    repository: Repository,
    sources: PublishedSources,
    lock: Lock,
    checksums: Sequence[Digest],
    store: Store,
    emit: Emit,
) -> None:
    """Have in the store what a rebuild reads and nobody else may have, as the lock of the sources names it.

    Raises RbuildError for sources that do not hold all that they have to.
    """
    (stage,) = lock.stages.values()
    bases = tuple(lock.bases.values())
    published = sources.blobs()
    text = "fetching what its build read"
    wanted: dict[Digest, Blob] = {}
    missing: list[Problem] = []
    for need in needs(stage, bases, sources.kept, checksums):
        blob = published.get(need.digest)
        if blob is not None and need.size in (None, blob.size):
            wanted[need.digest] = blob
        elif need.certain:
            missing.append(_incomplete(need.what, need.digest))
    if missing:
        raise RbuildError(missing[:20])
    _check_space(store, list(wanted.values()))
    fetch_blobs(repository, store, wanted.values(), text, emit)
    for key, base in lock.bases.items():
        if layers_kept(base, sources.kept):
            _fetch_base(repository, published, key, base.digest, store, text, emit)


def _fetch_base(
    repository: Repository,
    published: Mapping[Digest, Blob],
    key: str,
    digest: Digest,
    store: Store,
    text: str,
    emit: Emit,
) -> None:
    def take(named: Sequence[Digest]) -> None:
        problems = [_incomplete(f"a part of the base {key}", one) for one in named if one not in published]
        if problems:
            raise RbuildError(problems[:20])
        blobs = [published[one] for one in named]
        _check_space(store, blobs)
        fetch_blobs(repository, store, blobs, text, emit)

    take([digest])
    with at(Where(key=key, digest=str(digest))):
        manifest = read_manifest(store.read(digest))
    take([part.digest for part in (manifest.config, *manifest.layers)])


def _incomplete(what: str, digest: Digest) -> Problem:
    return Problem(
        what=f"the sources do not hold {what}",
        where=Where(digest=str(digest)),
        hint="have them published again: rbuild push, where the project is",
    )


def _check_space(store: Store, parts: Sequence[Part | Blob], what: str = "the sources have") -> None:
    """Refuse what cannot fit before it is fetched."""
    size = sum(part.size for part in parts)
    with contextlib.suppress(FileNotFoundError):
        if size > shutil.disk_usage(store.root).free:
            raise RbuildError(
                f"{what} {size / 1e6:,.1f} MB, and the disk under the store has less left",
                where=Where(file=str(store.root)),
                hint="free some, or set RBUILD_STORE to a folder on a larger file system",
            )


def _is_file(part: Part) -> bool:
    return part.media_type == FILE_TYPE


def _blob(part: Part) -> Blob:
    return Blob(part.digest, part.size)
