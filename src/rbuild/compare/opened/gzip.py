"""Files compressed with gzip: RFC 1952. The header holds a time and a name."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import UTC, datetime

from rbuild.compare.model import Difference
from rbuild.compare.opened.streams import STEP, stem, unpacked
from rbuild.compare.place import Inner, Opened, Place, Unopened, changed, reading

MAGIC = b"\x1f\x8b"
_HCRC, _EXTRA, _NAME, _COMMENT = 2, 4, 8, 16


@dataclass(frozen=True, slots=True)
class _Header:
    size: int
    time: int
    extra_flags: int
    system: int
    extra: bytes | None = None
    name: bytes | None = None
    comment: bytes | None = None


def open_gzip(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """The fields of the header, and what is compressed."""
    with reading(IndexError):
        head_a, head_b = _header(a), _header(b)
    content_a, content_b = (
        unpacked(place, side, _Member, magics=(MAGIC,), broken=(zlib.error,)) for side in (a, b)
    )
    children: list[Difference] = []
    fields = (
        *changed("time", _when(head_a.time), _when(head_b.time)),
        *changed("name", _text(head_a.name), _text(head_b.name)),
        *changed("comment", _text(head_a.comment), _text(head_b.comment)),
        *changed("operating system", head_a.system, head_b.system),
        *changed("extra flags", head_a.extra_flags, head_b.extra_flags),
        *changed("extra field", _text(head_a.extra), _text(head_b.extra)),
    )
    if fields:
        start_a, start_b = a[: head_a.size], b[: head_b.size]
        children.append(
            place.leaf("header", format="gzip", aspect="header", fields=fields, a=start_a, b=start_b)
        )
    if content_a != content_b:
        children.append(inner(stem(place.name), content_a, content_b))
    elif a[head_a.size :] != b[head_b.size :]:
        children.append(
            place.binary(
                "compressed data",
                a[head_a.size :],
                b[head_b.size :],
                format="gzip",
                aspect="data",
                note="both unpack to the same content",
            )
        )
    return Opened(children)


def _header(data: bytes) -> _Header:
    flags = data[3]
    at = 10
    extra = name = comment = None
    if flags & _EXTRA:
        size = int.from_bytes(data[at : at + 2], "little")
        extra = data[at + 2 : at + 2 + size]
        at += 2 + size
    if flags & _NAME:
        name, at = _until_zero(data, at)
    if flags & _COMMENT:
        comment, at = _until_zero(data, at)
    if flags & _HCRC:
        at += 2
    return _Header(at, int.from_bytes(data[4:8], "little"), data[8], data[9], extra, name, comment)


def _until_zero(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\0", at)
    if end < 0:
        raise Unopened("its gzip header has no end")
    return data[at:end], end + 1


class _Member:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def step(self, data: bytes) -> tuple[bytes, bytes]:
        return self._stream.decompress(data, STEP), self._stream.unconsumed_tail


def _when(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time else "none"


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
