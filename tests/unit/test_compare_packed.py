"""What is said of compressed files, of Debian packages and libraries, and of the code in bytecode."""

from __future__ import annotations

import marshal
from importlib.util import MAGIC_NUMBER

import pytest
from imagepairs import fields, names, of_file, rows
from packs import PACKS, Pack, ar, deb, pyc
from pycs import PYC

from rbuild.compare.model import Difference


def causes(found: Difference) -> list[str]:
    return [leaf.cause.id for leaf in found.leaves() if leaf.cause]


# Compressed files


@pytest.mark.parametrize("ending", PACKS)
def test_what_is_compressed_is_compared(ending: str) -> None:
    pack = PACKS[ending]
    found = of_file(f"notes.txt.{ending}", pack(b"one\ntwo\n"), pack(b"one\n2\n"))
    (inside,) = found.children
    assert inside.name == "notes.txt"
    assert rows(inside) == [("two", "2")]


@pytest.mark.parametrize("ending", PACKS)
def test_several_streams_are_one_content(ending: str) -> None:
    pack = PACKS[ending]
    whole, parts = b"x" * 70_000 + b"y", pack(b"x" * 70_000) + pack(b"") + bytes(4) + pack(b"y")
    (same,) = of_file(f"x.{ending}", pack(whole), parts).children
    assert (same.name, same.note) == ("compressed data", "both unpack to the same content")
    (inside,) = of_file(f"x.{ending}", pack(whole), parts + pack(b"z")).children
    assert inside.name == "x"


@pytest.mark.parametrize("ending", PACKS)
def test_a_content_of_many_steps(ending: str) -> None:
    pack = PACKS[ending]
    a = b"".join(b"line %d\n" % number for number in range(400_000))
    (inside,) = of_file(f"x.{ending}", pack(a), pack(a.replace(b"line 123456\n", b"line 12345x\n"))).children
    assert rows(inside) == [("line 123456", "line 12345x")]


@pytest.mark.parametrize("ending", PACKS)
@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: data + b"junk"])
def test_what_is_broken_is_looked_at_as_bytes(ending: str, spoil: Pack) -> None:
    pack = PACKS[ending]
    found = of_file(
        f"x.{ending}", *(spoil(pack(b"%d " % step * 9 + bytes(range(step, 256)))) for step in (1, 2))
    )
    assert found.detail
    assert (found.note or "").startswith("could not look inside: ")


# Archives of ar


def test_what_differs_in_a_debian_package() -> None:
    found = of_file("a.deb", deb(b"Version: 1\n"), deb(b"Version: 2\n"))
    (packed,) = found.children
    assert packed.name == "control.tar.xz"
    (tar,) = packed.children
    (control,) = tar.children
    assert (tar.name, control.name) == ("control.tar", "control")
    assert rows(control) == [("Version: 1", "Version: 2")]


def test_times_of_members_of_a_debian_package() -> None:
    found = of_file("a.deb", deb(b"c"), deb(b"c", time=1_700_000_007))
    (times,) = found.children
    assert times.name == "times of members"
    assert fields(times)["debian-binary"] == ("2023-11-14T22:13:20Z", "2023-11-14T22:13:27Z")
    assert causes(found) == ["archive-member-times"]


def test_names_and_attributes_in_a_library() -> None:
    table = (b"//", 0, b"a-rather-long-name.o/\n")
    a = ar(table, (b"/0", 0, b"one"), (b"x.o/", 0, b"1"), (b"x.o/", 0, b"2"), (b"#1/4", 0, b"bsd\0odd"))
    b = ar(table, (b"/0", 0, b"two"), (b"x.o/", 0, b"1"), (b"x.o/", 0, b"3"), (b"#1/4", 0, b"bsd\0even"))
    assert names(of_file("lib.a", a, b).children) == ["a-rather-long-name.o", "x.o (2)", "bsd"]
    (attributes,) = of_file("lib.a", ar((b"m", 0, b"")), ar((b"m", 0, b""), mode=b"100755")).children
    assert fields(attributes) == {"m: mode": ("100644", "100755")}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-3],
        lambda data: data.replace(b"`\n", b"``", 1),
        lambda data: data.replace(b"1700000000", b"17_0000000", 1),
        lambda data: data.replace(b"100644", b"100899", 1),
    ],
)
def test_a_broken_archive_is_looked_at_as_bytes(spoil: Pack) -> None:
    found = of_file("a.deb", spoil(deb(b"one")), spoil(deb(b"two")))
    assert (found.note or "").startswith("could not look inside: ")


