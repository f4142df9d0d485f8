from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tarballs import EPOCH, canonical, content, indexed, listed, member, tarball, tree

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.index import LayerIndex, Tree

Member = tuple[tarfile.TarInfo, bytes]

BELOW = [
    member("etc"),
    member("etc/passwd", b"root"),
    member("etc/hosts", b"127.0.0.1"),
    member("opt"),
    member("opt/a"),
    member("opt/a/one", b"1"),
    member("opt/a/two", b"2"),
    member("opt/a/sub"),
    member("opt/a/sub/deep", b"d"),
    member("opt/b", b"file"),
]


def names(members: list[Member], lower: Tree | None = None, **options: object) -> list[str]:
    return list(listed(canonical(members, lower, **options)[0]))  # type: ignore[arg-type]


def test_entries_are_sorted_and_restated() -> None:
    data, layer = canonical(
        [
            member("./usr/b", b"2", uid=5),
            member("/usr", mode=0o40755),
            member("usr/a.b", b"", mode=0o104755),
            member("usr/a"),
            member("usr/a/x", link="../b"),
        ]
    )
    found = listed(data)
    assert list(found) == ["usr", "usr/a", "usr/a.b", "usr/a/x", "usr/b"]
    assert {info.mtime for info in found.values()} == {EPOCH}
    assert {info.uname + info.gname for info in found.values()} == {""}
    assert (found["usr/b"].uid, found["usr/a.b"].mode) == (5, 0o4755)
    assert not any(info.pax_headers for info in found.values())
    assert layer is not None
    assert layer.diff_id == Digest.of(data)
    assert layer.size == len(data)
    assert layer.index == indexed(data)
    assert data.endswith(bytes(1024))
    assert len(data) == 5 * 512 + 512 + 1024


def test_an_empty_layer_is_none() -> None:
    assert canonical([]) == (b"", None)
    assert canonical([member("etc"), member("etc/passwd", b"root")], tree(BELOW)) == (b"", None)


def test_only_kept_xattrs_stay() -> None:
    pax = {
        f"SCHILY.xattr.{name}": "x"
        for name in (
            "security.capability", "security.selinux", "user.mine", "user.overlay.origin",
            "trusted.overlay.opaque",
        )
    }  # fmt: skip
    data, _ = canonical([member("f", b"", pax=pax | {"atime": "1", "LIBARCHIVE.creationtime": "2"})])
    assert set(listed(data)["f"].pax_headers) == {
        "SCHILY.xattr.security.capability",
        "SCHILY.xattr.user.mine",
    }


def test_what_changes_nothing_goes_whatever_its_mtime() -> None:
    assert names(
        [
            member("etc", mtime=1),
            member("etc/passwd", b"root", mtime=2),
            member("opt"),
            member("opt/a", mode=0o700),
            member("opt/a/one", b"!"),
            member("opt/a/two", b"2", uid=3),
            member("opt/b", b"file", pax={"SCHILY.xattr.user.x": "y"}),
        ],
        tree(BELOW),
    ) == ["opt/a", "opt/a/one", "opt/a/two", "opt/b"]


def test_hard_links_point_to_the_first_path() -> None:
    data, layer = canonical(
        [
            member("z", b"shared"),
            member("m", kind=tarfile.LNKTYPE, link="z"),
            member("a", kind=tarfile.LNKTYPE, link="m"),
            member("s", link="z"),
            member("b", kind=tarfile.LNKTYPE, link="s"),
        ]
    )
    found = listed(data)
    assert [(info.name, info.type, info.linkname) for info in found.values()] == [
        ("a", tarfile.REGTYPE, ""),
        ("b", tarfile.SYMTYPE, "z"),
        ("m", tarfile.LNKTYPE, "a"),
        ("s", tarfile.LNKTYPE, "b"),
        ("z", tarfile.LNKTYPE, "a"),
    ]
    assert content(data, "a") == b"shared"
    assert layer is not None
    assert layer.index == indexed(data)


def test_a_hard_link_to_what_goes_gets_the_content() -> None:
    data, _ = canonical(
        [member("etc/passwd", b"root"), member("n", kind=tarfile.LNKTYPE, link="etc/passwd")], tree(BELOW)
    )
    assert [(info.name, info.type) for info in listed(data).values()] == [("n", tarfile.REGTYPE)]
    assert content(data, "n") == b"root"


def test_a_hard_link_to_a_lower_layer_needs_its_content() -> None:
    with pytest.raises(RbuildError, match="/n: it is a hard link to a file that only a lower layer has"):
        canonical([member("n", kind=tarfile.LNKTYPE, link="etc/passwd")], tree(BELOW))


