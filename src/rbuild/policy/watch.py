"""One pass over the layers of an image for all rules that watch its files, from the highest to the lowest.

Layers may be a stranger's: nothing is held of them but a digest of each path, and contents one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import BinaryIO

from rbuild.errors import Where, at
from rbuild.image.changes import Changes
from rbuild.image.codec import decompressed
from rbuild.image.tar import CHUNK, MAX_ENTRIES, Entry, Kind, TarReader, refused
from rbuild.policy.facts import FileEntry, LayerFacts
from rbuild.policy.rule import Watcher

MAX_CONTENT = 8 << 20  # bytes of one file that a watcher can have
_WHITEOUT = b".wh."
_NOTHING = b""
_NO_ATTRIBUTES: Mapping[str, bytes] = MappingProxyType({})
_DEVICES = (Kind.CHAR, Kind.BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLayer:
    """A layer, and how its blob, as the registry has it, is opened, at its start."""

    facts: LayerFacts
    media_type: str
    open: Callable[[], BinaryIO]


def watched(layers: Sequence[OpenLayer], watchers: Sequence[Watcher]) -> None:
    """Show every entry of every layer to every watcher, once; `layers` are from the lowest to the highest.

    The layers come from the highest to the lowest, the entries of one as they are in it. Whiteouts are no
    entries. Raises RbuildError, with the blob and the entry, for a layer that cannot be read, and for more
    entries than rbuild reads.

    A watcher may say what it need not be asked about: `reads = False` that it never wants a content,
    `own_only = True` that it looks at layers of the build alone, `odd_only = True` that it looks at nothing
    but devices, and entries with extended attributes, setuid or setgid bits, or that all may write to.
    """
    if not watchers or not layers:
        return
    above = _Above()
    for layer in reversed(layers):
        above.keeps = layer is not layers[0]
        with at(Where(digest=str(layer.facts.blob))), layer.open() as file:
            _show(layer.facts, decompressed(file, layer.media_type), above, watchers)
            above.settle()


def _show(layer: LayerFacts, file: BinaryIO, above: _Above, watchers: Sequence[Watcher]) -> None:
    """Show a layer by reading it to its end."""
    mine = [one for one in watchers if layer.own or not getattr(one, "own_only", False)]
    wants = [watcher.wants for watcher in mine if getattr(watcher, "reads", True)]
    odd = [watcher.see for watcher in mine]
    plain = [watcher.see for watcher in mine if not getattr(watcher, "odd_only", False)]
    reader = TarReader(_Forwards(file))  # type: ignore[arg-type]  # it reads, and seeks nowhere
    for entry in reader:
        path = entry.path
        if not path or (_WHITEOUT in path and above.whiteout(path)):
            continue
        facts = FileEntry(
            path.decode("utf-8", "surrogateescape"),
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            entry.link.decode("utf-8", "surrogateescape"),
            _attributes(entry) if entry.xattrs else _NO_ATTRIBUTES,
            layer.number,
            layer.own,
            above.add(path, entry.kind),
            layer.instruction,
        )
        content = _NOTHING
        if entry.size and (size := max([want(facts) for want in wants], default=0)):
            content = _start(reader.content(), min(size, MAX_CONTENT))
        is_odd = entry.mode & 0o6002 or entry.xattrs or entry.kind in _DEVICES
        for see in odd if is_odd else plain:
            see(facts, content)


def _attributes(entry: Entry) -> Mapping[str, bytes]:
    return {name.decode("utf-8", "surrogateescape"): value for name, value in entry.xattrs}


def _start(chunks: Iterator[bytes], size: int) -> bytes:
    """The first `size` bytes."""
    first = next(chunks, _NOTHING)
    if len(first) >= size:
        return first[:size]
    parts = [first]
    left = size - len(first)
    for chunk in chunks:
        parts.append(chunk[:left])
        left -= len(chunk)
        if left <= 0:
            break
    return _NOTHING.join(parts)


class _Forwards:
    """Reads a stream in mebibytes, and gives parts of them; what is passed over is not copied."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._chunk = _NOTHING
        self._position = 0

    def seekable(self) -> bool:
        return False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        if not self._more():
            return _NOTHING
        part = self._chunk[self._position : self._position + size]
        self._position += len(part)
        return part

    def skip(self, size: int) -> int:
        """Pass over `size` bytes, or as many as there are; how many it were."""
        left = size
        while left and self._more():
            step = min(left, len(self._chunk) - self._position)
            self._position += step
            left -= step
        return size - left

    def _more(self) -> bool:
        """Whether there is something to read, which is in the chunk then."""
        if self._position == len(self._chunk):
            self._chunk, self._position = self._source.read(CHUNK), 0
        return bool(self._chunk)


