"""What of a builder's layer stays in the canonical layer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import msgspec

from rbuild.image.changes import Changes
from rbuild.image.index import Node, Tree, kept_xattrs
from rbuild.image.normalise import Content, Drop, Edits, Normaliser, Outcome, Patch, edited
from rbuild.image.tar import CHUNK, Entry, Kind, refused

# What the builder mounts into a RUN leaves an empty file or folder where it was mounted.
_MOUNTED_FILES = frozenset((b"run/.containerenv", b"etc/hosts", b"etc/resolv.conf", b"etc/hostname"))
_MOUNTED_FOLDERS = (b"proc", b"sys", b"dev", b"run/secrets", b"run")


class Kept(msgspec.Struct, frozen=True, gc=False):
    """An entry that stays, with the metadata and size that it will have."""

    entry: Entry  # `offset` is where the builder's layer has the content; the same for all hard links to it
    outcome: Content | Patch | Edits | None  # what a normaliser makes of the content
    sha256: bytes = b""  # where it had to be known to decide


class Selection:
    """Asks each normaliser about each entry, and drops what changes nothing; a `LayerView` for normalisers.

    `source` is the builder's layer as a seekable file, `changes` what was read from it.
    """

    def __init__(
        self,
        source: BinaryIO,
        changes: Changes,
        lower: Tree,
        *,
        epoch: int,
        normalisers: Sequence[Normaliser],
        mounts: frozenset[bytes],
    ) -> None:
        self.epoch = epoch
        self.lower = lower
        self._source = source
        self._changes = changes
        self._normalisers = normalisers
        self._mounts = mounts
        self._decided: dict[bytes, Kept | None] = {}
        self._linked: dict[re.Pattern[bytes], bool] = {}
        for path in changes.given:
            self.decide(path)
        for path in _MOUNTED_FOLDERS:
            self._drop_mount_point(path)

    def all(self) -> list[Kept]:
        """What stays, in byte order of the paths."""
        return [kept for _, kept in sorted(self._decided.items()) if kept is not None]

    def decide(self, path: bytes) -> Kept | None:
        """What becomes of what the layer gives at `path`; None if it goes."""
        try:
            return self._decided[path]
        except KeyError:
            kept = self._decided[path] = self._decide(path)
            return kept

    def content(self, kept: Kept) -> Iterator[bytes]:
        """The content of a file as it will be, in chunks."""
        outcome = kept.outcome
        if isinstance(outcome, Content):
            yield outcome.data
            return
        raw = self.chunks(kept.entry)
        if isinstance(outcome, Patch):
            outcome = Edits((outcome,))
        yield from raw if outcome is None else edited(raw, outcome.parts)

    def deletes(self) -> set[bytes]:
        """What normalisers want to go from the layers below."""
        return {path for each in self._normalisers for path in each.deletes(self)}

    # What follows is the view that normalisers have.

    def raw(self, path: bytes) -> Entry | None:
        """See `LayerView`."""
        return self._changes.content_of(path)

    def gone(self, path: bytes) -> bool:
        """See `LayerView`."""
        return path not in self._changes.given and self._changes.hides(path)

    def read(self, entry: Entry, limit: int, at: int = 0) -> bytes:
        """See `LayerView`."""
        if at >= entry.size:
            return b""
        self._source.seek(entry.offset + at)
        return self._source.read(min(limit, entry.size - at))

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """See `LayerView`."""
        at = 0
        while at < entry.size:
            chunk = self.read(entry, CHUNK, at)
            if not chunk:
                raise refused(entry.path, "its content runs past the end of the archive")
            at += len(chunk)
            yield chunk

    def mtime(self, path: bytes) -> int | None:
        """See `LayerView`."""
        if path in self._changes.given and self.decide(path) is not None:
            return self.epoch
        below = self.lower.get(path)
        return None if below is None else below.mtime

    def linked(self, folder: re.Pattern[bytes]) -> bool:
        """See `LayerView`."""
        if folder not in self._linked:
            self._linked[folder] = any(
                folder.match(entry.link) and not folder.match(path)
                for path, entry in self._changes.given.items()
                if entry.kind is Kind.SYMLINK
            )
        return self._linked[folder]

    def kept(self) -> Iterable[tuple[bytes, int]]:
        """See `LayerView`."""
        for path, kept in self._decided.items():
            if kept is not None and kept.entry.kind is Kind.FILE:
                yield path, kept.entry.size

    def sha256(self, path: bytes) -> bytes:
        """See `LayerView`."""
        kept = self._decided[path]
        if kept is None:
            raise KeyError(path)
        return kept.sha256 or self._hash(kept)

    def rewritten(self, path: bytes) -> bool:
        """See `LayerView`."""
        kept = self.decide(path) if path in self._changes.given else None
        return kept is not None and kept.outcome is not None

    def _decide(self, path: bytes) -> Kept | None:
        if path.partition(b"/")[0] in self._mounts:
            return None
        inode = self._changes.content_of(path)
        below = self.lower.get(path)
        if inode is None:
            link = self._changes.given[path].link
            if below is None or below != self.lower.get(link):
                raise refused(path, "it is a hard link to a file that only a lower layer has")
            return None
        entry = Entry(
            path,
            inode.kind,
            inode.mode,
            inode.uid,
            inode.gid,
            inode.size,
            inode.mtime,
            inode.link,
            inode.device,
            kept_xattrs(inode),
            inode.offset,
        )
        if path in _MOUNTED_FILES and entry.kind is Kind.FILE and not entry.size:
            return None
        outcome: Outcome = None
        for normaliser in self._normalisers:
            outcome = normaliser.normalise(entry, self)
            if outcome is not None:
                break
        if isinstance(outcome, Drop):
            return None
        size = len(outcome.data) if isinstance(outcome, Content) else entry.size
        kept = Kept(_restated(entry, size, self.epoch), outcome)
        if below is None or not _same_metadata(kept.entry, below):
            return kept
        if entry.kind is not Kind.FILE:
            return None
        sha256 = self._hash(kept)
        return None if sha256 == below.sha256 else Kept(kept.entry, outcome, sha256)

    def _hash(self, kept: Kept) -> bytes:
        digest = hashlib.sha256()
        for chunk in self.content(kept):
            digest.update(chunk)
        return digest.digest()

    def _drop_mount_point(self, path: bytes) -> None:
        kept = self._decided.get(path)
        if kept is None or kept.entry.kind is not Kind.DIRECTORY or path in self.lower:
            return
        prefix = path + b"/"
        if not any(each and name.startswith(prefix) for name, each in self._decided.items()):
            self._decided[path] = None


def _restated(entry: Entry, size: int, epoch: int) -> Entry:
    return msgspec.structs.replace(entry, size=size, mtime=epoch)


def _same_metadata(entry: Entry, below: Node) -> bool:
    return (
        entry.kind is below.kind
        and entry.size == below.size
        and entry.mode == below.mode
        and entry.uid == below.uid
        and entry.gid == below.gid
        and entry.link == below.link
        and entry.device == below.device
        and entry.xattrs == below.xattrs
    )
