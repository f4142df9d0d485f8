"""`rbuild status` and `rbuild plan`: what would be done, and why, with nothing changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rbuild.containerfile.expand import needed_targets
from rbuild.digest import Digest
from rbuild.lock import Lock, StageLock
from rbuild.plan import Change
from rbuild.verbs.assessment import assess, detailed, in_store
from rbuild.verbs.build import Options, state_of, with_substitutes
from rbuild.verbs.workspace import Workspace, read_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A stage held against the lock, which fits if there are no changes; whether the store has its image."""

    stage: str
    changes: tuple[Change, ...]
    stored: bool
    digest: Digest | None


def status(workspace: Workspace, stages: Collection[str]) -> tuple[Status, ...]:
    """What changed since each stage was locked."""
    lock = read_lock(workspace)
    return tuple(
        Status(
            stage=name,
            changes=detailed(workspace.store, one),
            stored=one.locked is not None and in_store(workspace, one.locked.image),
            digest=one.locked.image.manifest if one.locked else None,
        )
        for name, one in assess(workspace, lock, stages).items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBase:
    """A base of a stage: pinned by the lock, or to be looked up."""

    key: str
    digest: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """An instruction that Podman would come to."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What `rbuild all` would do about a stage.

    `action` is "nothing", "build", "load" (into Podman's storage, from the store) or "fetch": from the first
    of `substitutes` that has the image; it is built where none has it.
    """

    stage: str
    action: str
    substitutes: tuple[str, ...]
    changes: tuple[Change, ...]
    containerfile: str
    context: str
    files: int
    target: str | None
    args: dict[str, str]
    bases: tuple[PlannedBase, ...]
    epoch: int | None
    responses: int  # locked ones, to be replayed
    steps: tuple[PlannedStep, ...]


def plan(workspace: Workspace, stage: str) -> StagePlan:
    """What `rbuild build` would do about a stage."""
    lock = read_lock(workspace)
    one = assess(workspace, lock, [stage])[stage]
    source, changes = one.source, detailed(workspace.store, one)
    options = with_substitutes(workspace, Options(epoch=0))
    stale = bool(changes)
    stored = not stale and one.locked is not None and in_store(workspace, one.locked.image)
    action = state_of(workspace, one, stale, options, workspace.podman.digests() if stored else {})
    if action == "load":
        changes = (Change("image", "not in Podman's storage"),)
    elif not stale and not stored:
        changes = (Change("image", "not in the store"),)
    needed = needed_targets(
        source.containerfile,
        source.stage.target,
        build_args=source.stage.args,
        platform=workspace.project.platform,
    )
    steps = [
        PlannedStep(line=instruction.line, text=instruction.original)
        for index in needed
        for instruction in (
            source.containerfile.targets[index].origin,
            *source.containerfile.targets[index].instructions,
        )
    ]
    return StagePlan(
        stage=stage,
        action="nothing" if action == "up to date" else action,
        substitutes=tuple(map(str, options.substitutes)) if action == "fetch" else (),
        changes=changes,
        containerfile=str(source.stage.containerfile),
        context=str(source.stage.context),
        files=len(source.context.files),
        target=source.stage.target,
        args=dict(source.stage.args),
        bases=tuple(PlannedBase(key=key, digest=_pinned(lock, key)) for key in source.bases),
        epoch=one.locked.epoch if one.locked else None,
        responses=_responses(one.locked),
        steps=tuple(steps),
    )


def _pinned(lock: Lock | None, key: str) -> Digest | None:
    base = lock.bases.get(key) if lock else None
    return base.digest if base else None


def _responses(locked: StageLock | None) -> int:
    if locked is None:
        return 0
    recording = locked.recording
    return len(recording.responses) + sum(len(index.files) for index in recording.indexes)
