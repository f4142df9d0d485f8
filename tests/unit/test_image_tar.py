from __future__ import annotations

import io
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tarballs import member, tarball

from rbuild.errors import RbuildError
from rbuild.image.tar import Entry, Kind, TarReader
from rbuild.image.ustar import END, header, padding


def read(data: bytes) -> list[Entry]:
    return list(TarReader(io.BytesIO(data)))


class Pipe(io.RawIOBase):
    """A file that cannot be seeked and gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 100) if size >= 0 else size)


def written(entries: list[tuple[Entry, bytes]]) -> bytes:
    parts = [header(entry) + data + padding(len(data)) for entry, data in entries]
    return b"".join(parts) + END


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_what_tarfile_writes(form: int) -> None:
    data = tarball(
        [
            member("./usr/", mode=0o1777),
            member("/usr/bin//tool", b"x" * 700, uid=1000, mode=0o4755),
            member("usr/bin/link", link="../tool"),
            member("usr/bin/hard", kind=tarfile.LNKTYPE, link="./usr/bin/tool"),
            member("usr/fifo", kind=tarfile.FIFOTYPE),
        ],
        form,
    )
    root, tool, link, hard, fifo = read(data)
    assert (root.path, root.kind, root.mode) == (b"usr", Kind.DIRECTORY, 0o1777)
    assert (tool.path, tool.size, tool.uid, tool.mode) == (b"usr/bin/tool", 700, 1000, 0o4755)
    assert data[tool.offset : tool.offset + 700] == b"x" * 700
    assert (link.kind, link.link) == (Kind.SYMLINK, b"../tool")
    assert (hard.kind, hard.link) == (Kind.HARDLINK, b"usr/bin/tool")
    assert fifo.kind is Kind.FIFO


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_long_names_and_large_numbers(form: int) -> None:
    name = "d" * 200 + "/" + "ü" * 100
    data = tarball([member(name, b"", uid=3_000_000, mtime=8**11 + 5), member("l", link="t" * 300)], form)
    first, second = read(data)
    assert first.path == name.encode()
    assert (first.uid, first.mtime) == (3_000_000, 8**11 + 5)
    assert second.link == b"t" * 300


def test_reads_binary_xattrs_and_drops_fractions() -> None:
    capability = b"\x01\x00\x00\x02\x00=\n\xff"
    pax = {"SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape")}
    (entry,) = read(tarball([member("ping", b"", pax=pax, mtime=12.9)]))
    assert entry.xattrs == ((b"security.capability", capability),)
    assert entry.mtime == 12


def test_a_pipe_reads_the_same_as_a_file() -> None:
    data = tarball([member("a", b"1" * 1000), member("b" * 150, b"2" * 512), member("c")])
    assert list(TarReader(Pipe(data))) == read(data)  # type: ignore[arg-type]
    reader = TarReader(Pipe(data))  # type: ignore[arg-type]
    assert [b"".join(reader.content()) for _ in reader] == [b"1" * 1000, b"2" * 512, b""]


def test_large_sizes_survive() -> None:
    entry = Entry(b"large", Kind.FILE, 0o644, size=8**11)
    reader = TarReader(io.BytesIO(header(entry)))
    with pytest.raises(RbuildError, match="/large: its content runs past the end"):
        next(iter(reader))
    info = tarfile.TarInfo.frombuf(header(Entry(b"s", Kind.FILE, 0o644, size=8**11 - 1)), "utf-8", "strict")
    assert info.size == 8**11 - 1


@pytest.mark.parametrize("name", [b"/etc/passwd", b"//etc//passwd", b"./etc/./passwd", b"/./etc/passwd"])
def test_an_absolute_name_is_below_the_root_of_the_image(name: bytes) -> None:
    """As tar and Podman take it; ko writes such layers."""
    block = header(Entry(b"x", Kind.HARDLINK, 0o644, link=b"/etc/shadow"))
    (entry,) = read(damaged(block, 0, name.ljust(100, b"\0")) + bytes(1024))
    assert (entry.path, entry.link) == (b"etc/passwd", b"etc/shadow")


@pytest.mark.parametrize("name", [b"/../etc/passwd", b"etc/../../passwd", b"..", b"/etc/.."])
def test_a_name_with_dots_is_refused(name: bytes) -> None:
    with pytest.raises(RbuildError, match=r"`\.\.`"):
        read(header(Entry(name, Kind.FILE, 0o644)) + bytes(1024))


def test_writes_ustar_alone_where_it_can() -> None:
    deep = b"/".join([b"a" * 70] * 3)
    assert len(header(Entry(deep, Kind.FILE, 0o644))) == 512
    assert len(header(Entry(b"x" * 100, Kind.FILE, 0o644))) == 512
    assert len(header(Entry(b"x" * 101, Kind.FILE, 0o644))) == 1536
    assert len(header(Entry(b"x" * 99, Kind.DIRECTORY, 0o755))) == 512
    assert len(header(Entry(b"x" * 100, Kind.DIRECTORY, 0o755))) == 1536
    assert len(header(Entry("ü".encode(), Kind.FILE, 0o644))) == 1536
    block = header(Entry(b"plain", Kind.FILE, 0o644, uid=1, gid=2, mtime=3))
    assert block[:101] == b"plain" + bytes(95) + b"0"
    assert block[257:265] == b"ustar\x0000"
    assert block[265:329] == bytes(64)  # no owner names


components = st.binary(min_size=1, max_size=120).filter(
    lambda part: b"/" not in part and b"\0" not in part and part not in (b".", b"..")
)
paths = st.lists(components, min_size=1, max_size=4).map(b"/".join)
numbers = st.integers(0, 2**40)
entries = st.builds(
    Entry,
    path=paths,
    kind=st.sampled_from(Kind),
    mode=st.integers(0, 0o7777),
    uid=numbers,
    gid=numbers,
    mtime=numbers,
    link=paths,
    device=st.tuples(st.integers(0, 8**7 - 1), st.integers(0, 8**7 - 1)),
    xattrs=st.dictionaries(st.binary(min_size=1).filter(lambda key: b"=" not in key), st.binary()).map(
        lambda xattrs: tuple(sorted(xattrs.items()))
    ),
)


@settings(deadline=None)
@given(st.lists(st.tuples(entries, st.binary(max_size=1500)), max_size=5))
def test_what_is_written_is_read(wanted: list[tuple[Entry, bytes]]) -> None:
    rows = []
    for entry, data in wanted:
        kind = entry.kind
        entry = replace(
            entry,
            size=len(data) if kind is Kind.FILE else 0,
            link=entry.link if kind in (Kind.SYMLINK, Kind.HARDLINK) else b"",
            device=entry.device if kind in (Kind.CHAR, Kind.BLOCK) else (0, 0),
        )
        rows.append((entry, data if kind is Kind.FILE else b""))
    archive = written(rows)
    found = read(archive)
    assert [replace(entry, offset=0) for entry in found] == [entry for entry, _ in rows]
    for entry, (_, data) in zip(found, rows, strict=True):
        assert archive[entry.offset : entry.offset + entry.size] == data
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as tar:
        names = [info.name.encode("utf-8", "surrogateescape") for info in tar]
    assert names == [entry.path for entry, _ in rows]


def test_gnu_tar_reads_what_is_written(tmp_path: Path) -> None:
    rows = [
        (Entry(b"d" * 120, Kind.DIRECTORY, 0o755), b""),
        (Entry(b"d" * 120 + b"/file", Kind.FILE, 0o640, size=3, mtime=1_600_000_000), b"abc"),
        (Entry(b"link", Kind.SYMLINK, 0o777, link=b"t" * 150), b""),
    ]
    archive = tmp_path / "a.tar"
    archive.write_bytes(written(rows))
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path, "--no-same-owner"], check=True)
    file = tmp_path / ("d" * 120) / "file"
    assert (file.read_bytes(), file.stat().st_mtime, file.stat().st_mode & 0o777) == (
        b"abc",
        1_600_000_000,
        0o640,
    )
    assert str((tmp_path / "link").readlink()) == "t" * 150


GOOD = tarball([member("good", b"content"), member("after", b"x" * 600)])


def damaged(data: bytes, at: int, patch: bytes, *, fix: bool = True) -> bytes:
    """The archive with some bytes of its first header changed, and its checksum made right."""
    block = bytearray(data)
    block[at : at + len(patch)] = patch
    if fix:
        block[148:156] = b" " * 8
        block[148:155] = b"%06o\0" % sum(block[:512])
    return bytes(block)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (damaged(GOOD, 0, b"bad", fix=False), "/bad.*: its header's checksum is wrong"),
        (GOOD[:515], "/good: its content runs past the end"),
        (GOOD[:1024] + GOOD[1024:1300], "/good: the archive ends inside the header"),
        (damaged(GOOD, 124, b"77777777777"), "/good: its content runs past"),
        (damaged(GOOD, 124, b"\xff" * 12), "/good: its size is out of bounds"),
        (damaged(GOOD, 124, b"12_4"), "/good: its size is not a number"),
        (damaged(GOOD, 108, b"-000001"), "/good: its uid is not a number"),
        (damaged(GOOD, 156, b"S"), "/good: it is a GNU sparse file"),
        (damaged(GOOD, 156, b"V"), "/good: it is of the unknown type b'V'"),
        (damaged(GOOD, 0, b"\0"), "is empty"),
        (damaged(GOOD, 0, b"a/../b\0"), "/a/../b: it names a path with"),
        (damaged(GOOD, 0, b"..\0\0"), "/..: it names a path with"),
        (damaged(GOOD, 0, b"./\0\0"), "has no name"),
        (damaged(GOOD, 156, b"1../etc/passwd\0"), "/good: it names a path with"),
        (damaged(GOOD, 156, b"1"), "/good: its name, or what it links to, is empty"),
        (tarball([member("a")])[:1024] + b"x" + bytes(511), "/a: the archive has data after its end"),
        (tarball([member("a")])[:1536] + b"hidden" + bytes(506), "/a: the archive has data after its end"),
        (tarball([member("a/" * 300 + "b", b"")]), "folders deep"),
        (tarball([member("a/" * 3000 + "b", b"")]), "too long"),
        (tarball([member("a", b"", pax={"comment": "x" * (1 << 20)})]), "has an extended header of 1048"),
        (tarball([member("a", b"", pax={"GNU.sparse.major": "1"})]), "/a: it is a GNU sparse file"),
        (tarball([member("a", b"", pax={"size": "9" * 30})]), "/a: its pax header holds something"),
        (tarball([member("a" * 200, b"")])[:1024], "ends after an extended header"),
    ],
)
def test_refuses(data: bytes, message: str) -> None:
    for file in (io.BytesIO(data), Pipe(data)):
        with pytest.raises(RbuildError, match=message):
            for _ in (reader := TarReader(file)):  # type: ignore[arg-type]
                list(reader.content())


@settings(deadline=None)
@given(st.data())
def test_hostile_bytes_never_get_past_the_error(data: st.DataObject) -> None:
    archive = bytearray(GOOD[:2048])
    for at in data.draw(st.lists(st.integers(0, len(archive) - 1), max_size=20)):
        archive[at] = data.draw(st.integers(0, 255))
    fixed = damaged(bytes(archive), 0, b"") if data.draw(st.booleans()) else bytes(archive)
    try:
        found = read(fixed)
    except RbuildError:
        return
    for entry in found:
        assert not entry.path.startswith(b"/")
        assert b".." not in entry.path.split(b"/")
        assert entry.offset + entry.size <= len(fixed)


@pytest.mark.parametrize(
    "record", [b"11 path=x", b"99 path=x\n", b"x path=y\n", b"3 \n", b"9 =nokey\n", b"-9 a=b\n"]
)
def test_refuses_malformed_pax_records(record: bytes) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = b"x", len(record)
    data = info.tobuf(tarfile.USTAR_FORMAT) + record + bytes(512 - len(record)) + GOOD
    with pytest.raises(RbuildError, match="pax header is malformed"):
        read(data)


def test_many_entries_are_read_quickly() -> None:
    block = b"".join(header(Entry(b"usr/lib/python3/%d.py" % n, Kind.FILE, 0o644)) for n in range(12_000))
    start = time.process_time()
    assert len(read(block + END)) == 12_000
    assert time.process_time() - start < 1
