"""`rbuild verify`: every stage again from nothing, held against the lock."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rbuild import __version__
from rbuild.compare.model import Comparison, Verdict
from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where
from rbuild.events import Emit
from rbuild.image.codec import Codec, codec_text
from rbuild.lock import ImageLock, Lock
from rbuild.reference import Reference
from rbuild.store import MissingBlob, Store
from rbuild.verbs.assessment import Assessment, assess, detailed
from rbuild.verbs.trial import Effect, Trial
from rbuild.verbs.workspace import LOCK_FILE, Workspace, read_lock
from rbuild.verifications import VerificationNote, note_verification

if TYPE_CHECKING:
    from rbuild.verbs.pipeline import Rebuilt
    from rbuild.verbs.vary import Named

_MOST_CHANGES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """That a verification is published beside the image at `reference`; with an error, that it is not."""

    reference: Reference
    signed: bool
    error: RbuildError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A stage held against the lock, `seconds` the time that its build took.

    `differs` names parts, and `comparison` holds the locked image against the built one; without it, `note`
    says why there is none: for the same content, which compressors wrote it. `problems` say why nobody can
    tell. `trials` are of varied builds. `kept` is what the store keeps of it, `attested` where it was
    published.
    """

    stage: str
    verdict: Verdict
    locked: Digest | None = None
    built: Digest | None = None
    differs: tuple[str, ...] = ()
    comparison: Comparison | None = None
    note: str | None = None
    problems: tuple[Problem, ...] = ()
    trials: tuple[Trial, ...] = ()
    seconds: float | None = None
    kept: VerificationNote | None = None
    attested: tuple[Attested, ...] = ()

    @property
    def verdicts(self) -> frozenset[Verdict]:
        """That of the lock, and what those of varied builds amount to."""
        told = {
            Effect.CHANGES: Verdict.DIFFERENT,
            Effect.AS_EVER: Verdict.DIFFERENT,
            Effect.FAILED: Verdict.UNKNOWN,
        }
        return frozenset(told[trial.effect] for trial in self.trials if trial.effect in told) | {self.verdict}


def verify(
    workspace: Workspace,
    stages: Collection[str],
    *,
    offline: bool,
    jobs: int,
    emit: Emit,
    now: datetime,
    varied: bool = False,
) -> tuple[Verification, ...]:
    """Rebuild stages without any layer cache, in storage of their own, and compare with the lock.

    With `varied`, those that could be built are built again under one changed condition after the other.
    Nothing is recorded: an address that is not locked fails the stage. The user's images are not touched, and
    nothing stays in the store but what was locked and had to be fetched or made, and a note on what was
    verified at the time `now`.
    """
    lock = read_lock(workspace)
    assessed = assess(workspace, lock, stages)
    fitting = {name: one for name, one in assessed.items() if not one.changes}
    found = {name: _stale(workspace, name, one) for name, one in assessed.items() if one.changes}
    if fitting:
        assert lock is not None
        found |= verify_fitting(
            workspace, lock, fitting, offline=offline, jobs=jobs, emit=emit, varied=varied
        )
        found = {name: _kept(workspace, lock, one, now) for name, one in found.items()}
    return tuple(found[name] for name in assessed)


def _kept(workspace: Workspace, lock: Lock, found: Verification, now: datetime) -> Verification:
    """Note a verification in the store, where there was one."""
    if found.locked is None or found.built is None:
        return found
    version = workspace.podman.version()
    kept = VerificationNote(
        project=workspace.project.name,
        stage=found.stage,
        input=str(lock.stages[found.stage].input),
        image=str(found.locked),
        built=str(found.built),
        result=found.verdict.value,
        time=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        rbuild=__version__,
        podman=".".join(map(str, version)),
    )
    note_verification(workspace.store, kept)
    return replace(found, kept=kept)


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


def verify_fitting(
    workspace: Workspace,
    lock: Lock,
    assessed: dict[str, Assessment],
    *,
    offline: bool,
    jobs: int,
    emit: Emit,
    varied: bool = False,
    fetch: Callable[[ImageLock], object] = lambda _image: None,
) -> dict[str, Verification]:
    """As `verify`, of stages that the lock fits. `fetch` may bring a locked image that came out otherwise."""
    from rbuild.verbs.rebuild import Setting, rebuild

    setting = Setting(workspace=workspace, jobs=jobs, offline=offline)

    def compare(stage: str, a: Named, b: Named, store: Store) -> Comparison:
        return _comparison(assessed[stage], a, b, store, workspace.project.platform)

    began = time.monotonic()
    with workspace.store.scratch("verify-") as scratch:
        outcome = rebuild(
            setting, lock, assessed, folder=scratch / "reference", below=workspace.store, emit=emit
        )
        found = {
            name: _compared(
                name, assessed[name], lock.stages[name].image, one, outcome.store, workspace, fetch
            )
            for name, one in outcome.stages.items()
        }
        images = {name: one.image for name, one in outcome.stages.items() if isinstance(one.image, ImageLock)}
        if varied and images:
            from rbuild.verbs.vary import Reference as Unvaried
            from rbuild.verbs.vary import vary

            reference = Unvaried(setting=setting, lock=lock, images=images, store=outcome.store, began=began)
            trials = vary(reference, compare, folder=scratch, emit=emit)
            found |= {name: replace(found[name], trials=each) for name, each in trials.items()}
    return found


def _compared(
    name: str,
    assessed: Assessment,
    locked: ImageLock,
    rebuilt: Rebuilt,
    store: Store,
    workspace: Workspace,
    fetch: Callable[[ImageLock], object],
) -> Verification:
    built = rebuilt.image
    if isinstance(built, RbuildError):
        return Verification(
            stage=name,
            verdict=Verdict.UNKNOWN,
            locked=locked.manifest,
            problems=built.problems,
            seconds=rebuilt.seconds,
        )
    verdict, comparison, note = compare(locked, built), None, None
    if verdict is Verdict.DIFFERENT:
        try:
            fetch(locked)
            sides = ("as locked", locked.manifest), ("as built", built.manifest)
            comparison = _comparison(assessed, *sides, store, workspace.project.platform)
        except MissingBlob:
            note = "the locked image is not in the store, so nobody can say what differs inside of its layers"
        except RbuildError as error:
            note = f"the images could not be compared: {error}"
    elif verdict is Verdict.SAME_CONTENT:
        assert assessed.locked is not None
        note = Codec.beside_ours(codec_text(assessed.source.compression, assessed.locked.codec))
    return Verification(
        stage=name,
        verdict=verdict,
        locked=locked.manifest,
        built=built.manifest,
        differs=tuple(_differing(locked, built)),
        comparison=comparison,
        note=note,
        seconds=rebuilt.seconds,
    )


def _comparison(assessed: Assessment, a: Named, b: Named, store: Store, system: str) -> Comparison:
    from rbuild.compare import images
    from rbuild.verbs.stageimage import facts_of, stage_image

    assert assessed.locked is not None
    name = assessed.source.stage.name
    return images.compare(
        stage_image(store, a[1], f"{name}, {a[0]}", assessed.source, system),
        stage_image(store, b[1], f"{name}, {b[0]}", assessed.source, system),
        facts=facts_of(assessed.locked, platform.node()),
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
