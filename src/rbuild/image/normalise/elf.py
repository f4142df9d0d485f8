"""As much of ELF as it takes to find the sections of a file: elf(5)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

MAGIC = b"\x7fELF"
_NOBITS = 8
_ALLOC = 2
_MAX_NAMES = 4 << 20  # bytes
_MAX_NAME = 4096
_MAX_ROWS = 4096  # no program or shared library has as many

# By the class in e_ident: where the header tells of the table of sections, and how; the size of a row, and
# its first fields: name, type, flags, address, offset, size.
_HEADER = {1: (0x20, "IIHHHHHH"), 2: (0x28, "QIHHHHHH")}
_ROW = {1: (40, "IIIIII"), 2: (64, "IIQQQQ")}
_ORDER = {1: "<", 2: ">"}


@dataclass(frozen=True, slots=True)
class Section:
    """A section that has content in the file. `size_field`: where its size is said, and in how many bytes."""

    name: bytes
    loaded: bool  # a program has it in memory when it runs
    offset: int
    size: int
    size_field: tuple[int, int]


def sections(read: Callable[[int, int], bytes], file_size: int) -> tuple[Section, ...]:
    """The sections of a file whose bytes `read(offset, size)` gives; none if it is not whole, or not ELF."""
    ident = read(0, 64)
    if len(ident) < 64 or not ident.startswith(MAGIC) or ident[4] not in _ROW or ident[5] not in _ORDER:
        return ()
    order = _ORDER[ident[5]]
    at, form = _HEADER[ident[4]]
    table, _, _, _, _, row_size, rows, names_row = struct.unpack_from(order + form, ident, at)
    full_size, row_form = _ROW[ident[4]]
    row = struct.Struct(order + row_form)
    if row_size != full_size or rows > _MAX_ROWS or names_row >= rows:
        return ()
    data = read(table, row_size * rows)
    if len(data) < row_size * rows:
        return ()
    parsed = [row.unpack_from(data, number * row_size) for number in range(rows)]
    names = read(parsed[names_row][4], min(parsed[names_row][5], _MAX_NAMES))
    width = struct.calcsize(order + row_form[-1])
    found = []
    for number, (name, kind, flags, _, offset, size) in enumerate(parsed):
        if kind == _NOBITS or offset + size > file_size:
            continue
        end = max(name, names.find(b"\0", name, name + _MAX_NAME))
        place = table + number * row_size + row.size - width
        found.append(Section(names[name:end], bool(flags & _ALLOC), offset, size, (place, width)))
    return tuple(found)
