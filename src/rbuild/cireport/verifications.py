"""What `rbuild verify` found, for build servers: JUnit XML, and GitHub's workflow commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from rbuild.cireport.annotations import Level, annotation, problem_annotation
from rbuild.cireport.suite import Suite, problem_lines
from rbuild.compare.model import Blame, Comparison, Difference, Verdict
from rbuild.console import printable
from rbuild.verbs.trial import Effect, Trial

if TYPE_CHECKING:
    from rbuild.verbs.verify import Verification

_MOST = 20  # differences of one image that a report lists
_LONGEST = 400  # characters of one of them


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference with what is known of it."""

    place: str  # /etc/x, layer 3, config.Env
    blame: Blame | None
    said: str  # its cause, and what showed it
    hint: str | None


def findings(comparison: Comparison) -> list[Finding]:
    """What differs between two images, a finding for each difference that has no parts."""
    return [
        found
        for difference in comparison.differences
        for found in _findings(difference, difference.name, None)
    ]


def _findings(difference: Difference, place: str, blame: Blame | None) -> Iterator[Finding]:
    blame = difference.blame or blame
    for child in difference.children:
        # A layer says nothing that the path of its entry does not.
        inside = child.name if child.name.startswith("/") else f"{place} {child.name}"
        yield from _findings(child, inside, blame)
    if not difference.children:
        cause = difference.cause
        parts = (cause.title if cause else difference.change.value, difference.why, difference.note)
        said = ": ".join(part for part in parts if part)
        yield Finding(place, blame, said, cause.hint if cause else None)


def _lines(comparison: Comparison) -> list[str]:
    found = findings(comparison)
    lines = []
    for one in found[:_MOST]:
        at = f"{_position(one.blame)}: " if one.blame else ""
        lines.append(_short(f"{at}{one.place}: {one.said}"))
        if one.hint:
            lines.append(_short(f"  hint: {one.hint}"))
    if len(found) > _MOST:
        lines.append(f"… and {len(found) - _MOST} more")
    return lines


def _position(blame: Blame) -> str:
    return f"{blame.file}:{blame.line}" if blame.file and blame.line else _short(blame.text, 80)


def _short(text: str, longest: int = _LONGEST) -> str:
    shown = printable(" ".join(text[: 2 * longest].split()) if "\n" in text else text[: 2 * longest])
    return shown if len(shown) <= longest else f"{shown[:longest]}…"


def _headline(one: Verification) -> str:
    return f"locked {one.locked}, built {one.built}, differs in: {', '.join(one.differs)}"


# JUnit


def junit(found: Sequence[Verification], *, project: str, host: str, when: datetime, accepted: bool) -> str:
    """A test case for each stage, and for each of its varied conditions, as an XML document.

    `accepted`: same content is good enough. `when` is the time of the end, with its zone.
    """
    suite = Suite()
    for one in found:
        case = suite.case(f"rbuild.verify.{project}", one.stage, one.seconds)
        if one.verdict is Verdict.UNKNOWN:
            suite.add(case, "error", "could not tell", problem_lines(one.problems))
        elif one.verdict is Verdict.DIFFERENT or (one.verdict is Verdict.SAME_CONTENT and not accepted):
            suite.add(case, "failure", one.verdict.value, _different(one))
        for trial in one.trials:
            _trial(suite, suite.case(f"rbuild.verify.{project}.{one.stage}", trial.condition), trial)
    seconds = sum(one.seconds or 0 for one in found)
    return suite.document(f"rbuild verify {project}", package=project, host=host, when=when, seconds=seconds)


def _different(one: Verification) -> list[str]:
    lines = [_headline(one)]
    if one.comparison:
        lines += _lines(one.comparison)
    return [*lines, one.note] if one.note else lines


def _trial(suite: Suite, case: ElementTree.Element, trial: Trial) -> None:
    match trial.effect:
        case Effect.CHANGES:
            lines = _lines(trial.comparison) if trial.comparison else []
            suite.add(case, "failure", trial.effect.value, [f"{trial.condition}: {trial.what}", *lines])
        case Effect.FAILED:
            suite.add(case, "error", trial.effect.value, problem_lines(trial.problems))
        case Effect.NOT_VARIED:
            suite.add(case, "skipped", "", [trial.what])


# GitHub


def github(found: Sequence[Verification], *, folder: PurePosixPath, accepted: bool) -> str:
    """Workflow commands, a line each, that annotate the lines of the Containerfiles.

    `folder` is the project's in its repository. Source: GitHub's "Workflow commands for GitHub Actions".
    """
    return "".join(f"{line}\n" for one in found for line in _annotations(one, folder, accepted))


def _annotations(one: Verification, folder: PurePosixPath, accepted: bool) -> Iterator[str]:
    if one.verdict is Verdict.UNKNOWN:
        for problem in one.problems:
            yield problem_annotation(f"{one.stage}: could not tell", problem, folder)
    elif one.verdict is Verdict.SAME_CONTENT:
        level: Level = "notice" if accepted else "error"
        yield annotation(level, f"{one.stage}: same content", _headline(one), None, None)
    elif one.verdict is Verdict.DIFFERENT:
        title = f"{one.stage}: different"
        if one.comparison is None or not one.comparison.differences:
            yield annotation("error", title, "\n".join(_different(one)), None, None)
        else:
            yield from _by_line(title, one.comparison, folder)
    for trial in one.trials:
        title = f"{one.stage}: another {trial.condition} {trial.effect.value}"
        if trial.effect is Effect.CHANGES and trial.comparison:
            yield from _by_line(title, trial.comparison, folder)
        for problem in trial.problems:
            yield problem_annotation(f"{one.stage}: {trial.condition}: could not tell", problem, folder)


def _by_line(title: str, comparison: Comparison, folder: PurePosixPath) -> Iterator[str]:
    """One annotation for each line of a Containerfile: GitHub shows ten of a step."""
    lines: dict[tuple[str | None, int | None], list[Finding]] = {}
    for one in findings(comparison):
        blame = one.blame
        lines.setdefault((blame.file, blame.line) if blame else (None, None), []).append(one)
    for (file, line), found in lines.items():
        said = [_short(f"{one.place}: {one.said}") for one in found[:_MOST]]
        if len(found) > _MOST:
            said.append(f"… and {len(found) - _MOST} more")
        said += [f"hint: {hint}" for hint in dict.fromkeys(one.hint for one in found) if hint]
        yield annotation("error", title, "\n".join(said), str(folder / file) if file else None, line)
