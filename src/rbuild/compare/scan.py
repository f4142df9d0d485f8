"""A layer read through once: its entries, and a digest of each content; later, single contents of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from rbuild.image.changes import Changes
from rbuild.image.tar import CHUNK, Entry, Kind, TarReader

_MARK = 8  # bytes of a digest that are enough to say where two contents part


@dataclass(frozen=True, slots=True)
class Content:
    """A file's content: its sha256, and a mark after each whole mebibyte.

    A mark stands for all that comes before it, so that two contents are known to part between two marks.
    """

    sha256: bytes
    marks: tuple[bytes, ...] = ()


class Marked:
    """A content on its way: hashed, and marked after each chunk of a mebibyte."""

    def __init__(self, digest: hashlib._Hash, marks: Sequence[bytes] = ()) -> None:
        self._digest = digest
        self._marks = list(marks)

    @classmethod
    def of(cls, chunks: Iterable[bytes]) -> Content:
        """The content that these chunks make."""
        marked = cls(hashlib.sha256())
        for chunk in chunks:
            marked.update(chunk)
        return marked.content()

    def update(self, chunk: bytes) -> None:
        """Take the next chunk: of CHUNK bytes, but for the last one."""
        self._digest.update(chunk)
        if len(chunk) == CHUNK:
            self._marks.append(self._digest.copy().digest()[:_MARK])

    def copy(self) -> Marked:
        """One that had the same chunks."""
        return Marked(self._digest.copy(), self._marks)

    def content(self) -> Content:
        """All that was taken."""
        return Content(self._digest.digest(), tuple(self._marks))


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an entry's content."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Scan:
    """A layer's entries, deletions and contents; `contents` by the entries' offsets."""

    changes: Changes
    contents: Mapping[int, Content]

    @property
    def given(self) -> Mapping[bytes, Entry]:
        """The entries by path, in the order of the archive."""
        return self.changes.given


def scan(file: BinaryIO) -> Scan:
    """Read an uncompressed layer to its end. Raises RbuildError for what a layer must not hold."""
    reader = TarReader(file)
    changes = Changes()
    contents: dict[int, Content] = {}
    for entry in reader:
        if entry.kind is Kind.FILE:
            contents[entry.offset] = Marked.of(reader.content())
        changes.add(entry)
    changes.finish()
    return Scan(changes, contents)


def parting(a: Content, b: Content) -> Window:
    """The mebibyte in which two contents that differ part."""
    same = 0
    for one, other in zip(a.marks, b.marks, strict=False):
        if one != other:
            break
        same += 1
    return Window(same * CHUNK, CHUNK)


def read_windows(file: BinaryIO, wanted: Mapping[int, Window]) -> Iterator[tuple[int, bytes]]:
    """The wanted parts of contents, each with its entry's offset, in the order of the archive.

    `wanted` is by the entries' offsets. The archive is not read further than the last of them.
    """
    left = len(wanted)
    if not left:
        return
    reader = TarReader(file)
    for entry in reader:
        window = wanted.get(entry.offset) if entry.kind is Kind.FILE else None
        if window is None:
            continue
        yield entry.offset, _part(reader, window)
        left -= 1
        if not left:
            return


def _part(reader: TarReader, window: Window) -> bytes:
    parts = []
    at = 0
    for chunk in reader.content():
        if at + len(chunk) > window.start:
            parts.append(chunk[max(0, window.start - at) :])
        at += len(chunk)
        if at >= window.start + window.size:
            break
    return b"".join(parts)[: window.size]
