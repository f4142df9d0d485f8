"""One canonical layer out of what a builder wrote: the rules of the canonical form, "Layers".

Only the entries' headers are held in memory; contents stream from the builder's layer to the sink.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from rbuild.digest import Digest
from rbuild.image.changes import Changes, parents, whiteout
from rbuild.image.codec import Sink
from rbuild.image.index import LayerIndex, Node, Tree, excerpt_size, node_of
from rbuild.image.normalise import Normaliser
from rbuild.image.selection import Kept, Selection
from rbuild.image.tar import CHUNK, Entry, Kind, TarReader
from rbuild.image.ustar import END, header, padding


@dataclass(frozen=True, slots=True)
class CanonicalLayer:
    """A canonical layer that was written."""

    diff_id: Digest
    size: int  # bytes of the uncompressed tar
    index: LayerIndex
    raw_mtimes: dict[bytes, int]  # of Python sources: what later steps of the build saw


def canonical_layer(
    source: BinaryIO,
    lower: Tree,
    *,
    epoch: int,
    normalisers: Sequence[Normaliser],
    sink: Sink,
    mounts: frozenset[bytes] = frozenset(),
) -> CanonicalLayer | None:
    """Write the canonical form of a builder's layer to `sink`, as an uncompressed tar.

    `source` is the layer as a seekable, uncompressed tar; `lower` the file system that the canonical layers
    below it give, which is not changed; `epoch` the mtime of every entry, in seconds; `mounts` names of
    top-level folders that the builder mounted, which go with all that is in them.

    The tar ends with two zero blocks and no padding to 10 KiB, as Go's archive/tar writes it. None, and
    nothing written, if the layer changes nothing. The root directory's own metadata are not part of a layer.
    Raises RbuildError for what a layer must not hold, with the entry's name.
    """
    changes = Changes()
    for entry in TarReader(source):
        changes.add(entry)
    changes.finish()
    selection = Selection(source, changes, lower, epoch=epoch, normalisers=normalisers, mounts=mounts)
    kept = selection.all()
    gone = _deletions(changes, lower, mounts) | {path for path in selection.deletes() if path in lower}
    if not kept and not gone:
        return None
    rows: list[tuple[bytes, Kept | None]] = [(each.entry.path, each) for each in kept]
    rows += ((whiteout(path), None) for path in gone)
    rows.sort(key=lambda row: row[0])
    tar = _Tar(sink)
    nodes: list[tuple[bytes, Node]] = []
    for path, each in rows:
        if each is None:
            tar.write(header(Entry(path, Kind.FILE, 0, mtime=epoch)))
        else:
            nodes.append((path, tar.add(each, selection)))
    diff_id, size = tar.finish()
    # Of sources that change nothing as well: a later step may compile what this one only touched.
    raw_mtimes = {
        path: raw.mtime
        for path in changes.given
        if path.endswith(b".py") and (raw := changes.content_of(path)) and raw.kind is Kind.FILE
    }
    return CanonicalLayer(diff_id, size, LayerIndex(tuple(nodes), tuple(sorted(gone))), raw_mtimes)


class _Tar:
    """Writes entries, hashes, and gathers small writes into large ones."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()
        self._size = 0
        self._buffer = bytearray()
        self._first: dict[tuple[int, object], bytes] = {}

    def write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= CHUNK:
            self._flush()

    def add(self, kept: Kept, selection: Selection) -> Node:
        """Write one entry with its content; a hard link if the content is already in the tar."""
        entry = kept.entry
        if entry.kind is not Kind.DIRECTORY:
            first = self._first.setdefault((entry.offset, kept.outcome), entry.path)
            if first is not entry.path:
                entry = Entry(
                    entry.path, Kind.HARDLINK, entry.mode, entry.uid, entry.gid, 0, entry.mtime, first
                )
        self.write(header(entry))
        if entry.kind is not Kind.FILE:
            return node_of(entry)
        digest = hashlib.sha256()
        excerpt = excerpt_size(entry.path)
        start = b""
        for chunk in selection.content(kept):
            digest.update(chunk)
            if len(start) < excerpt:
                start += chunk[: excerpt - len(start)]
            self.write(chunk)
        self.write(padding(entry.size))
        return node_of(entry, digest.digest(), start)

    def finish(self) -> tuple[Digest, int]:
        self.write(END)
        self._flush()
        return Digest(self._hash.hexdigest()), self._size

    def _flush(self) -> None:
        data = bytes(self._buffer)
        self._buffer.clear()
        self._hash.update(data)
        self._size += len(data)
        self._sink.write(data)


def _deletions(changes: Changes, lower: Tree, mounts: frozenset[bytes]) -> set[bytes]:
    """The topmost paths of the layers below that the layer takes away.

    Storage drivers write either an opaque marker and what is left, or one whiteout for each deleted name;
    both say which paths of the layers below are hidden, and what is hidden and not given again is deleted.
    """
    gone: set[bytes] = set()
    seen: set[bytes] = set()
    hidden = [path for path in changes.deleted if not changes.replaces_above(path)]
    for folder in changes.opaque:
        if not changes.replaces_above(folder + b"/"):
            hidden.extend(lower.children(folder))
    while hidden:
        path = hidden.pop()
        if path in seen or path not in lower or path.partition(b"/")[0] in mounts:
            continue
        seen.add(path)
        given = changes.given.get(path)
        if given is None and path not in changes.folders:
            gone.add(path)
        elif given is None or given.kind is Kind.DIRECTORY:
            hidden.extend(lower.children(path))
    return {path for path in gone if not any(parent in gone for parent in parents(path))}
