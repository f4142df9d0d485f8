from __future__ import annotations

import hashlib
import struct
from base64 import urlsafe_b64encode

import pytest
from tarballs import canonical, content, member, tree

from rbuild.image.form import NEWEST
from rbuild.image.normalise import normalisers
from rbuild.image.normalise.elf import sections

SITE = "usr/lib/python3/site-packages"
FIRST = b"/tmp/pip-install-5qtglnvv/markupsafe_aa681c1334b446999ba16da22480e558"
SECOND = b"/tmp/pip-install-u_x12pha/markupsafe_e23ca85a124e42658129e49ccb3319d9"
NO_NAME = b"/tmp/pip-install-00000000/markupsafe_00000000000000000000000000000000"
BUILD_ID = struct.pack("<III", 4, 20, 3) + b"GNU\0"


def elf(text: bytes, debug: bytes = b"", identity: bytes = b"i" * 20, *, bits: int = 64) -> bytes:
    """A program of three sections, as far as anybody reads here."""
    names = b"\0.rodata\0.debug_str\0.note.gnu.build-id\0.shstrtab\0"
    parts = [(b"", 0), (b".rodata", 2), (b".debug_str", 0), (b".note.gnu.build-id", 2), (b".shstrtab", 0)]
    bodies = [b"", text, debug, BUILD_ID + identity, names]
    data = bytes(64)
    rows = b""
    for (name, flags), body in zip(parts, bodies, strict=True):
        kind = 1 if name else 0
        fields = (names.index(name + b"\0") if name else 0, kind, flags, 0, len(data), len(body))
        rows += (
            struct.pack("<IIQQQQ", *fields).ljust(64, b"\0")
            if bits == 64
            else (struct.pack("<IIIIII", *fields).ljust(40, b"\0"))
        )
        data += body
    table = len(data)
    if bits == 64:
        head = bytes(24) + struct.pack("<QIHHHHHH", table, 0, 64, 0, 0, 64, len(parts), len(parts) - 1)
    else:
        head = bytes(16) + struct.pack("<IIHHHHHH", table, 0, 52, 0, 0, 40, len(parts), len(parts) - 1)
    return (b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9) + head).ljust(64, b"\0") + data[64:] + rows


def found(data: bytes) -> dict[bytes, bytes]:
    """The sections of a program with their content."""
    listed = sections(lambda at, size: data[at : at + size], len(data))
    return {each.name: data[each.offset : each.offset + each.size] for each in listed}


@pytest.mark.parametrize("bits", [32, 64])
def test_two_builds_of_one_program_come_out_the_same(bits: int) -> None:
    def built(folder: bytes, identity: bytes, strings: tuple[bytes, ...]) -> bytes:
        return elf(folder + b"/x.h\0text", b"\0".join(strings), identity, bits=bits)

    one = built(FIRST, b"1" * 20, (FIRST, b"src/x.c"))
    two = built(SECOND, b"2" * 20, (b"src/x.c", SECOND))
    results = [content(canonical([member("x.so", data)])[0], "x.so") for data in (one, two)]
    assert results[0] == results[1]
    assert len(results[0]) == len(one)
    parts = found(results[0])
    assert parts[b".rodata"] == NO_NAME + b"/x.h\0text"
    assert parts[b".debug_str"] == b""
    identity = parts[b".note.gnu.build-id"].removeprefix(BUILD_ID)
    assert identity not in (b"1" * 20, b"2" * 20, bytes(20))
    other = content(canonical([member("x.so", built(FIRST, b"1" * 20, (b"other",)) + b"!")])[0], "x.so")
    assert found(other)[b".note.gnu.build-id"].removeprefix(BUILD_ID) != identity


def test_the_record_has_the_hash_of_what_is_in_the_image() -> None:
    program, plain = elf(FIRST, FIRST), b"print()\n"

    def row(name: str, data: bytes) -> bytes:
        sha256 = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
        return b"%s,sha256=%s,%d\n" % (name.encode(), sha256, len(data))

    # The RECORD is the first of the entries, and names a file that another layer has.
    rest = row("m/plain.py", plain) + row("gone.so", b"") + b"m-1.dist-info/RECORD,,\n"
    record = row("m/x.so", program) + row("../../../bin/x", program) + rest
    layer = [
        member(f"{SITE}/m-1.dist-info/RECORD", record),
        member(f"{SITE}/m/x.so", program),
        member(f"{SITE}/m/plain.py", plain),
        member("usr/bin/x", program),
    ]
    data, _ = canonical(layer, tree([member(f"{SITE}/gone.so", program)]))
    written = content(data, f"{SITE}/m/x.so")
    assert written != program
    expected = row("m/x.so", written) + row("../../../bin/x", written) + rest
    assert content(data, f"{SITE}/m-1.dist-info/RECORD") == expected


@pytest.mark.parametrize(
    "data",
    [
        elf(b"/tmp/pip-install-notrandomatall", b"/tmp/somewhere"),
        elf(b"", b"/home/user/src"),
        b"#!/bin/sh\ncd " + FIRST,
        b"\x7fELF",
    ],
)
def test_other_files_stay_as_they_are(data: bytes) -> None:
    assert content(canonical([member("x", data)])[0], "x") == data


def test_a_name_over_the_border_of_two_reads_is_found() -> None:
    border = 1 << 20
    for shift in range(0, 80, 7):
        raw = elf(b"-" * (border - 64 - shift) + FIRST + b"/x")
        assert NO_NAME + b"/x" in content(canonical([member("x", raw)])[0], "x")


@pytest.mark.parametrize("cut", [5, 52, 63, 64, 200])
def test_a_program_that_is_not_whole_is_no_program(cut: int) -> None:
    assert found(elf(FIRST, FIRST)[:cut]) == {}


def test_records_that_name_one_another_end() -> None:
    digest = "A" * 43
    layer = [
        member("a.dist-info/RECORD", f"b.dist-info/RECORD,sha256={digest},1\n".encode()),
        member("b.dist-info/RECORD", f"a.dist-info/RECORD,sha256={digest},1\n".encode()),
    ]
    data, _ = canonical(layer)
    assert b"b.dist-info" in content(data, "a.dist-info/RECORD")


def test_it_can_be_turned_off() -> None:
    others = [each for each in normalisers(NEWEST).values() if each.name != "build-paths"]
    raw = elf(FIRST, FIRST)
    assert content(canonical([member("x", raw)], normalisers=others)[0], "x") == raw
