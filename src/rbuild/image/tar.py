"""Tar archives as layers have them, read without decoding.

Formats: ustar and pax (POSIX.1-2017, pax), GNU long names and base-256 numbers (tar manual, "Basic Tar
Format"). Python's tarfile decodes names to text, reads headers slower, and forgives what a layer
must not hold; hence a reader of our own.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

import msgspec

from rbuild.errors import RbuildError
from rbuild.image.codec import BrokenBlob
from rbuild.visible import visible

_T = TypeVar("_T")

BLOCK = 512
CHUNK = 1 << 20

_MAX_PAX = 1 << 20  # bytes of one extended header, or of one GNU long name
_MAX_PATH = 4096  # PATH_MAX
_MAX_DEPTH = 256
MAX_ENTRIES = 1_000_000
_MAX_NAMES = 256 << 20  # bytes of all names, link targets and xattrs of one archive
XATTR = b"SCHILY.xattr."
_ZERO = bytes(BLOCK)
# name mode uid gid size mtime checksum type link magic+version uname gname devmajor devminor prefix
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")


class Kind(enum.Enum):
    """What a tar entry makes."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    CHAR = "char"
    BLOCK = "block"
    FIFO = "fifo"


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHAR,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry of an archive."""

    path: bytes  # no leading or trailing slash; empty for the root directory itself
    kind: Kind
    mode: int  # permission bits only, 0o7777
    uid: int = 0
    gid: int = 0
    size: int = 0  # of the content that follows the header; 0 for all but files
    mtime: int = 0  # whole seconds
    link: bytes = b""  # a symlink's text as it is, a hard link's target as a path
    device: tuple[int, int] = (0, 0)  # major, minor
    xattrs: tuple[tuple[bytes, bytes], ...] = ()  # sorted by name
    offset: int = 0  # where the content begins in the archive


def shown(path: bytes) -> str:
    """A path for people: as UTF-8, what is not UTF-8 or not printable escaped, and not longer than a line."""
    return f"/{visible(path.decode('utf-8', 'backslashreplace'), 200)}"


def refused(path: bytes, why: str) -> RbuildError:
    """The error for an entry that a layer must not hold."""
    return RbuildError(
        f"layer entry {shown(path)}: {why}",
        hint="the layer is broken or not an OCI layer: fetch or build the image again",
    )


class TarReader:
    """Iterates over the entries of an archive, once, from where `file` stands.

    `file` is seeked over contents when it can be, else read through. Between two entries `content()` gives
    the bytes of the last one. Every header's checksum is checked; an archive that is cut short, that goes on
    after its end, or that holds what a layer must not (GNU sparse files, `..`, unknown types) raises
    RbuildError with the entry's name. Global pax headers are skipped, as by Podman.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # A file that is read forwards may have its own way of passing over what nobody wants.
        self._skip: Callable[[int], int] | None = getattr(file, "skip", None)
        self._end: int | None = None
        self._position = 0
        if file.seekable():
            self._position = file.tell()
            self._end = file.seek(0, 2)
            file.seek(self._position)
        self._entry: Entry | None = None
        self._last = b""  # the path of the last entry, for errors that come from below
        self._next = self._position  # where the header after the current entry is

    def __iter__(self) -> Iterator[Entry]:
        names = 0
        count = 0
        records: dict[bytes, bytes] = {}
        long_name = long_link = b""
        name = b""
        while True:
            self._skip_to_next(name)
            block = self._read(BLOCK)
            if len(block) not in (0, BLOCK):
                raise refused(name, "the archive ends inside the header after this entry")
            if not block or block == _ZERO:
                if records or long_name or long_link:
                    raise refused(name, "the archive ends after an extended header")
                self._check_end(name)
                return
            fields = _HEADER.unpack(block)
            previous, name = name, _text(fields[0])
            if _number(fields[6], name, "checksum") not in _checksums(block):
                raise refused(name or previous, "its header's checksum is wrong")
            flag = fields[7]
            size = _number(fields[4], name, "size")
            if flag in b"xgXLK":
                data = self._extension(name, size)
                if flag in b"xX":
                    records = _records(data, name)
                elif flag == b"L":
                    long_name = _text(data)
                elif flag == b"K":
                    long_link = _text(data)
                continue
            entry = self._parsed(fields, name, size, records, long_name, long_link)
            count += 1
            names += len(entry.path) + len(entry.link) + sum(len(k) + len(v) for k, v in entry.xattrs)
            if count > MAX_ENTRIES or names > _MAX_NAMES:
                raise refused(entry.path, "the layer has more entries than rbuild reads")
            name = entry.path
            if records:
                records = {}
            long_name = long_link = b""
            self._entry = entry
            self._last = name
            self._next = entry.offset + entry.size + -entry.size % BLOCK
            if self._end is not None and entry.offset + entry.size > self._end:
                raise refused(name, "its content runs past the end of the archive")
            yield entry

    def content(self) -> Iterator[bytes]:
        """The current entry's content in chunks; to be taken before the next entry, and once."""
        entry = self._entry
        if entry is None:
            return
        left = entry.offset + entry.size - self._position
        while left:
            chunk = self._read(min(left, CHUNK))
            if not chunk:
                raise refused(entry.path, "its content runs past the end of the archive")
            left -= len(chunk)
            yield chunk

    def _parsed(
        self,
        fields: tuple[bytes, ...],
        name: bytes,
        size: int,
        records: dict[bytes, bytes],
        long_name: bytes,
        long_link: bytes,
    ) -> Entry:
        _, mode, uid, gid, _, mtime, _, flag, link, magic, major, minor, prefix = fields
        if magic[:6] == b"ustar\0" and prefix[0]:
            name = _text(prefix) + b"/" + name
        link = _text(link)
        when = _number(mtime, name, "mtime", signed=True)
        owner = _number(uid, name, "uid")
        group = _number(gid, name, "gid")
        xattrs: tuple[tuple[bytes, bytes], ...] = ()
        if records:
            name = records.get(b"path") or name
            link = records.get(b"linkpath") or link
            size = _decimal(records.get(b"size"), size, name)
            owner = _decimal(records.get(b"uid"), owner, name)
            group = _decimal(records.get(b"gid"), group, name)
            when = _seconds(records.get(b"mtime"), when, name)
            if any(key.startswith(b"GNU.sparse.") for key in records):
                raise refused(name, "it is a GNU sparse file, which an OCI layer must not hold")
            xattrs = tuple(
                sorted((key[len(XATTR) :], value) for key, value in records.items() if key.startswith(XATTR))
            )
        name = long_name or name
        link = long_link or link
        kind = _KINDS.get(flag)
        if kind is None:
            what = "a GNU sparse file" if flag == b"S" else f"of the unknown type {flag!r}"
            raise refused(name, f"it is {what}, which an OCI layer must not hold")
        if flag == b"\0" and name.endswith(b"/"):
            kind = Kind.DIRECTORY
        path = _path(name, name)
        if not path and kind is not Kind.DIRECTORY:
            raise refused(name, "it has no name")
        if kind is Kind.HARDLINK:
            link = _path(link, name)
        if kind is Kind.HARDLINK or kind is Kind.SYMLINK:
            if not link or b"\0" in link or len(link) > _MAX_PATH:
                raise refused(name, "it links to nothing, or to a name that is no name")
        else:
            link = b""
        device = (0, 0)
        if kind is Kind.CHAR or kind is Kind.BLOCK:
            device = (_number(major, name, "major"), _number(minor, name, "minor"))
        return Entry(
            path,
            kind,
            _number(mode, name, "mode") & 0o7777,
            owner,
            group,
            size if kind is Kind.FILE else 0,
            when,
            link,
            device,
            xattrs,
            self._position,
        )

    def _extension(self, name: bytes, size: int) -> bytes:
        if size > _MAX_PAX:
            raise refused(name, f"it has an extended header of {size} bytes; rbuild reads {_MAX_PAX}")
        padded = size + -size % BLOCK
        data = self._read(padded)
        if len(data) < size:
            raise refused(name, "the archive ends inside its extended header")
        self._entry = None
        self._next = self._position + padded - len(data)
        return data[:size]

    def _skip_to_next(self, name: bytes) -> None:
        distance = self._next - self._position
        if not distance:
            return
        if self._end is not None:
            # The last block's padding may be missing, as in archives of some older builders.
            self._position = self._file.seek(min(self._next, self._end))
            return
        entry = self._entry
        if self._skip is not None and entry is not None:
            self._position += self._reading(self._skip, entry.offset + entry.size - self._position)
        # Of a file that can skip there is nothing left now, unless the archive is cut short.
        for _ in self.content():
            pass
        if entry is not None:
            self._read(self._next - self._position)

    def _check_end(self, name: bytes) -> None:
        while block := self._read(CHUNK):
            if block.count(0) != len(block):
                raise refused(name, "the archive has data after its end, or between its end and this entry")

    def _read(self, size: int) -> bytes:
        return self._reading(self._read_whole, size)

    def _reading(self, read: Callable[[int], _T], size: int) -> _T:
        try:
            return read(size)
        except BrokenBlob as error:
            what = f"layer entry {shown(self._last)}: {error.problems[0].what}"
            raise BrokenBlob(what, hint=error.problems[0].hint) from error

    def _read_whole(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            parts = [data]
            missing = size - len(data)
            while missing and parts[-1]:
                parts.append(self._file.read(missing))
                missing -= len(parts[-1])
            data = b"".join(parts)
        self._position += len(data)
        return data


def _records(data: bytes, name: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        digits = data[at : max(space, at)]
        end = at + int(digits) if digits.isdigit() else at
        if end <= space or end <= at or end > len(data) or data[end - 1] != 0x0A:
            raise refused(name, "its pax header is malformed")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise refused(name, "its pax header is malformed")
        records[key] = value
        at = end
    return records


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes, name: bytes, what: str, *, signed: bool = False) -> int:
    digits = field.strip(b" \0")
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            raise refused(name, f"its {what} is not a number") from None
    if not digits:
        return 0
    if not field[0] & 0x80:
        raise refused(name, f"its {what} is not a number")
    bits = 8 * len(field) - 1
    value = int.from_bytes(field, "big") & ((1 << bits) - 1)
    if field[0] & 0x40:
        value -= 1 << bits
    if (value < 0 and not signed) or abs(value) >= 1 << 62:
        raise refused(name, f"its {what} is out of bounds")
    return value


def _decimal(digits: bytes | None, otherwise: int, name: bytes) -> int:
    if not digits:
        return otherwise
    if not digits.isdigit() or len(digits) > 18:
        raise refused(name, "its pax header holds something that is not a number")
    return int(digits)


def _seconds(text: bytes | None, otherwise: int, name: bytes) -> int:
    if not text:
        return otherwise
    whole = text.partition(b".")[0]
    negative = whole.startswith(b"-")
    value = _decimal(whole.removeprefix(b"-"), 0, name)
    return -value if negative else value


def _checksums(block: bytes) -> tuple[int, ...]:
    """The sums that a header may hold: of unsigned bytes, or of signed ones as some old writers had it."""
    total = sum(block) - sum(block[148:156]) + 8 * 0x20
    if block.isascii():
        return (total,)
    high = sum(1 for byte in block[:148] + block[156:] if byte > 127)
    return total, total - 256 * high


def _path(name: bytes, entry: bytes) -> bytes:
    """A name without leading `/` and `./`, doubled and trailing slashes; refused if it has `..`."""
    if not name or b"\0" in name or len(name) > _MAX_PATH:
        raise refused(entry, "its name, or what it links to, is empty, too long or no path")
    if name.count(b"/") > _MAX_DEPTH:
        raise refused(entry, f"it lies more than {_MAX_DEPTH} folders deep")
    if name[0] not in b"./" and b"//" not in name and b"/." not in name:
        return name.rstrip(b"/")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise refused(entry, "it names a path with `..`")
    return b"/".join(parts)
