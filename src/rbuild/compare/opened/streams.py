"""Unpacking within bounds what is one compressed stream, or several one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rbuild.compare.place import Place, Unopened, reading

STEP = 1 << 20
"""Bytes that one step of a stream gives at most, or little more."""

_FED = 1 << 16  # bytes at a time: what a stream does not take is copied
_MAX_STREAMS = 100_000


class Stream(Protocol):
    """One stream on its way."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes:
        """What was given beyond its end."""

    def step(self, data: bytes) -> tuple[bytes, bytes]:
        """Unpack a bounded part: what came out, and what of `data` is to be given again."""


def unpacked(
    place: Place,
    data: bytes,
    new: Callable[[], Stream],
    *,
    magics: tuple[bytes, ...],
    broken: tuple[type[Exception], ...],
) -> bytes:
    """The content of a file that begins with one of `magics`; zeros after a stream are padding.

    `broken` are the errors of a stream that is none. Raises Unopened, also for what unpacks to more than the
    budget of `place` has left.
    """
    most = place.budget.unpacked
    parts: list[bytes] = []
    size = count = at = 0
    rest = b""  # of what was fed last
    while True:
        count += 1
        if count > _MAX_STREAMS:
            raise Unopened(f"it has more than {_MAX_STREAMS} streams")
        stream = new()
        with reading(*broken):
            while not stream.eof:
                if not rest:
                    rest = data[at : at + _FED]
                    at += len(rest)
                ended = not rest
                part, rest = stream.step(rest)
                if ended and not part and not stream.eof:
                    raise Unopened("it ends too early")
                if part:
                    parts.append(part)
                    size += len(part)
                if size > most:
                    raise Unopened(f"it unpacks to more than {most} bytes")
        at -= len(stream.unused_data)
        rest = b""
        at = _after_zeros(data, at)
        if at == len(data):
            break
        if not data.startswith(magics, at):
            raise Unopened("something follows what is compressed")
    place.budget.unpack(size)
    return b"".join(parts)


def _after_zeros(data: bytes, at: int) -> int:
    while at < len(data) and data[at] == 0:
        piece = data[at : at + _FED]
        at += len(piece) - len(piece.lstrip(b"\0"))
    return at


def stem(name: str) -> str:
    """What to call the content of a compressed file."""
    base = name.rpartition("/")[2]
    whole, _, ending = base.rpartition(".")
    if whole and ending in ("tgz", "txz", "tbz", "tbz2", "tzst"):
        return f"{whole}.tar"
    return whole if whole and ending in ("gz", "xz", "bz2", "zst") else base or "content"
