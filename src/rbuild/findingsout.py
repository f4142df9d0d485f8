"""What `rbuild check` found, for people: the place, the rule, the line, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from rbuild.console import Span, say_spans
from rbuild.errors import Where
from rbuild.policy.model import Finding, Level
from rbuild.verbs.check import Checked, Unchecked
from rbuild.verbs.examine import said

_STYLES: Final = {Level.ERROR: "1;31", Level.WARNING: "1;33", Level.NOTE: "1;34"}
_BOLD, _DIM, _HINT = "1", "2", "36"
_WIDEST: Final = 160  # columns of a line that is shown
_MOST_NAMES: Final = 6  # of stages or rules in one list

Line = Callable[[Where], str | None]


def say_findings(found: Checked, line: Line) -> None:
    """Every finding that nothing excuses, then what could not be checked, and how many of each there are.

    `line` gives the line at a place, without its end. The same finding in several stages is said once.
    """
    groups = list(_groups(one for one in found.findings if one.waiver is None))
    for group in groups:
        for spans in _drawn(group, line):
            say_spans(*spans)
        say_spans()
    levels = Counter(one.level for one, _ in groups)
    for spans in (*_unchecked(found.unchecked), _summary(found, levels)):
        say_spans(*spans)


def _groups(findings: Iterable[Finding]) -> Iterator[tuple[Finding, tuple[str, ...]]]:
    """Findings with the stages that have them."""
    groups: dict[tuple[object, ...], tuple[Finding, list[str]]] = {}
    for one in findings:
        key = (one.rule, one.where, one.message, one.level) if one.where else (one,)
        groups.setdefault(key, (one, []))[1].append(one.stage)
    for one, stages in groups.values():
        yield one, tuple(dict.fromkeys(stages))


def _drawn(group: tuple[Finding, tuple[str, ...]], line: Line) -> Iterator[Sequence[Span]]:
    one, stages = group
    where = one.where
    place = str(where) if where and str(where) else f"stage {_listed(stages)}"
    yield (
        (f"{place}: ", _BOLD),
        (one.level.value, _STYLES.get(one.level, "")),
        (f" {one.title}", _BOLD),
        (f": {said(one)}", ""),
    )
    if where and where.line and (text := line(where)) is not None:
        yield from _excerpt(where.line, text, one.text, _STYLES.get(one.level, ""))
    if one.hint:
        yield ("  hint:", _HINT), (f" {one.hint}", "")
    asked = f" ({one.policy})" if one.policy else ""
    if asked or not place.startswith("stage "):
        noun = "stage" if len(stages) == 1 else "stages"
        yield ((f"  {noun} {_listed(stages)}{asked}", _DIM),)


def _excerpt(number: int, text: str, about: str, style: str) -> Iterator[Sequence[Span]]:
    """The line, and below it what is meant, where that is a part of it."""
    shown = text.expandtabs(4).rstrip()
    cut = shown if len(shown) <= _WIDEST else f"{shown[:_WIDEST]}…"
    gutter = f"  {number} | "
    yield (gutter, _DIM), (cut, "")
    at = shown.find(about) if about and about != shown.strip() else -1
    if at >= 0 and at + len(about) <= _WIDEST and shown.isascii():
        yield (f"  {'':{len(str(number))}} | ", _DIM), (" " * at + "^" * len(about), style)


def _unchecked(left: Iterable[Unchecked]) -> Iterator[Sequence[Span]]:
    groups: dict[tuple[tuple[str, ...], str], list[Unchecked]] = {}
    for one in left:
        groups.setdefault((one.rules, one.reason), []).append(one)
    for (rules, reason), ones in groups.items():
        stages = _listed([one.stage for one in ones])
        count = f"{len(rules)} rule{'s'[: len(rules) != 1]}"
        yield (
            ("not checked:", _STYLES[Level.NOTE]),
            (f" stage {stages}: {reason}: {count}: {_listed(rules)}", ""),
        )
        yield ("  hint:", _HINT), (f" {ones[0].hint}", "")


def _summary(found: Checked, counts: Mapping[Level, int]) -> Sequence[Span]:
    waived = sum(1 for one in found.findings if one.waiver is not None)
    parts = [
        f"{counts[level]} {level.value}{'s'[: counts[level] != 1]}"
        for level in (Level.ERROR, Level.WARNING, Level.NOTE)
        if counts[level]
    ]
    what = ", ".join(parts) or "no findings"
    stages = len(found.stages)
    held = f"{found.rules} rule{'s'[: found.rules != 1]}, {stages} stage{'s'[: stages != 1]}"
    excused = f"; {waived} waived" if waived else ""
    style = "1;31" if found.stops else "1;33" if parts else "1;32"
    return (what, style), (f"{excused} ({held})", "")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
