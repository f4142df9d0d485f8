"""Two layers read through side by side, once.

Archives of one builder hold their entries in about the same order. What lies beside each other is compared as
it is read: equal contents are hashed once for both, and those that differ are at hand to be looked into.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import zip_longest
from typing import BinaryIO, NamedTuple

from rbuild.compare.budget import MAX_OPENED
from rbuild.compare.lockstep import Found, Want
from rbuild.compare.scan import Content, Marked, Scan
from rbuild.image.changes import Changes
from rbuild.image.tar import Entry, Kind, TarReader

_MAX_KEPT = 64 << 20


class Kept(NamedTuple):
    """Two whole contents that differ, of the entries at these offsets."""

    offset_a: int
    offset_b: int
    a: bytes
    b: bytes


class Scans(NamedTuple):
    """Both layers, and the contents that were kept: pairs by path, the starts of others by offset."""

    a: Scan
    b: Scan
    kept: dict[bytes, Kept]
    starts_a: dict[int, bytes]
    starts_b: dict[int, bytes]

    def found(self, want: Want) -> Found | None:
        """The contents that are wanted; None where they were not kept."""
        if want.a and want.b:
            pair = self.kept.get(want.path)
            at = (want.a[0].offset, want.b[0].offset)
            return Found(want.path, pair.a, pair.b) if pair and (pair.offset_a, pair.offset_b) == at else None
        start_a = self.starts_a.get(want.a[0].offset) if want.a else None
        start_b = self.starts_b.get(want.b[0].offset) if want.b else None
        return None if start_a is start_b is None else Found(want.path, start_a, start_b)


def scan_both(file_a: BinaryIO, file_b: BinaryIO) -> Scans:
    """Read two uncompressed layers to their ends. Raises RbuildError for what a layer must not hold."""
    a, b = _Side(file_a), _Side(file_b)
    kept: dict[bytes, Kept] = {}
    room = _MAX_KEPT
    while a.entry or b.entry:
        if a.entry and b.entry and a.entry.path == b.entry.path:
            if a.entry.kind is b.entry.kind is Kind.FILE:
                found = _contents(a, b, a.entry, b.entry)
                if found and len(found.a) + len(found.b) <= room:
                    room -= len(found.a) + len(found.b)
                    kept[a.entry.path] = found
            a.advance()
            b.advance()
        elif b.entry is None or (a.entry and a.entry.path.split(b"/") < b.entry.path.split(b"/")):
            a.advance()
        else:
            b.advance()
    return Scans(a.scan(), b.scan(), kept, a.starts, b.starts)


class _Side:
    """One of the two layers: the entry at which it stands, and what was read before."""

    def __init__(self, file: BinaryIO) -> None:
        self.reader = TarReader(file)
        self.contents: dict[int, Content] = {}
        self.starts: dict[int, bytes] = {}
        self._room = _MAX_KEPT // 2
        self._changes = Changes()
        self._entries = iter(self.reader)
        self.entry: Entry | None = next(self._entries, None)

    def advance(self) -> None:
        """Take the entry as it is, with a content that nobody has read yet, and go on."""
        entry = self.entry
        if entry is None:
            return
        if entry.kind is Kind.FILE and entry.offset not in self.contents:
            self.contents[entry.offset] = Marked.of(self._read(entry))
        self._changes.add(entry)
        self.entry = next(self._entries, None)

    def _read(self, entry: Entry) -> Iterator[bytes]:
        for at, chunk in enumerate(self.reader.content()):
            if at == 0 and len(chunk) <= self._room:
                self._room -= len(chunk)
                self.starts[entry.offset] = chunk
            yield chunk

    def scan(self) -> Scan:
        """All that was read."""
        self._changes.finish()
        return Scan(self._changes, self.contents)


def _contents(a: _Side, b: _Side, entry_a: Entry, entry_b: Entry) -> Kept | None:
    """Read the contents of two entries; they are given where they differ and can be opened."""
    whole = max(entry_a.size, entry_b.size) <= MAX_OPENED
    chunks_a: list[bytes] = []
    chunks_b: list[bytes] = []
    digest_a = digest_b = Marked(hashlib.sha256())
    for one, other in zip_longest(a.reader.content(), b.reader.content()):
        if digest_a is digest_b and one != other:
            digest_b = digest_a.copy()
        if one is not None:
            digest_a.update(one)
        if digest_a is digest_b:
            other = one  # The same bytes are held once.
        elif other is not None:
            digest_b.update(other)
        if whole:
            chunks_a.append(one or b"")
            chunks_b.append(other or b"")
    a.contents[entry_a.offset] = digest_a.content()
    b.contents[entry_b.offset] = digest_b.content()
    if not whole or digest_a is digest_b:
        return None
    return Kept(entry_a.offset, entry_b.offset, b"".join(chunks_a), b"".join(chunks_b))
