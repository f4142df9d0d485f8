"""The archive of a published project: the same bytes for the same files, and nothing out of its folder."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from rbuild.context import Context, scan
from rbuild.errors import RbuildError
from rbuild.ignore import IgnoreRules
from rbuild.image.tar import Entry, Kind
from rbuild.image.ustar import END, header, padding
from rbuild.projecttar import LARGE, large_path, lay_out, write_project

DOCUMENTS = {
    "rbuild.yaml": b"project: x\n",
    "rbuild.lock": b"version: 1\n",
    "Containerfile": b"FROM scratch\n",
}


def context(folder: Path) -> Context:
    return scan(folder, IgnoreRules.parse(b""), name="context")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    for name in ("a/b/c", "empty", "file", os.fsdecode(b"caf\xe9"), "new\nline", "x" * 200):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name) * 3)
    (root / "empty").write_bytes(b"")
    (root / "a" / "run").write_bytes(b"#!/bin/sh\n")
    (root / "a" / "run").chmod(0o755)
    (root / "folder").mkdir()
    (root / "link").symlink_to("a/b")
    return root


def packed(files: Path) -> bytes:
    sink = io.BytesIO()
    write_project(sink, DOCUMENTS, context(files))
    return sink.getvalue()


def test_there_and_back(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    lay_out(io.BytesIO(packed(files)), out)
    assert context(out / "context").files == context(files).files
    assert {name: (out / name).read_bytes() for name in DOCUMENTS} == DOCUMENTS


def test_the_same_files_are_the_same_bytes(files: Path, tmp_path: Path) -> None:
    first = packed(files)
    for path in files.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
        if path.is_file() and path.name != "run":
            path.chmod(0o600)
    assert packed(files) == first


def test_large_files_are_blobs_of_their_own(files: Path) -> None:
    small = packed(files)
    for name in ("large", os.fsdecode(b"large\xff")):
        (files / name).write_bytes(os.urandom(LARGE))
    sink = io.BytesIO()
    blob, large = write_project(sink, DOCUMENTS, context(files))
    assert [(one.path, one.size) for one in large] == [("context/large", LARGE)]
    # A name that no JSON can have stays in the archive.
    assert len(sink.getvalue()) == blob.size > len(small) + LARGE / 2


def test_a_file_that_changes_is_noticed(files: Path) -> None:
    listed = context(files)
    (files / "file").write_bytes(b"other text..")
    with pytest.raises(RbuildError, match="changed while it was being read"):
        write_project(io.BytesIO(), DOCUMENTS, listed)
    (files / "file").unlink()
    with pytest.raises(RbuildError, match="changed while it was being read"):
        write_project(io.BytesIO(), DOCUMENTS, listed)


def archive(*entries: tuple[Entry, bytes]) -> io.BytesIO:
    tar = b"".join(header(entry) + data + padding(len(data)) for entry, data in entries) + END
    return io.BytesIO(zstandard.compress(tar))


def file(path: bytes, data: bytes = b"x") -> tuple[Entry, bytes]:
    return Entry(path, Kind.FILE, 0o644, size=len(data)), data


def link(path: bytes, target: bytes, kind: Kind = Kind.SYMLINK) -> tuple[Entry, bytes]:
    return Entry(path, kind, 0o777, link=target), b""


CONTEXT = (Entry(b"context", Kind.DIRECTORY, 0o755), b"")


@pytest.mark.parametrize(
    "entries",
    [
        [file(b"../evil")],
        [file(b"context/../../evil")],
        [file(b"evil")],
        [file(b"context")],
        [link(b"context", b"/tmp")],
        [link(b"rbuild.yaml", b"/etc/passwd")],
        [link(b"bases", b"/tmp")],
        [link(b"context/evil", b"rbuild.lock", Kind.HARDLINK)],
        [(Entry(b"context/evil", Kind.FIFO, 0o644), b"")],
        [(Entry(b"context/evil", Kind.CHAR, 0o644, device=(1, 3)), b"")],
        [CONTEXT, link(b"context/door", b"OUTSIDE"), file(b"context/door/evil")],
        [CONTEXT, file(b"context/door/file"), link(b"context/door", b"OUTSIDE")],
        [CONTEXT, link(b"context/door", b"OUTSIDE"), link(b"context/door", b"OUTSIDE")],
        [CONTEXT, file(b"context/twice"), file(b"context/twice")],
        [CONTEXT, file(b"context/file"), file(b"context/file/below")],
        [file(b"context/" + b"n" * 300)],
    ],
)
def test_what_no_push_writes_is_refused(
    entries: list[tuple[Entry, bytes]], tmp_path: Path, outside: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    aimed = [
        link(entry.path, os.fsencode(outside)) if entry.link == b"OUTSIDE" else (entry, data)
        for entry, data in entries
    ]
    with pytest.raises(RbuildError, match="cannot be unpacked"):
        lay_out(archive(*aimed), out)
    assert list(outside.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert not [path for path in out.rglob("*") if path.is_symlink() and path.resolve().name == "passwd"]


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("outside")


def test_a_bomb(tmp_path: Path) -> None:
    first = header(Entry(b"context/zeros", Kind.FILE, 0o644, size=3 << 30))
    bomb = zstandard.compress(first) + zstandard.compress(bytes(1 << 26)) * 48
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RbuildError, match="refused as a bomb"):
        lay_out(io.BytesIO(bomb), out)
    large = (Entry(b"rbuild.lock", Kind.FILE, 0o644, size=(64 << 20) + 1), b"")
    with pytest.raises(RbuildError, match="nothing that belongs there"):
        lay_out(archive(large), out)
    with pytest.raises(RbuildError, match="cannot be unpacked"):
        lay_out(io.BytesIO(b"no zstd at all"), out)


@pytest.mark.parametrize(
    "title",
    [
        "",
        "context",
        "/etc/passwd",
        "context/../x",
        "context//x",
        "context/./x",
        "rbuild.yaml",
        "context/a\0b",
    ],
)
def test_paths_that_no_large_file_has(title: str) -> None:
    with pytest.raises(RbuildError, match="has the path"):
        large_path(title)
    assert large_path("context/data/model.bin") == ("context", "data", "model.bin")
