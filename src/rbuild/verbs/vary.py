"""`rbuild verify --vary`: stages again, under one varied condition after the other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rbuild.compare.causes.catalogue import UNKNOWN
from rbuild.compare.model import Blame, Comparison, Difference
from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.events import Emit, Note
from rbuild.lock import ImageLock, Lock
from rbuild.store import Store
from rbuild.verbs.assessment import Assessment, assess
from rbuild.verbs.conditions import CONDITIONS, MOMENT, Condition, NotVaried
from rbuild.verbs.pipeline import Rebuilt
from rbuild.verbs.rebuild import Setting, rebuild
from rbuild.verbs.source import read_sources
from rbuild.verbs.trial import Effect, Trial, circumstance
from rbuild.verbs.workspace import Workspace

Named = tuple[str, Digest]
Compare = Callable[[str, Named, Named, Store], Comparison]
"""Holds two images of a stage against each other: the stage, what to call each of them with the digest of its
manifest, the store that has both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What varied builds are held against: images in a store, the setting that they were built in, and when.

    `began` is in seconds of the monotonic clock.
    """

    setting: Setting
    lock: Lock
    images: Mapping[str, ImageLock]
    store: Store
    began: float


def vary(reference: Reference, compare: Compare, *, folder: Path, emit: Emit) -> dict[str, tuple[Trial, ...]]:
    """Build the stages of a reference under every condition in turn; gives each stage's trials in that order.

    `folder` is scratch space on the file system of the user's store.
    """
    trials: dict[str, list[Trial]] = {name: [] for name in reference.images}
    for condition in CONDITIONS:
        emit(Note(text=f"varying: {condition.name}"))
        for name, trial in _try(condition, reference, compare, folder / condition.name, emit).items():
            usual = next((one for one in trials[name] if one.condition == MOMENT), None)
            if usual and usual.comparison and trial.comparison:
                trial = beyond(trial, usual.comparison)
            trials[name].append(trial)
        latest = {name: done[-1] for name, done in trials.items()}
        emit(Note(text=f"varied: {condition.name}: {_effects(latest)}"))
    return {name: tuple(found) for name, found in trials.items()}


def _effects(trials: Mapping[str, Trial]) -> str:
    by_effect: dict[Effect, list[str]] = {}
    for name, trial in trials.items():
        by_effect.setdefault(trial.effect, []).append(name)
    return "; ".join(f"{effect.value} ({', '.join(names)})" for effect, names in by_effect.items())


def _try(
    condition: Condition, reference: Reference, compare: Compare, folder: Path, emit: Emit
) -> dict[str, Trial]:
    folder.mkdir()
    try:
        sources = read_sources(reference.setting.workspace, reference.images)
        with condition.vary(reference.setting, sources, folder / "checkout") as varied:
            what = varied.what
            if condition.name == MOMENT:
                what = f"{time.monotonic() - reference.began:.0f} s {what}"
            outcome = rebuild(
                varied.setting,
                reference.lock,
                _fitting(varied.setting.workspace, reference),
                folder=folder / "build",
                below=reference.store,
                emit=emit,
            )
        return {
            name: _judged(condition.name, what, reference.images[name], rebuilt, name, outcome.store, compare)
            for name, rebuilt in outcome.stages.items()
        }
    except NotVaried as reason:
        trial = Trial(condition=condition.name, effect=Effect.NOT_VARIED, what=str(reason))
    except RbuildError as error:
        trial = Trial(condition=condition.name, effect=Effect.FAILED, what="", problems=error.problems)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return dict.fromkeys(reference.images, trial)


def _fitting(workspace: Workspace, reference: Reference) -> dict[str, Assessment]:
    """The stages as another checkout has them. Raises RbuildError if a file changed in the meantime."""
    assessed = assess(workspace, reference.lock, reference.images)
    changed = [f"{name} ({one.changes[0]})" for name, one in assessed.items() if one.changes]
    if changed:
        raise RbuildError(f"the lock does not fit the files of {', '.join(changed)} any more")
    return assessed


def _judged(
    condition: str,
    what: str,
    usual: ImageLock,
    rebuilt: Rebuilt,
    name: str,
    store: Store,
    compare: Compare,
) -> Trial:
    image = rebuilt.image
    if isinstance(image, RbuildError):
        return Trial(condition=condition, effect=Effect.FAILED, what=what, problems=image.problems)
    if image == usual:
        return Trial(condition=condition, effect=Effect.NONE, what=what, digest=image.manifest)
    return Trial(
        condition=condition,
        effect=Effect.CHANGES,
        what=what,
        digest=image.manifest,
        comparison=compare(
            name, ("as built", usual.manifest), (circumstance(condition), image.manifest), store
        ),
    )


def beyond(trial: Trial, usual: Comparison) -> Trial:
    """A trial without the differences that a mere repetition of the build has as well."""
    assert trial.comparison is not None
    known = {key for one in usual.differences for key in _keys(one)}
    rest = tuple(found for one in trial.comparison.differences if (found := _without(known, one)))
    if not rest:
        return replace(trial, effect=Effect.AS_EVER, comparison=None)
    return replace(trial, comparison=replace(trial.comparison, differences=rest))


_Key = tuple[str, ...]


def _keys(difference: Difference, path: _Key = (), blame: Blame | None = None) -> Iterator[_Key]:
    """What the leaves of a difference are known by: their place and, if that is made up anew each time, the
    line that made them with its cause."""
    path, blame = (*path, difference.name), difference.blame or blame
    if not difference.children:
        yield ("place", *path)
        if difference.cause and difference.cause != UNKNOWN and blame:
            yield ("cause", blame.text, difference.cause.id)
    for child in difference.children:
        yield from _keys(child, path, blame)


def _without(
    known: set[_Key], difference: Difference, path: _Key = (), blame: Blame | None = None
) -> Difference | None:
    """A difference with those of its leaves that are not known; None if there are none."""
    if not difference.children:
        return None if known.intersection(_keys(difference, path, blame)) else difference
    path, blame = (*path, difference.name), difference.blame or blame
    children = tuple(found for one in difference.children if (found := _without(known, one, path, blame)))
    return replace(difference, children=children) if children else None
