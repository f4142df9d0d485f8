from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from tarballs import RAW, indexed, member, tarball, tree

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.index import LayerIndex, Node, Tree, index_layer
from rbuild.image.tar import Kind

BELOW = [
    member("etc"),
    member("etc/passwd", b"root"),
    member("opt"),
    member("opt/a"),
    member("opt/a/one", b"1"),
    member("opt/a/two", b"2"),
    member("opt/b", b"file"),
]


def test_an_index_holds_digests_and_deletions() -> None:
    index = indexed(
        tarball(
            [
                member(
                    "b", b"content", uid=7, pax={"SCHILY.xattr.user.note": "x", "SCHILY.xattr.trusted.y": "z"}
                ),
                member("c", kind=tarfile.LNKTYPE, link="b"),
                member("a"),
                member("a/.wh.gone", b""),
                member("a/.wh..wh..opq", b""),
                member("./"),
            ]
        )
    )
    assert [path for path, _ in index.entries] == [b"a", b"b", b"c"]
    node = dict(index.entries)[b"b"]
    assert node.sha256 == hashlib.sha256(b"content").digest()
    assert node.digest.hex == hashlib.sha256(b"content").hexdigest()
    assert (node.uid, node.mtime, node.xattrs) == (7, RAW, ((b"user.note", b"x"),))
    assert dict(index.entries)[b"c"].link == b"b"
    assert index.whiteouts == (b"a/gone",)
    assert index.opaque == (b"a",)


def test_an_index_survives_its_bytes() -> None:
    index = indexed(tarball(BELOW))
    data = index.to_bytes()
    assert LayerIndex.from_bytes(data) == index
    assert index_layer(io.BytesIO(tarball(BELOW))).to_bytes() == data
    for broken in (b"", data[:-1], b"\x93\x90\x90\x01", b"\xff"):
        with pytest.raises(RbuildError, match="not the index of a layer"):
            LayerIndex.from_bytes(broken)


def test_a_layer_that_is_not_the_one_that_was_named_is_refused() -> None:
    data = tarball(BELOW)
    assert index_layer(io.BytesIO(data), Digest.of(data)) == indexed(data)
    with pytest.raises(RbuildError, match="and the image's configuration says"):
        index_layer(io.BytesIO(data + bytes(512)), Digest.of(data))


def test_excerpts_are_only_kept_of_what_normalisers_read() -> None:
    index = dict(
        indexed(
            tarball([member("etc/shadow", b"s" * 99), member("m.pyc", b"p" * 99), member("x", b"x")])
        ).entries
    )
    assert index[b"etc/shadow"].excerpt == b"s" * 99
    assert index[b"m.pyc"].excerpt == b"p" * 16
    assert index[b"x"].excerpt == b""


def test_whiteouts_take_away_whole_folders() -> None:
    above = tree(BELOW, [member("opt/.wh.a", b"")])
    assert b"opt/a" not in above
    assert above.get(b"opt/a/one") is None
    assert above.children(b"opt") == {b"opt/b"}
    assert above.get(b"etc/passwd") is not None


def test_opaque_markers_hide_what_is_below_but_not_beside() -> None:
    above = tree(BELOW, [member("opt/a/new", b"n"), member("opt/a/.wh..wh..opq", b"")])
    assert above.children(b"opt/a") == {b"opt/a/new"}
    assert above.get(b"opt/b") is not None


def test_files_replace_folders_and_the_reverse() -> None:
    above = tree(BELOW, [member("opt/a", b"now a file"), member("opt/b"), member("opt/b/in", b"")])
    assert above.get(b"opt/a/one") is None
    node = above.get(b"opt/a")
    assert node is not None
    assert node.kind is Kind.FILE
    assert above.children(b"opt/b") == {b"opt/b/in"}


def test_a_parent_that_no_layer_describes_is_there() -> None:
    above = tree([member("var/lib/x", b"")])
    assert b"var/lib" in above
    assert above.get(b"var/lib") is None
    assert b"var" in tree([member("var/lib/x", b"")], [member("var/.wh.lib", b"")])


def test_a_child_makes_its_parent_a_folder() -> None:
    above = tree([member("lib", link="usr/lib")], [member("lib/x", b"")])
    assert above.get(b"lib") is None
    assert above.children(b"lib") == {b"lib/x"}


def test_hard_links_share_a_node_also_across_layers() -> None:
    above = tree([member("a", b"old")], [member("b", kind=tarfile.LNKTYPE, link="a")])
    assert above.get(b"b") == above.get(b"a")
    above = tree([member("z", kind=tarfile.LNKTYPE, link="y"), member("y", b"new")])
    assert above.get(b"z") == above.get(b"y")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ([member("a", kind=tarfile.LNKTYPE, link="b")], "/a: it is a hard link to /b, which is no file"),
        ([member("a", kind=tarfile.LNKTYPE, link="a")], "/a: it is a hard link to itself"),
        (
            [member("a", kind=tarfile.LNKTYPE, link="b"), member("b", kind=tarfile.LNKTYPE, link="a")],
            "it is a hard link to itself",
        ),
        ([member("d"), member("a", kind=tarfile.LNKTYPE, link="d")], "/a: it is a hard link to a directory"),
        ([member("f", b""), member("f/x", b"")], "/f/x: it lies below an entry .* that is a file"),
        ([member(".wh.", b"")], "it is a whiteout that names nothing"),
        ([member("a/.wh...", b"")], "it is a whiteout that names nothing"),
        ([member(".wh.d/x", b"")], "it lies below a whiteout"),
    ],
)
def test_refuses(layer: list[tuple[tarfile.TarInfo, bytes]], message: str) -> None:
    with pytest.raises(RbuildError, match=message):
        tree(layer)


def test_aufs_bookkeeping_is_no_file() -> None:
    assert (
        len(tree([member(".wh..wh.plnk"), member(".wh..wh.plnk/1.2", b""), member(".wh..wh.aufs", b"")])) == 0
    )


def test_of_two_entries_with_one_path_the_last_counts() -> None:
    above = tree(
        [member("a"), member("a/x", b""), member("a", b"file"), member("b", b"1"), member("b", b"22")]
    )
    assert above.paths() == [b"a", b"b"]
    node = above.get(b"b")
    assert node is not None
    assert node.size == 2


def test_raw_mtimes_last_until_the_path_is_given_anew() -> None:
    node = Node(Kind.FILE, 0o644)
    above = Tree()
    above.apply(LayerIndex(((b"x.py", node),)), {b"x.py": 5})
    assert above.raw_mtime(b"x.py") == 5
    above.apply(LayerIndex(((b"x.py", node),)))
    assert above.raw_mtime(b"x.py") is None
