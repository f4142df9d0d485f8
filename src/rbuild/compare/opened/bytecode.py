"""Python's bytecode: the header that ties it to its source, and the code (PEP 552).

The code is never unmarshalled: marshal is not made for hostile data.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime

from rbuild.compare.model import Difference, Field
from rbuild.compare.place import Inner, Opened, Place, Unopened, changed

_HEADER = 16
_FIRST_MAGIC, _LAST_MAGIC = 3390, 10_000  # since Python 3.7


def is_bytecode(name: str, data: bytes) -> bool:
    """Whether a file is bytecode of Python 3.7 or later, by its name and header."""
    magic = int.from_bytes(data[:2], "little")
    return (
        name.endswith(".pyc")
        and len(data) >= _HEADER
        and data[2:4] == b"\r\n"
        and _FIRST_MAGIC <= magic < _LAST_MAGIC
    )


def open_bytecode(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """The fields of the header, and the code as bytes."""
    children: list[Difference] = []
    head_a, head_b = a[:_HEADER], b[:_HEADER]
    if head_a != head_b:
        fields = _fields(head_a, head_b)
        children.append(
            place.leaf("header", format="pyc", aspect="header", fields=fields, a=head_a, b=head_b)
        )
    if a[_HEADER:] != b[_HEADER:]:
        children.append(place.binary("code", a[_HEADER:], b[_HEADER:], format="pyc", aspect="code"))
    if not children:
        raise Unopened("it does not differ")
    return Opened(children)


def _fields(a: bytes, b: bytes) -> tuple[Field, ...]:
    magic_a, flags_a, first_a, second_a = struct.unpack("<4I", a)
    magic_b, flags_b, first_b, second_b = struct.unpack("<4I", b)
    fields = (
        *changed("magic number", magic_a & 0xFFFF, magic_b & 0xFFFF),
        *changed("flags", flags_a, flags_b),
    )
    if flags_a or flags_b:
        return (*fields, *changed("source hash", a[8:].hex(), b[8:].hex()))
    return (
        *fields,
        *changed("source mtime", _when(first_a), _when(first_b)),
        *changed("source size", second_a, second_b),
    )


def _when(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
