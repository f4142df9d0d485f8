"""The sources of a stage's image as an artifact beside it: the project's files, and what its build read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rbuild import lock as lockfile
from rbuild.context import Kind, ignore_file
from rbuild.digest import Digest
from rbuild.errors import Exit, RbuildError, Where
from rbuild.image.artifact import Artifact, Part, artifact
from rbuild.image.manifest import Descriptor, read_manifest
from rbuild.lock import Lock
from rbuild.project import PROJECT_FILE
from rbuild.projecttar import LargeFile, write_project
from rbuild.sources import (
    ARTIFACT_TYPE,
    BLOB_TYPE,
    CONTAINERFILE,
    EXECUTABLE,
    FILE_TYPE,
    IGNORE_FILE,
    KEPT,
    PROJECT_TYPE,
    TITLE,
    Kept,
    Need,
    layers_kept,
    needs,
    stage_lock,
    stage_project,
)
from rbuild.store import CHUNK, MissingBlob, Store
from rbuild.verbs.buildsecrets import secrets_at_hand
from rbuild.verbs.parcels import Parcel
from rbuild.verbs.source import Source
from rbuild.verbs.workspace import LOCK_FILE, Workspace

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def with_sources(
    workspace: Workspace, parcels: Sequence[Parcel], kept: Kept, scratch: Path
) -> tuple[Parcel, ...]:
    """Parcels with so much of their sources attached.

    The archives of their files are in `scratch`, and have to stay there until they are published. The same
    lock and files give the same artifact. Raises RbuildError where a base is not in the store, and for
    anything that would give a secret away.
    """
    return tuple(
        replace(
            parcel,
            attachments=(
                *parcel.attachments,
                _artifact(workspace, parcel.lock, parcel.source, parcel.descriptor, kept, scratch),
            ),
        )
        for parcel in parcels
    )


def _artifact(
    workspace: Workspace, lock: Lock, source: Source, subject: Descriptor, kept: Kept, scratch: Path
) -> Artifact:
    name = source.stage.name
    own = stage_lock(lock, name)
    documents = _documents(workspace, own, source)
    checksums = frozenset(source.checksums.values())
    stage, bases = own.stages[name], tuple(own.bases.values())
    _refuse_secrets(workspace, source, documents, needs(stage, bases, Kept.PAGES, checksums))
    path = scratch / f"{name}.tar.zst"
    with workspace.store.space(), path.open("xb") as file:
        archive, large = write_project(file, documents, source.context)
    parts = [
        Part(
            media_type=PROJECT_TYPE,
            digest=archive.digest,
            size=archive.size,
            path=path,
            annotations={TITLE: "project.tar.zst"},
        ),
        *(_large(source, one) for one in large),
    ]
    blobs = dict(_blobs(workspace.store, needs(stage, bases, kept, checksums)))
    for key, base in own.bases.items():
        if layers_kept(base, kept):
            blobs |= dict(_of_base(workspace.store, key, base.digest))
    parts += (Part(media_type=BLOB_TYPE, digest=digest, size=blobs[digest]) for digest in sorted(blobs))
    return artifact(subject, ARTIFACT_TYPE, parts, {KEPT: kept.value})


def _documents(workspace: Workspace, own: Lock, source: Source) -> dict[str, bytes]:
    """The files of the published project that are not in its context."""
    path = workspace.root / source.stage.containerfile
    text = path.read_bytes()
    if Digest.of(text) != source.digest:
        raise RbuildError(
            "changed while it was being read", where=Where(file=str(source.stage.containerfile))
        )
    documents = {
        PROJECT_FILE: stage_project(workspace.project, own),
        LOCK_FILE: lockfile.write_lock(own),
        CONTAINERFILE: text,
    }
    if ignored := ignore_file(workspace.root / source.stage.context, path):
        documents[IGNORE_FILE] = ignored[1]
    return documents | {f"{base.oci}/oci-layout": _LAYOUT for base in own.bases.values() if base.oci}


def _large(source: Source, one: LargeFile) -> Part:
    annotations = {TITLE: one.path} | ({EXECUTABLE: "true"} if one.file.executable else {})
    return Part(
        media_type=FILE_TYPE,
        digest=Digest(one.file.content),
        size=one.size,
        path=source.context.root / one.file.path,
        annotations=annotations,
    )


def _blobs(store: Store, found: Iterable[Need]) -> Iterator[tuple[Digest, int]]:
    """What of it there is to publish, and its size; a blob that the store lacks may be in the registry."""
    for need in found:
        there = store.size(need.digest)
        if there is None and (not need.certain or need.size is None):
            if need.certain:
                raise RbuildError(f"{need.what} is not in the store", where=Where(digest=str(need.digest)))
            continue
        size = there if there is not None else need.size
        assert size is not None
        yield need.digest, size


def _of_base(store: Store, key: str, digest: Digest) -> Iterator[tuple[Digest, int]]:
    """The parts of a base that is an image."""
    try:
        data = store.read(digest)
    except MissingBlob as error:
        raise RbuildError(
            f"the base {key} is not in the store, and is to be published with the sources",
            where=Where(file=LOCK_FILE, key=f"bases.{key}", digest=str(digest)),
            hint="rbuild verify fetches it; or push with --sources none",
        ) from error
    yield digest, len(data)
    manifest = read_manifest(data)
    for part in (manifest.config, *manifest.layers):
        yield part.digest, part.size


def _refuse_secrets(
    workspace: Workspace, source: Source, documents: Mapping[str, bytes], pages: Iterable[Need]
) -> None:
    """Raise RbuildError for a value of a secret, as far as they are at hand, in what would be published."""
    secrets = secrets_at_hand(workspace, source.stage)
    if not secrets.values:
        return

    def check(what: str, chunks: Iterable[bytes]) -> None:
        if (secret := secrets.shown_in_any(chunks)) is not None:
            raise RbuildError(
                f"{what} has the value of the secret {secret!r} in it, and would be published",
                where=Where(key=f"stages.{source.stage.name}.secrets.{secret}"),
                hint="take it out; or push with --sources none",
                exit_code=Exit.FINDING,
            )

    for name, data in documents.items():
        check(name, [data])
    for file in source.context.files:
        if file.kind is Kind.FILE:
            check(f"the file {file.path} of the context", source.context.content(file))
    for page in pages:
        with contextlib.suppress(MissingBlob), workspace.store.open(page.digest) as opened:
            check(page.what, iter(partial(opened.read, CHUNK), b""))
