"""The place of a difference in an image, and how a difference is made there, cause and blame included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from rbuild.compare.budget import Budget
from rbuild.compare.evidence import WINDOW, Evidence, Facts
from rbuild.compare.excerpt import first_difference, hex_detail, text_detail
from rbuild.compare.model import Blame, Cause, Change, Detail, Difference, Field, Part
from rbuild.errors import RbuildError
from rbuild.visible import visible


class Unopened(Exception):
    """A content could not be looked into; the text says why."""


class Opened(NamedTuple):
    """What was found inside of two contents; `omitted` differences more were not looked at."""

    children: list[Difference]
    omitted: int = 0


Inner = Callable[[str, bytes, bytes], Difference]
"""Compares what is inside: a member's name, and its two contents."""


@contextmanager
def reading(*broken: type[Exception]) -> Iterator[None]:
    """Within it, errors of these kinds, which a broken or hostile content raises, become Unopened."""
    try:
        yield
    except RbuildError as error:
        raise Unopened(error.problems[0].what) from error
    except broken as error:
        raise Unopened(visible(str(error)) or type(error).__name__) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a difference lies: an entry of a layer, something inside of it, or a configuration."""

    path: bytes
    budget: Budget
    members: tuple[str, ...] = ()
    sha256_a: bytes = b""
    sha256_b: bytes = b""
    blame: Blame | None = None
    facts: Facts = field(default_factory=Facts)

    def within(self, member: str) -> Place:
        """The place of something inside."""
        return replace(self, members=(*self.members, member))

    @property
    def name(self) -> str:
        """The file name that the content has here; it may tell the format."""
        return self.members[-1] if self.members else self.path.decode("utf-8", "replace")

    def leaf(
        self,
        name: str,
        *,
        format: str,
        part: Part = Part.MEMBER,
        aspect: str = "",
        change: Change = Change.CHANGED,
        fields: tuple[Field, ...] = (),
        a: bytes = b"",
        b: bytes = b"",
        start: int = 0,
        detail: Detail | None = None,
        note: str | None = None,
        others: frozenset[bytes] = frozenset(),
        omitted: int = 0,
    ) -> Difference:
        """A difference without parts of its own.

        `aspect` is the evidence's part; `a` and `b` are contents that begin at the offset `start`.
        """
        first = first_difference(a, b) or 0
        skipped = 0
        if max(len(a), len(b)) > WINDOW and first >= WINDOW // 2:
            skipped = first - WINDOW // 2
        evidence = Evidence(
            path=self.path,
            members=self.members,
            change=change,
            format=format,
            part=aspect,
            fields=fields,
            a=a[skipped : skipped + WINDOW],
            b=b[skipped : skipped + WINDOW],
            first=start + first,
            start=start + skipped,
            sha256_a=self.sha256_a,
            sha256_b=self.sha256_b,
            others=others,
            instruction=self.blame.text if self.blame else "",
            facts=self.facts,
        )
        cause, why = _cause(evidence)
        return Difference(
            part=part,
            name=visible(name),
            change=change,
            fields=fields,
            detail=self.budget.show(detail),
            cause=cause,
            why=why,
            blame=self.blame,
            note=note,
            omitted=omitted,
        )

    def text(
        self,
        name: str,
        a: bytes,
        b: bytes,
        *,
        part: Part = Part.MEMBER,
        format: str = "text",
        aspect: str = "",
        note: str | None = None,
    ) -> Difference:
        """Two texts that differ, with the lines that do."""
        detail = text_detail(a, b, self.budget)
        return self.leaf(name, part=part, format=format, aspect=aspect, a=a, b=b, detail=detail, note=note)

    def binary(
        self,
        name: str,
        a: bytes,
        b: bytes,
        *,
        part: Part = Part.MEMBER,
        format: str = "binary",
        aspect: str = "",
        start: int = 0,
        more: bool = False,
        note: str | None = None,
    ) -> Difference:
        """Two contents that differ, with the first bytes that do. For `start` and `more` see `hex_detail`."""
        detail = hex_detail(a, b, start, more=more)
        return self.leaf(
            name, part=part, format=format, aspect=aspect, a=a, b=b, start=start, detail=detail, note=note
        )


def changed(name: str, a: object, b: object) -> tuple[Field, ...]:
    """A field, if the two values differ; none if not. None: the side does not have it."""
    if a == b:
        return ()
    return (Field(name=name, a=_shown(a), b=_shown(b)),)


def _shown(value: object) -> str | None:
    return None if value is None else visible(str(value))


def _cause(evidence: Evidence) -> tuple[Cause, str]:
    # The catalogue is imported when there is a first difference: most comparisons find none.
    from rbuild.compare.causes import find

    return find(evidence)
