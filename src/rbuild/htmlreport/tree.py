"""The tree of differences as it is drawn: bounded, with every cause having its share of the room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rbuild.compare.model import Blame, Cause, Detail, Difference, Field, Part
from rbuild.htmlreport.text import marked, visible

_DEPTH = 24  # levels of the tree that are drawn
_SIDE = 480  # characters of a line that is the same on both sides
_CAUSES = 4  # that a node names for all within it


@dataclass(slots=True)
class Room:
    """What is left of a page: characters of side-by-side detail, characters of names and properties."""

    details: int
    texts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of a detail, ready to be drawn; None: the side has no such line."""

    at_a: Markup
    at_b: Markup
    a: Markup | None
    b: Markup | None
    differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """A property with its two values, ready to be drawn."""

    name: Markup
    a: Markup | None
    b: Markup | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A difference, ready to be drawn. `causes` are those of all its leaves, the most frequent first."""

    difference: Difference
    name: Markup
    blame: Blame | None  # where nothing around it says the same
    count: int  # of leaves
    causes: tuple[Cause, ...]
    more_causes: int
    properties: tuple[Property, ...]
    lines: tuple[Line, ...]
    no_room: bool  # there is a detail, and no room for it
    children: tuple[Node, ...]
    left_out: int  # children
    anchor: str | None  # its id in the page: the first that is drawn of its cause has one

    @property
    def folded(self) -> bool:
        """Whether there is anything to unfold."""
        found = self.difference
        return bool(
            self.children
            or self.left_out
            or self.properties
            or self.lines
            or self.no_room
            or found.cause
            or found.why
            or found.note
            or self.blame
        )


@dataclass(frozen=True, slots=True)
class Tree:
    """The top of a tree that is drawn."""

    nodes: tuple[Node, ...]
    left_out: int


def drawn(differences: Sequence[Difference], limit: int, room: Room, anchors: dict[str, str]) -> Tree:
    """At most `limit` nodes of `differences` and what lies in them, first ones first.

    Among siblings every cause, and everything that has parts, gets its share: a thousand stale `.pyc` files
    do not crowd out the one difference that nobody knows the cause of. `anchors` takes down where in the page
    the first difference of each cause is, by the cause's id.
    """
    return _Drawing(room, anchors).level(differences, limit, ())


def nodes(differences: Sequence[Difference]) -> int:
    """How many nodes `differences` and all that lies in them are."""
    count, waiting = 0, list(differences)
    while waiting:
        count += 1
        waiting.extend(waiting.pop().children)
    return count


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """`room` divided fairly: nobody gets more than is wanted, and what one leaves is there for the others."""
    given = [0] * len(wanted)
    waiting = sorted(range(len(wanted)), key=lambda at: (wanted[at], at))
    for done, at in enumerate(waiting):
        # Rounded up, so that room for a few is theirs and is not lost among many.
        given[at] = min(wanted[at], -(-room // (len(waiting) - done)))
        room -= given[at]
    return given


class _Drawing:
    def __init__(self, room: Room, anchors: dict[str, str]) -> None:
        self._room = room
        self._anchors = anchors

    def level(self, differences: Sequence[Difference], limit: int, around: tuple[Difference, ...]) -> Tree:
        chosen = _chosen(differences, limit) if len(around) < _DEPTH else {}
        drawn: list[Node] = []
        for at, share in sorted(chosen.items()):
            if self._room.texts <= 0:
                break
            drawn.append(self._node(differences[at], share - 1, around))
        return Tree(tuple(drawn), len(differences) - len(drawn))

    def _node(self, found: Difference, limit: int, around: tuple[Difference, ...]) -> Node:
        name = visible(found.name)
        properties = tuple(_property(field) for field in found.fields[:50])
        self._room.texts -= len(name) + sum(
            len(part.name) + len(part.a or "") + len(part.b or "") for part in properties
        )
        lines = self._lines(found.detail) if found.detail else ()
        anchor = None
        if found.cause and found.cause.id not in self._anchors:
            anchor = self._anchors[found.cause.id] = f"first-{len(self._anchors) + 1}"
        causes, count = _causes(found)
        below = self.level(found.children, limit, (*around, found))
        known = found.part is Part.LAYER or any(one.blame == found.blame for one in around)
        return Node(
            difference=found,
            name=name,
            blame=None if known else found.blame,
            count=count,
            causes=causes[:_CAUSES],
            more_causes=max(0, len(causes) - _CAUSES),
            properties=properties,
            lines=lines,
            no_room=found.detail is not None and not lines and bool(found.detail.rows),
            children=below.nodes,
            left_out=below.left_out + found.omitted,
            anchor=anchor,
        )

    def _lines(self, detail: Detail) -> tuple[Line, ...]:
        if self._room.details <= 0:
            return ()
        lines = []
        for row in detail.rows[:400]:
            a: Markup | None
            b: Markup | None
            if row.a is not None and row.b is not None and row.differs:
                a, b = marked(row.a, row.b, detail.form)
            else:
                a = None if row.a is None else visible(row.a, _SIDE)
                b = None if row.b is None else visible(row.b, _SIDE)
            at_a, at_b = visible(row.at_a, 20), visible(row.at_b, 20)
            lines.append(Line(at_a=at_a, at_b=at_b, a=a, b=b, differs=row.differs))
            self._room.details -= len(at_a) + len(at_b) + len(a or "") + len(b or "") + 80
        return tuple(lines)


def _property(field: Field) -> Property:
    a, b = field.a, field.b
    if a is not None and b is not None:
        shown_a, shown_b = marked(a, b, "text")
        return Property(name=visible(field.name, 200), a=shown_a, b=shown_b)
    return Property(
        name=visible(field.name, 200),
        a=None if a is None else visible(a, _SIDE),
        b=None if b is None else visible(b, _SIDE),
    )


def _chosen(differences: Sequence[Difference], limit: int) -> dict[int, int]:
    """Which of `differences` to draw, by position, and the nodes that each may take, itself counted."""
    groups: dict[object, list[int]] = {}
    for at, found in enumerate(differences):
        key: object = at if found.children else found.cause and found.cause.id
        groups.setdefault(key, []).append(at)
    wanted = [nodes([differences[at] for at in group]) for group in groups.values()]
    chosen: dict[int, int] = {}
    for group, share in zip(groups.values(), shares(wanted, limit), strict=True):
        if differences[group[0]].children:
            if share:
                chosen[group[0]] = share
        else:
            chosen.update(dict.fromkeys(group[:share], 1))
    return chosen


def _causes(found: Difference) -> tuple[tuple[Cause, ...], int]:
    """The causes of the leaves of a tree, the most frequent first, and the number of leaves."""
    tally: dict[str, tuple[Cause, int]] = {}
    count = 0
    for leaf in found.leaves():
        count += 1
        if leaf.cause:
            cause, times = tally.get(leaf.cause.id, (leaf.cause, 0))
            tally[leaf.cause.id] = (cause, times + 1)
    return tuple(cause for cause, _ in sorted(tally.values(), key=lambda pair: -pair[1])), count


def place(blame: Blame) -> str:
    """`Containerfile:12`, or nothing where no file is known."""
    if blame.file is None:
        return ""
    return blame.file if blame.line is None else f"{blame.file}:{blame.line}"
