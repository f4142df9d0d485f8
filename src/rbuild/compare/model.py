"""What a comparison of two images says, as values. Who draws them (text, JSON, HTML) needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from rbuild.digest import Digest


class Verdict(Enum):
    """What became of holding one image against another."""

    IDENTICAL = "identical"
    SAME_CONTENT = "same content"  # diff ids and configuration are equal, compressed layers are not
    DIFFERENT = "different"
    UNKNOWN = "could not tell"


class Change(Enum):
    """What happened from A to B."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Part(Enum):
    """What a node of the tree of differences is about."""

    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"
    ENTRY = "entry"
    MEMBER = "member"  # something inside a file: an archive's member, a section, a key, a header


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A known reason for a difference. `hint` names the edit or command that removes it."""

    id: str  # kebab-case: build-date
    title: str  # as people say it: build date in a file
    explanation: str  # one or two sentences
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A property with two values, as text for people; None: the side does not have it."""

    name: str  # mode, owner, mtime, size, link, user.note
    a: str | None
    b: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of text, or 16 bytes in hexadecimal, side by side; None: the side has no such line."""

    a: str | None
    b: str | None
    at_a: str = ""  # line number, or offset in hexadecimal
    at_b: str = ""

    @property
    def differs(self) -> bool:
        return self.a != self.b


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """A bounded excerpt of two contents around what differs in them."""

    form: Literal["text", "hex"]
    rows: tuple[Row, ...]
    omitted: bool = False  # there is more that differs


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """The instruction that made a layer or a key; `line` counts from 1, None where only its text is known."""

    text: str
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A node of the tree of differences. `children` lie within it; a leaf has a cause.

    `omitted` counts children that were left out, since there are too many.
    """

    part: Part
    name: str  # "layer 3", "/usr/bin/x", "config.Env.PATH", ".note.gnu.build-id"
    change: Change
    fields: tuple[Field, ...] = ()
    detail: Detail | None = None
    cause: Cause | None = None
    why: str | None = None  # what showed the cause: "line 3 holds two times: …"
    blame: Blame | None = None
    note: str | None = None  # what could not be looked into, and why
    children: tuple[Difference, ...] = ()
    omitted: int = 0

    def leaves(self) -> Iterator[Difference]:
        """All differences below this one that have no parts of their own, itself if it has none."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPair:
    """A row of the picture of layers: sizes in bytes of the blobs; None: the side has no such layer.

    `shared` is true for equal diff ids.
    """

    number: int  # counts from 1
    blame: Blame | None
    a: Digest | None = None  # diff ids
    b: Digest | None = None
    size_a: int | None = None
    size_b: int | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two images."""

    name: str  # as the user wrote it
    digest: Digest  # of its manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two images held against each other."""

    a: Side
    b: Side
    verdict: Verdict
    layers: tuple[LayerPair, ...]
    differences: tuple[Difference, ...]

    def leaves(self) -> Iterator[Difference]:
        """All differences that have no parts of their own."""
        for difference in self.differences:
            yield from difference.leaves()
