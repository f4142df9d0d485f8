"""What a layer holds, as a value, and the file system that a stack of layers gives."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.changes import Changes
from rbuild.image.tar import CHUNK, MAX_ENTRIES, Entry, Kind, TarReader, refused, shown

if TYPE_CHECKING:
    from typing_extensions import Buffer

_SHADOW = (b"etc/shadow", b"etc/shadow-")
_MAX_HOPS = 8  # from a hard link to another one; archives have one
_EMPTY = hashlib.sha256().digest()
_KEPT_XATTRS = (b"security.capability",)


class Node(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is at one path. A hard link is an entry of a layer; in a `Tree` it is what it links to."""

    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    sha256: bytes = b""  # of a file's content, 32 raw bytes
    excerpt: bytes = b""  # the start of the content, of the few files that normalisers compare with it

    @property
    def digest(self) -> Digest:
        """The digest of a file's content."""
        return Digest(self.sha256.hex())


def node_of(entry: Entry, sha256: bytes = b"", excerpt: bytes = b"") -> Node:
    """The node that an entry makes, with the kept ones of its xattrs."""
    return Node(
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.mtime,
        entry.link,
        entry.device,
        kept_xattrs(entry),
        sha256,
        excerpt,
    )


def kept_xattrs(entry: Entry) -> tuple[tuple[bytes, bytes], ...]:
    """The extended attributes that belong to an image: capabilities and `user.*`, none of overlayfs's.

    One without a value goes: in a pax header that means "no such record" (POSIX.1-2017, pax), so that Podman
    4.3 does not write it, and what Podman 5 writes is not there when the layer is unpacked.
    """
    if not entry.xattrs:
        return ()
    return tuple(
        (key, value)
        for key, value in entry.xattrs
        if value and (key in _KEPT_XATTRS or key.startswith(b"user.")) and b"overlay." not in key
    )


def excerpt_size(path: bytes) -> int:
    """How much of a file's start an index keeps: a bytecode file's header, the lines of /etc/shadow."""
    if path.endswith(b".pyc"):
        return 16
    return 1 << 16 if path in _SHADOW else 0