MOUNTED = [
    member("run"),
    member("run/.containerenv", b"", mode=0o700),
    member("etc/hosts", b"", mode=0o700),
    member("etc/resolv.conf", b"", mode=0o700),
    member("etc/hostname", b"", mode=0o700),
    member("proc"),
    member("sys"),
    member("dev"),
]


def test_the_builders_mount_points_go() -> None:
    assert canonical(MOUNTED, tree(BELOW)) == (b"", None)
    assert canonical(MOUNTED)[1] is None


def test_where_podman_4_mounts_secrets_goes() -> None:
    """For a RUN with a secret, Podman 4.3.1 commits this folder, and 5.8.6 does not."""
    assert canonical([member("run", mode=0o755), member("run/secrets", mode=0o755)])[1] is None
    assert names([member("run/secrets"), member("run/secrets/own", b"1")]) == [
        "run/secrets",
        "run/secrets/own",
    ]


def test_an_xattr_without_a_value_goes() -> None:
    """After `setfattr -n user.more`, Podman 5.8.6 writes the record, and 4.3.1 does not."""
    kept = {"SCHILY.xattr.user.note": "x"}
    bare, with_it = (
        canonical([member("m/owned", b"", pax=pax)]) for pax in (kept, {**kept, "SCHILY.xattr.user.more": ""})
    )
    assert with_it == bare


def test_what_a_build_puts_there_stays() -> None:
    layer = [
        member("run"),
        member("run/app"),
        member("etc/hosts", b"mine"),
        member("dev/null", kind=tarfile.CHRTYPE),
    ]
    assert names(layer, tree(BELOW)) == ["dev/null", "etc/hosts", "run", "run/app"]


def test_mounts_of_the_build_go_with_all_that_is_in_them() -> None:
    layer = [
        member(".recorder"),
        member(".recorder/ca.pem", b"x"),
        member(".recorder/.wh.y", b""),
        member("a", b""),
    ]
    lower = tree([member(".recorder/y", b"")])
    assert names(layer, lower, mounts=frozenset((b".recorder",))) == ["a"]
    assert names(
        [member(".wh..recorder", b""), member("a", b"")], lower, mounts=frozenset((b".recorder",))
    ) == ["a"]


def test_deletions_are_one_whiteout_each() -> None:
    data, layer = canonical(
        [
            member("opt/.wh.a", b""),
            member("opt/a/.wh.one", b""),
            member("opt/.wh.never", b""),
            member("etc/.wh.passwd", b""),
        ],
        tree(BELOW),
    )
    found = listed(data)
    assert list(found) == ["etc/.wh.passwd", "opt/.wh.a"]
    assert all((info.mtime, info.mode, info.size) == (EPOCH, 0, 0) for info in found.values())
    assert layer is not None
    assert layer.index == LayerIndex((), (b"etc/passwd", b"opt/a"))


def test_storage_drivers_give_the_same_deletions() -> None:
    """`rm -r /opt/a; mkdir -p /opt/a/sub; echo new > /opt/a/sub/new; echo 2 > /opt/a/two`"""
    given = [member("opt/a"), member("opt/a/sub"), member("opt/a/sub/new", b"n"), member("opt/a/two", b"2")]
    overlay = [*given, member("opt/a/.wh..wh..opq", b"")]
    nested = [*overlay, member("opt/a/sub/.wh..wh..opq", b"")]
    replaced = [member("opt/.wh.a", b""), *given]
    vfs = [
        member("opt/a"), member("opt/a/.wh.one", b""), member("opt/a/sub"), member("opt/a/sub/.wh.deep", b""),
        member("opt/a/sub/new", b"n"),
    ]  # fmt: skip
    lower = tree(BELOW)
    forms = {canonical(layer, lower)[0] for layer in (overlay, nested, replaced, vfs)}
    assert len(forms) == 1
    assert list(listed(forms.pop())) == ["opt/a/.wh.one", "opt/a/sub/.wh.deep", "opt/a/sub/new"]


def test_nothing_is_deleted_below_what_is_replaced() -> None:
    layer = [member("opt/a", b"file"), member("opt/a/.wh.one", b""), member("opt/a/.wh..wh..opq", b"")]
    assert names(layer, tree(BELOW)) == ["opt/a"]


def test_a_folder_in_place_of_a_file_needs_no_whiteout() -> None:
    layer = [
        member("opt/b"),
        member("opt/b/.wh..wh..opq", b""),
        member("opt/.wh.b", b""),
        member("opt/b/x", b""),
    ]
    assert names(layer, tree(BELOW)) == ["opt/b", "opt/b/x"]


def test_an_opaque_root_hides_all() -> None:
    layer = [member(".wh..wh..opq", b""), member("opt"), member("opt/b", b"file")]
    assert names(layer, tree(BELOW)) == [".wh.etc", "opt/.wh.a"]


