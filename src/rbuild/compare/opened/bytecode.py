"""Python's bytecode: the header that ties it to its source (PEP 552), and the code objects."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from rbuild.compare.budget import MAX_CHILDREN
from rbuild.compare.model import Change, Difference, Field
from rbuild.compare.opened.marshalled import Code, Thing, Unreadable, is_known, read_code
from rbuild.compare.place import Inner, Opened, Place, Unopened, changed

_HEADER = 16
_FIRST_MAGIC, _LAST_MAGIC = 3390, 10_000  # since Python 3.7
_COST = 64  # how much dearer than reading


def is_bytecode(name: str, data: bytes) -> bool:
    """Whether a file is bytecode of Python 3.7 or later, by its name and header."""
    return (
        name.endswith(".pyc")
        and len(data) >= _HEADER
        and data[2:4] == b"\r\n"
        and _FIRST_MAGIC <= _magic(data) < _LAST_MAGIC
    )


def open_bytecode(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """The fields of the header, and what differs in the code objects; as bytes where they cannot be read."""
    children: list[Difference] = []
    head_a, head_b = a[:_HEADER], b[:_HEADER]
    if head_a != head_b:
        fields = _fields(head_a, head_b)
        children.append(
            place.leaf("header", format="pyc", aspect="header", fields=fields, a=head_a, b=head_b)
        )
    if a[_HEADER:] != b[_HEADER:]:
        children += _code(place, a, b)
    if not children:
        raise Unopened("it does not differ")
    return Opened(children[:MAX_CHILDREN], max(0, len(children) - MAX_CHILDREN))


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


def _magic(data: bytes) -> int:
    return int.from_bytes(data[:2], "little")


def _when(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _code(place: Place, a: bytes, b: bytes) -> list[Difference]:
    code_a, code_b = a[_HEADER:], b[_HEADER:]
    magic = _magic(a)
    why = "both hold the same code; what marshal notes of interned strings and of sharing differs"
    if magic != _magic(b):
        why = "compared as bytes: two versions of Python"
    elif not is_known(magic):
        why = f"compared as bytes: a Python that rbuild does not know (magic number {magic})"
    elif not place.budget.work(_COST * (len(a) + len(b))):
        why = "compared as bytes: as much was looked into as rbuild does in one comparison"
    else:
        try:
            seen: set[tuple[Thing, Thing]] = set()
            found = list(_objects(place, read_code(code_a, magic), read_code(code_b, magic), seen))
        except Unreadable as error:
            why = f"compared as bytes: {error}"
        else:
            if found:
                return found
    return [place.binary("code", code_a, code_b, format="pyc", aspect="code", note=why)]


def _objects(place: Place, a: Code, b: Code, files: set[tuple[Thing, Thing]]) -> Iterator[Difference]:
    """What differs in two code objects and those within; a pair of file names is told once."""
    if a.file != b.file and (a.file, b.file) not in files:
        files.add((a.file, b.file))
        yield _lines(place, a.name, "file name", (a.file,), (b.file,))
    numbers = [
        field
        for name in a.numbers.keys() | b.numbers.keys()
        for field in changed(name, a.numbers.get(name), b.numbers.get(name))
    ]
    if numbers:
        fields = tuple(sorted(numbers, key=lambda field: field.name))
        yield place.leaf(f"{a.name}: properties", format="pyc", aspect="properties", fields=fields)
    for what, things_a, things_b in (
        ("names", a.names, b.names),
        ("variables", a.variables, b.variables),
        ("constants", a.constants, b.constants),
    ):
        if things_a != things_b:
            yield _lines(place, a.name, what, things_a, things_b)
    for what, bytes_a, bytes_b in (
        ("instructions", a.instructions, b.instructions),
        ("line table", a.lines, b.lines),
        ("exception table", a.exceptions, b.exceptions),
    ):
        if bytes_a != bytes_b:
            yield place.binary(f"{a.name}: {what}", bytes_a, bytes_b, format="pyc", aspect=what)
    inner_a, inner_b = _by_name(a), _by_name(b)
    for key in [*inner_a, *(key for key in inner_b if key not in inner_a)]:
        one, other = inner_a.get(key), inner_b.get(key)
        if one and other:
            yield from _objects(place, one, other, files)
        else:
            change = Change.REMOVED if one else Change.ADDED
            yield place.leaf(
                key[0],
                format="pyc",
                aspect="code",
                change=change,
                a=one.instructions if one else b"",
                b=other.instructions if other else b"",
            )


def _lines(place: Place, name: str, what: str, a: tuple[Thing, ...], b: tuple[Thing, ...]) -> Difference:
    texts = ("".join(f"{thing.text}\n" for thing in side).encode() for side in (a, b))
    return place.text(f"{name}: {what}", *texts, format="pyc", aspect=what)


def _by_name(code: Code) -> dict[tuple[str, int], Code]:
    """Code objects by name, and number among those of that name."""
    seen: Counter[str] = Counter()
    found: dict[tuple[str, int], Code] = {}
    for one in code.inner:
        found[one.name, seen[one.name]] = one
        seen[one.name] += 1
    return found
