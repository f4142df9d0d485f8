"""What a page says first: the verdict as a sentence, and the causes with their counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rbuild.compare.model import Cause, Difference, Part, Verdict
from rbuild.htmlreport.text import visible
from rbuild.htmlreport.values import StageReport

_WORST_FIRST = (Verdict.DIFFERENT, Verdict.UNKNOWN, Verdict.SAME_CONTENT, Verdict.IDENTICAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A cause over all comparisons; None: differences that nobody gave a cause."""

    cause: Cause | None
    count: int
    where: str  # the comparison with the first
    path: tuple[Markup, ...]  # of the first: an entry, and the way inside of it


def headline(reports: Sequence[StageReport]) -> str:
    """The outcome in one sentence; the worst verdict speaks."""
    if not reports:
        return "Nothing was compared"
    if len(reports) == 1:
        return f"{reports[0].name}: {reports[0].verdict.value}"
    worst = min((report.verdict for report in reports), key=_WORST_FIRST.index)
    count, every = sum(report.verdict is worst for report in reports), len(reports)
    stages = f"all {every} stages" if count == every else f"{count} of {every} stages"
    are, have = ("is", "has") if count == 1 else ("are", "have")
    sentence = {
        Verdict.DIFFERENT: f"{stages} {are} different",
        Verdict.UNKNOWN: f"could not tell about {stages}",
        Verdict.SAME_CONTENT: f"{stages} {have} the same content, compressed differently",
        Verdict.IDENTICAL: f"{stages} {are} identical",
    }[worst]
    return sentence[0].upper() + sentence[1:]


def tallies(reports: Sequence[StageReport]) -> tuple[Tally, ...]:
    """Every cause with its count, the most frequent first."""
    firsts: dict[str, tuple[Cause | None, str, tuple[Difference, ...]]] = {}
    counts: dict[str, int] = {}
    compared = [pair for report in reports for pair in report.comparisons()]
    for name, way in ((name, way) for name, one in compared for way in _ways(one.differences)):
        cause = way[-1].cause
        key = cause.id if cause else ""
        counts[key] = counts.get(key, 0) + 1
        firsts.setdefault(key, (cause, name, way))
    found = (
        Tally(cause=cause, count=counts[key], where=where, path=_path(way))
        for key, (cause, where, way) in firsts.items()
    )
    return tuple(sorted(found, key=lambda tally: (tally.cause is None, -tally.count)))


def _ways(differences: Sequence[Difference]) -> Iterator[tuple[Difference, ...]]:
    """Every leaf with what it lies in, from the top down."""
    waiting: list[tuple[Difference, ...]] = [(found,) for found in reversed(differences)]
    while waiting:
        way = waiting.pop()
        if not way[-1].children:
            yield way
        waiting.extend((*way, child) for child in reversed(way[-1].children))


def _path(way: tuple[Difference, ...]) -> tuple[Markup, ...]:
    """A layer is no part of a path, unless nothing in it is named."""
    return tuple(visible(found.name) for found in way if found.part is not Part.LAYER or found is way[-1])
