"""Contents of two layers, read side by side, so that two which belong together are in memory at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from rbuild.compare.excerpt import first_difference
from rbuild.compare.scan import Window, read_windows
from rbuild.image.tar import CHUNK, Entry

_MAX_HELD = 128 << 20


class Want(NamedTuple):
    """An entry whose content is wanted, or a window of it; None: this side has none."""

    path: bytes
    a: tuple[Entry, Window] | None
    b: tuple[Entry, Window] | None


class Found(NamedTuple):
    """The contents that were wanted of a path. None: there is none, or it could not be kept in memory."""

    path: bytes
    a: bytes | None
    b: bytes | None


def read_wanted(file_a: BinaryIO, file_b: BinaryIO, wanted: list[Want]) -> Iterator[Found]:
    """Read both archives once, and give what is wanted in the order in which it turns up.

    Archives that hold their entries in about the same order cost the memory of one pair. Where the order
    differs, up to 128 MiB wait for their counterparts; what would need more comes without content.
    """
    shared = {want.path for want in wanted if want.a and want.b}
    sources = (
        _named(file_a, {want.path: want.a for want in wanted if want.a}),
        _named(file_b, {want.path: want.b for want in wanted if want.b}),
    )
    waiting: tuple[dict[bytes, bytes | None], dict[bytes, bytes | None]] = ({}, {})
    ended = [False, False]
    held = 0
    while not all(ended):
        side = 1 if (waiting[0] or ended[0]) and not ended[1] else 0
        item = next(sources[side], None)
        if item is None:
            ended[side] = True
            continue
        path, data = item
        if path not in shared:
            yield Found(path, None, data) if side else Found(path, data, None)
        elif path in waiting[1 - side]:
            other = waiting[1 - side].pop(path)
            held -= len(other or b"")
            yield Found(path, other, data) if side else Found(path, data, other)
        elif held + len(data) > _MAX_HELD:
            waiting[side][path] = None
        else:
            waiting[side][path] = data
            held += len(data)


def _named(file: BinaryIO, wanted: dict[bytes, tuple[Entry, Window]]) -> Iterator[tuple[bytes, bytes]]:
    paths = {entry.offset: path for path, (entry, _) in wanted.items()}
    for offset, data in read_windows(file, {entry.offset: window for entry, window in wanted.values()}):
        yield paths[offset], data


class Parting(NamedTuple):
    """Where two streams part: windows of both, which begin at `start`, and whether more may follow."""

    start: int
    a: bytes
    b: bytes


def first_parting(file_a: BinaryIO, file_b: BinaryIO) -> Parting | None:
    """The first mebibyte in which two streams differ; None if they are equal to their ends."""
    start = 0
    while True:
        a, b = _chunk(file_a), _chunk(file_b)
        if first_difference(a, b) is not None:
            return Parting(start, a, b)
        if not a:
            return None
        start += len(a)


def _chunk(file: BinaryIO) -> bytes:
    parts = []
    left = CHUNK
    while left and (data := file.read(left)):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)
