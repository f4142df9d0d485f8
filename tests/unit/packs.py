"""Files that hold others, in few bytes: compressed ones, archives of ar, bytecode."""

from __future__ import annotations

import bz2
import lzma
import struct
from collections.abc import Callable

import zstandard
from tarballs import member, tarball

Pack = Callable[[bytes], bytes]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


PACKS = {"xz": xz, "bz2": bz2.compress, "zst": zstd}


def ar(*members: tuple[bytes, int, bytes], mode: bytes = b"100644") -> bytes:
    """An archive as dpkg-deb writes it, of names, times and contents."""
    out = b"!<arch>\n"
    for name, time, data in members:
        head = name.ljust(16) + b"%d" % time
        out += head.ljust(28) + b"0     0     " + mode.ljust(8) + (b"%d" % len(data)).ljust(10) + b"`\n"
        out += data + b"\n" * (len(data) % 2)
    return out


def deb(control: bytes, *, time: int = 1_700_000_000, pack: Pack = lzma.compress) -> bytes:
    tars = [tarball([member("control", control)]), tarball([member("usr"), member("usr/x", b"x")])]
    parts = [(b"debian-binary", time, b"2.0\n"), (b"control.tar.xz", time, pack(tars[0]))]
    return ar(*parts, (b"data.tar.xz", time, pack(tars[1])))


def pyc(code: bytes, magic: int = 3495) -> bytes:
    return struct.pack("<H2s12x", magic, b"\r\n") + code
