"""What one layer does to the layers below it: what it gives, what it deletes.

Source: OCI image specification, "Image Layer Filesystem Changeset".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rbuild.image.tar import MAX_ENTRIES, Entry, Kind, refused

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_BOOKKEEPING = b".wh..wh."  # aufs's own files


def parents(path: bytes) -> Iterator[bytes]:
    """The folders above a path, nearest first, without the root."""
    while (cut := path.rfind(b"/")) > 0:
        path = path[:cut]
        yield path


def whiteout(path: bytes) -> bytes:
    """The name of the entry that deletes `path`."""
    folder, slash, name = path.rpartition(b"/")
    return folder + slash + _WHITEOUT + name


class Changes:
    """Collects a layer's entries in the order of the archive; `finish` when all are in.

    Of two entries with one path the last one counts, and a non-directory in place of a directory takes away
    what came before below it, as when the layer is extracted.
    """

    def __init__(self) -> None:
        self.given: dict[bytes, Entry] = {}
        self.deleted: set[bytes] = set()
        self.opaque: set[bytes] = set()
        self.folders: set[bytes] = set()  # all that something given lies in; known after `finish`
        self._inodes: dict[bytes, Entry] = {}
        self._replaced: dict[bytes, int] = {}  # the offset of what took something's place

    def add(self, entry: Entry) -> None:
        """Take the archive's next entry; raises RbuildError for whiteouts that name nothing."""
        path = entry.path
        if not path:
            return  # The root directory's own metadata are not part of a layer.
        if _WHITEOUT in path and self._is_whiteout(path):
            return
        if path in self.given:
            self._inodes.pop(path, None)
            if entry.kind is not Kind.DIRECTORY:
                self._replaced[path] = entry.offset
        self.given[path] = entry
        if entry.kind is Kind.HARDLINK and (target := self.content_of(entry.link)):
            self._bind([path], target)

    def finish(self) -> None:
        """Settle what only the whole layer tells; raises RbuildError for entries that cannot be extracted."""
        if self._replaced:
            self._drop_replaced()
        for path, entry in self.given.items():
            if entry.kind is Kind.HARDLINK and path not in self._inodes:
                self._resolve(path)
        for path in self.given:
            for parent in parents(path):
                if parent in self.folders:
                    break
                above = self.given.get(parent)
                if above is not None and above.kind is not Kind.DIRECTORY:
                    raise refused(
                        path, f"it lies below an entry of the same layer that is a {above.kind.value}"
                    )
                self.folders.add(parent)
            if len(self.folders) > MAX_ENTRIES:
                raise refused(path, "the layer has more folders than rbuild reads")

    def content_of(self, path: bytes) -> Entry | None:
        """The entry that holds what is at `path`: its own, or the one its hard link leads to in this layer.

        None if the layer gives nothing there, or a hard link to something that only a lower layer has.
        """
        inode = self._inodes.get(path)
        if inode is not None:
            return inode
        entry = self.given.get(path)
        return None if entry is None or entry.kind is Kind.HARDLINK else entry

    def replaces_above(self, path: bytes) -> bool:
        """Whether a folder above `path` becomes something else than a folder."""
        return any(
            (above := self.given.get(parent)) is not None and above.kind is not Kind.DIRECTORY
            for parent in parents(path)
        )

    def hides(self, path: bytes) -> bool:
        """Whether what the layers below have at `path` is taken away, be it to give something else there."""
        above = tuple(parents(path))
        return (
            path in self.deleted
            or b"" in self.opaque
            or any(each in self.deleted or each in self.opaque for each in above)
            or self.replaces_above(path)
        )

    def _is_whiteout(self, path: bytes) -> bool:
        folder, slash, name = path.rpartition(b"/")
        if any(part.startswith(_WHITEOUT) for part in folder.split(b"/")):
            if any(part.startswith(_BOOKKEEPING) for part in folder.split(b"/")):
                return True
            raise refused(path, "it lies below a whiteout")
        if not name.startswith(_WHITEOUT):
            return False
        if name == _OPAQUE:
            self.opaque.add(folder)
        elif not name.startswith(_BOOKKEEPING):
            target = name[len(_WHITEOUT) :]
            if target in (b"", b".", b".."):
                raise refused(path, "it is a whiteout that names nothing")
            self.deleted.add(folder + slash + target)
        return True

    def _drop_replaced(self) -> None:
        for path, entry in list(self.given.items()):
            if any(self._replaced.get(parent, 0) > entry.offset for parent in parents(path)):
                del self.given[path]
                self._inodes.pop(path, None)

    def _resolve(self, path: bytes) -> None:
        """Follow a hard link that came before its target."""
        chain = {path}
        link = self.given[path].link
        while (target := self.content_of(link)) is None and link in self.given:
            if link in chain:
                raise refused(path, "it is a hard link to itself")
            chain.add(link)
            link = self.given[link].link
        if target is not None:
            self._bind(chain, target)

    def _bind(self, links: Iterable[bytes], target: Entry) -> None:
        for link in links:
            if target.kind is Kind.DIRECTORY:
                raise refused(link, "it is a hard link to a directory")
            self._inodes[link] = target
