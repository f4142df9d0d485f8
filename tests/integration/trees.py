"""The file system of an image, flattened from its layers with nothing but the standard library's tarfile.

What rbuild makes of an image is held against this, so nothing of rbuild's own reading of layers is used here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}
_XATTR = "SCHILY.xattr."
_OVERLAY = "SCHILY.xattr.user.overlay."  # of the storage driver


@dataclass(frozen=True)
class Node:
    """What is at one path. `inode` is the first path of the file in its layer: hard links share it."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    sha256: str
    link: str
    device: tuple[int, int]
    xattrs: tuple[tuple[str, bytes], ...]
    inode: str

    def bare(self) -> tuple[object, ...]:
        """All that a container can see of it, but for which other names it has."""
        mode = 0 if self.kind == "symlink" else self.mode
        return (
            self.kind,
            mode,
            self.uid,
            self.gid,
            self.size,
            self.sha256,
            self.link,
            self.device,
            self.xattrs,
        )


Tree = Mapping[str, Node]  # by path, without leading slash, bytes that are no UTF-8 as surrogates


def flattened(layers: Iterable[IO[bytes]], below: Tree | None = None) -> dict[str, Node]:
    """The tree that layers, uncompressed tars from the lowest to the highest, give upon the tree `below`."""
    tree = dict(below or {})
    for layer in layers:
        _apply(layer, tree)
    return tree


def stored_layers(store: Path, diff_ids: Iterable[tuple[str, str]]) -> Iterator[IO[bytes]]:
    """The layers of rbuild's store, given by (diff id, blob); each is checked against its diff id."""
    for diff_id, blob in diff_ids:
        data = (store / "blobs" / "sha256" / blob.removeprefix("sha256:")).read_bytes()
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        assert hashlib.sha256(plain).hexdigest() == diff_id.removeprefix("sha256:")
        yield io.BytesIO(plain)


def archived_layers(archive: Path, *, skipped: int) -> Iterator[IO[bytes]]:
    """The layers of a docker-archive of one image, but for the lowest `skipped`."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest
        for name in json.load(manifest)[0]["Layers"][skipped:]:
            file = tar.extractfile(name)
            assert file
            yield file


def archived_config(archive: Path) -> dict[str, Any]:
    """The configuration of the image in a docker-archive."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest
        file = tar.extractfile(json.load(manifest)[0]["Config"])
        assert file
        config: dict[str, Any] = json.load(file)
    return config


def _apply(layer: IO[bytes], tree: dict[str, Node]) -> None:
    given: dict[str, Node] = {}
    hidden: list[str] = []
    opaque: list[str] = []
    with tarfile.open(fileobj=layer, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        for entry in tar:
            path = os.path.normpath(entry.name).lstrip("/")
            folder, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                opaque.append(folder)
            elif name.startswith(".wh."):
                hidden.append(f"{folder}/{name[4:]}".lstrip("/"))
            elif path != ".":
                given[path] = _node(tar, entry, path, given)
    for folder in opaque:
        _remove_below(tree, folder)
    for path in hidden:
        tree.pop(path, None)
        _remove_below(tree, path)
    for path, node in given.items():
        if node.kind != "directory":
            _remove_below(tree, path)
        tree[path] = node


def _remove_below(tree: dict[str, Node], folder: str) -> None:
    prefix = f"{folder}/" if folder else ""
    for path in [path for path in tree if path.startswith(prefix)]:
        del tree[path]


def _node(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: str, given: Mapping[str, Node]) -> Node:
    if entry.islnk():
        return given[os.path.normpath(entry.linkname).lstrip("/")]
    data = tar.extractfile(entry) if entry.isreg() else None
    return Node(
        kind=_KINDS[entry.type],
        mode=entry.mode & 0o7777,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size if entry.isreg() else 0,
        sha256=hashlib.file_digest(data, "sha256").hexdigest() if data else "",
        link=entry.linkname,
        device=(entry.devmajor, entry.devminor) if entry.ischr() or entry.isblk() else (0, 0),
        xattrs=tuple(
            sorted(
                (name.removeprefix(_XATTR), value.encode("utf-8", "surrogateescape"))
                for name, value in entry.pax_headers.items()
                if name.startswith(_XATTR) and not name.startswith(_OVERLAY)
            )
        ),
        inode=path,
    )
