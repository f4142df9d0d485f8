"""What `rbuild verify` found, as text and as parts of a page."""

from __future__ import annotations

from collections.abc import Sequence

from rbuild.compare.model import Comparison, Verdict
from rbuild.console import say
from rbuild.htmlreport import Condition, StageReport
from rbuild.textout import say_comparison
from rbuild.verbs.conditions import NEVER_VARIED
from rbuild.verbs.trial import Effect, Trial
from rbuild.verbs.verify import Verification


def say_verifications(found: Sequence[Verification]) -> None:
    """A line for each stage, and for each condition; then what differs, and why. Problems are left out."""
    width = max((len(one.stage) for one in found), default=0)
    for one in found:
        both = f"  locked {one.locked}, built {one.built}  differs in: {', '.join(one.differs)}"
        same = f"  {one.locked}" if one.verdict is Verdict.IDENTICAL else ""
        say(f"{one.stage:{width}}  {one.verdict.value}{both if one.differs else same}")
        for place in one.attested:
            if place.error is None:
                say(f"{'':{width}}  attested beside {place.reference}{' (signed)' if place.signed else ''}")
        _say_trials(one.trials)
    for one in found:
        if one.comparison:
            _say_comparison(f"stage {one.stage}: what is locked (A) and what was built (B)", one.comparison)
        if one.note:
            say(f"note: stage {one.stage}: {one.note}")
        for trial in one.trials:
            if trial.comparison:
                what = f"stage {one.stage}: as built (A) and {trial.circumstance} (B)"
                _say_comparison(what, trial.comparison)


def _say_trials(trials: Sequence[Trial]) -> None:
    if not trials:
        return
    name = max(len(trial.condition) for trial in trials)
    effect = max(len(trial.effect.value) for trial in trials)
    for trial in trials:
        say(f"  {trial.condition:{name}}  {trial.effect.value:{effect}}  {trial.what}".rstrip())
    never = f"{', '.join(NEVER_VARIED)}: one host has one of each"
    say(f"  {'':{name}}  {Effect.NOT_VARIED.value:{effect}}  {never}")


def _say_comparison(title: str, comparison: Comparison) -> None:
    say("")
    say(title)
    say_comparison(comparison)


def stage_report(one: Verification) -> StageReport:
    """What the page says of a stage."""
    return StageReport(
        name=one.stage,
        verdict=one.verdict,
        comparison=one.comparison,
        problems=one.problems,
        locked=one.locked,
        built=one.built,
        conditions=tuple(
            Condition(
                name=trial.condition,
                digest=trial.digest,
                same=trial.effect is Effect.NONE,
                outcome=trial.effect.value,
                note="; ".join(problem.what for problem in trial.problems) or trial.what or None,
                comparison=trial.comparison,
            )
            for trial in one.trials
        ),
    )
