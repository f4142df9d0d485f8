"""The one pass over an image's layers: every entry once, and what of it a container sees."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policyfacts import Image, Members
from tarballs import member, tarball, tree

from rbuild.errors import RbuildError
from rbuild.image.tar import Kind
from rbuild.policy.facts import FileEntry
from rbuild.policy.model import Violation
from rbuild.policy.watch import OpenLayer, watched


class Recorder:
    """Remembers what it was shown."""

    def __init__(self, most: int = 0) -> None:
        self.seen: list[tuple[FileEntry, bytes]] = []
        self._most = most

    def wants(self, entry: FileEntry) -> int:
        return self._most

    def see(self, entry: FileEntry, content: bytes) -> None:
        self.seen.append((entry, content))

    def violations(self) -> Iterable[Violation]:
        return ()

    def visible(self) -> dict[str, int]:
        """The paths that a container sees, with the number of the layer that they come from."""
        return {entry.path: entry.layer for entry, _ in self.seen if entry.visible}


def layers(*given: Members) -> tuple[OpenLayer, ...]:
    return Image("FROM x\nRUN a\n", {2: given[-1]}, base=given[:-1]).layers


def test_shows_what_each_layer_holds() -> None:
    below = [
        member("etc"),
        member("etc/passwd", b"root"),
        member("bin/sh", b"x" * 3000, mode=0o4755, uid=7),
        member("gone", b"1"),
    ]
    above = [
        member("bin/ash", kind=tarfile.LNKTYPE, link="bin/sh"),
        member("etc/passwd", b"changed"),
        member(".wh.gone", b""),
        member("caf\udce9", link="bin/sh"),
        member("ping", b"2", pax={"SCHILY.xattr.security.capability": "raw"}),
    ]
    recorder, starts = Recorder(100), Recorder()
    watched(layers(below, above), [recorder, starts])
    entries = {(entry.layer, entry.path): (entry, content) for entry, content in recorder.seen}
    assert entries.keys() == {(entry.layer, entry.path) for entry, _ in starts.seen}
    assert [entry.layer for entry, _ in recorder.seen] == [2, 2, 2, 2, 1, 1, 1, 1]
    shell, content = entries[1, "bin/sh"]
    assert (shell.mode, shell.uid, shell.size, shell.kind, shell.own) == (0o4755, 7, 3000, Kind.FILE, False)
    assert content == b"x" * 100
    assert not entries[1, "gone"][0].visible
    assert not entries[1, "etc/passwd"][0].visible
    changed, content = entries[2, "etc/passwd"]
    assert (changed.visible, changed.own, content) == (True, True, b"changed")
    assert changed.instruction is not None
    assert changed.instruction.line == 2
    assert entries[2, "bin/ash"][0].link == "bin/sh"
    assert entries[2, "caf\udce9"][0].kind is Kind.SYMLINK
    assert entries[2, "ping"][0].xattrs == {"security.capability": b"raw"}


NAMES = ["a", "a/b", "a/b/c", "a/b/d", "b", "b/a", "b/a/c", "c"]


def _member(name: str, what: str) -> tuple[tarfile.TarInfo, bytes]:
    folder, _, base = name.rpartition("/")
    if what == "deleted":
        return member(f"{folder}/.wh.{base}".lstrip("/"), b"")
    if what == "emptied":
        return member(f"{name}/.wh..wh..opq", b"")
    return member(name, b"1" if what == "file" else None, link="x" if what == "link" else "")


@st.composite
def _layer(draw: st.DrawFn) -> Members:
    chosen = draw(
        st.dictionaries(
            st.sampled_from(NAMES), st.sampled_from(["file", "folder", "link", "deleted", "emptied"])
        )
    )
    solid = [name for name, what in chosen.items() if what in ("file", "link")]
    return [
        _member(name, what)
        for name, what in sorted(chosen.items())
        if not any(name.startswith(f"{one}/") for one in solid)
    ]


@settings(deadline=None)
@given(st.lists(_layer(), min_size=1, max_size=4))
def test_what_is_seen_is_what_the_layers_give_together(given_layers: list[Members]) -> None:
    expected = {path.decode() for path in tree(*given_layers).paths()}
    recorder = Recorder(1)
    watched(layers(*given_layers), [recorder])
    assert recorder.visible().keys() == expected


@pytest.mark.parametrize(
    ("tar", "what"),
    [
        (tarball([member("ok", b"1"), member("../x", b"1")]), "layer entry /../x: it names a path with `..`"),
        (tarball([member("ok", b"1"), member("d/.wh..", b"")]), "layer entry /d/.wh..: it is a whiteout"),
        (tarball([member("first", b"1" * 9000)])[:5000], "layer entry /first: its content runs past the end"),
        (b"nonsense" * 200, "its checksum is not a number"),
    ],
)
def test_a_broken_layer_is_named_with_its_entry(tar: bytes, what: str) -> None:
    (good,) = layers([member("a")])
    layer = replace(good, media_type="application/vnd.oci.image.layer.v1.tar", open=lambda: io.BytesIO(tar))
    with pytest.raises(RbuildError) as caught:
        watched([layer], [Recorder(100)])
    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.where is not None
    assert problem.where.digest == str(layer.facts.blob)
