"""What `rbuild verify` found, for build servers: JUnit XML, and GitHub's workflow commands.

JUnit XML has no standard. What is written here is valid under the schemas of Ant (windyroad's JUnit.xsd) and
of Jenkins' xUnit plugin (junit-10.xsd), which between them hold what other readers take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from rbuild.compare.model import Blame, Comparison, Difference, Verdict
from rbuild.console import printable
from rbuild.errors import Problem
from rbuild.verbs.trial import Effect, Trial

if TYPE_CHECKING:
    from rbuild.verbs.verify import Verification

_MOST = 20  # differences of one image that a report lists
_LONGEST = 400  # characters of one of them
# XML 1.0, production 2: Char. Nothing else may stand in a document, not even as a reference.
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite")
    ElementTree.SubElement(suite, "properties")
    for one in found:
        case = _case(suite, f"rbuild.verify.{project}", one.stage, one.seconds)
        if one.verdict is Verdict.UNKNOWN:
            _add(case, "error", "could not tell", _problems(one.problems))
        elif one.verdict is Verdict.DIFFERENT or (one.verdict is Verdict.SAME_CONTENT and not accepted):
            _add(case, "failure", one.verdict.value, _different(one))
        for trial in one.trials:
            _trial(_case(suite, f"rbuild.verify.{project}.{one.stage}", trial.condition, None), trial)
    counts = {
        outcome: sum(1 for _ in suite.iter(outcome))
        for outcome in ("testcase", "failure", "error", "skipped")
    }
    suite.attrib |= {
        "name": f"rbuild verify {project}",
        "package": project,
        "id": "0",
        "hostname": _clean(host) or "localhost",
        "timestamp": when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "time": f"{sum(one.seconds or 0 for one in found):.3f}",
        "tests": str(counts["testcase"]),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "skipped": str(counts["skipped"]),
    }
    ElementTree.SubElement(suite, "system-out")
    ElementTree.SubElement(suite, "system-err")
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _case(
    suite: ElementTree.Element, classname: str, name: str, seconds: float | None
) -> ElementTree.Element:
    attributes = {"classname": classname, "name": name, "time": f"{seconds or 0:.3f}"}
    return ElementTree.SubElement(suite, "testcase", attributes)


def _add(case: ElementTree.Element, outcome: str, kind: str, lines: Sequence[str]) -> None:
    message = _clean(lines[0]) if lines else kind
    element = ElementTree.SubElement(case, outcome, {"type": kind, "message": message})
    element.text = _clean("\n".join(lines))


def _different(one: Verification) -> list[str]:
    lines = [_headline(one)]
    if one.comparison:
        lines += _lines(one.comparison)
    return [*lines, one.note] if one.note else lines


def _trial(case: ElementTree.Element, trial: Trial) -> None:
    match trial.effect:
        case Effect.CHANGES:
            lines = _lines(trial.comparison) if trial.comparison else []
            _add(case, "failure", trial.effect.value, [f"{trial.condition}: {trial.what}", *lines])
        case Effect.FAILED:
            _add(case, "error", trial.effect.value, _problems(trial.problems))
        case Effect.NOT_VARIED:
            ElementTree.SubElement(case, "skipped", {"message": _clean(trial.what)})


def _problems(problems: Iterable[Problem]) -> list[str]:
    return [line for problem in problems for line in str(problem).splitlines()]


def _clean(text: str) -> str:
    """Text that an XML document may hold. What it may not becomes the replacement character."""
    return _NO_XML.sub("\ufffd", text)


# GitHub


def github(found: Sequence[Verification], *, folder: PurePosixPath, accepted: bool) -> str:
    """Workflow commands, a line each, that annotate the lines of the Containerfiles.

    `folder` is the project's in its repository. Source: GitHub's "Workflow commands for GitHub Actions".
    """
    return "".join(f"{line}\n" for one in found for line in _annotations(one, folder, accepted))


def _annotations(one: Verification, folder: PurePosixPath, accepted: bool) -> Iterator[str]:
    if one.verdict is Verdict.UNKNOWN:
        for problem in one.problems:
            yield _problem(f"{one.stage}: could not tell", problem, folder)
    elif one.verdict is Verdict.SAME_CONTENT:
        level = "notice" if accepted else "error"
        yield _command(level, f"{one.stage}: same content", _headline(one), None, None)
    elif one.verdict is Verdict.DIFFERENT:
        title = f"{one.stage}: different"
        if one.comparison is None or not one.comparison.differences:
            yield _command("error", title, "\n".join(_different(one)), None, None)
        else:
            yield from _by_line(title, one.comparison, folder)
    for trial in one.trials:
        title = f"{one.stage}: another {trial.condition} {trial.effect.value}"
        if trial.effect is Effect.CHANGES and trial.comparison:
            yield from _by_line(title, trial.comparison, folder)
        for problem in trial.problems:
            yield _problem(f"{one.stage}: {trial.condition}: could not tell", problem, folder)


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
        yield _command("error", title, "\n".join(said), str(folder / file) if file else None, line)


def _problem(title: str, problem: Problem, folder: PurePosixPath) -> str:
    where = problem.where
    file = str(folder / where.file) if where and where.file else None
    said = f"{problem.what}\nhint: {problem.hint}" if problem.hint else problem.what
    return _command("error", title, said, file, where.line if where else None)


def _command(level: str, title: str, said: str, file: str | None, line: int | None) -> str:
    properties = {"file": file, "line": line if file else None, "title": title}
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{level} {written}::{_message(said)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: object) -> str:
    return _message(str(value)).replace(":", "%3A").replace(",", "%2C")
