from __future__ import annotations

import gzip
import tarfile
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagepairs import GZIP, entries, fields, image, layers, names, of_files, sealed
from tarballs import EPOCH, member, tarball

from rbuild.compare import entries as listing
from rbuild.compare.images import compare
from rbuild.compare.model import Blame, Change, Verdict
from rbuild.digest import Digest
from rbuild.errors import RbuildError

BASE = [member("etc", mtime=EPOCH), member("etc/os-release", b"Debian\n", mtime=EPOCH)]
ONE = [member("one", b"1", mtime=EPOCH)]
TWO = [member("two", b"2", mtime=EPOCH)]
THREE = [member("three", b"3", mtime=EPOCH)]


def test_an_image_is_identical_to_itself_without_opening_a_layer() -> None:
    one = sealed(image("a", [BASE, ONE]))
    found = compare(one, replace(one, name="b"))
    assert found.verdict is Verdict.IDENTICAL
    assert found.differences == ()
    assert [(pair.number, pair.shared) for pair in found.layers] == [(1, True), (2, True)]
    assert found.a.name == "a"
    assert found.b.name == "b"
    assert found.a.digest == found.b.digest == Digest.of(one.manifest)


def test_other_compression_is_the_same_content_and_opens_nothing() -> None:
    a, b = (
        image("a", [BASE, [member("big", b"x" * 5000)]], level=1),
        image("b", [BASE, [member("big", b"x" * 5000)]], level=9),
    )
    found = compare(sealed(a), sealed(b))
    assert found.verdict is Verdict.SAME_CONTENT
    (manifest,) = found.differences
    assert "layers[1].digest" in names(manifest.children)
    assert not any("config" in name for name in names(manifest.children))


def test_annotations_are_compared_by_key() -> None:
    a = image("a", [BASE], annotations={"org.x": "1", "same": "s"})
    b = image("b", [BASE], annotations={"org.y": "2", "same": "s"})
    (manifest,) = compare(sealed(a), sealed(b)).differences
    assert names(manifest.children) == ['-annotations["org.x"]', '+annotations["org.y"]']


def test_only_layers_that_differ_are_opened() -> None:
    a, b = image("a", [BASE, ONE, TWO]), image("b", [BASE, THREE, TWO])
    opened: list[int] = []

    def counting(number: int, of=a.open_layer):  # type: ignore[no-untyped-def]
        opened.append(number)
        return of(number)

    found = compare(replace(a, open_layer=counting), b)
    assert set(opened) == {2}
    assert found.verdict is Verdict.DIFFERENT
    assert [pair.shared for pair in found.layers] == [True, False, True]
    assert names(layers(found)) == ["layer 2"]
    assert names(entries(found)) == ["-/one", "+/three"]


def test_a_layer_more_is_found_where_it_lies() -> None:
    history = [{"created_by": "ADD base"}, {"created_by": "RUN b"}]
    more = [history[0], {"created_by": "RUN new"}, history[1]]
    a = image("a", [BASE, ONE], history=history)
    b = image("b", [BASE, THREE, TWO], history=more)
    found = compare(a, b)
    added, changed = layers(found)
    assert names([added, changed]) == ["+layer 2", "layer 3"]
    assert added.blame == Blame(text="RUN new")
    assert fields(added)["diff id"] == (None, str(Digest.of(tarball(THREE))))
    assert names(changed.children) == ["-/one", "+/two"]
    assert [(pair.a is None, pair.b is None) for pair in found.layers] == [
        (False, False),
        (True, False),
        (False, False),
    ]
    assert found.layers[1].size_b is not None


def test_files_cut_into_layers_in_another_way_are_said_to_be_the_same() -> None:
    (found,) = layers(compare(image("a", [BASE, [*ONE, *TWO]]), image("b", [BASE, ONE, TWO])))
    assert found.note is not None
    assert "divided into layers in another way" in found.note
    assert fields(found) == {"layers": ("1", "2")}
    assert found.cause is not None


