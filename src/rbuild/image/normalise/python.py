"""Bytecode and its source: mtimes and hashes in the headers of `.pyc` files (PEP 3147, PEP 552).

Every source of a layer gets the epoch as its mtime. Bytecode that was valid stays valid, so that imports do
not compile; bytecode that was stale stays stale; and none in a layer below becomes valid by chance.

Under SOURCE_DATE_EPOCH compilers write bytecode that holds a hash of its source, which Python then reads at
every import. Where the hash is right it becomes the mtime, since that costs an import nothing.
"""

from __future__ import annotations

import _imp
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from posixpath import normpath

from rbuild.image.index import Node
from rbuild.image.normalise.normaliser import LayerView, Outcome, Patch
from rbuild.image.tar import Entry, Kind

_MASK = 0xFFFFFFFF
_HEADER = 16
_MAX_SYMLINKS = 8
_CHECKED_HASH = 0b11  # the flags: hash-based, and checked against the source
_MAX_SOURCE = 16 << 20  # bytes
# Since Python 3.11, whose first magic number this is, the hash is SipHash-1-3; `_imp` has no older one.
_FIRST_SIPHASH13 = 3495
_FOLDER = b"__pycache__"


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What timestamp bytecode says about its source."""

    at: int  # where the mtime is in the header
    mtime: int
    size: int | None  # None before Python 3.3, which did not write it


class Bytecode:
    """Gives bytecode the mtime that its source will have; the hash-checked kind too with `stamp_hashed`."""

    name = "bytecode"

    def __init__(self, *, stamp_hashed: bool) -> None:
        self._stamp_hashed = stamp_hashed

    def normalise(self, entry: Entry, view: LayerView) -> Outcome:
        """Rewrite the header of a `.pyc` file; its body is never touched."""
        if not entry.path.endswith(b".pyc") or entry.kind is not Kind.FILE:
            return None
        head = view.read(entry, _HEADER)
        stamp = _stamp(head)
        if stamp is None:
            return _stamped(head, entry.path, view) if self._stamp_hashed else None
        mtime = _new_mtime(stamp, source_of(entry.path), view)
        return None if mtime == stamp.mtime else Patch(stamp.at, struct.pack("<I", mtime))

    def deletes(self, view: LayerView) -> Iterable[bytes]:
        """Bytecode of the layers below that a source of this layer would make valid by chance.

        It holds the epoch, as what an earlier stage or layer compiled does, and the size of the new source,
        but was compiled from another content: Python would run the old program.
        """
        sources: dict[bytes, dict[bytes, int]] = {}
        for path, size in view.kept():
            if path.endswith(b".py"):
                sources.setdefault(path.rpartition(b"/")[0], {})[path] = size
        for folder, files in sources.items():
            cached = view.lower.children(folder + b"/" + _FOLDER if folder else _FOLDER)
            beside = {path + b"c" for path in files if path + b"c" in view.lower}
            for path in cached | beside:
                source = source_of(path)
                node = view.lower.get(path)
                if node is None or source not in files or view.raw(path) is not None:
                    continue
                stamp = _stamp(node.excerpt)
                if stamp is None or stamp.mtime != view.epoch & _MASK:
                    continue
                below = view.lower.get(source)
                same = below is not None and below.sha256 == view.sha256(source)
                if stamp.size in (None, files[source] & _MASK) and not same:
                    yield path


def source_of(path: bytes) -> bytes | None:
    """The source that a bytecode file belongs to, by its name; None if its name is no bytecode's."""
    folder, _, name = path.rpartition(b"/")
    stem = name.removesuffix(b".pyc")
    if stem == name or not stem:
        return None
    parent, _, last = folder.rpartition(b"/")
    if last == _FOLDER:
        base, _, tail = stem.rpartition(b".")
        if tail.startswith(b"opt-"):
            base = base.rpartition(b".")[0]
        if not base:
            return None
        folder, stem = parent, base
    return b"/".join(part for part in (folder, stem + b".py") if part)


def _stamp(head: bytes) -> _Stamp | None:
    """Read a bytecode header; None for hash-based bytecode, other files and unknown magic numbers.

    CPython's magic numbers: Lib/importlib/_bootstrap_external.py. 3390 began PEP 552's four-word header, 3190
    is from when the source's size was added, 62211 is 2.7's.
    """
    if len(head) < _HEADER or head[2:4] != b"\r\n":
        return None
    magic = int.from_bytes(head[:2], "little")
    words = struct.unpack("<III", head[4:16])
    if 3390 <= magic < 10_000:
        return _Stamp(8, words[1], words[2]) if words[0] == 0 else None
    if 3190 <= magic < 3390:
        return _Stamp(4, words[0], words[1])
    if 3000 <= magic < 3190 or 60_000 < magic <= 62_211:
        return _Stamp(4, words[0], None)
    return None


def _stamped(head: bytes, path: bytes, view: LayerView) -> Outcome:
    """Timestamp bytecode in place of the kind that checks a hash, if that is the hash of the source."""
    if len(head) < _HEADER or head[2:8] != b"\r\n" + struct.pack("<I", _CHECKED_HASH):
        return None
    if not _FIRST_SIPHASH13 <= int.from_bytes(head[:2], "little") < 10_000:
        return None
    source = source_of(path)
    resolved = _followed(source, view) if source else None
    written = view.raw(resolved[0]) if resolved else None
    if resolved is None or written is None or written.size > _MAX_SOURCE:
        return None
    key = int.from_bytes(head[:4], "little")
    if _imp.source_hash(key, view.read(written, written.size)) != head[8:]:
        return None
    return Patch(4, struct.pack("<III", 0, (view.mtime(resolved[0]) or 0) & _MASK, written.size))


def _new_mtime(stamp: _Stamp, source: bytes | None, view: LayerView) -> int:
    resolved = _followed(source, view) if source else None
    if resolved is None:
        return 0
    path, seen, size = resolved
    mtime = (view.mtime(path) or 0) & _MASK
    if stamp.mtime in {each & _MASK for each in seen} and stamp.size in (None, size & _MASK):
        return mtime
    # Stale, and no clock left; but were the source's mtime 0 too, 0 would make it valid.
    return 0 if mtime else 1


def _followed(path: bytes, view: LayerView) -> tuple[bytes, set[int], int] | None:
    """The source behind symlinks: its path, the mtimes that the build may have seen, its size."""
    for _ in range(_MAX_SYMLINKS):
        found: Entry | Node | None = view.raw(path)
        seen = set()
        if found is None and not view.gone(path):
            found = view.lower.get(path)
            raw = view.lower.raw_mtime(path)
            seen = set() if raw is None else {raw}
        if found is None:
            return None
        if found.kind is Kind.FILE:
            return path, seen | {found.mtime}, found.size
        if found.kind is not Kind.SYMLINK:
            return None
        folder = path.rpartition(b"/")[0]
        target = found.link if found.link.startswith(b"/") else b"/%s/%s" % (folder, found.link)
        path = normpath(target).lstrip(b"/")
    return None
