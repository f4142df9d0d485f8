"""How layers are compressed, and how layers of others are read.

The codec is part of the canonical form: another library version may write other bytes for the same input.
What is in the layers does not depend on it.
"""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

import zstandard

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.form import Algorithm
from rbuild.image.zstdframe import ZstdFrame

if TYPE_CHECKING:
    from typing_extensions import Buffer

_TEXT = re.compile(
    r"(?:zstd:(?P<zstd>[1-9]|1[0-9]):(?P<version>[0-9]+\.[0-9]+\.[0-9]+)|gzip:(?P<gzip>[1-9]))\Z"
)
_ZSTD_VERSION = ".".join(map(str, zstandard.ZSTD_VERSION))
_CHUNK = 1 << 20
_MAX_WORKERS = 4  # more take 20 MB each, and no time: hashing and reading are on one thread
_FREE = 1 << 30  # bytes that any blob may unpack to
_MAX_RATIO = 1_000  # beyond that, how many times its own size; deflate cannot do more than 1,032
_STEP = 1 << 16  # bytes that are read at a time
_MAX_SIZE = 1 << 38

MEDIA_TYPES = {
    "application/vnd.oci.image.layer.v1.tar": "none",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "none",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
}
"""The media types of layers, and how each is compressed."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How a layer is compressed; as text, in the lock: `zstd:3:1.5.7` (level, library), `gzip:6` (level)."""

    algorithm: Algorithm
    level: int

    @classmethod
    def parse(cls, text: str) -> Codec:
        """Read a codec's text, of whatever version of libzstd. Raises RbuildError for an unknown one.

        It writes with the version that there is here, which another version's bytes may differ from.
        """
        match = _TEXT.match(text)
        if match is None:
            raise RbuildError(f"not a codec: {text[:80]!r}", hint=f"write {DEFAULT} or gzip:6")
        if match["gzip"]:
            return cls("gzip", int(match["gzip"]))
        return cls("zstd", int(match["zstd"]))

    @classmethod
    def is_ours(cls, text: str) -> bool:
        """Whether a codec's text names the library that there is. Raises RbuildError for an unknown one."""
        return str(cls.parse(text)) == text

    @classmethod
    def beside_ours(cls, text: str) -> str:
        """A locked codec's text and what compresses here, for a message. Raises RbuildError as `parse`."""
        return f"it is locked with the codec {text}, and this rbuild has {cls.parse(text).library}"

    @property
    def library(self) -> str:
        """What compresses here, for a message."""
        return f"libzstd {_ZSTD_VERSION}" if self.algorithm == "zstd" else f"zlib {zlib.ZLIB_RUNTIME_VERSION}"

    @property
    def media_type(self) -> str:
        """Of the layers that it writes."""
        return f"application/vnd.oci.image.layer.v1.tar+{self.algorithm}"

    def writer(self, sink: Sink, *, workers: int = 1) -> BlobWriter:
        """Compress into `sink`; zstd on that many threads, at most four, which the bytes do not depend on."""
        return BlobWriter(sink, self._compressor(workers))

    def _compressor(self, workers: int) -> _Compressor:
        if self.algorithm == "gzip":
            # gzip's header without a name and with mtime 0 (RFC 1952).
            return zlib.compressobj(self.level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        # No content size in the frame, since the parameters would depend on it; no checksum, since the blob
        # and what is in it have a sha256 each. Zero workers would be another algorithm, with other bytes.
        parameters = zstandard.ZstdCompressionParameters.from_level(
            self.level, threads=max(1, min(workers, _MAX_WORKERS)), write_content_size=0, write_checksum=0
        )
        compressor: _Compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return compressor

    def __str__(self) -> str:
        version = f":{_ZSTD_VERSION}" if self.algorithm == "zstd" else ""
        return f"{self.algorithm}:{self.level}{version}"


DEFAULT = Codec("zstd", 3)
_NEWEST: Mapping[Algorithm, Codec] = {"zstd": DEFAULT, "gzip": Codec("gzip", 6)}


def codec_text(algorithm: Algorithm, locked: str = "") -> str:
    """The text of the codec for a layer: the locked one, as long as it is of that algorithm, else the newest.

    So an image that is locked keeps its codec, whatever library there is now.
    """
    match = _TEXT.match(locked)
    if match and algorithm == ("gzip" if match["gzip"] else "zstd"):
        return locked
    return str(_NEWEST[algorithm])


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Sink(Protocol):
    """Where bytes go: a binary file, a codec's writer, the store's."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that was written."""

    digest: Digest
    size: int


class BlobWriter:
    """Compresses what is written to it, and knows digest and size of the result. `finish` ends the stream."""

    def __init__(self, sink: Sink, compressor: _Compressor) -> None:
        self._sink = sink
        self._compressor = compressor
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> int:
        """Take all of `data`."""
        self._put(self._compressor.compress(data))
        return len(data)

    def finish(self) -> Blob:
        """End the stream; the sink stays open."""
        self._put(self._compressor.flush())
        return Blob(Digest(self._hash.hexdigest()), self._size)

    def _put(self, data: bytes) -> None:
        if data:
            self._hash.update(data)
            self._size += len(data)
            self._sink.write(data)


def decompressed(file: BinaryIO, media_type: str, *, limit: int = _MAX_SIZE) -> BinaryIO:
    """A layer's uncompressed bytes, as a file that is read forwards.

    Reading raises BrokenBlob for broken data, for more than `limit` bytes, and for a blob that unpacks to
    more than 1 GiB and 1,000 times its size. Raises RbuildError at once for a media type that is no layer's.
    """
    compression = MEDIA_TYPES.get(media_type)
    if compression is None:
        raise RbuildError(f"not the media type of a layer that rbuild can read: {media_type[:200]!r}")
    if compression == "none":
        return file
    return io.BufferedReader(_Unpacked(file, compression, limit), _CHUNK)


class BrokenBlob(RbuildError):
    """A compressed layer cannot be unpacked, or not be trusted to end."""


class _Frame(Protocol):
    """A zstd frame or a gzip member on its way; a blob is one or several."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _Unpacked(io.RawIOBase):
    def __init__(self, file: BinaryIO, algorithm: str, limit: int) -> None:
        self._file = file
        self._algorithm = algorithm
        self._limit = limit
        self._frame: _Frame | None = None
        self._packed = b""
        self._ready = memoryview(b"")
        self._taken = 0
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        while not self._ready:
            if not self._advance():
                return 0
        size = min(len(view), len(self._ready))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _advance(self) -> bool:
        """Unpack a step further; False at the end."""
        if not self._packed:
            self._packed = self._file.read(_STEP)
            self._taken += len(self._packed)
        if self._frame is None:
            if not self._packed:
                return False
            self._frame = _new_frame(self._algorithm)
        ended = not self._packed
        data = self._unpack(self._frame, self._packed)
        self._packed = self._frame.unconsumed_tail
        if self._frame.eof:
            self._packed = self._frame.unused_data
            self._frame = None
        elif ended and not data:
            raise _broken(self._algorithm, "it ends too early")
        self._given += len(data)
        if self._given > min(self._limit, max(_FREE, _MAX_RATIO * self._taken)):
            raise BrokenBlob(
                f"a layer of {self._taken} bytes unpacks to more than {self._given}: refused as a bomb",
                hint="if the image is to be trusted, have it built with less in one layer",
            )
        self._ready = memoryview(data)
        return True

    def _unpack(self, frame: _Frame, packed: bytes) -> bytes:
        try:
            if self._algorithm == "gzip":
                return frame.decompress(packed, _CHUNK)  # type: ignore[call-arg]
            return frame.decompress(packed)
        except (zlib.error, zstandard.ZstdError) as error:
            raise _broken(self._algorithm, str(error)) from error


def _new_frame(algorithm: str) -> _Frame:
    return zlib.decompressobj(16 + zlib.MAX_WBITS) if algorithm == "gzip" else ZstdFrame()


def _broken(algorithm: str, why: str) -> BrokenBlob:
    return BrokenBlob(f"a layer is not valid {algorithm}: {why}", hint="fetch the image again")
