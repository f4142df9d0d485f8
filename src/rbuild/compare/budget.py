"""How much work and text one comparison may cost, whatever it is given to compare."""

from __future__ import annotations

from rbuild.compare.model import Detail

MAX_OPENED = 32 << 20
"""Bytes of a content that is looked into; of a larger one, only what lies around the first differing byte."""

MAX_DEPTH = 4
"""How many formats within each other are opened: a wheel in a tar in a gzip."""

MAX_CHILDREN = 200
"""Differences that are listed inside of one file."""

_WORK = 512 << 20
_UNPACKED = 1 << 30
_SHOWN = 16 << 20
_CELLS = 20_000_000


class Budget:
    """What is left to spend. Time is bounded by work, since rules know no clock."""

    def __init__(self) -> None:
        self._work = _WORK
        self._unpacked = _UNPACKED
        self._shown = _SHOWN
        self._cells = _CELLS

    def work(self, size: int) -> bool:
        """Whether a content may be looked into that costs as much as reading `size` bytes."""
        if size > self._work:
            return False
        self._work -= size
        return True

    @property
    def unpacked(self) -> int:
        """Bytes that the next content inside of another one may unpack to."""
        return min(MAX_OPENED, self._unpacked)

    def unpack(self, size: int) -> None:
        """Note that so many bytes were unpacked."""
        self._unpacked = max(0, self._unpacked - size)

    def align(self, cells: int) -> bool:
        """Whether two texts whose numbers of lines multiply to `cells` may be aligned."""
        if cells > self._cells:
            return False
        self._cells -= cells
        return True

    def show(self, detail: Detail | None) -> Detail | None:
        """The detail, or none where all that people would read is used up."""
        if detail is None:
            return None
        size = sum(len(row.a or "") + len(row.b or "") for row in detail.rows)
        if size > self._shown:
            return None
        self._shown -= size
        return detail
