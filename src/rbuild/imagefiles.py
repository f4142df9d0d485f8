"""The files that an image comes as: those of a folder, or of a tar that is read where it lies.

All of it may be a stranger's.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from rbuild.errors import RbuildError, Where
from rbuild.image.codec import decompressed
from rbuild.image.tar import Entry, Kind, TarReader

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MAX_UNPACKED = 1 << 36  # bytes of an archive that came compressed
_MAX_FILES = 10_000  # in an archive: a layer has up to three, and an image at most 512 of them
_TAR = "application/vnd.oci.image.layer.v1.tar"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20


class Files(Protocol):
    """Named files: those of a folder, or of an archive."""

    path: Path  # for messages

    def has(self, name: str) -> bool: ...

    def open(self, name: str) -> BinaryIO:
        """Open a regular file at its start, seekable. Raises RbuildError where there is none."""


class Folder:
    """The files of a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def open(self, name: str) -> BinaryIO:
        path = self.path / name
        try:
            if not path.resolve(strict=True).is_relative_to(self.path.resolve()):
                raise RbuildError("leads out of the folder", where=Where(file=str(path)))
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would wait for its writer
        except OSError as error:
            raise RbuildError(f"cannot be read: {error.strerror}", where=Where(file=str(path))) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise RbuildError("is not a regular file", where=Where(file=str(path)))
        return os.fdopen(descriptor, "rb")


class Archive:
    """The files of a tar, which are read where they lie. Use as a context."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """`file` is the uncompressed tar, `path` its name for messages."""
        self.path = path
        self._file = file
        self._files: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        for count, entry in enumerate(self._entries()):
            if count >= _MAX_FILES:
                raise self._wrong(f"holds more than {_MAX_FILES} files, which is no image")
            name = entry.path.decode(errors="backslashreplace")
            if name in self._files or name in links:
                raise self._wrong(f"holds {name[:200]!r} twice")
            if entry.kind is Kind.FILE:
                self._files[name] = (entry.offset, entry.size)
            elif entry.kind in (Kind.SYMLINK, Kind.HARDLINK):
                target = entry.link.decode(errors="backslashreplace")
                if entry.kind is Kind.SYMLINK:
                    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
                links[name] = target
        # Docker's archives link a layer that comes twice.
        for name, target in links.items():
            if target in self._files:
                self._files[name] = self._files[target]

    def _entries(self) -> Iterator[Entry]:
        try:
            yield from TarReader(self._file)
        except RbuildError as error:
            what = f"is no tar that rbuild can read: {error.problems[0].what}"
            raise RbuildError(
                what, where=Where(file=str(self.path)), hint="a tar may be compressed with gzip or zstd"
            ) from error

    def has(self, name: str) -> bool:
        return name in self._files

    def open(self, name: str) -> BinaryIO:
        try:
            start, size = self._files[name]
        except KeyError:
            raise self._wrong(f"holds no {name[:200]!r}") from None
        return io.BufferedReader(_Part(os.dup(self._file.fileno()), start, size), _CHUNK)

    def _wrong(self, what: str) -> RbuildError:
        return RbuildError(f"the archive {what}", where=Where(file=str(self.path)))


class _Part(io.RawIOBase):
    """Bytes in the midst of a file; several may be read at the same time. Closes the descriptor."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        count = os.preadv(self._descriptor, [view], self._start + self._at) if view else 0
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


@contextlib.contextmanager
def open_archive(path: Path, scratch: Path) -> Iterator[Archive]:
    """The files of the tar at `path`; one that is compressed is unpacked into the folder `scratch` first.

    Raises RbuildError for what is no tar, and for one that unpacks to more than any image would.
    """
    with contextlib.ExitStack() as stack:
        real = path.resolve()
        file: BinaryIO = stack.enter_context(Folder(real.parent).open(real.name))
        if kind := _compression(file):
            target = scratch / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.tar"
            with target.open("wb") as unpacked:
                source = decompressed(file, f"{_TAR}+{kind}", limit=_MAX_UNPACKED)
                while chunk := source.read(_CHUNK):
                    unpacked.write(chunk)
            file = stack.enter_context(target.open("rb"))
        yield Archive(path, file)


def _compression(file: BinaryIO) -> str:
    start = file.read(4)
    file.seek(0)
    return "gzip" if start.startswith(_GZIP) else "zstd" if start == _ZSTD else ""
