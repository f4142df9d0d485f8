"""Other people's text as HTML: nothing in it is markup, acts, hides, turns around or runs on for ever."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Literal

from markupsafe import Markup, escape

from rbuild.compare.excerpt import first_difference
from rbuild.visible import escaped

LONGEST = 1000
"""Characters of a text that are shown: every file name (255 bytes) and nearly every path fits."""

_AROUND = 160  # characters of a line that are shown on both sides of what differs in it
_LETTERS = 17  # where the letters begin in a row of bytes
_CODE = re.compile(r"`([^`\n]+)`")


def visible(text: str, limit: int = LONGEST) -> Markup:
    """`text` with its control characters, direction marks and stray bytes written as escapes.

    Escapes are elements of the class "x", so that they differ from the same letters in the text. Of what is
    longer than `limit` the middle is left out.
    """
    if len(text) > limit:
        head = limit * 2 // 3
        tail = limit - head
        return _shown(text[:head]) + _cut(len(text) - limit) + _shown(text[-tail:])
    return _shown(text)


def prose(text: str) -> Markup:
    """A sentence of our own with other people's words in it: `…` in backticks is code."""
    parts = _CODE.split(text[: 4 * LONGEST])
    return Markup("").join(
        Markup("<code>{}</code>").format(visible(part)) if odd % 2 else visible(part, 4 * LONGEST)
        for odd, part in enumerate(parts)
    )


def marked(a: str, b: str, form: Literal["text", "hex"]) -> tuple[Markup, Markup]:
    """Two lines with what differs between them marked: for text one stretch, for hexadecimal every byte."""
    if form == "hex" and max(len(a), len(b)) <= LONGEST:
        return _marked_bytes(a, b), _marked_bytes(b, a)
    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    return _marked_stretch(a, start, end), _marked_stretch(b, start, end)


def size(count: int) -> str:
    """A number of bytes for people."""
    if count < 1000:
        return f"{count} B"
    for unit, factor in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < 999.5 * factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e12:,.1f} TB"


def counted(count: int, noun: str) -> str:
    """`1 difference`, `12,000 differences`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _shown(text: str) -> Markup:
    if text.isprintable():
        return escape(text)
    return Markup("").join(
        escape("".join(run))
        if printable
        else Markup('<span class="x">{}</span>').format("".join(map(escaped, run)))
        for printable, run in groupby(text, str.isprintable)
    )


def _cut(count: int) -> Markup:
    return Markup('<span class="cut">… {} …</span>').format(counted(count, "character"))


def _common(a: str, b: str) -> int:
    """How many characters two texts have in common from their start."""
    found = first_difference(a, b)
    return len(a) if found is None else found


def _marked_stretch(text: str, start: int, end: int) -> Markup:
    """`text` with all but its first `start` and last `end` characters marked."""
    stop = len(text) - end
    before, after = text[:start], text[stop:]
    shown = Markup("")
    if len(before) > _AROUND:
        shown += _cut(len(before) - _AROUND)
        before = before[-_AROUND:]
    shown += _shown(before)
    if start < stop:
        shown += Markup("<mark>{}</mark>").format(visible(text[start:stop], 3 * _AROUND))
    shown += _shown(after[:_AROUND])
    if len(after) > _AROUND:
        shown += _cut(len(after) - _AROUND)
    return shown


def _marked_bytes(text: str, other: str) -> Markup:
    """16 bytes, as hexadecimal and as text, with all marked that are not the same in `other`."""
    mine, theirs = _bytes(text), _bytes(other)
    differs = [piece != theirs[at] if at < len(theirs) else True for at, piece in enumerate(mine)]
    # A letter is marked with its number: two bytes that do not print are one and the same dot.
    differs[_LETTERS:] = differs[: len(differs[_LETTERS:])]
    shown = Markup("")
    for marked, run in groupby(zip(mine, differs, strict=True), lambda pair: pair[1]):
        stretch = "".join(piece for piece, _ in run)
        text = stretch.rstrip(" ") if marked else ""
        if text:
            shown += Markup("<mark>{}</mark>").format(_shown(text))
        shown += _shown(stretch[len(text) :])
    return shown


def _bytes(text: str) -> list[str]:
    """`7f 45 …  .E…` byte for byte: 16 times two digits and a space, a space, 16 times one character."""
    return [text[at : at + 3] for at in range(0, min(48, len(text)), 3)] + list(text[48:])
