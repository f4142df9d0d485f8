"""Where two contents differ, token by token: a date, an identifier, a word, a mark.

All is bounded: a content is looked at from its first differing byte on, up to `_LINES` lines and `_SPAN`
bytes, a line up to `_LINE` bytes. Which of the two contents comes first makes no difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import zip_longest

from rbuild.compare.causes import moments
from rbuild.compare.excerpt import first_difference

_SPAN = 1 << 16  # bytes
_LINES = 100
_LINE = 2048  # bytes to either side of the first differing one
_TOKENS = 64  # that are aligned where there are more on one side than on the other

_KINDS = re.compile(
    rb"(?P<uuid>[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Za-z]))"
    rb"|(?P<date>(?:" + moments.ANY + rb")(?![:0-9A-Za-z]))"
    rb"|(?P<crypt>\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|argon2(?:i|d|id))\$[./A-Za-z0-9$=,+]{8,200})"
    rb"|(?P<temporary>(?:/(?:var/)?tmp/[\w.+-]{6,80})"
    rb"|(?:tmp|temp)[._-]?[A-Za-z0-9_]{6,16}(?![A-Za-z0-9_])"
    rb"|pip-[a-z]{2,12}(?:-[a-z]{2,12}){0,3}-[a-z0-9_]{8}(?![A-Za-z0-9_]))"
    rb"|(?P<word>[A-Za-z0-9\x80-\xff]+)"
    rb"|(?P<space>[ \t\r]+)"
    rb"|(?P<mark>.)",
    re.DOTALL,
)
_CHUNK = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+~-"
_NOT_PRINTABLE = re.compile(rb"[^\t\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a line. `kind` is uuid, date, crypt, temporary, word, space or mark."""

    kind: str
    text: bytes
    line: bytes
    start: int  # where it is in the line

    @property
    def before(self) -> bytes:
        """The line up to the token."""
        return self.line[: self.start]

    @property
    def after(self) -> bytes:
        """The line from the token's end on."""
        return self.line[self.start + len(self.text) :]

    def widened(self, more: bytes = b"") -> Token:
        """The token with all that adjoins it: a version, a host name; with the marks in `more`, a path."""
        marks = _CHUNK + more
        before, after = self.before[-256:], self.after[:256]
        left, right = len(before) - len(before.rstrip(marks)), len(after) - len(after.lstrip(marks))
        start, end = self.start - left, self.start + len(self.text) + right
        return replace(self, text=self.line[start:end], start=start)


@dataclass(frozen=True, slots=True)
class Spot:
    """A place where two contents differ; a side that has nothing there is None. `at` is for people."""

    at: str
    a: Token | None
    b: Token | None
    together: tuple[str, ...] = ()  # the kinds of all tokens that differ in the line

    @property
    def both(self) -> tuple[Token, Token] | None:
        """The two tokens, if both sides have one."""
        return (self.a, self.b) if self.a and self.b else None


def common_start(a: bytes, b: bytes) -> int:
    """How many bytes two contents have in common at their start."""
    found = first_difference(a, b)
    return len(a) if found is None else found


def in_text(a: bytes, b: bytes, *, numbered: bool = True, name: str = "") -> Iterator[Spot]:
    """Where two texts differ, from the first place on.

    `numbered`: the texts begin at their start, so that lines can be counted; else `name` is the place.
    """
    first = common_start(a, b)
    start = max(a.rfind(b"\n", 0, first) + 1, first - _LINE)
    number = a.count(b"\n", 0, start) + 1
    rest = [side[start : start + _SPAN].split(b"\n") for side in (a, b)]
    for row, line_a, line_b in _lines(rest[0], rest[1]):
        yield from _in_line(line_a, line_b, f"line {number + row}" if numbered else name)


def in_binary(a: bytes, b: bytes, *, start: int = 0, name: str = "") -> Iterator[Spot]:
    """Where the printable text around the first differing byte differs, if there is any."""
    first = common_start(a, b)
    low = max(0, first - _LINE)
    left = a[low:first]
    broken = [match.end() for match in _NOT_PRINTABLE.finditer(left)]
    begin = low + (broken[-1] if broken else 0)
    lines = []
    for side in (a, b):
        end = _NOT_PRINTABLE.search(side, first, first + _LINE)
        lines.append(side[begin : end.start() if end else first + _LINE])
    yield from _in_line(lines[0], lines[1], name or f"offset {start + begin:#x}")


def in_line(a: bytes, b: bytes, name: str) -> Iterator[Spot]:
    """Where two short texts differ: names, values."""
    return _in_line(a, b, name)


def _lines(a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, bytes, bytes]]:
    """Pairs of lines that differ, and how many lines of the first text come before."""
    masked = ([_masked(line) for line in side[:_LINES]] for side in (a, b))
    for low, high, other_low, other_high in _aligned(*masked):
        block = zip_longest(a[low:high], b[other_low:other_high], fillvalue=b"")
        yield from ((low + row, *pair) for row, pair in enumerate(block) if pair[0] != pair[1])


def _in_line(a: bytes, b: bytes, at: str) -> Iterator[Spot]:
    first = common_start(a, b)
    low = max(0, first - _LINE)
    ours, theirs = (_tokens(side[low : first + _LINE]) for side in (a, b))
    pairs: list[tuple[Token | None, Token | None]] = []
    blocks = [(0, len(ours), 0, len(theirs))]
    if len(ours) != len(theirs):
        head = _common(ours, theirs)
        tail = _common(ours[head:][::-1], theirs[head:][::-1])
        ours, theirs = ours[head : len(ours) - tail], theirs[head : len(theirs) - tail]
        blocks = list(_aligned(*([_key(token) for token in side[:_TOKENS]] for side in (ours, theirs))))
    for one_low, one_high, two_low, two_high in blocks:
        pairs += zip_longest(ours[one_low:one_high], theirs[two_low:two_high])
    differing = [pair for pair in pairs if (pair[0] and pair[0].text) != (pair[1] and pair[1].text)]
    kinds = tuple(sorted({token.kind for pair in differing for token in pair if token}))
    yield from (Spot(at, *pair, together=kinds) for pair in differing)


def _tokens(line: bytes) -> list[Token]:
    return [Token(match.lastgroup or "", match[0], line, match.start()) for match in _KINDS.finditer(line)]


def _key(token: Token) -> bytes:
    return token.text if token.kind in ("word", "space", "mark") else b"\0" + token.kind.encode()


def _masked(line: bytes) -> bytes:
    """A line with all that is more than a word made alike, to find the line that stands for it elsewhere."""
    return b"".join(map(_key, _tokens(line[:256]))) + line[256:]


def _common(a: Sequence[Token], b: Sequence[Token]) -> int:
    count = 0
    for one, other in zip(a, b, strict=False):
        if one.text != other.text:
            break
        count += 1
    return count


def _aligned(a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int, int, int]]:
    """Blocks that stand for each other, the same ones whichever comes first."""
    if list(b) < list(a):
        for low, high, other_low, other_high in _aligned(b, a):
            yield other_low, other_high, low, high
        return
    for _, low, high, other_low, other_high in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        yield low, high, other_low, other_high
