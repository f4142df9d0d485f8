"""`rbuild all` and `rbuild build`: what is not up to date is built, what came out goes into the lock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from rbuild.destination import Destination
from rbuild.digest import Digest
from rbuild.errors import Exit, Problem, RbuildError, Where
from rbuild.events import Emit
from rbuild.lock import LOCK_VERSION, Lock
from rbuild.plan import Change
from rbuild.verbs.assessment import Assessment, assess, detailed, in_store, leftovers
from rbuild.verbs.gating import open_gate
from rbuild.verbs.workspace import LOCK_FILE, Workspace, read_lock

_MOST_CHANGES = 10


class Goal(Enum):
    """How far stages have to get: into the lock, with their images into the store, with those to Podman."""

    LOCK = "lock"
    STORE = "store"
    PODMAN = "podman"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How far a build may go. `epoch`, in seconds, is for stages that have none in the lock yet.

    `now` (UTC) is the time by which waivers end; without it, no policy is asked. `substitutes` are asked,
    before those of the project, for images that are locked and not in the store; `insecure` names those of
    them that need no TLS.
    """

    epoch: int
    jobs: int = 1
    offline: bool = False
    locked: bool = False
    upgrade: frozenset[str] = frozenset()  # stages whose recording is made anew
    goal: Goal = Goal.PODMAN
    substitutes: tuple[Destination, ...] = ()
    insecure: tuple[str, ...] = ()
    now: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What became of a stage: `outcome` is "up to date", "built", "fetched", "loaded" or "failed".

    `registry` is where an image was fetched from.
    """

    stage: str
    outcome: str
    digest: Digest | None = None
    registry: str | None = None
    changes: tuple[Change, ...] = ()
    error: RbuildError | None = field(default=None, repr=False)


def build(
    workspace: Workspace, stages: Collection[str], options: Options, emit: Emit
) -> tuple[StageResult, ...]:
    """Bring `stages` up to date: the lock beside the project, and images as far as the options' goal.

    A stage that fails does not keep the others from being built; its error is in its result. Raises
    RbuildError for what concerns all of them and, under `locked`, for a lock that is not right (exit 1).
    """
    options = with_substitutes(workspace, options)
    with ThreadPoolExecutor(1) as pool:
        # Podman takes as long to answer as all the rest of "nothing to do".
        asked = pool.submit(workspace.podman.digests) if options.goal is Goal.PODMAN else None
        lock = read_lock(workspace)
        assessed = assess(workspace, lock, stages)
        loaded = asked.result() if asked else {}
    stale = {name for name, one in assessed.items() if one.changes or name in options.upgrade}
    remains = leftovers(workspace, lock)
    if options.locked and (stale or remains):
        why = {name: detailed(workspace.store, one) for name, one in assessed.items() if name in stale}
        raise _out_of_date(why, remains)
    states = {
        name: state_of(workspace, one, name in stale, options, loaded) for name, one in assessed.items()
    }
    if lock and not remains and all(state == "up to date" for state in states.values()):
        return tuple(
            StageResult(stage=name, outcome="up to date", digest=lock.stages[name].image.manifest)
            for name in assessed
        )
    from rbuild.verbs.pipeline import Pipeline  # brings TLS, HTTP and compressors along

    empty = Lock(version=LOCK_VERSION, project=workspace.project.name, platform=workspace.project.platform)
    gate = open_gate(workspace, options.now, emit)
    return Pipeline(workspace, lock or empty, options, emit, gate=gate).run(assessed, states)


def state_of(
    workspace: Workspace,
    assessed: Assessment,
    stale: bool,
    options: Options,
    loaded: Mapping[str, Collection[str]],
) -> str:
    """What has to be done about a stage: "build", "fetch", "load" into Podman's storage, or "up to date"."""
    if stale or assessed.locked is None:
        return "build"
    if options.goal is Goal.LOCK:
        return "up to date"
    image = assessed.locked.image
    if not in_store(workspace, image):
        return "fetch" if options.substitutes else "build"
    if options.goal is Goal.STORE:
        return "up to date"
    name = workspace.image_name(assessed.source.stage.name)
    return "up to date" if str(image.manifest) in loaded.get(name, ()) else "load"


def with_substitutes(workspace: Workspace, options: Options) -> Options:
    """The options with the substitutes of the project; none if they say offline."""
    if options.offline:
        return replace(options, substitutes=())
    named = map(Destination.parse, workspace.project.substitutes)
    return replace(options, substitutes=tuple(dict.fromkeys([*options.substitutes, *named])))


def _out_of_date(stale: Mapping[str, Sequence[Change]], remains: Collection[Change]) -> RbuildError:
    hint = "rbuild lock brings the lock up to date; commit it with the change"
    problems = [
        Problem(what=f"out of date ({change})", where=Where(file=LOCK_FILE), hint=hint) for change in remains
    ]
    problems += [
        Problem(
            what=f"stage {name} is out of date ({'; '.join(map(str, changes[:_MOST_CHANGES]))})",
            where=Where(file=LOCK_FILE, key=f"stages.{name}"),
            hint=hint,
        )
        for name, changes in stale.items()
    ]
    return RbuildError(problems, exit_code=Exit.FINDING)