@pytest.mark.parametrize(
    "second",
    [
        [member("two", b"other", mtime=EPOCH)],
        [*TWO, member(".wh.gone", b"")],
        [*TWO, member("etc/.wh..wh..opq", b"")],
    ],
)
def test_layers_cut_in_another_way_with_other_files_are_different(
    second: list[tuple[tarfile.TarInfo, bytes]],
) -> None:
    found = layers(compare(image("a", [BASE, [*ONE, *TWO]]), image("b", [BASE, ONE, second])))
    assert len(found) == 2
    assert all("divided" not in (each.note or "") for each in found)


def test_a_line_of_the_containerfile_is_blamed_before_a_text() -> None:
    blame = Blame(text="RUN make", file="Containerfile", line=3)
    a = image("a", [BASE, ONE], blames=[None, blame])
    b = image("b", [BASE, TWO], history=[{"created_by": "x"}, {"created_by": "RUN make"}])
    for one, other in ((a, b), (b, a)):
        found = compare(one, other)
        assert {leaf.blame for leaf in found.differences[-1].leaves()} == {blame}
        assert found.layers[1].blame == blame


def test_history_that_does_not_fit_the_layers_blames_nothing() -> None:
    a, b = image("a", [ONE], history=[]), image("b", [TWO], history=[])
    assert compare(a, b).layers[0].blame is None


def test_entries_in_another_order_are_an_order() -> None:
    a, b = image("a", [[*ONE, *TWO]]), image("b", [[*TWO, *ONE]])
    (found,) = layers(compare(a, b))
    assert found.note == "the entries are equal, and stand in another order"
    assert found.cause is not None


def test_other_header_bytes_of_equal_entries_are_named() -> None:
    other = tarball(ONE).replace(b"somebody", b"somebodi", 1)
    block = bytearray(other[:512])
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    a, b = image("a", [ONE]), image("b", [bytes(block) + other[512:]])
    (found,) = layers(compare(a, b))
    assert (
        found.note
        == "the entries are equal, and the archives are written differently, first in the header of /one"
    )
    assert found.detail is not None
    assert found.detail.form == "hex"


def test_equal_archives_with_unequal_diff_ids_are_named() -> None:
    a, b = image("a", [ONE]), image("b", [TWO], blobs=[gzip.compress(tarball(ONE))])
    (found,) = layers(compare(a, b))
    assert "different diff ids" in (found.note or "")


def test_a_broken_layer_is_an_error_with_blob_and_entry() -> None:
    blob = gzip.compress(tarball([*BASE, member("etc/passwd", b"p" * 5000)])[:3000])
    a, b = image("a", [ONE]), image("b", [TWO], blobs=[blob])
    with pytest.raises(RbuildError) as error:
        compare(a, b)
    (problem,) = error.value.problems
    assert problem.what.startswith("layer 1 of b: ")
    assert "etc/passwd" in problem.what
    assert problem.where is not None
    assert problem.where.digest == str(Digest.of(blob))


@pytest.mark.parametrize(
    "blob", [b"", b"\x1f\x8bnot gzip", gzip.compress(b"x" * 600)[:20]], ids=["empty", "no gzip", "cut"]
)
def test_a_blob_that_is_no_layer_is_an_error_or_empty(blob: bytes) -> None:
    a, b = image("a", [ONE]), image("b", [TWO], blobs=[blob or b"\x1f"])
    with pytest.raises(RbuildError, match="layer 1 of b"):
        compare(a, b)


def test_documents_that_cannot_be_read_name_the_image() -> None:
    a = image("a", [ONE])
    with pytest.raises(RbuildError, match=r"the left one: .*not valid JSON"):
        compare(replace(a, name="the left one", manifest=b"{"), a)
    with pytest.raises(RbuildError, match=r"b: .*not valid JSON"):
        compare(a, replace(a, name="b", config=b"{"))
    with pytest.raises(RbuildError, match="has 1 layers, and the configuration 2"):
        compare(a, replace(a, name="b", config=image("c", [ONE, TWO]).config))


def test_an_unpacked_layer_is_read_as_a_tar() -> None:
    a, b = image("a", [ONE]), image("b", [TWO], blobs=[tarball(TWO)], unpacked=True)
    assert GZIP.encode() in b.manifest
    assert names(entries(compare(a, b))) == ["-/one", "+/two"]


