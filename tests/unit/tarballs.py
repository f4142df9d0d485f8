"""Layers for tests, written by Python's tarfile, so that rbuild's reader meets another writer."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Sequence

from rbuild.image.form import NEWEST
from rbuild.image.index import LayerIndex, Tree, index_layer
from rbuild.image.layer import CanonicalLayer, canonical_layer
from rbuild.image.normalise import Normaliser, normalisers

EPOCH = 1_600_000_000
RAW = 1_700_000_123


def member(
    name: str,
    data: bytes | None = None,
    *,
    kind: bytes | None = None,
    link: str = "",
    mode: int | None = None,
    uid: int = 0,
    mtime: float = RAW,
    pax: dict[str, str] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    """A file if it has data, a symlink if it has a link, else a directory."""
    info = tarfile.TarInfo(name)
    if kind is None:
        kind = tarfile.REGTYPE if data is not None else tarfile.SYMTYPE if link else tarfile.DIRTYPE
    info.type = kind
    info.size = len(data or b"")
    info.linkname = link
    info.mode = mode if mode is not None else 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.uid = info.gid = uid
    info.uname = info.gname = "somebody"
    info.mtime = mtime
    info.pax_headers = pax or {}
    return info, data or b""


def tarball(members: Iterable[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of the members in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def tree(*layers: Sequence[tuple[tarfile.TarInfo, bytes]]) -> Tree:
    """The file system that such layers give."""
    below = Tree()
    for layer in layers:
        below.apply(index_layer(io.BytesIO(tarball(layer))))
    return below


def canonical(
    members: Iterable[tuple[tarfile.TarInfo, bytes]] | bytes,
    lower: Tree | None = None,
    *,
    epoch: int = EPOCH,
    normalisers: Sequence[Normaliser] = tuple(normalisers(NEWEST).values()),
    mounts: frozenset[bytes] = frozenset(),
) -> tuple[bytes, CanonicalLayer | None]:
    """The canonical tar of such a layer, and what canonical_layer says about it."""
    source = members if isinstance(members, bytes) else tarball(members)
    sink = io.BytesIO()
    layer = canonical_layer(
        io.BytesIO(source),
        Tree() if lower is None else lower,
        epoch=epoch,
        normalisers=normalisers,
        sink=sink,
        mounts=mounts,
    )
    return sink.getvalue(), layer


def listed(data: bytes) -> dict[str, tarfile.TarInfo]:
    """What Python's tarfile, as a second opinion, finds in an archive; nothing where none was written."""
    if not data:
        return {}
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        return {info.name: info for info in tar}


def content(data: bytes, name: str) -> bytes:
    """One file's content, as Python's tarfile finds it."""
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def indexed(data: bytes) -> LayerIndex:
    """The index of an archive."""
    return index_layer(io.BytesIO(data))