def test_gnu_tar_extracts_it(tmp_path: Path) -> None:
    archive = tmp_path / "layer.tar"
    name = "d/" + "n" * 150 + "ü"
    archive.write_bytes(
        canonical([member("d"), member(name, b"abc"), member("h", kind=tarfile.LNKTYPE, link=name)])[0]
    )
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path, "--no-same-owner"], check=True)
    assert (tmp_path / name).read_bytes() == (tmp_path / "h").read_bytes() == b"abc"
    assert (tmp_path / name).stat().st_ino == (tmp_path / "h").stat().st_ino


def test_broken_layers_write_nothing() -> None:
    sink = io.BytesIO()
    with pytest.raises(RbuildError):
        canonical(tarball([member("a", b"x" * 5000)])[:3000])
    assert sink.getvalue() == b""


# Random layers over random layers: a small world, so that paths meet.
WORLD = [
    "a",
    "b",
    "a/a",
    "a/b",
    "a/a/a",
    "b/x.py",
    "b/__pycache__/x.cpython-311.pyc",
    "etc/shadow",
    "run",
    "run/x",
]
PYC = b"\xa7\x0d\r\n\0\0\0\0"
contents = st.sampled_from(
    [
        b"",
        b"1",
        b"2" * 600,
        *(PYC + mtime.to_bytes(4, "little") + b"\1\0\0\0code" for mtime in (0, EPOCH, 1_700_000_123)),
    ]
)


@st.composite
def layers(draw: st.DrawFn) -> list[Member]:
    """A layer without contradictions, so that any order of its entries means the same."""
    kinds: dict[str, str] = {}
    rows: list[Member] = []
    for path in sorted(draw(st.sets(st.sampled_from(WORLD)))):
        parents = [path[:at] for at, char in enumerate(path) if char == "/"]
        if any(kinds.get(parent, "dir") != "dir" for parent in parents):
            continue
        kind = kinds[path] = draw(
            st.sampled_from(["dir", "dir", "file", "file", "link", "hard", "gone", "opaque"])
        )
        folder, slash, name = path.rpartition("/")
        mode = draw(st.sampled_from([0o644, 0o755]))
        files = [other for other, what in kinds.items() if what == "file"]
        if kind == "dir" or kind == "opaque":
            kinds[path] = "dir"
            rows.append(member(path, mode=mode))
            if kind == "opaque":
                rows.append(member(f"{path}/.wh..wh..opq", b""))
        elif kind == "hard" and files:
            rows.append(member(path, kind=tarfile.LNKTYPE, link=draw(st.sampled_from(files))))
        elif kind == "gone":
            rows.append(member(f"{folder}{slash}.wh.{name}", b""))
        elif kind == "link":
            rows.append(member(path, link="somewhere"))
        else:
            kinds[path] = "file"
            mtime = draw(st.sampled_from([0, EPOCH, 1_700_000_123]))
            rows.append(member(path, draw(contents), mode=mode, mtime=mtime))
    return rows


@settings(max_examples=300, deadline=None)
@given(layers(), layers(), st.sampled_from([0, EPOCH]))
def test_the_canonical_form_of_the_canonical_form_is_itself(
    below: list[Member], layer: list[Member], epoch: int
) -> None:
    lower = tree(below)
    data, first = canonical(layer, lower, epoch=epoch)
    if first is None:
        return
    again, second = canonical(data, lower, epoch=epoch)
    assert again == data
    assert second is not None
    assert (second.diff_id, second.index) == (first.diff_id, first.index)
    assert first.index == indexed(data)


@settings(max_examples=300, deadline=None)
@given(layers(), layers(), st.randoms(use_true_random=False))
def test_the_order_of_entries_does_not_matter(
    below: list[Member], layer: list[Member], random: object
) -> None:
    lower = tree(below)
    shuffled = list(layer)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert canonical(shuffled, lower)[0] == canonical(layer, lower)[0]


@settings(max_examples=300, deadline=None)
@given(layers(), layers())
def test_the_canonical_layer_gives_the_same_files(below: list[Member], layer: list[Member]) -> None:
    """Without normalisers, the tree is that of the builder's layer, but for mtimes and mount points."""
    wanted = tree(below, layer)
    found = tree(below)
    _, written = canonical(layer, tree(below), normalisers=())
    if written is not None:
        found.apply(written.index)

    def only_implied(path: bytes) -> bool:
        # A folder that a layer takes away and gives again without describing it, which no builder does,
        # keeps what the layers below say of it.
        return path in wanted and wanted.get(path) is None

    def facts(of: Tree) -> dict[bytes, object]:
        nodes = {path: of.get(path) for path in of.paths()}
        return {
            path: (node.kind, node.mode, node.link, node.sha256)
            for path, node in nodes.items()
            if node is not None and path != b"run" and not only_implied(path)
        }

    assert facts(found) == facts(wanted)