class _Above:
    """What the layers above take away from those below, and what the layer that is read adds to that.

    Paths are held as digests: sixteen bytes, however long a stranger made the path.
    """

    def __init__(self) -> None:
        self.keeps = True  # whether there is a layer below
        self._folders: set[bytes] = set()  # given as folders: what lies in them below stays
        self._implied: set[bytes] = set()  # that something given lies in: what is no folder below goes
        self._ends: set[bytes] = set()  # given as something else, or deleted: with all that lies in them
        self._emptied: set[bytes] = set()  # folders that begin anew
        self._new_folders: set[bytes] = set()
        self._new_implied: set[bytes] = set()
        self._new_ends: set[bytes] = set()
        self._new_emptied: set[bytes] = set()
        self._folder: bytes | None = None  # of the last entry, and whether a layer above took it away
        self._gone = False

    def add(self, path: bytes, kind: Kind) -> bool:
        """Take an entry; whether it is seen through the layers above."""
        key = _key(path)
        folder = path[: max(path.rfind(b"/"), 0)]
        if folder != self._folder:
            self._folder = folder
            self._gone = self._is_gone(folder)
            if self.keeps:
                self._imply(folder)
        if self.keeps:
            (self._new_folders if kind is Kind.DIRECTORY else self._new_ends).add(key)
        if self._gone or key in self._ends or key in self._folders:
            return False
        return kind is Kind.DIRECTORY or key not in self._implied

    def whiteout(self, path: bytes) -> bool:
        """Take an entry that may be a whiteout; whether it is one. Raises RbuildError for a broken one."""
        changes = Changes()
        changes.add(Entry(path, Kind.FILE, 0))
        for deleted in changes.deleted:
            self.delete(deleted)
        for folder in changes.opaque:
            self.empty(folder)
        return not changes.given

    def delete(self, path: bytes) -> None:
        """Take that the layers below have nothing at a path any more."""
        self._new_ends.add(_key(path))

    def empty(self, folder: bytes) -> None:
        """Take that the layers below have nothing in a folder any more."""
        self._new_emptied.add(_key(folder))

    def settle(self) -> None:
        """What the layer gave and deleted is above the ones that come now."""
        self._folders |= self._new_folders
        self._ends |= self._new_ends
        self._emptied |= self._new_emptied
        self._implied |= self._new_implied
        for one in (self._new_folders, self._new_ends, self._new_emptied, self._new_implied):
            one.clear()
        self._folder = None
        kept = (self._folders, self._ends, self._emptied, self._implied)
        if sum(map(len, kept)) > 4 * MAX_ENTRIES:
            raise refused(_NOTHING, "the layers hold more files than rbuild reads")

    def _imply(self, folder: bytes) -> None:
        while folder:
            key = _key(folder)
            if key in self._new_implied:
                return
            self._new_implied.add(key)
            folder = folder[: max(folder.rfind(b"/"), 0)]

    def _is_gone(self, folder: bytes) -> bool:
        """Whether what lies in a folder is taken away by a layer above."""
        if not (self._ends or self._emptied):
            return False
        while True:
            key = _key(folder)
            if key in self._emptied or (folder and key in self._ends):
                return True
            if not folder:
                return False
            folder = folder[: max(folder.rfind(b"/"), 0)]


def _key(path: bytes) -> bytes:
    return blake2b(path, digest_size=16).digest()
