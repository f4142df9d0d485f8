"""Bounded excerpts of two contents around what differs in them: lines side by side, or rows of 16 bytes."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import AnyStr

from rbuild.compare.budget import Budget
from rbuild.compare.model import Detail, Row
from rbuild.visible import visible

_CONTEXT = 3  # lines before and after what differs
_MAX_ROWS = 60
_MAX_WIDTH = 240  # characters of a line
_MAX_LINES = 300  # on each side, that are aligned with each other
_MAX_BYTES = 1 << 16  # on each side, that are cut into lines
_HEX_ROWS = 8
_STEP = 1 << 16


def first_difference(a: AnyStr, b: AnyStr) -> int | None:
    """The offset of the first byte (of a text: character) that differs; None if they are equal.

    The size of the shorter one if it is how the other begins.
    """
    size = min(len(a), len(b))
    low = 0
    while low < size and a[low : low + _STEP] == b[low : low + _STEP]:
        low += _STEP
    if low >= size:
        return None if len(a) == len(b) else size
    high = min(low + _STEP, size) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def text_detail(a: bytes, b: bytes, budget: Budget) -> Detail:
    """The lines that differ, with three lines around; where there are many, the first of them."""
    first = first_difference(a, b)
    if first is None:
        return Detail(form="text", rows=())
    start = a.rfind(b"\n", 0, first) + 1
    end_a, end_b = _ends(a, b, first)
    lines_a, cut_a = _lines(a, start, end_a)
    lines_b, cut_b = _lines(b, start, end_b)
    number = a.count(b"\n", 0, start) + 1
    before = _before(a, start)
    rows = [
        _row(line, line, number - len(before) + at, number - len(before) + at)
        for at, line in enumerate(before)
    ]
    rows += _aligned(lines_a, lines_b, number, budget)
    if not cut_a and not cut_b:
        after, _ = _lines(a, end_a, min(len(a), end_a + _MAX_BYTES))
        at_a, at_b = number + len(lines_a), number + len(lines_b)
        rows += [_row(line, line, at_a + at, at_b + at) for at, line in enumerate(after[:_CONTEXT])]
    omitted = cut_a or cut_b or any(row.differs for row in rows[_MAX_ROWS:])
    return Detail(form="text", rows=tuple(rows[:_MAX_ROWS]), omitted=omitted)


def hex_detail(a: bytes, b: bytes, start: int = 0, *, more: bool = False) -> Detail:
    """The first bytes that differ, with a row before them.

    `a` and `b` begin at the offset `start` of their contents; `more`: they are windows, and what follows
    them may differ too.
    """
    first = first_difference(a, b)
    if first is None:
        return Detail(form="hex", rows=())
    top = max(0, first // 16 - 1) * 16
    end = top + 16 * _HEX_ROWS
    rows = []
    for at in range(top, min(end, max(len(a), len(b))), 16):
        offset = f"{start + at:08x}"
        left, right = _hex(a[at : at + 16]), _hex(b[at : at + 16])
        rows.append(Row(a=left, b=right, at_a=offset if left else "", at_b=offset if right else ""))
    return Detail(form="hex", rows=tuple(rows), omitted=more or a[end:] != b[end:])


def _ends(a: bytes, b: bytes, first: int) -> tuple[int, int]:
    """Where what differs ends on either side, at the end of a line."""
    most = min(len(a), len(b)) - first
    low = 0
    while (
        low < most
        and a[_from_end(a, low + _STEP) : len(a) - low] == b[_from_end(b, low + _STEP) : len(b) - low]
    ):
        low += _STEP
    low = min(low, most)
    high = min(low + _STEP, most) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if a[len(a) - middle : len(a) - low] == b[len(b) - middle : len(b) - low]:
            low = middle
        else:
            high = middle
    end_a, end_b = len(a) - low, len(b) - low
    if _begins_line(a, end_a) and _begins_line(b, end_b):
        return end_a, end_b
    newline = a.find(b"\n", end_a)
    further = (newline + 1 if newline >= 0 else len(a)) - end_a
    return end_a + further, end_b + further


def _from_end(data: bytes, distance: int) -> int:
    return max(0, len(data) - distance)


def _begins_line(data: bytes, at: int) -> bool:
    return at == 0 or data[at - 1] == 0x0A


def _lines(data: bytes, start: int, end: int) -> tuple[list[str], bool]:
    """The lines from `start` to `end`, and whether some were left out."""
    part = data[start : min(end, start + _MAX_BYTES)]
    cut = start + len(part) < end
    lines = part.split(b"\n", _MAX_LINES)
    if len(lines) > _MAX_LINES:
        cut = cut or bool(lines[_MAX_LINES])
        del lines[_MAX_LINES:]
    elif not lines[-1]:
        lines.pop()
    elif end == len(data) and not cut:
        lines[-1] += b"  (no newline at the end)"
    return [line.decode("utf-8", "backslashreplace") for line in lines], cut


def _before(data: bytes, start: int) -> list[str]:
    at = start
    for _ in range(_CONTEXT):
        if at == 0:
            break
        at = data.rfind(b"\n", max(0, at - _MAX_BYTES), at - 1) + 1
    if start - at > _MAX_BYTES:
        return []
    return _lines(data, at, start)[0]


def _aligned(a: Sequence[str], b: Sequence[str], number: int, budget: Budget) -> list[Row]:
    rows: list[Row] = []
    if not budget.align(len(a) * len(b)):
        return _paired(a, b, number, number)
    for tag, from_a, to_a, from_b, to_b in SequenceMatcher(None, a, b).get_opcodes():
        pairs = _paired(a[from_a:to_a], b[from_b:to_b], number + from_a, number + from_b)
        if tag == "equal" and len(pairs) > 2 * _CONTEXT:
            pairs = pairs[:_CONTEXT] + pairs[-_CONTEXT:]
        rows += pairs
    return rows


def _paired(a: Sequence[str], b: Sequence[str], number_a: int, number_b: int) -> list[Row]:
    return [
        _row(
            a[at] if at < len(a) else None,
            b[at] if at < len(b) else None,
            number_a + at if at < len(a) else None,
            number_b + at if at < len(b) else None,
        )
        for at in range(max(len(a), len(b)))
    ]


def _row(a: str | None, b: str | None, at_a: int | None, at_b: int | None) -> Row:
    start = 0
    if a is not None and b is not None and a != b and max(len(a), len(b)) > _MAX_WIDTH:
        # Long lines are cut around the first character that differs, so that it is seen.
        first = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        start = max(0, first - _MAX_WIDTH // 3)
    return Row(
        a=None if a is None else _clipped(a, start),
        b=None if b is None else _clipped(b, start),
        at_a="" if at_a is None else str(at_a),
        at_b="" if at_b is None else str(at_b),
    )


def _clipped(line: str, start: int) -> str:
    return ("…" if start else "") + visible(line[start : start + _MAX_WIDTH + 1])


def _hex(data: bytes) -> str | None:
    if not data:
        return None
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return f"{data.hex(' '):<47}  {text}"
