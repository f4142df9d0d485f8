"""Databases of SQLite: the header's counters, and the tables whose rows differ.

A database is read in memory, by SQLite itself, which is made to meet hostile files: with an untrusted schema,
nothing but SELECT allowed, and a bound on the number of its instructions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from rbuild.compare.budget import MAX_CHILDREN
from rbuild.compare.model import Change, Difference, Field
from rbuild.compare.place import Inner, Opened, Place, Unopened, changed, reading
from rbuild.visible import visible

MAGIC = b"SQLite format 3\0"
_HEADER = 100
_MAX_TABLES = 200
_MAX_ROWS = 5_000
_MAX_VALUE = 1 << 20
_STEPS = 10_000  # instructions between two looks at how many there were
_MAX_LOOKS = 200
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}

# SQLite's documentation, "Database File Format", 1.3: offset in the header, and its size.
_FIELDS = {
    "page size": (16, 2),
    "write version": (18, 1),
    "read version": (19, 1),
    "change counter": (24, 4),
    "pages": (28, 4),
    "free pages": (36, 4),
    "schema cookie": (40, 4),
    "schema format": (44, 4),
    "text encoding": (56, 4),
    "user version": (60, 4),
    "application id": (68, 4),
    "version valid for": (92, 4),
    "SQLite version": (96, 4),
}


def open_sqlite(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """Fields of the header, and rows of tables; the pages where both are equal."""
    if min(len(a), len(b)) < _HEADER:
        raise Unopened("its header is cut short")
    if not hasattr(sqlite3.Connection, "deserialize"):
        raise Unopened("this Python's SQLite reads no databases in memory")
    children: list[Difference] = []
    if fields := _header(a, b):
        children.append(
            place.leaf(
                "header", format="sqlite", aspect="header", fields=fields, a=a[:_HEADER], b=b[:_HEADER]
            )
        )
    tables_a, tables_b = _tables(a), _tables(b)
    differing = [
        name for name in sorted(tables_a.keys() | tables_b.keys()) if tables_a.get(name) != tables_b.get(name)
    ]
    for name in differing[:MAX_CHILDREN]:
        children.append(_table(place, name, tables_a.get(name), tables_b.get(name)))
    if not differing and a[_HEADER:] != b[_HEADER:]:
        children.append(
            place.binary(
                "pages",
                a,
                b,
                format="sqlite",
                aspect="pages",
                note="the tables hold the same rows; how they lie in the file differs",
            )
        )
    return Opened(children, len(differing[MAX_CHILDREN:]))


def _header(a: bytes, b: bytes) -> tuple[Field, ...]:
    return tuple(
        field
        for name, (at, size) in _FIELDS.items()
        for field in changed(
            name, int.from_bytes(a[at : at + size], "big"), int.from_bytes(b[at : at + size], "big")
        )
    )


def _table(place: Place, name: str, a: bytes | None, b: bytes | None) -> Difference:
    if a is None or b is None:
        change = Change.ADDED if a is None else Change.REMOVED
        return place.leaf(name, format="sqlite", aspect=name, change=change, a=a or b"", b=b or b"")
    return place.text(name, a, b, format="sqlite", aspect=name)


def _tables(data: bytes) -> dict[str, bytes]:
    """The schema and each table, as text, a row a line."""
    looks = 0

    def enough() -> bool:
        nonlocal looks
        looks += 1
        return looks > _MAX_LOOKS

    def authorize(action: int, *_: object) -> int:
        return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY

    # A database with a write-ahead log is read as one without: the log is another file.
    plain = data[:18] + b"\x01\x01" + data[20:]
    with reading(sqlite3.Error, ValueError, OverflowError, MemoryError), closing(_memory()) as connection:
        connection.deserialize(plain)
        connection.set_progress_handler(enough, _STEPS)
        connection.set_authorizer(authorize)
        schema = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchmany(
            _MAX_ROWS
        )
        tables = {"schema": b"".join(_lines(schema))}
        # Rows of virtual tables lie in ordinary ones.
        names = [
            str(name, "utf-8", "backslashreplace")
            for kind, name, sql in schema
            if kind == b"table" and not bytes(sql or b"").upper().startswith(b"CREATE VIRTUAL")
        ]
        for name in names[:_MAX_TABLES]:
            quoted = name.replace('"', '""')
            rows = connection.execute(f'SELECT * FROM main."{quoted}"').fetchmany(_MAX_ROWS)
            tables[f"table {name}"] = b"".join(_lines(rows))
    return tables


def _memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.text_factory = bytes
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA mmap_size = 0")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    return connection


def _lines(rows: list[tuple[object, ...]]) -> Iterator[bytes]:
    for row in rows:
        yield (" | ".join(map(_value, row)) + "\n").encode()


def _value(value: object) -> str:
    if isinstance(value, bytes):
        return visible(value.decode("utf-8", "backslashreplace"), 1000)
    return str(value)