# Code


def compiled(source: str, file: str = "/app/m.py") -> bytes:
    """A .pyc file of the Python that runs this."""
    return MAGIC_NUMBER + bytes(12) + marshal.dumps(compile(source, file, "exec", optimize=0))


SOURCE = "def one(a):\n    return a.size + 1\n\nclass Two:\n    def three(self):\n        return 'three'\n"


@pytest.mark.parametrize("version", PYC)
def test_code_of_every_python(version: str) -> None:
    a = PYC[version]
    (file,) = of_file("m.pyc", a, a.replace(b"/build/one/", b"/build/two/")).children
    assert file.name == "<module>: file name"
    assert rows(file) == [("'/build/one/m.py'", "'/build/two/m.py'")]
    assert file.cause and file.cause.id == "build-path"
    (constant,) = of_file("m.pyc", a, a.replace(b"A point.", b"A prawn.")).children
    assert constant.name == "Point: constants"
    assert rows(constant) == [("'A point.'", "'A prawn.'")]
    (names_,) = of_file("m.pyc", a, a.replace(b"limit", b"limes")).children
    assert (names_.name, rows(names_)) == ("Point: names", [("'limit'", "'limes'")])
    found = of_file("m.pyc", a, a.replace(b"bytes", b"BYTES"))
    (inner,) = found.children
    assert inner.name.endswith("inner: constants")
    assert rows(inner) == [("b'bytes'", "b'BYTES'")]


def test_what_an_edit_changes_in_the_code() -> None:
    found = of_file("m.pyc", compiled(SOURCE), compiled(SOURCE.replace("a.size + 1", "a.size + 2")))
    assert names(found.children) == ["one: constants"]
    found = of_file("m.pyc", compiled(SOURCE), compiled(SOURCE.replace("a.size", "a.length")))
    assert "one: names" in names(found.children)
    found = of_file("m.pyc", compiled(SOURCE), compiled("\n" + SOURCE))
    assert "one: properties" in names(found.children)
    assert fields(found.children[-1]) == {"first line": ("5", "6")}
    found = of_file("m.pyc", compiled(SOURCE), compiled(SOURCE + "def four(): pass\n"))
    assert "+four" in names(found.children)
    found = of_file("m.pyc", compiled("x = 1\ny = x + 1"), compiled("x = 1\ny = x - 1"))
    assert names(found.children) == ["<module>: instructions"]
    found = of_file("m.pyc", compiled("f(1, 2)"), compiled("f(1,  2)"))
    assert names(found.children) == ["<module>: line table"]


def test_the_order_of_a_set_of_constants() -> None:
    """Python before 3.11 writes it as it comes, and that is drawn by chance."""
    a = PYC["3.8"]
    red, green, blue = (b"\xda" + bytes([len(word)]) + word for word in (b"red", b"green", b"blue"))
    assert all(word in a for word in (red, green, blue))
    words = sorted((red, green, blue), key=a.index)
    start = a.index(words[0])
    assert a[start:].startswith(b"".join(words))
    b = a[:start] + b"".join(words[1:] + words[:1]) + a[start + len(b"".join(words)) :]
    found = of_file("m.pyc", a, b)
    assert [leaf.name for leaf in found.leaves()] == ["Point.far: constants"] or names(found.children)
    assert causes(found) == ["hash-order"]


def test_marks_alone() -> None:
    """marshal notes which strings are interned, and what is used again: that depends on what ran before."""
    a = PYC["3.12"]
    b = a.replace(b"\xda\x05limit", b"\xfa\x05limit")
    (code,) = of_file("m.pyc", a, b).children
    assert code.name == "code"
    assert (
        code.note == "both hold the same code; what marshal notes of interned strings and of sharing differs"
    )


@pytest.mark.parametrize(("magic", "other"), [(3650, 3650), (3495, 3531)])
def test_a_python_that_is_not_known_is_said(magic: int, other: int) -> None:
    found = of_file("m.pyc", pyc(b"a", magic), pyc(b"b", other))
    notes = [leaf.note for leaf in found.leaves() if leaf.note]
    said = (
        "a Python that rbuild does not know (magic number 3650)"
        if magic == other
        else "two versions of Python"
    )
    assert notes == [f"compared as bytes: {said}"]
