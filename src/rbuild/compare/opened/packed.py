"""Files compressed with xz, bzip2 or zstd: what is in them or, where that is equal, the compressed bytes."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable

import zstandard

from rbuild.compare.opened.streams import STEP, Stream, stem, unpacked
from rbuild.compare.place import Inner, Opened, Place
from rbuild.image.zstdframe import ZstdFrame

XZ_MAGIC = b"\xfd7zXZ\0"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BZIP2_MAGIC = b"BZh"
_SKIPPABLE = tuple(bytes([kind]) + b"\x2a\x4d\x18" for kind in range(0x50, 0x60))
_XZ_MEMORY = 256 << 20  # bytes; `xz -9` needs 65 MiB to unpack
_BROKEN = (lzma.LZMAError, OSError, EOFError, ValueError, zstandard.ZstdError)


class _Python:
    """Python's own objects for xz and bzip2, which keep what they do not take of the input."""

    def __init__(self, stream: lzma.LZMADecompressor | bz2.BZ2Decompressor) -> None:
        self._stream = stream

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def step(self, data: bytes) -> tuple[bytes, bytes]:
        if not self._stream.needs_input:
            return self._stream.decompress(b"", STEP), data
        return self._stream.decompress(data, STEP), b""


class _Zstd(ZstdFrame):
    def step(self, data: bytes) -> tuple[bytes, bytes]:
        part = self.decompress(data)
        return part, b"" if self.eof else self.unconsumed_tail


def is_bzip2(name: str, data: bytes) -> bool:
    """Whether a content begins as bzip2's do: a magic, a block size, and the magic of a block or the end."""
    return data.startswith(_BZIP2_MAGIC) and data[3:4].isdigit() and data[4:7] in (b"1AY", b"\x17\x72\x45")


def open_xz(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """What is compressed with xz."""
    return _opened(place, "xz", a, b, inner, _xz, (XZ_MAGIC,))


def open_bzip2(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """What is compressed with bzip2."""
    return _opened(place, "bzip2", a, b, inner, _bzip2, (_BZIP2_MAGIC,))


def open_zstd(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """What is compressed with zstd."""
    return _opened(place, "zstd", a, b, inner, _Zstd, (ZSTD_MAGIC, *_SKIPPABLE))


def _xz() -> Stream:
    return _Python(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY))


def _bzip2() -> Stream:
    return _Python(bz2.BZ2Decompressor())


def _opened(
    place: Place,
    format: str,
    a: bytes,
    b: bytes,
    inner: Inner,
    new: Callable[[], Stream],
    magics: tuple[bytes, ...],
) -> Opened:
    content_a, content_b = (unpacked(place, side, new, magics=magics, broken=_BROKEN) for side in (a, b))
    if content_a != content_b:
        return Opened([inner(stem(place.name), content_a, content_b)])
    note = "both unpack to the same content"
    return Opened([place.binary("compressed data", a, b, format=format, aspect="data", note=note)])
