"""`rbuild rebuild`: an image in a registry once more, from the sources that are published beside it."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rbuild.digest import Digest
from rbuild.draft import Draft
from rbuild.errors import Problem, RbuildError, Where
from rbuild.events import Emit, Note
from rbuild.image.artifact import Referrer
from rbuild.lock import Lock
from rbuild.podman import Podman
from rbuild.project import Project
from rbuild.projectfile import Secret
from rbuild.reference import Reference
from rbuild.registry.client import Registry
from rbuild.registry.repository import Repository
from rbuild.sources import NO_VALUE, Kept
from rbuild.store import Store
from rbuild.verbs.assessment import Assessment, assess
from rbuild.verbs.retrieve import (
    PublishedImage,
    PublishedSources,
    fetch_image,
    fetch_inputs,
    find_image,
    find_sources,
    lay_out_sources,
)
from rbuild.verbs.verify import Verification, verify_fitting
from rbuild.verbs.workspace import LOCK_FILE, Workspace, read_lock, read_project

# An image does not depend on the value of a secret, and a stranger's project gets none of this user's.
_NO_SECRET = "no-secret-is-published"
_MOST_CHANGES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """An image that was rebuilt from the sources beside it: which artifact, and how much that holds."""

    reference: Reference
    sources: Digest
    kept: Kept
    verification: Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of a rebuild. `offline`: nobody but the registry of the image is asked.

    `keep` is a folder that is made, and gets the project of the sources. `insecure` names registries that
    need no TLS.
    """

    reference: Reference
    offline: bool = False
    keep: Path | None = None
    insecure: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class _Laid:
    """Sources that are ready to be built."""

    workspace: Workspace
    lock: Lock
    assessed: dict[str, Assessment]
    sources: PublishedSources


def reproduce(wish: Wish, store: Store, podman: Podman, env: Mapping[str, str], emit: Emit) -> Rebuild:
    """Rebuild an image sealed, in storage of its own, and compare it with what the registry has.

    Raises RbuildError where there is no such image, and where none of its sources can be used. Nothing stays
    on this host but the log of the build, and `keep`.
    """
    reference = wish.reference
    if wish.keep and wish.keep.exists():
        raise RbuildError("is there already", where=Where(file=str(wish.keep)), hint="name a new folder")
    insecure = {text.partition("/")[0] for text in wish.insecure}
    registry = Registry(reference.registry, insecure=reference.registry in insecure, env=env)
    try:
        with store.scratch("rebuild-") as scratch:
            draft = Draft(scratch / "store", store)
            repository = registry.repository(reference.repository)
            published = find_image(repository, reference, draft, emit)
            laid = _lay_out_first(repository, published, scratch, draft, podman, env, emit)
            if wish.keep:
                shutil.copytree(laid.workspace.root, wish.keep, symlinks=True)
                emit(Note(text=f"the sources are in {wish.keep}"))
            (verification,) = verify_fitting(
                laid.workspace,
                laid.lock,
                laid.assessed,
                offline=wish.offline,
                jobs=1,
                emit=emit,
                fetch=lambda _image: fetch_image(repository, published, draft, emit),
            ).values()
    finally:
        registry.close()
    return Rebuild(
        reference=published.reference,
        sources=laid.sources.digest,
        kept=laid.sources.kept,
        verification=verification,
    )


def _lay_out_first(
    repository: Repository,
    published: PublishedImage,
    scratch: Path,
    draft: Draft,
    podman: Podman,
    env: Mapping[str, str],
    emit: Emit,
) -> _Laid:
    """Lay out the first of the image's sources that can be used."""
    problems: list[Problem] = []
    for number, listed in enumerate(find_sources(repository, published)):
        root = scratch / f"project-{number}"
        workspace_parts = (root, draft, podman, env)
        try:
            laid = _lay_out(repository, published, listed, workspace_parts, emit)
        except RbuildError as error:
            if draft.closed:
                raise
            problems += error.problems
            continue
        for problem in problems:
            emit(Note(text=str(problem), level="warning"))
        return laid
    raise RbuildError(problems)


def _lay_out(
    repository: Repository,
    published: PublishedImage,
    listed: Referrer,
    parts: tuple[Path, Draft, Podman, Mapping[str, str]],
    emit: Emit,
) -> _Laid:
    root, draft, podman, env = parts
    sources = lay_out_sources(repository, published, listed, root, draft, emit)
    blobs = f"{len(sources.parts)} blob{'s'[: len(sources.parts) != 1]}"
    emit(Note(text=f"sources: {sources.digest}, {sources.kept.value}, {blobs}"))
    workspace = Workspace(
        root=root,
        project=_without_secrets(read_project(root, draft)),
        store=draft,
        podman=podman,
        env={**env, NO_VALUE: _NO_SECRET},
    )
    lock = read_lock(workspace)
    if lock is None or set(lock.stages) != set(workspace.project.stages) or len(lock.stages) != 1:
        raise RbuildError(
            "the project and the lock of the sources are not of one stage", where=_place(published, listed)
        )
    (name,) = lock.stages
    if lock.stages[name].image != published.image:
        raise RbuildError(
            f"the lock of the sources is of another image, {lock.stages[name].image.manifest}",
            where=_place(published, listed),
            hint="they were not made by rbuild push: ask whoever published them",
        )
    assessed = assess(workspace, lock, [name])
    if assessed[name].changes:
        why = "; ".join(str(change) for change in assessed[name].changes[:_MOST_CHANGES])
        raise RbuildError(
            f"the lock of the sources does not fit their files ({why})",
            where=_place(published, listed),
            hint="they were not made by rbuild push: ask whoever published them",
        )
    checksums = tuple(assessed[name].source.checksums.values())
    fetch_inputs(repository, sources, lock, checksums, draft, emit)
    return _Laid(workspace, lock, assessed, sources)


def _place(published: PublishedImage, listed: Referrer) -> Where:
    return Where(file=LOCK_FILE, url=published.reference.name, digest=str(listed.digest))


def _without_secrets(project: Project) -> Project:
    """The project with the same value, which is none, for every secret."""
    stages = {
        name: msgspec.structs.replace(stage, secrets=dict.fromkeys(stage.secrets, Secret(env=NO_VALUE)))
        for name, stage in project.stages.items()
    }
    return msgspec.structs.replace(project, stages=stages)
