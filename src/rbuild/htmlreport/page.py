"""One page for any number of comparisons: no network, no clock, bounded, readable without its script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from rbuild.compare.model import Comparison, Verdict
from rbuild.htmlreport.layers import Picture, picture
from rbuild.htmlreport.summary import headline, tallies
from rbuild.htmlreport.text import counted, prose, size, visible
from rbuild.htmlreport.tree import Room, Tree, drawn, nodes, place, shares
from rbuild.htmlreport.values import StageReport

if TYPE_CHECKING:
    from jinja2 import Template

NODES = 3000
"""Differences that a page draws. More than anybody reads, few enough for a browser."""

_DETAILS = 2_500_000  # characters of side-by-side detail, all comparisons together
_TEXTS = 2_500_000  # characters of names and properties
_LEAST = 20_000  # characters of names and properties that every comparison has, however few its differences
_CONDITIONS = 500
_PROBLEMS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    name: str
    comparison: Comparison
    layers: Picture | None
    tree: Tree
    count: int  # of differences


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    report: StageReport
    compared: _Compared | None
    varied: tuple[_Compared, ...]


def page(reports: Sequence[StageReport]) -> str:
    """A complete HTML document about `reports`. The same values always give the same text.

    Nothing in it refers to anything outside of it, and its Content-Security-Policy lets nothing in. What has
    no room is counted in the page; the causes at its top are those of all differences.
    """
    style, script = _asset("page.css"), _asset("page.js")
    anchors: dict[str, str] = {}
    return _template().render(
        headline=headline(reports),
        tallies=tallies(reports),
        stages=_stages(reports, anchors),
        anchors=anchors,
        several=sum(len(report.comparisons()) for report in reports) > 1,
        style=style,
        script=script,
        style_hash=_source_hash(style),
        script_hash=_source_hash(script),
        glyphs=_GLYPHS,
        conditions=_CONDITIONS,
        problems=_PROBLEMS,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined  # 50 ms, for a report alone

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "visible": visible,
        "prose": prose,
        "size": size,
        "counted": counted,
        "place": place,
    }
    return environment.from_string(_asset("page.html.jinja"))


_GLYPHS = {
    Verdict.IDENTICAL: "=",
    Verdict.SAME_CONTENT: "≈",
    Verdict.DIFFERENT: "≠",
    Verdict.UNKNOWN: "?",
}


def _stages(reports: Sequence[StageReport], anchors: dict[str, str]) -> list[_Stage]:
    sizes = [nodes(one.differences) for report in reports for _, one in report.comparisons()]
    every = max(1, min(NODES, sum(sizes)))
    allotted = iter(shares(sizes, NODES))
    stages = []
    for report in reports:
        compared = [
            _compared(name, one, next(allotted), every, anchors) for name, one in report.comparisons()
        ]
        own = compared.pop(0) if report.comparison else None
        stages.append(_Stage(report=report, compared=own, varied=tuple(compared)))
    return stages


def _compared(
    name: str, comparison: Comparison, share: int, every: int, anchors: dict[str, str]
) -> _Compared:
    # Room of its own, so that the first comparison does not take all of it.
    room = Room(details=_DETAILS * share // every, texts=_LEAST + _TEXTS * share // every)
    return _Compared(
        name=name,
        comparison=comparison,
        layers=picture(comparison.layers) if comparison.layers else None,
        tree=drawn(comparison.differences, share, room, anchors),
        count=sum(1 for _ in comparison.leaves()),
    )


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _source_hash(source: str) -> str:
    """A hash source of Content Security Policy Level 3, section 2.3.1."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
