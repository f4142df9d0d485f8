"""The files of the scenarios that git cannot hold, or holds badly; the same bytes wherever they are made."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import zstandard

PAGE_TEXT = b"what the server says\n"
LARGE_SIZE = 220 << 20

# cap_net_bind_service+ep, as <linux/capability.h> lays it out: version 2, effective; little-endian.
_CAPABILITY = bytes.fromhex("0100000200040000" + "00" * 12)
_LATE = 1_690_000_000


def fill(name: str, context: Path) -> None:
    """Add the files of the scenario `name` to its context, a folder that is there."""
    if name in _FILLERS:
        _FILLERS[name](context)


def complete(containerfile: Path) -> None:
    """Put the sums of what is generated into a Containerfile; nothing else changes."""
    text = containerfile.read_bytes()
    containerfile.write_bytes(text.replace(b"@SUM@", hashlib.sha256(PAGE_TEXT).hexdigest().encode()))


def plain_tar() -> bytes:
    """A small archive of ordinary things."""
    return _tar(
        [
            _folder("folder", mode=0o750, uid=10, gid=20),
            _file("folder/file.txt", b"in a folder\n", mode=0o640, uid=1000, gid=1000),
            _file("program", b"#!/bin/true\n", mode=0o755),
            _file("./dotted/implied/file", b"its folders have no entry\n"),
            _link(tarfile.SYMTYPE, "link", "folder/file.txt"),
        ]
    )


def _archives(context: Path) -> None:
    """The bytes of a packed archive depend on the library at hand: it may be unpacked, never copied."""
    tar = plain_tar()
    (context / "plain.tar").write_bytes(tar)
    (context / "packed.tar.gz").write_bytes(gzip.compress(tar, mtime=0))
    (context / "packed.tar.bz2").write_bytes(bz2.compress(tar))
    (context / "packed.tar.xz").write_bytes(lzma.compress(tar))
    (context / "packed.tar.zst").write_bytes(zstandard.ZstdCompressor().compress(tar))


def _links(context: Path) -> None:
    entries = [
        _file("one", b"one inode\n"),
        _link(tarfile.LNKTYPE, "sub/two", "one"),
        _link(tarfile.LNKTYPE, "another/deep/three", "sub/two"),
        _link(tarfile.SYMTYPE, "relative", "sub/two"),
        _link(tarfile.SYMTYPE, "absolute", "/links/one"),
        _link(tarfile.SYMTYPE, "dangling", "nowhere/at/all"),
        _link(tarfile.SYMTYPE, "outside", "/nowhere"),
        _link(tarfile.SYMTYPE, "up", "../../../.."),
        _link(tarfile.SYMTYPE, "long", "/".join(["target"] * 40)),
    ]
    (context / "links.tar").write_bytes(_tar(entries))


def _modes(context: Path) -> None:
    entries = [
        _folder("sticky", mode=0o1777),
        _folder("group", mode=0o2775, gid=50),
        _file("setuid", b"s", mode=0o4755),
        _file("setgid", b"g", mode=0o2755, gid=65535),
        _file("all", b"a", mode=0o7777, uid=1),
        _file("none", b"n", mode=0),
        _file("owner", b"o", uid=65535, gid=65535),
        _file("octal", b"o", uid=32768, gid=4096),
        _file("capable", b"c", mode=0o755, xattrs={b"security.capability": _CAPABILITY}),
        _file("noted", b"x", xattrs={b"user.note": b"of an archive", b"user.bytes": b"\xff\x01=\n"}),
        _folder("noted-folder", xattrs={b"user.note": "schön".encode()}),
    ]
    (context / "modes.tar").write_bytes(_tar(entries))


NAMES = (
    b"n" * 255,
    ("ü" * 127).encode() + b"x",
    b"/".join([b"deep-folder"] * 9) + b"/over-100",
    b"/".join([b"a-folder-with-a-longer-name"] * 12) + b"/over-255",
    b"d" * 155 + b"/" + b"f" * 100,  # the longest that ustar holds
    b"d" * 156 + b"/" + b"f" * 100,
    "Ünïcödé/日本語/🙂".encode(),
    b"e\xcc\x81-composed-and-\xc3\xa9",
    b"latin-\xe9\xff\xfe",
    b"latin-\xe8/below",
    b"with space",
    b"back\\slash",
    b"quote'double\"",
    b"star*?[a]",
    b"new\nline",
    b"tab\tescape\x1b",
    b" leading",
    b"trailing ",
    b"-dash",
    b"..dots..",
    b"...",
    b".hidden/.wh",
    b"$HOME",
    b"%s",
    b"#hash",
    b"Case",
    b"case",
)


def _names(context: Path) -> None:
    (context / "names.tar").write_bytes(_tar(_file(os.fsdecode(name), name) for name in NAMES))
    for name in NAMES:
        path = context / "names" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name)


def _sizes(context: Path) -> None:
    folder = context / "sizes"
    (folder / "empty" / "nested").mkdir(parents=True)
    for name, size in (("zero", 0), ("one", 1), ("block", 512), ("more", 513), ("odd", 10_240 + 1)):
        (folder / name).write_bytes(b"x" * size)
    with (folder / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"after a hole")
        file.truncate(4 << 20)


def _special(context: Path) -> None:
    entries = [
        _file("before", b"before\n"),
        _node(tarfile.FIFOTYPE, "fifo", mode=0o600),
        _node(tarfile.CHRTYPE, "null", mode=0o666, device=(1, 3)),
        _node(tarfile.BLKTYPE, "loop", mode=0o660, device=(7, 0)),
        _node(tarfile.FIFOTYPE, "folder/fifo", mode=0o644, uid=5, gid=6),
        _node(tarfile.CHRTYPE, "folder/console", mode=0o600, device=(5, 1)),
        _file("folder/after", b"after\n"),
    ]
    (context / "special.tar").write_bytes(_tar(entries))


def _large(context: Path) -> None:
    """A third that no codec can pack, a third that repeats, a third of holes."""
    part = LARGE_SIZE // 3 // 4096 * 4096
    with (context / "blob").open("wb") as file:
        for number in range(part // (1 << 20)):
            file.write(hashlib.shake_128(b"%d" % number).digest(1 << 20))
        file.seek(part)
        for number in range(part // 4096):
            file.write(b"%08d" % number * 512)
        file.truncate(LARGE_SIZE)


_FILLERS: dict[str, Callable[[Path], None]] = {
    "archives": _archives,
    "large": _large,
    "links": _links,
    "modes": _modes,
    "names": _names,
    "sizes": _sizes,
    "special": _special,
}

# Tar archives. A value of an xattr may be any bytes, which the module tarfile writes only as text.

_Member = tuple[tarfile.TarInfo, bytes]


def _tar(members: Iterable[_Member]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _info(name: str, kind: bytes, mode: int, uid: int, gid: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, gid, _LATE
    return info


def _file(
    name: str,
    data: bytes,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    xattrs: dict[bytes, bytes] | None = None,
) -> _Member:
    info = _info(name, tarfile.REGTYPE, mode, uid, gid)
    info.size = len(data)
    info.pax_headers = _pax(xattrs)
    return info, data


def _folder(
    name: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0, xattrs: dict[bytes, bytes] | None = None
) -> _Member:
    info = _info(name, tarfile.DIRTYPE, mode, uid, gid)
    info.pax_headers = _pax(xattrs)
    return info, b""


def _link(kind: bytes, name: str, target: str) -> _Member:
    info = _info(name, kind, 0o777 if kind == tarfile.SYMTYPE else 0o644, 0, 0)
    info.linkname = target
    return info, b""


def _node(
    kind: bytes, name: str, *, mode: int, uid: int = 0, gid: int = 0, device: tuple[int, int] = (0, 0)
) -> _Member:
    info = _info(name, kind, mode, uid, gid)
    info.devmajor, info.devminor = device
    return info, b""


def _pax(xattrs: dict[bytes, bytes] | None) -> dict[str, str]:
    return {
        f"SCHILY.xattr.{name.decode()}": value.decode("utf-8", "surrogateescape")
        for name, value in (xattrs or {}).items()
    }
