"""What a normaliser is: asked about one entry, it says what becomes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from rbuild.image.index import Tree
from rbuild.image.tar import Entry


class Drop(Enum):
    """The entry goes. What the layers below have at its path stays."""

    DROP = "drop"


DROP = Drop.DROP


@dataclass(frozen=True, slots=True)
class Content:
    """The file gets a new content; small, since it is held in memory."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Patch:
    """Some bytes of the file's content change; its size does not."""

    at: int
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def bytes(self, start: int, stop: int) -> bytes:
        """What stands there, in part."""
        return self.data[start:stop]


@dataclass(frozen=True, slots=True)
class Blank:
    """Some bytes of the file's content become zero."""

    at: int
    size: int

    def bytes(self, start: int, stop: int) -> bytes:
        """What stands there, in part."""
        return bytes(stop - start)


@dataclass(frozen=True, slots=True)
class Edits:
    """Several parts of the file's content change, in this order; its size does not."""

    parts: tuple[Patch | Blank, ...]


Outcome = Drop | Content | Patch | Edits | None
"""What becomes of an entry; None: it stays as it is."""


class LayerView(Protocol):
    """What a normaliser may look at: the layer as the builder wrote it, and what lies below."""

    @property
    def epoch(self) -> int:
        """The mtime that the layer's entries will have."""

    @property
    def lower(self) -> Tree:
        """The layers below."""

    def raw(self, path: bytes) -> Entry | None:
        """What the builder wrote at `path`, hard links followed; None if the layer does not give it."""

    def gone(self, path: bytes) -> bool:
        """Whether the layer takes `path` away and gives nothing in its place."""

    def read(self, entry: Entry, limit: int, at: int = 0) -> bytes:
        """The first `limit` bytes from `at` on of a file's content, as the builder wrote it."""

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """All of a file's content, as the builder wrote it."""

    def mtime(self, path: bytes) -> int | None:
        """The mtime that the file at `path` will have in the image; None if there is none."""

    def linked(self, folder: re.Pattern[bytes]) -> bool:
        """Whether a symlink of the layer, itself elsewhere, leads to a path that `folder` matches."""

    def kept(self) -> Iterable[tuple[bytes, int]]:
        """Path and size of each file that stays in the layer."""

    def sha256(self, path: bytes) -> bytes:
        """The sha256, as 32 raw bytes, of a file that stays in the layer, as it will be in the image."""

    def rewritten(self, path: bytes) -> bool:
        """Whether the layer gives a file at `path` that stays, with another content than the builder's."""


class Normaliser(Protocol):
    """One family of leftovers."""

    @property
    def name(self) -> str:
        """In kebab-case; listed in the lock."""

    def normalise(self, entry: Entry, view: LayerView) -> Outcome:
        """What becomes of an entry; a hard link comes as the file it links to, under its own path."""

    def deletes(self, view: LayerView) -> Iterable[bytes]:
        """Paths of the layers below that must go because of what stays in this layer.

        Asked once, when it is known what becomes of every entry.
        """


def edited(chunks: Iterable[bytes], parts: Sequence[Patch | Blank]) -> Iterator[bytes]:
    """A content with some of its bytes changed; of two changes to one byte the later one counts."""
    at = 0
    for chunk in chunks:
        end = at + len(chunk)
        for part in parts:
            low, high = max(part.at, at), min(part.at + part.size, end)
            if low < high:
                chunk = chunk[: low - at] + part.bytes(low - part.at, high - part.at) + chunk[high - at :]
        at = end
        yield chunk
