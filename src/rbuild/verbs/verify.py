"""`rbuild verify`: every stage again from nothing, held against the lock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rbuild.compare.model import Verdict
from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where
from rbuild.events import Emit
from rbuild.lock import ImageLock, Lock
from rbuild.verbs.assessment import Assessment, assess, detailed
from rbuild.verbs.build import Options
from rbuild.verbs.workspace import LOCK_FILE, Workspace, read_lock

_MOST_CHANGES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A stage held against the lock. `differs` names parts; `problems` say why nobody can tell."""

    stage: str
    verdict: Verdict
    locked: Digest | None = None
    built: Digest | None = None
    differs: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def verify(
    workspace: Workspace, stages: Collection[str], *, offline: bool, jobs: int, emit: Emit
) -> tuple[Verification, ...]:
    """Rebuild stages without any layer cache, in storage of their own, and compare with the lock.

    Nothing is recorded: an address that is not locked fails the stage. The user's images are not touched.
    """
    lock = read_lock(workspace)
    assessed = assess(workspace, lock, stages)
    fitting = {name: one for name, one in assessed.items() if not one.changes}
    found = {name: _stale(workspace, name, one) for name, one in assessed.items() if one.changes}
    if fitting:
        from rbuild.verbs.pipeline import Pipeline

        assert lock is not None
        options = Options(epoch=0, jobs=jobs, offline=offline, locked=True)
        built = Pipeline(workspace, lock, options, emit).rebuild(fitting)
        found |= {name: _compared(name, lock, image) for name, image in built.items()}
    return tuple(found[name] for name in assessed)


def _stale(workspace: Workspace, name: str, assessed: Assessment) -> Verification:
    what = f"stage {name} is not in the lock: there is nothing to compare with"
    if assessed.locked:
        why = [str(change) for change in detailed(workspace.store, assessed)]
        more = [f"and {len(why) - _MOST_CHANGES} more"] if len(why) > _MOST_CHANGES else []
        what = f"the lock does not fit the files of stage {name} ({'; '.join(why[:_MOST_CHANGES] + more)})"
    problem = Problem(
        what=what,
        where=Where(file=LOCK_FILE, key=f"stages.{name}"),
        hint=f"rbuild lock {name}, then rbuild verify {name}",
    )
    return Verification(stage=name, verdict=Verdict.UNKNOWN, problems=(problem,))


def _compared(name: str, lock: Lock, built: ImageLock | RbuildError) -> Verification:
    locked = lock.stages[name].image
    if isinstance(built, RbuildError):
        return Verification(
            stage=name, verdict=Verdict.UNKNOWN, locked=locked.manifest, problems=built.problems
        )
    return Verification(
        stage=name,
        verdict=compare(locked, built),
        locked=locked.manifest,
        built=built.manifest,
        differs=tuple(_differing(locked, built)),
    )


def compare(locked: ImageLock, built: ImageLock) -> Verdict:
    """Hold two images against each other by their digests."""
    if built == locked:
        return Verdict.IDENTICAL
    same = [layer.diff_id for layer in built.layers] == [layer.diff_id for layer in locked.layers]
    return Verdict.SAME_CONTENT if same and built.config == locked.config else Verdict.DIFFERENT


def _differing(locked: ImageLock, built: ImageLock) -> list[str]:
    parts = []
    if built.config != locked.config:
        parts.append("config")
    if len(built.layers) != len(locked.layers):
        parts.append(f"number of layers ({len(locked.layers)} locked, {len(built.layers)} built)")
    for number, (old, new) in enumerate(zip(locked.layers, built.layers, strict=False), 1):
        if old.diff_id != new.diff_id:
            parts.append(f"layer {number}")
        elif old.blob != new.blob:
            parts.append(f"compression of layer {number}")
    return parts
