"""What is said of the entries of two layers, apart from what lies inside of files."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagepairs import Member, entries, fields, image, names, of_files
from tarballs import EPOCH, member, tarball

from rbuild.compare import files, lockstep, place, sidebyside
from rbuild.compare.evidence import Evidence
from rbuild.compare.images import compare
from rbuild.compare.lockstep import Found, Want, read_wanted
from rbuild.compare.model import Change, Difference
from rbuild.compare.scan import Window, scan
from rbuild.compare.sidebyside import scan_both
from rbuild.errors import RbuildError
from rbuild.image.tar import CHUNK


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


def compared(a: list[Member], b: list[Member]) -> tuple[Difference, ...]:
    return entries(compare(image("a", [a]), image("b", [b])))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (member("x", b"", mode=0o644), member("x", b"", mode=0o4755), {"mode": ("0644", "4755")}),
        (member("x", b"", uid=0), member("x", b"", uid=1000), {"owner": ("0:0", "1000:1000")}),
        (
            member("x", b"", mtime=0),
            member("x", b"", mtime=1_700_000_000),
            {"mtime": ("1970-01-01T00:00:00Z", "2023-11-14T22:13:20Z")},
        ),
        (member("x", link="a"), member("x", link="../b"), {"link": ("a", "../b")}),
        (
            member("x", b""),
            member("x", b"", pax={"SCHILY.xattr.user.note": "hi"}),
            {"user.note": (None, "hi")},
        ),
        (
            member("x", b"", mode=0o755),
            member("x", mode=0o755),
            {"kind": ("file", "directory")},
        ),
    ],
)
def test_properties_of_an_entry(
    one: Member, other: Member, expected: dict[str, tuple[str | None, str | None]], evidence: list[Evidence]
) -> None:
    (found,) = compared([one], [other])
    assert found.name == "/x"
    assert fields(found) == expected
    assert found.detail is None
    (seen,) = evidence
    assert (seen.path, seen.format, seen.fields) == (b"x", "metadata", found.fields)


def test_a_device_has_its_numbers() -> None:
    def device(minor: int) -> Member:
        info, data = member("dev", kind=tarfile.CHRTYPE)
        info.devmajor, info.devminor = 1, minor
        return info, data

    (found,) = compared([device(3)], [device(5)])
    assert fields(found) == {"device": ("1,3", "1,5")}


def test_properties_and_content_are_two_differences() -> None:
    (found,) = compared([member("x", b"one\n", mtime=1)], [member("x", b"three\n", mtime=2)])
    assert fields(found) == {"size": ("4", "6")}
    assert names(found.children) == ["metadata", "content"]
    assert list(fields(found.children[0])) == ["mtime"]
    assert found.children[1].detail is not None


def test_hard_links_are_compared_by_what_they_link_to() -> None:
    def linked(data: bytes, target: str) -> list[Member]:
        return [
            member("a", data, mtime=EPOCH),
            member("b", b"", mtime=EPOCH),
            member("l", kind=tarfile.LNKTYPE, link=target, mtime=EPOCH, mode=0o644),
        ]

    assert names(compared(linked(b"1", "a"), linked(b"2", "a"))) == ["/a"]
    (found,) = compared(linked(b"1", "a"), linked(b"1", "b"))
    assert fields(found) == {"link": ("/a", "/b")}


def test_entries_on_one_side_know_the_others_of_their_folder(evidence: list[Evidence]) -> None:
    a = [member("tmp", mtime=EPOCH), member("tmp/abc", b"log\n"), member("tmp/same", b"", mtime=EPOCH)]
    b = [member("tmp", mtime=EPOCH), member("tmp/xyz", b"log\n"), member("tmp/same", b"", mtime=EPOCH)]
    removed, added = compared(a, b)
    assert names([removed, added]) == ["-/tmp/abc", "+/tmp/xyz"]
    assert fields(added)["size"] == (None, "4")
    assert [(one.format, one.change, one.a, one.b, one.others) for one in evidence] == [
        ("entry", Change.REMOVED, b"log\n", b"", frozenset({b"tmp/xyz"})),
        ("entry", Change.ADDED, b"", b"log\n", frozenset({b"tmp/abc"})),
    ]
    assert len(evidence[0].sha256_a) == 32
    assert evidence[0].sha256_b == b""


def test_a_folder_that_is_new_as_a_whole_is_one_difference() -> None:
    many = [member(f"new/deep/f{number:03}", b"") for number in range(50)]
    (found,) = compared([], [member("new"), member("new/deep"), *many, member("new.d", b"")])[:1]
    assert names([found]) == ["+/new"]
    assert found.omitted == 51
    assert fields(found)["entries"] == (None, "51")
    assert found.detail is not None
    assert found.detail.omitted
    assert found.detail.rows[0].b == "/new/deep"


def test_a_folder_in_which_both_have_something_is_not_a_whole() -> None:
    found = compared(
        [member("d/x", b"1", mtime=1)], [member("d"), member("d/x", b"1", mtime=1), member("d/y", b"")]
    )
    assert names(found) == ["+/d", "+/d/y"]


def test_deletions_are_differences() -> None:
    a = [member("etc", mtime=EPOCH), member("etc/.wh.passwd", b"")]
    b = [member("etc", mtime=EPOCH), member("etc/.wh..wh..opq", b"")]
    opaque, whiteout = compared(a, b)
    assert names([opaque, whiteout]) == ["+/etc/.wh..wh..opq", "-/etc/.wh.passwd"]
    assert opaque.note == "deletes all that the layers below have in /etc"
    assert whiteout.note == "deletes /etc/passwd"


def test_names_that_do_not_print_are_escaped() -> None:
    (found,) = compared([], [member(os.fsdecode(b"a\xff\n\x1b[31m"), b"")])
    assert found.name == "/a\\xff\\n\\x1b[31m"


def test_of_two_entries_with_one_name_the_last_counts() -> None:
    twice = [member("x", b"first", mtime=1), member("y", b"", mtime=1), member("x", b"last", mtime=1)]
    assert [
        child.name for child in compared(twice, [member("x", b"other", mtime=1), member("y", b"", mtime=1)])
    ] == ["/x"]
    (layer,) = compare(
        image("a", [twice]), image("b", [[member("x", b"last", mtime=1), member("y", b"", mtime=1)]])
    ).differences[-1:]
    assert layer.note is not None
    assert "the entries are equal" in layer.note


def test_of_a_large_file_a_window_is_shown(monkeypatch: pytest.MonkeyPatch, evidence: list[Evidence]) -> None:
    monkeypatch.setattr(sidebyside, "MAX_OPENED", 2 * CHUNK)
    monkeypatch.setattr(files, "MAX_OPENED", 2 * CHUNK)
    a = bytearray(5 * CHUNK)
    b = bytearray(a)
    at = 3 * CHUNK + 1000
    b[at] = 1
    taken: list[bytes] = []
    comparison = of_files({"x": bytes(a)}, {"x": bytes(b)}, pairs=lambda path, one, other: taken.append(path))
    (found,) = entries(comparison)
    assert found.note == "could not look inside: it has more than 2 MiB"
    assert found.detail is not None
    assert any(row.at_a == f"{at // 16 * 16:08x}" and row.differs for row in found.detail.rows)
    assert (evidence[0].first, evidence[0].start) == (at, 3 * CHUNK)
    assert taken == []


@pytest.mark.parametrize(
    ("size_a", "size_b"), [(CHUNK, 3 * CHUNK), (2 * CHUNK + 5, 2 * CHUNK + 6), (10, 3 * CHUNK)]
)
def test_of_a_large_file_that_goes_on_the_end_is_shown(
    size_a: int, size_b: int, monkeypatch: pytest.MonkeyPatch, evidence: list[Evidence]
) -> None:
    monkeypatch.setattr(sidebyside, "MAX_OPENED", 100)
    monkeypatch.setattr(files, "MAX_OPENED", 100)
    of = of_files({"x": bytes(size_a)}, {"x": bytes(size_b)})
    (found,) = entries(of)
    assert found.detail is not None
    assert evidence[0].first == size_a


def test_contents_that_are_not_kept_are_read_again(
    monkeypatch: pytest.MonkeyPatch, evidence: list[Evidence]
) -> None:
    monkeypatch.setattr(sidebyside, "_MAX_KEPT", 0)
    a = {f"f{number}": b"one %d\n" % number for number in range(5)} | {"gone": b"g"}
    b = {f"f{number}": b"two %d\n" % number for number in reversed(range(5))} | {"new": b"n"}
    found = entries(of_files(a, b))
    assert len(found) == 7
    assert {one.path: (one.a, one.b) for one in evidence} == {
        **{b"f%d" % number: (b"one %d\n" % number, b"two %d\n" % number) for number in range(5)},
        b"gone": (b"g", b""),
        b"new": (b"", b"n"),
    }


def test_contents_in_another_order_wait_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidebyside, "_MAX_KEPT", 0)
    monkeypatch.setattr(lockstep, "_MAX_HELD", 20)
    a = {f"f{number}": b"one %d\n" % number for number in range(9)}
    b = {f"f{number}": b"two %d\n" % number for number in reversed(range(9))}
    found = entries(of_files(a, b))
    notes = [each.note for each in found if each.note]
    assert len(found) == 9
    assert 0 < len(notes) < 9
    assert set(notes) == {"could not look inside: the layers hold their entries in too different an order"}


FILES = st.dictionaries(st.sampled_from("abcdef"), st.binary(max_size=5), max_size=6)


@settings(deadline=None)
@given(FILES, FILES, st.randoms(use_true_random=False))
def test_side_by_side_is_the_same_as_each_for_itself(
    one: dict[str, bytes], other: dict[str, bytes], random
) -> None:  # type: ignore[no-untyped-def]
    tars = []
    for contents in (one, other):
        order = list(contents)
        random.shuffle(order)
        tars.append(tarball([member(name, contents[name]) for name in order]))
    scans = scan_both(io.BytesIO(tars[0]), io.BytesIO(tars[1]))
    for scanned, tar in ((scans.a, tars[0]), (scans.b, tars[1])):
        alone = scan(io.BytesIO(tar))
        assert scanned.given == alone.given
        assert scanned.contents == alone.contents
    wants = [
        Want(
            name.encode(),
            (scans.a.given[name.encode()], Window(0, 100)) if name in one else None,
            (scans.b.given[name.encode()], Window(0, 100)) if name in other else None,
        )
        for name in sorted(one.keys() | other.keys())
    ]
    found = list(read_wanted(io.BytesIO(tars[0]), io.BytesIO(tars[1]), wants))
    assert sorted(found) == [
        Found(name.encode(), one.get(name), other.get(name)) for name in sorted(one.keys() | other.keys())
    ]
    for want in wants:
        if (kept := scans.found(want)) is not None:
            assert kept in found


def test_a_layer_that_breaks_off_is_an_error_from_both_sides() -> None:
    good, broken = tarball([member("x", b"1")]), tarball([member("x", b"1" * 2000)])[:1000]
    for a, b in ((good, broken), (broken, good)):
        with pytest.raises(RbuildError, match="/x"):
            scan_both(io.BytesIO(a), io.BytesIO(b))