def test_more_differences_than_are_listed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_LISTED", 5)
    a = [member(f"f{number}", b"1", mtime=1) for number in range(10)]
    b = [member(f"f{number}", b"2" if number == 9 else b"1", mtime=2) for number in range(10)]
    (layer,) = layers(compare(image("a", [a]), image("b", [b])))
    assert len(layer.children) == 5
    assert layer.omitted == 5
    assert "/f9" in names(layer.children)  # a content counts more than a time


PATHS = st.lists(st.sampled_from(["a", "b", "a.b", "c"]), min_size=1, max_size=3).map("/".join)
CONTENTS = st.sampled_from([b"", b"one\n", b"two\n", bytes(range(40))])
TREES = st.dictionaries(PATHS, st.tuples(CONTENTS, st.sampled_from([0o644, 0o755])), max_size=8)


def _members(files: dict[str, tuple[bytes, int]]) -> list[tuple[tarfile.TarInfo, bytes]]:
    folders = {path.rsplit("/", depth)[0] for path in files for depth in range(1, path.count("/") + 1)}
    return [
        *(member(path, mtime=EPOCH) for path in sorted(folders)),
        *(
            member(path, data, mode=mode, mtime=EPOCH)
            for path, (data, mode) in files.items()
            if path not in folders
        ),
    ]


@settings(deadline=None, max_examples=150)
@given(TREES, TREES)
def test_every_path_that_differs_is_named_once(
    one: dict[str, tuple[bytes, int]], other: dict[str, tuple[bytes, int]]
) -> None:
    trees = [
        {info.name: (info.type, info.mode, data) for info, data in _members(files)} for files in (one, other)
    ]
    a, b = (image(name, [_members(files)]) for name, files in (("a", one), ("b", other)))
    found = compare(a, b)
    named = {}
    for each in entries(found):
        assert each.name not in named
        named[each.name] = each
    expected = {
        f"/{path}": Change.ADDED
        if path not in trees[0]
        else Change.REMOVED
        if path not in trees[1]
        else Change.CHANGED
        for path in trees[0].keys() | trees[1].keys()
        if trees[0].get(path) != trees[1].get(path)
    }
    for path, change in expected.items():
        holders = [
            each
            for name, each in named.items()
            if path == name or (path.startswith(f"{name}/") and each.omitted)
        ]
        assert len(holders) == 1
        assert holders[0].change is change
    assert named.keys() <= expected.keys()
    assert all(leaf.cause for leaf in found.leaves())

    swapped = compare(b, a)
    opposite = {Change.ADDED: Change.REMOVED, Change.REMOVED: Change.ADDED, Change.CHANGED: Change.CHANGED}
    assert {each.name: opposite[each.change] for each in entries(swapped)} == {
        name: each.change for name, each in named.items()
    }
    assert compare(a, replace(a, name="b")).verdict is Verdict.IDENTICAL


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from("vwxyz"), max_size=6), st.lists(st.sampled_from("vwxyz"), max_size=6))
def test_layers_align_in_the_same_way_from_both_sides(one: list[str], other: list[str]) -> None:
    a, b = (
        image(name, [[member(letter, letter.encode())] for letter in letters])
        for name, letters in (("a", one), ("b", other))
    )
    there, back = compare(a, b), compare(b, a)
    assert [(pair.a, pair.b) for pair in there.layers if pair.shared] == [
        (pair.b, pair.a) for pair in back.layers if pair.shared
    ]
    assert [pair.a for pair in there.layers if pair.a] == [
        Digest.of(tarball([member(x, x.encode())])) for x in one
    ]
    assert [pair.b for pair in there.layers if pair.b] == [
        Digest.of(tarball([member(x, x.encode())])) for x in other
    ]


def test_pairs_are_handed_out() -> None:
    taken = []
    of_files(
        {"same": b"s", "x": b"1", "only": b"o"},
        {"same": b"s", "x": b"2", "new": b"n"},
        pairs=lambda path, a, b: taken.append((path, a.read(), b.read())),
    )
    assert taken == [(b"x", b"1", b"2")]
