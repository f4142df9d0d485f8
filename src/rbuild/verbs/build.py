"""`rbuild all` and `rbuild build`: what is not up to date is built, what came out goes into the lock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rbuild.digest import Digest
from rbuild.errors import Exit, Problem, RbuildError, Where
from rbuild.events import Emit
from rbuild.lock import LOCK_VERSION, ImageLock, Lock, StageLock
from rbuild.plan import Change, changes
from rbuild.project import PROJECT_FILE
from rbuild.reference import Reference
from rbuild.verbs.source import Source, read_sources
from rbuild.verbs.workspace import LOCK_FILE, Workspace, fits, read_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How far a build may go. `epoch`, in seconds, is for stages that have none in the lock yet."""

    epoch: int
    jobs: int = 1
    offline: bool = False
    locked: bool = False
    upgrade: frozenset[str] = frozenset()  # stages whose recording is made anew
    images: bool = True  # whether images have to be in the store and in Podman's storage in the end


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What became of a stage: `outcome` is "up to date", "built", "loaded" or "failed"."""

    stage: str
    outcome: str
    digest: Digest | None = None
    changes: tuple[Change, ...] = ()
    error: RbuildError | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A stage as its files are now, held against the lock. No changes: the lock fits."""

    source: Source
    locked: StageLock | None
    changes: tuple[Change, ...]


def assess(workspace: Workspace, lock: Lock | None, stages: Iterable[str]) -> dict[str, Assessment]:
    """What is up to date and what is not, and why. Reads files only; no network, no Podman."""
    return {
        name: _assess(workspace, lock, source) for name, source in read_sources(workspace, stages).items()
    }


def _assess(workspace: Workspace, lock: Lock | None, source: Source) -> Assessment:
    locked = lock.stages.get(source.stage.name) if lock else None
    if lock is None or locked is None:
        return Assessment(source=source, locked=None, changes=(Change("stage", "not in the lock yet"),))
    redefined: list[Change] = []
    digests: dict[str, Digest] = {}
    for key in source.bases:
        pinned = lock.bases.get(key)
        if pinned is None:
            redefined.append(Change("base", f"{key} is not in the lock yet"))
        elif not fits(workspace.project.base(Reference.parse(key)), pinned):
            redefined.append(Change("base", f"{key} is defined otherwise in {PROJECT_FILE} now"))
        else:
            digests[key] = pinned.digest
    if redefined:
        return Assessment(source=source, locked=locked, changes=tuple(redefined))
    inputs = source.inputs(workspace.project.platform, digests, locked.epoch)
    return Assessment(source=source, locked=locked, changes=changes(inputs, locked, lock))


def build(
    workspace: Workspace, stages: Collection[str], options: Options, emit: Emit
) -> tuple[StageResult, ...]:
    """Bring `stages` up to date: images in the store and in Podman's storage, the lock beside the project.

    A stage that fails does not keep the others from being built; its error is in its result. Raises
    RbuildError for what concerns all of them and, under `locked`, for a lock that is not right (exit 1).
    """
    with ThreadPoolExecutor(1) as pool:
        # Podman takes as long to answer as all the rest of "nothing to do".
        asked = pool.submit(workspace.podman.digests) if options.images else None
        lock = read_lock(workspace)
        assessed = assess(workspace, lock, stages)
        loaded = asked.result() if asked else {}
    stale = {name for name, one in assessed.items() if one.changes or name in options.upgrade}
    remains = leftovers(workspace, lock)
    if options.locked and (stale or remains):
        raise _out_of_date({name: assessed[name] for name in assessed if name in stale}, remains)
    states = {name: _state(workspace, one, name in stale, options, loaded) for name, one in assessed.items()}
    if lock and not remains and all(state == "up to date" for state in states.values()):
        return tuple(
            StageResult(stage=name, outcome="up to date", digest=lock.stages[name].image.manifest)
            for name in assessed
        )
    from rbuild.verbs.pipeline import Pipeline  # brings TLS, HTTP and compressors along

    empty = Lock(version=LOCK_VERSION, project=workspace.project.name, platform=workspace.project.platform)
    return Pipeline(workspace, lock or empty, options, emit).run(assessed, states)


def _state(
    workspace: Workspace,
    assessed: Assessment,
    stale: bool,
    options: Options,
    loaded: Mapping[str, Collection[str]],
) -> str:
    """What has to be done about a stage: "build", "load" into Podman's storage, or nothing: "up to date"."""
    if stale or assessed.locked is None:
        return "build"
    if not options.images:
        return "up to date"
    image = assessed.locked.image
    if not in_store(workspace, image):
        return "build"
    name = workspace.image_name(assessed.source.stage.name)
    return "up to date" if str(image.manifest) in loaded.get(name, ()) else "load"


def in_store(workspace: Workspace, image: ImageLock) -> bool:
    """Whether the store has every blob of a locked image, by name and size."""
    store = workspace.store
    return (
        store.has(image.manifest)
        and store.has(image.config)
        and all(store.has(layer.blob, layer.size) for layer in image.layers)
    )


def leftovers(workspace: Workspace, lock: Lock | None) -> tuple[Change, ...]:
    """What the lock holds that is of no stage of the project."""
    if lock is None:
        return ()
    found = [
        Change("stage", f"{name} is not in {PROJECT_FILE} any more")
        for name in lock.stages
        if name not in workspace.project.stages
    ]
    if lock.project != workspace.project.name:
        found.append(Change("project", f"{lock.project} → {workspace.project.name}"))
    return tuple(found)


def _out_of_date(stale: Mapping[str, Assessment], remains: Collection[Change]) -> RbuildError:
    hint = "rbuild lock brings the lock up to date; commit it with the change"
    problems = [
        Problem(what=f"out of date ({change})", where=Where(file=LOCK_FILE), hint=hint) for change in remains
    ]
    problems += [
        Problem(
            what=f"stage {name} is out of date ({'; '.join(str(change) for change in one.changes)})",
            where=Where(file=LOCK_FILE, key=f"stages.{name}"),
            hint=hint,
        )
        for name, one in stale.items()
    ]
    return RbuildError(problems, exit_code=Exit.FINDING)