class LayerIndex(msgspec.Struct, frozen=True, array_like=True):
    """The entries of one layer, in byte order, and what it deletes."""

    entries: tuple[tuple[bytes, Node], ...]
    whiteouts: tuple[bytes, ...] = ()
    opaque: tuple[bytes, ...] = ()

    def to_bytes(self) -> bytes:
        """As msgpack; the same index gives the same bytes."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> LayerIndex:
        """Read what `to_bytes` wrote; raises RbuildError for anything else, so that a cache is made anew."""
        try:
            return _DECODER.decode(data)
        except msgspec.MsgspecError as error:
            raise RbuildError(f"not the index of a layer: {error}") from error


_DECODER = msgspec.msgpack.Decoder(LayerIndex)


def index_layer(file: BinaryIO, diff_id: Digest | None = None) -> LayerIndex:
    """Index a layer of any builder: an uncompressed tar, read once and to its end; it need not be seekable.

    Raises RbuildError for what a layer must not hold and, if `diff_id` is given, for another layer than that:
    what an image's configuration says of its layers need not be true. A hard link to what the layer itself
    does not have raises when the index is applied to a tree.
    """
    source = _Hashing(file)
    reader = TarReader(io.BufferedReader(source, CHUNK))
    changes = Changes()
    digests: dict[int, bytes] = {}
    excerpts: dict[int, bytes] = {}
    for entry in reader:
        if entry.size:
            digests[entry.offset], start = _hashed(reader, excerpt_size(entry.path))
            if start:
                excerpts[entry.offset] = start
        changes.add(entry)
    changes.finish()
    if diff_id is not None and source.digest() != diff_id:
        raise RbuildError(
            f"a layer is {source.digest()}, and the image's configuration says {diff_id}",
            hint="the image is broken or forged: choose another one",
        )
    entries = []
    for path in sorted(changes.given):
        entry = changes.given[path]
        if entry.kind is Kind.HARDLINK:
            target = changes.content_of(path)
            if target is not None and changes.given.get(entry.link) is not target:
                entry = target  # It links to another hard link, or to what was replaced later in the archive.
        digest = digests.get(entry.offset, _EMPTY) if entry.kind is Kind.FILE else b""
        entries.append((path, node_of(entry, digest, excerpts.get(entry.offset, b""))))
    return LayerIndex(tuple(entries), tuple(sorted(changes.deleted)), tuple(sorted(changes.opaque)))


class _Hashing(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        data = self._file.read(len(view))
        self._hash.update(data)
        view[: len(data)] = data
        return len(data)

    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())


def _hashed(reader: TarReader, excerpt: int) -> tuple[bytes, bytes]:
    digest = hashlib.sha256()
    start = b""
    for chunk in reader.content():
        digest.update(chunk)
        if len(start) < excerpt:
            start += chunk[: excerpt - len(start)]
    return digest.digest(), start


class Tree:
    """The file system that a stack of layers gives; grows with `apply`.

    A folder that no layer describes, but that something lies in, has no node: `has` knows it, `get` does not.
    """

    def __init__(self) -> None:
        self._nodes: dict[bytes, Node] = {}
        self._children: dict[bytes, set[bytes]] = {}
        self._raw_mtimes: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, path: bytes) -> bool:
        return path in self._nodes or path in self._children

    def get(self, path: bytes) -> Node | None:
        """What is at `path`."""
        return self._nodes.get(path)

    def raw_mtime(self, path: bytes) -> int | None:
        """The mtime that the build saw at `path`, where it is not the one in the image."""
        return self._raw_mtimes.get(path)

    def children(self, path: bytes) -> frozenset[bytes]:
        """The paths directly below a folder."""
        prefix = path + b"/" if path else b""
        return frozenset(prefix + name for name in self._children.get(path, ()))

    def paths(self) -> list[bytes]:
        """All paths that have a node, in byte order."""
        return sorted(self._nodes)

    def apply(self, index: LayerIndex, raw_mtimes: Mapping[bytes, int] | None = None) -> None:
        """Put a layer on top: first what it deletes, then what it gives.

        `raw_mtimes`, of a layer that this build made (`CanonicalLayer.raw_mtimes`), are the times that later
        steps of the same build saw. Raises RbuildError for a hard link to nothing.
        """
        for path in index.opaque:
            for child in self.children(path):
                self._remove(child)
        for path in index.whiteouts:
            self._remove(path)
        links: dict[bytes, bytes] = {}
        for path, node in index.entries:
            if node.kind is Kind.HARDLINK:
                links[path] = node.link
            else:
                self._put(path, node)
        for path, link in links.items():
            for _ in range(_MAX_HOPS):
                link = links.get(link, link)
            target = None if link in links else self._nodes.get(link)
            if target is None or target.kind is Kind.DIRECTORY:
                raise refused(path, f"it is a hard link to {shown(link)}, which is no file")
            self._put(path, target)
        self._raw_mtimes.update(raw_mtimes or {})

    def _put(self, path: bytes, node: Node) -> None:
        if node.kind is not Kind.DIRECTORY and path in self._children:
            self._remove(path)
        if path not in self:
            self._attach(path)
        self._nodes[path] = node
        self._raw_mtimes.pop(path, None)
        if len(self._nodes) + len(self._children) > 4 * MAX_ENTRIES:
            raise refused(path, "the layers hold more files than rbuild reads")

    def _attach(self, path: bytes) -> None:
        """Make a path known to the folders above it; what is no folder there becomes one."""
        name = path
        while name:
            folder, _, base = name.rpartition(b"/")
            above = self._nodes.get(folder)
            if above is not None and above.kind is not Kind.DIRECTORY:
                del self._nodes[folder]
            known = self._children.get(folder)
            if known is not None:
                known.add(base)
                return
            self._children[folder] = {base}
            name = folder

    def _remove(self, path: bytes) -> None:
        if path not in self:
            return
        # The folder above stays, even one that no layer describes: extracting makes it.
        folder, _, base = path.rpartition(b"/")
        self._children[folder].discard(base)
        below = [path]
        while below:
            gone = below.pop()
            below.extend(self.children(gone))
            self._children.pop(gone, None)
            self._nodes.pop(gone, None)
            self._raw_mtimes.pop(gone, None)
