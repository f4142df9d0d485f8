"""Tar headers as the canonical form writes them: ustar, and pax only for what ustar cannot say.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

import struct

from rbuild.image.tar import BLOCK, XATTR, Entry, Kind, refused

END = bytes(2 * BLOCK)  # the two zero blocks that end an archive

_ZERO = bytes(BLOCK)
# name mode uid gid size mtime checksum type link magic+version uname gname devmajor devminor prefix
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_TYPES = {
    Kind.FILE: b"0",
    Kind.HARDLINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHAR: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}


def header(entry: Entry) -> bytes:
    """The header blocks of an entry: one ustar block, after a pax header if ustar cannot say it all.

    Owner names are empty, and the pax header has neither time nor owner. Raises RbuildError for device
    numbers that no header can hold.
    """
    path = entry.path + b"/" if entry.kind is Kind.DIRECTORY else entry.path
    records: list[tuple[bytes, bytes]] = []
    split = _split(path)
    if split is None:
        records.append((b"path", path))
        split = b"", _ascii(path)
    link = entry.link
    if len(link) > 100 or not link.isascii():
        records.append((b"linkpath", link))
        link = _ascii(link)
    size = _octal(entry.size, 11, b"size", records)
    uid = _octal(entry.uid, 7, b"uid", records)
    gid = _octal(entry.gid, 7, b"gid", records)
    mtime = _octal(entry.mtime, 11, b"mtime", records)
    records += ((XATTR + key, value) for key, value in entry.xattrs)
    if max(entry.device) >= 8**7:
        raise refused(entry.path, f"no tar header holds the device number {entry.device}")
    block = _block(
        split[1], entry.mode, uid, gid, size, mtime, _TYPES[entry.kind], link, entry.device, split[0]
    )
    if not records:
        return block
    data = b"".join(_record(key, value) for key, value in sorted(records))
    zero = b"%07o" % 0
    length = b"%011o" % len(data)
    pax = _block(b"PaxHeaders.0", 0, zero, zero, length, b"%011o" % 0, b"x", b"", (0, 0), b"")
    return b"".join((pax, data, padding(len(data)), block))


def padding(size: int) -> bytes:
    """The zero bytes between a content of `size` bytes and the next header."""
    return _ZERO[: -size % BLOCK]


def _block(
    name: bytes,
    mode: int,
    uid: bytes,
    gid: bytes,
    size: bytes,
    mtime: bytes,
    flag: bytes,
    link: bytes,
    device: tuple[int, int],
    prefix: bytes,
) -> bytes:
    block = bytearray(
        _HEADER.pack(
            name,
            b"%07o" % mode,
            uid,
            gid,
            size,
            mtime,
            b"        ",
            flag,
            link,
            b"ustar\00000",
            b"%07o" % device[0],
            b"%07o" % device[1],
            prefix,
        )
    )
    block[148:155] = b"%06o\0" % sum(block)
    return bytes(block)


def _octal(value: int, digits: int, key: bytes, records: list[tuple[bytes, bytes]]) -> bytes:
    if 0 <= value < 8**digits:
        return b"%0*o" % (digits, value)
    records.append((key, b"%d" % value))
    return b"%0*o" % (digits, 0)


def _split(path: bytes) -> tuple[bytes, bytes] | None:
    """A path as ustar's prefix and name, or None if it does not fit."""
    if not path.isascii():
        return None
    if len(path) <= 100:
        return b"", path
    cut = path.rfind(b"/", 0, 156)
    # A directory's own trailing slash is no place to cut: its name would be empty.
    if cut <= 0 or cut == len(path) - 1 or len(path) - cut - 1 > 100:
        return None
    return path[:cut], path[cut + 1 :]


def _ascii(name: bytes) -> bytes:
    """What a reader without pax sees in place of a name: its ASCII, cut."""
    return bytes(byte for byte in name if byte < 128)[:100]


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + len(str(len(rest)))
    if len(str(length)) > len(str(len(rest))):
        length += 1
    return b"%d%s" % (length, rest)
