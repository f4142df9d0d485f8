"""What is said of a file with two contents, by its format."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagepairs import entries, fields, names, of_file, of_files, rows
from tarballs import member, tarball

from rbuild.compare import budget, place
from rbuild.compare.evidence import Evidence
from rbuild.compare.model import Difference, Part

NOON = (2024, 1, 1, 12, 0, 0)
LATER = (2025, 2, 3, 4, 5, 6)


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> list[Evidence]:
    """All evidence that is handed to the catalogue of causes."""
    seen: list[Evidence] = []
    find = place._cause

    def keep(one: Evidence):  # type: ignore[no-untyped-def]
        seen.append(one)
        return find(one)

    monkeypatch.setattr(place, "_cause", keep)
    return seen


def zipped(
    *members: tuple[str, tuple[int, int, int, int, int, int], bytes], comment: bytes = b"", level: int = 6
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        archive.comment = comment
        for name, time, data in members:
            archive.writestr(zipfile.ZipInfo(name, time), data, zipfile.ZIP_DEFLATED, level)
    return out.getvalue()


def gzipped(data: bytes, mtime: int = 0, name: str = "", level: int = 6) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(name, "wb", level, out, mtime) as file:
        file.write(data)
    return out.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in (*chunks, (b"IEND", b"")):
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


def elf(**sections: bytes) -> bytes:
    """A 64-bit little-endian ELF file of such sections."""
    names_table = b"\0" + b"".join(f".{name}".encode() + b"\0" for name in [*sections, "shstrtab"])
    contents = [*sections.values(), names_table]
    data = b""
    table = bytes(64)
    for name, content in zip([*sections, "shstrtab"], contents, strict=True):
        at = names_table.index(f".{name}".encode() + b"\0")
        table += struct.pack("<IIQQQQIIQQ", at, 1, 0, 0, 64 + len(data), len(content), 0, 0, 1, 0)
        data += content
    count = len(contents) + 1
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 64 + len(data), 0, 64, 0, 0, 64, count, count - 1)
    return head + data + table


def database(tmp_path: Path, *statements: str) -> bytes:
    path = tmp_path / "db"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path.read_bytes()


def test_lines_of_a_text(evidence: list[Evidence]) -> None:
    found = of_file("motd", b"one\ntwo\nthree\n", b"one\n2\nthree\nfour\n")
    assert found.part is Part.ENTRY
    assert rows(found) == [("two", "2"), (None, "four")]
    assert found.detail is not None
    assert [(row.at_a, row.at_b) for row in found.detail.rows] == [
        ("1", "1"),
        ("2", "2"),
        ("3", "3"),
        ("", "4"),
    ]
    assert fields(found) == {"size": ("14", "17")}
    (one,) = evidence
    assert (one.path, one.format, one.a, one.b, one.first) == (
        b"motd",
        "text",
        b"one\ntwo\nthree\n",
        b"one\n2\nthree\nfour\n",
        4,
    )
    assert len(one.sha256_a) == len(one.sha256_b) == 32


def test_bytes_around_the_first_that_differs() -> None:
    found = of_file("blob", bytes(100), bytes(50) + b"\xff" + bytes(49))
    assert found.detail is not None
    assert found.detail.form == "hex"
    ((a, b),) = rows(found)
    assert a is not None
    assert b is not None
    assert a.startswith("00 00 00")
    assert b.startswith("00 00 ff")
    assert [row.at_a for row in found.detail.rows][:2] == ["00000020", "00000030"]
    assert not found.detail.omitted


def test_keys_of_json(evidence: list[Evidence]) -> None:
    a = {"same": 1, "n": 1, "deep": {"list": [1, 2, {"x": None}]}, "gone": [], "one": 1}
    b = {"same": 1, "n": 2, "deep": {"list": [1, 2, {"x": False}]}, "new": {}, "one": True}
    found = of_file("x.json", json.dumps(a).encode(), json.dumps(b).encode())
    assert names(found.children) == ["n", "deep.list[2].x", "-gone", "one", "+new"]
    assert fields(found.children[1]) == {"value": ("null", "false")}
    assert [(one.format, one.part) for one in evidence][:2] == [("json", "n"), ("json", "deep.list[2].x")]


def test_an_item_taken_out_of_a_list_is_one_difference() -> None:
    found = of_file("x.json", b'{"l": [1, 2, 3, 4]}', b'{"l": [1, 3, 4]}')
    assert names(found.children) == ["-l[1]"]


def test_json_that_is_written_differently_is_a_text(evidence: list[Evidence]) -> None:
    found = of_file("x.json", b'{"a": 1, "b": 2}\n', b'{"b": 2, "a": 1}\n')
    assert rows(found) == [('{"a": 1, "b": 2}', '{"b": 2, "a": 1}')]
    assert evidence[0].format == "json"


def test_keys_of_yaml() -> None:
    found = of_file("x.yaml", b"a: 1\nb:\n  - c: x\n", b"a: 1\nb:\n  - c: y\nd: z\n")
    assert names(found.children) == ["b[0].c", "+d"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.json", b"[" * 100_000),
        ("x.json", b'{"a":' * 500 + b"1" + b"}" * 500),
        ("x.json", b"{" + b'"k": ' + b"9" * 5000 + b"}"),
        ("x.yaml", b"a: &a [x,x,x,x,x,x,x,x]\nb: [*a,*a,*a,*a]\n"),
        ("x.yaml", b"- " * 2000),
        ("x.yaml", b"a: [\n"),
        ("x.yaml", b"--- a\n--- b\n"),
        ("x.json", b'{"a": "\\ud800"}'),
    ],
)
def test_documents_that_nobody_should_parse_are_texts(name: str, data: bytes) -> None:
    found = of_file(name, data + b" ", data + b"  \n")
    assert not found.children
    assert found.note is None or found.note.startswith("compared line by line: ")
    assert found.detail is not None
    assert found.detail.form == "text"


def test_a_surrogate_in_json_is_escaped() -> None:
    found = of_file("x.json", b'{"a": "\\ud800", "\\udc00": 1}', b'{"a": "x", "\\udc00": 2}')
    assert len(found.children) == 2
    assert fields(found.children[0]) == {"value": ("\\ud800", "x")}
    "".join(names(found.children)).encode()


def test_header_and_content_of_gzip(evidence: list[Evidence]) -> None:
    found = of_file("log.gz", gzipped(b"one\n", 1, "a"), gzipped(b"two\n", 2, "b"))
    assert names(found.children) == ["header", "log"]
    assert fields(found.children[0]) == {
        "time": ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z"),
        "name": ("a", "b"),
    }
    assert rows(found.children[1]) == [("one", "two")]
    assert [(one.format, one.part, one.members) for one in evidence] == [
        ("gzip", "header", ()),
        ("text", "", ("log",)),
    ]


def test_gzip_of_the_same_content() -> None:
    found = of_file("x.gz", gzipped(b"x" * 1000 + b"y", level=1), gzipped(b"x" * 1000 + b"y", level=9))
    assert "compressed data" in names(found.children)


def test_members_of_a_zip(evidence: list[Evidence]) -> None:
    a = zipped(("m.py", NOON, b"a = 1\n"), ("same.py", NOON, b"s"), ("gone", NOON, b"g"))
    b = zipped(("same.py", LATER, b"s"), ("m.py", NOON, b"a = 2\n"), comment=b"c")
    found = of_file("x.whl", a, b)
    assert names(found.children) == ["order of members", "times of members", "m.py", "-gone", "comment"]
    assert fields(found.children[1]) == {"same.py": ("2024-01-01T12:00:00", "2025-02-03T04:05:06")}
    assert rows(found.children[2]) == [("a = 1", "a = 2")]
    assert [(one.format, one.part, one.members) for one in evidence][:3] == [
        ("zip", "order", ()),
        ("zip", "time", ()),
        ("text", "", ("m.py",)),
    ]
    assert evidence[0].a == b"m.py\nsame.py\ngone\n"
    assert evidence[3].a == b"g"


def test_zips_that_differ_in_compression_alone_say_so() -> None:
    data = b"".join(b"%d " % number for number in range(3000))
    found = of_file("x.zip", zipped(("m", NOON, data), level=1), zipped(("m", NOON, data), level=9))
    assert not found.children
    assert found.note == "no difference that is particular to zip was found, yet the bytes differ"


def test_members_of_a_tar() -> None:
    a = tarball([member("d", mtime=1), member("d/x", b"1\n", mtime=1), member("d/y", link="x", mtime=1)])
    b = tarball(
        [member("d", mtime=1), member("d/x", b"2\n", mtime=2, mode=0o600), member("d/y", link="z", mtime=1)]
    )
    found = of_file("x.tar", a, b)
    assert names(found.children) == ["times of members", "attributes of members", "d/x"]
    assert fields(found.children[1]) == {"d/x: mode": ("0644", "0600"), "d/y: link": ("x", "z")}


def test_formats_within_each_other_have_a_way(evidence: list[Evidence]) -> None:
    def nested(text: bytes) -> bytes:
        return gzipped(tarball([member("in.whl", zipped(("m.json", NOON, text)))]))

    found = of_file("x.tgz", nested(b'{"a": 1}'), nested(b'{"a": 2}'))
    (leaf,) = found.leaves()
    assert leaf.name == "a"
    assert evidence[0].members == ("x.tar", "in.whl", "m.json")


def test_what_is_nested_too_deeply_is_not_opened() -> None:
    a, b = b"a", b"b"
    for _ in range(budget.MAX_DEPTH + 1):
        a, b = gzipped(a), gzipped(b)
    (leaf,) = of_file("x.gz", a, b).leaves()
    assert leaf.note == "could not look inside: it is nested more than 4 files deep"


def test_bytecode(evidence: list[Evidence]) -> None:
    def pyc(mtime: int, code: bytes, flags: int = 0) -> bytes:
        return struct.pack("<H2sIII", 3495, b"\r\n", flags, mtime, 7) + code

    name = "__pycache__/m.cpython-311.pyc"
    (header,) = of_file(name, pyc(1, b"c"), pyc(2, b"c")).children
    assert header.name == "header"
    assert fields(header) == {"source mtime": ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z")}
    assert names(of_file(name, pyc(1, b"c"), pyc(1, b"d")).children) == ["code"]
    assert names(of_file(name, pyc(1, b"c"), pyc(2, b"d", 1)).children) == ["header", "code"]
    assert [one.part for one in evidence] == ["header", "code", "header", "code"]


def test_sections_of_elf(evidence: list[Evidence]) -> None:
    a = elf(text=b"code", comment=b"gcc 1\0", gone=b"x")
    b = elf(text=b"code", comment=b"gcc 2\0", new=b"x")
    found = of_file("bin", a, b)
    assert {".comment", "-.gone", "+.new"} <= set(names(found.children))
    assert ".text" not in names(found.children)
    assert (evidence[0].format, evidence[0].part, evidence[0].a) == ("elf", ".comment", b"gcc 1\0")


def test_sections_that_overlap_are_not_read() -> None:
    data = elf(**{f"s{number}": b"x" for number in range(50)})
    hostile = bytearray(data)
    table = struct.unpack_from("<Q", data, 0x28)[0]
    for number in range(51):
        struct.pack_into("<QQ", hostile, table + 64 * number + 24, 0, len(data))
    found = of_file("bin", bytes(hostile), bytes(hostile) + b"x")
    assert found.note == "could not look inside: its sections overlap"


def test_names_of_sections_without_end_cost_little() -> None:
    """Each of 4,000 sections would be named by the whole table of names, 1 MiB."""
    names_table = b"x" * (1 << 20)
    table = struct.pack("<IIQQQQIIQQ", 0, 1, 0, 0, 64, len(names_table), 0, 0, 1, 0)
    table += struct.pack("<IIQQQQIIQQ", 0, 1, 0, 0, 64, 1, 0, 0, 1, 0) * 4000
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 64 + len(names_table), 0, 64, 0, 0, 64, 4001, 0)
    data = head + names_table + table
    tracemalloc.start()
    of_file("bin", data, data + b"x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_no_more_is_looked_into_than_one_comparison_may_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_WORK", 500)
    a, b = ({f"{number}.json": b'{"a": %d}' % value for number in range(9)} for value in (1, 2))
    found = entries(of_files(a, b))
    notes = [each.note for each in found]
    assert notes[:3] == [None] * 3
    assert (
        notes[3:] == ["could not look inside: as much was looked into as rbuild does in one comparison"] * 6
    )
    assert all(each.detail for each in found[3:])


def test_tables_of_sqlite(tmp_path: Path, evidence: list[Evidence]) -> None:
    common = [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
        "CREATE TABLE same (x)",
        "INSERT INTO same VALUES (1)",
    ]
    a = database(tmp_path, *common, "INSERT INTO t VALUES (1, 'one'), (2, 'two')")
    b = database(tmp_path, *common, "INSERT INTO t VALUES (1, 'one'), (2, 'zwei')")
    found = of_file("x.db", a, b)
    assert names(found.children) == ["table t"]
    assert rows(found.children[0]) == [("2 | two", "2 | zwei")]
    assert (evidence[0].format, evidence[0].part) == ("sqlite", "table t")


def test_pages_and_header_of_sqlite(tmp_path: Path) -> None:
    a = database(tmp_path, "CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
    b = database(
        tmp_path,
        "CREATE TABLE t (v)",
        "INSERT INTO t VALUES (1), (2)",
        "DELETE FROM t WHERE v = 2",
        "PRAGMA user_version = 7",
    )
    found = of_file("x.db", a, b)
    assert "header" in names(found.children)
    assert fields(found.children[0])["user version"] == ("0", "7")
    assert not any(name.startswith("table") for name in names(found.children))


def test_a_database_in_wal_mode_is_read(tmp_path: Path) -> None:
    a = database(tmp_path, "CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
    b = database(tmp_path, "CREATE TABLE t (v)", "INSERT INTO t VALUES (2)")
    wal = a[:18] + b"\2\2" + a[20:], b[:18] + b"\2\2" + b[20:]
    assert "table t" in names(of_file("x.db", *wal).children)


def test_a_database_that_would_compute_without_end_is_stopped(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM c) SELECT x FROM c"
    view = database(tmp_path, "CREATE TABLE t (v)", f"CREATE VIEW w AS {endless}")
    # A table's name leads to the view: SELECT * FROM it would never end.
    hostile = view.replace(b"table" + b"t" + b"t", b"table" + b"w" + b"t")
    assert hostile != view
    found = of_file("x.db", hostile, hostile + bytes(4096))
    assert found.detail or found.children


def test_chunks_of_png(evidence: list[Evidence]) -> None:
    a = png((b"IHDR", b"h"), (b"tEXt", b"date\x002024\n"), (b"IDAT", b"p"), (b"IDAT", b"q"))
    b = png((b"IHDR", b"h"), (b"tEXt", b"date\x002025\n"), (b"tIME", b"1234567"), (b"IDAT", b"pq"))
    found = of_file("x.png", a, b)
    assert names(found.children) == ["tEXt date", "+tIME"]
    assert rows(found.children[0]) == [("2024", "2025")]
    assert [(one.format, one.part) for one in evidence] == [("png", "tEXt"), ("png", "tIME")]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("x.gz", b"\x1f\x8b"),
        ("x.gz", b"\x1f\x8b\x08\x08" + bytes(6) + b"name without end"),
        ("x.zip", b"PK\x03\x04"),
        ("x.zip", zipped(("m", NOON, b"x"))[:-10]),
        ("x.zip", zipped(("m", NOON, b"x" * 100)).replace(b"x" * 20, b"y" * 20)),
        ("x.tar", tarball([member("a", b"x" * 2000)])[:1500]),
        ("x.tar", tarball([member("../up", b"x")])),
        ("x", b"\x7fELF\x02\x01\x01" + b"\xff" * 100),
        ("x.db", b"SQLite format 3\0" + b"\xff" * 5000),
        ("x.png", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIDAT"),
        ("x.pyc", b"\xa7\x0d\r\n" + bytes(12)),
    ],
)
def test_broken_files_are_looked_at_as_bytes(name: str, start: bytes) -> None:
    for end_a, end_b in ((b"\0a", b"\0b"), (b"", b"\xff")):
        found = of_file(name, start + end_a, start + end_b)
        assert found.detail or found.children
        assert all(leaf.cause for leaf in found.leaves())


def test_bombs_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_OPENED", 1 << 20)
    zeros = bytes(4 << 20)
    gz = of_file("x.gz", gzipped(zeros), gzipped(zeros + b"x"))
    assert "unpacks to more than 1048576 bytes" in (gz.note or "")
    found = of_file("x.zip", zipped(("m", NOON, zeros)), zipped(("m", NOON, zeros + b"x")))
    (leaf,) = found.leaves()
    assert "unpacks to more than 1048576 bytes" in (leaf.note or "")


def test_only_so_many_members_are_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (zipped(*((f"m{at:03}", NOON, text) for at in range(250))) for text in (b"a", b"b"))
    found = of_file("x.zip", a, b)
    assert len(found.children) == budget.MAX_CHILDREN
    assert found.omitted == 50


def test_the_detail_of_all_differences_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_SHOWN", 120)
    found = of_file(
        "x.zip", *(zipped(*((f"m{at}", NOON, text * 30) for at in range(9))) for text in (b"a", b"b"))
    )
    assert [child.detail is not None for child in found.children] == [True] + [False] * 8


STARTS = st.sampled_from(
    [
        b"\x1f\x8b\x08\x00",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\x7fELF\x02\x01",
        b"SQLite format 3\0",
        b"\x89PNG\r\n\x1a\n",
        b"\xa7\r\r\n",
        b"{",
        b"",
    ]
)
NAMES = st.sampled_from(["x", "x.gz", "x.json", "x.yaml", "x.pyc", "x.tar"])


@settings(deadline=None, max_examples=200)
@given(NAMES, STARTS, st.binary(max_size=400), st.binary(max_size=400))
def test_no_content_is_a_traceback(name: str, start: bytes, a: bytes, b: bytes) -> None:
    if a != b:
        found = of_file(name, start + a, start + b)
        assert all(leaf.cause for leaf in found.leaves())


SAMPLES = [
    zipped(("m", NOON, b"x" * 50), ("n", LATER, b"{}")),
    gzipped(b"text\n", 7, "name"),
    png((b"IHDR", b"h"), (b"tEXt", b"k\0v"), (b"IDAT", b"p")),
    elf(text=b"code", comment=b"gcc"),
    tarball([member("d"), member("d/x", b"1")]),
]


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(SAMPLES), st.integers(0, 4000), st.binary(min_size=1, max_size=4))
def test_damaged_files_are_differences(sample: bytes, at: int, damage: bytes) -> None:
    at %= len(sample)
    other: bytes = sample[:at] + damage + sample[at + len(damage) :]
    if other != sample:
        found: Difference = of_file("x", sample, other)
        assert all(leaf.cause for leaf in found.leaves())
