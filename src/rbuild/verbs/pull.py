"""`rbuild pull`: images by their locked digest, from registries into the store and Podman's storage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from rbuild.destination import Destination
from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where
from rbuild.events import Emit, Note
from rbuild.lock import ImageLock, Lock
from rbuild.project import PROJECT_FILE
from rbuild.registry.patience import Limits
from rbuild.verbs.admission import Admission
from rbuild.verbs.assessment import in_store
from rbuild.verbs.gating import open_gate
from rbuild.verbs.loading import load_locked, name_locked
from rbuild.verbs.source import read_sources
from rbuild.verbs.substitute import Substitutes, damaged
from rbuild.verbs.workspace import LOCK_FILE, Workspace, read_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """An image that is in the store and in Podman's storage now, or why it is not.

    `registry` is where it came from, None if the store had it all; `blobs`, of `size` bytes, are what was
    fetched.
    """

    stage: str
    digest: Digest
    registry: str | None = None
    blobs: int = 0
    size: int = 0
    error: RbuildError | None = field(default=None, repr=False)


def pull(
    workspace: Workspace,
    stages: Collection[str],
    emit: Emit,
    *,
    sources: Sequence[str] = (),
    insecure: Collection[str] = (),
    load: bool = True,
    now: datetime | None = None,
) -> tuple[Pulled, ...]:
    """Pull the locked images of `stages` from the first of `sources` that has them.

    Without sources, the project's registry and its substitutes are asked. They come into the store and, with
    `load`, from there into Podman's storage. An image that cannot be had does not keep the others from being
    pulled. One that the project's policies refuse, by the time `now` (UTC), gets no name in Podman's storage.
    Raises RbuildError for stages that are not locked, and where nobody says where from.
    """
    lock, images = _locked(workspace, stages)
    gate = open_gate(workspace, now, emit)
    held = read_sources(workspace, stages) if gate else {}
    places = _places(workspace, sources)
    substitutes = Substitutes(workspace, places, insecure=insecure, limits=Limits(), emit=emit)
    admission = Admission(workspace, insecure=insecure)
    loaded = workspace.podman.digests() if load else {}
    try:
        return tuple(
            _pull(
                workspace,
                name,
                image,
                substitutes,
                admission,
                load and str(image.manifest) not in loaded.get(workspace.image_name(name), ()),
                partial(gate.locked, held[name], lock, lock.stages[name]) if gate else None,
                emit,
            )
            for name, image in images.items()
        )
    finally:
        substitutes.close()
        admission.close()


def _locked(workspace: Workspace, stages: Collection[str]) -> tuple[Lock, dict[str, ImageLock]]:
    lock = read_lock(workspace)
    known = lock.stages if lock else {}
    missing = [
        Problem(
            what=f"stage {name} is not in the lock",
            where=Where(file=LOCK_FILE, key=f"stages.{name}"),
            hint=f"rbuild build {name}, or git pull for a lock that has it",
        )
        for name in stages
        if name not in known
    ]
    if missing or lock is None:
        raise RbuildError(missing)
    return lock, {name: known[name].image for name in stages}


def _places(workspace: Workspace, sources: Sequence[str]) -> tuple[Destination, ...]:
    project = workspace.project
    texts = sources or [*([project.registry] if project.registry else []), *project.substitutes]
    if not texts:
        raise RbuildError(
            "nobody says where from",
            where=Where(file=PROJECT_FILE),
            hint="rbuild pull --from REGISTRY/PATH, or registry: in the project's file",
        )
    return tuple(dict.fromkeys(map(Destination.parse, texts)))


def _pull(
    workspace: Workspace,
    name: str,
    image: ImageLock,
    substitutes: Substitutes,
    admission: Admission,
    load: bool,
    hold: Callable[[], None] | None,
    emit: Emit,
) -> Pulled:
    try:
        for digest in damaged(workspace, image):
            emit(Note(stage=name, text=f"{digest} was damaged in the store; fetching it", level="warning"))
        pulled = Pulled(stage=name, digest=image.manifest)
        if in_store(workspace, image):
            admission.admit_fetched(image.manifest)
        else:
            emit(Note(stage=name, text=f"asking {substitutes}"))
            found = substitutes.search(name, image)
            if found.fetched is None:
                error = RbuildError(found.problems, exit_code=found.exit_code)
                return Pulled(stage=name, digest=image.manifest, error=error)
            for problem in found.problems:
                emit(Note(stage=name, text=str(problem), level="warning"))
            pulled = Pulled(
                stage=name,
                digest=image.manifest,
                registry=found.fetched.registry,
                blobs=found.fetched.blobs,
                size=found.fetched.size,
            )
        if hold:
            hold()
        if load:
            load_locked(workspace, name, image)
        name_locked(workspace, name, image)
    except RbuildError as error:
        return Pulled(stage=name, digest=image.manifest, error=error)
    return pulled
