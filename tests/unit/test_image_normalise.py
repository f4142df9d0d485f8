from __future__ import annotations

import importlib.util
import os
import py_compile
import struct
import tarfile
from pathlib import Path

import pytest
from tarballs import EPOCH, RAW, canonical, content, indexed, listed, member, tree

from rbuild.image.form import NEWEST
from rbuild.image.index import Tree
from rbuild.image.normalise import NORMALISERS, Normaliser, normalisers
from rbuild.image.normalise.python import source_of

Member = tuple[tarfile.TarInfo, bytes]
DAY = EPOCH // 86_400


def pyc(mtime: int, size: int, *, flags: int = 0, body: bytes = b"code") -> bytes:
    return importlib.util.MAGIC_NUMBER + struct.pack("<III", flags, mtime, size) + body


def stamp(data: bytes, name: str) -> int:
    return int.from_bytes(content(data, name)[8:12], "little")


def names(members: list[Member], lower: Tree | None = None) -> list[str]:
    return list(listed(canonical(members, lower)[0]))


def without(name: str) -> list[Normaliser]:
    return [each for each in normalisers(NEWEST).values() if each.name != name]


# Bytecode


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (b"a/__pycache__/x.cpython-311.pyc", b"a/x.py"),
        (b"a/__pycache__/x.cpython-311.opt-1.pyc", b"a/x.py"),
        (b"__pycache__/x.y.cpython-311.pyc", b"x.y.py"),
        (b"a/x.pyc", b"a/x.py"),
        (b"x.pyc", b"x.py"),
        (b"__pycache__/x.pyc", None),
        (b"a/.pyc", None),
        (b"a/x.py", None),
    ],
)
def test_bytecode_names_its_source(path: bytes, source: bytes | None) -> None:
    assert source_of(path) == source


def test_valid_bytecode_stays_valid_and_python_agrees(tmp_path: Path) -> None:
    script = tmp_path / "x.py"
    script.write_text("value = 1\n")
    compiled = py_compile.compile(str(script), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    raw = Path(str(compiled)).read_bytes()
    layer = [
        member("x.py", script.read_bytes(), mtime=int(script.stat().st_mtime)),
        member("__pycache__/x.cpython-311.pyc", raw),
    ]
    data, _ = canonical(layer)
    assert stamp(data, "__pycache__/x.cpython-311.pyc") == EPOCH == listed(data)["x.py"].mtime
    assert content(data, "__pycache__/x.cpython-311.pyc")[16:] == raw[16:]


@pytest.mark.parametrize("raw", [pyc(RAW - 1, 4), pyc(RAW, 5)])
def test_stale_bytecode_stays_stale_without_a_clock(raw: bytes) -> None:
    layer = [member("x.py", b"code"), member("__pycache__/x.cpython-311.pyc", raw)]
    assert stamp(canonical(layer)[0], "__pycache__/x.cpython-311.pyc") == 0
    assert stamp(canonical(layer, epoch=0)[0], "__pycache__/x.cpython-311.pyc") == 1


def test_bytecode_follows_a_source_in_a_lower_layer() -> None:
    lower = tree([member("x.py", b"code", mtime=1234)])
    path = "__pycache__/x.cpython-311.pyc"
    assert stamp(canonical([member(path, pyc(1234, 4))], lower)[0], path) == 1234
    assert stamp(canonical([member(path, pyc(1235, 4))], lower)[0], path) == 0
    # A layer that only touches the source, which therefore goes.
    touched = [member("x.py", b"code", mtime=RAW), member(path, pyc(RAW, 4))]
    assert stamp(canonical(touched, lower)[0], path) == 1234
    # Or takes it away.
    assert stamp(canonical([member(".wh.x.py", b""), member(path, pyc(1234, 4))], lower)[0], path) == 0


def hashed(folder: Path, *, checked: bool = True) -> tuple[bytes, bytes]:
    """A source, and the bytecode that this Python writes for it when it goes by the source's hash."""
    script = folder / "x.py"
    script.write_text("value = 1\n")
    modes = py_compile.PycInvalidationMode
    mode = modes.CHECKED_HASH if checked else modes.UNCHECKED_HASH
    compiled = py_compile.compile(str(script), invalidation_mode=mode)
    return script.read_bytes(), Path(str(compiled)).read_bytes()


def test_bytecode_that_checks_a_hash_checks_the_mtime_instead(tmp_path: Path) -> None:
    source, raw = hashed(tmp_path)
    path = "__pycache__/x.cpython-311.pyc"
    data, _ = canonical([member("x.py", source), member(path, raw)])
    assert content(data, path) == pyc(EPOCH, len(source), body=raw[16:])
    # As Python itself would have written it.
    script = tmp_path / "x.py"
    os.utime(script, (EPOCH, EPOCH))
    stamped = py_compile.compile(str(script), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    assert content(data, path) == Path(str(stamped)).read_bytes()


def test_bytecode_that_checks_a_hash_stays_where_that_is_the_only_truth(tmp_path: Path) -> None:
    source, raw = hashed(tmp_path)
    path = "__pycache__/x.cpython-311.pyc"
    older = struct.pack("<H", 3439) + raw[2:]  # of Python 3.10, which hashes otherwise
    unchecked = hashed(tmp_path, checked=False)[1]
    layers = {
        "of another source": [member("x.py", source + b"#"), member(path, raw)],
        "unchecked": [member("x.py", source), member(path, unchecked)],
        "older": [member("x.py", source), member(path, older)],
        "no source": [member(path, raw)],
    }
    for layer in layers.values():
        assert content(canonical(layer)[0], path) == layer[-1][1]
    below = tree([member("x.py", source)])
    assert content(canonical([member(path, raw)], below)[0], path) == raw


def test_the_first_version_of_the_form_leaves_hashes_alone(tmp_path: Path) -> None:
    source, raw = hashed(tmp_path)
    path = "__pycache__/x.cpython-311.pyc"
    layer = [member("x.py", source), member(path, raw), member("y.py", b"code"), member("y.pyc", pyc(RAW, 4))]
    data, _ = canonical(layer, normalisers=tuple(normalisers(1).values()))
    assert content(data, path) == raw
    assert stamp(data, "y.pyc") == EPOCH


def test_bytecode_of_a_later_step_of_the_same_build() -> None:
    _, first = canonical([member("x.py", b"code")])
    assert first is not None
    lower = Tree()
    lower.apply(first.index, first.raw_mtimes)
    path = "__pycache__/x.cpython-311.pyc"
    assert stamp(canonical([member(path, pyc(RAW, 4))], lower)[0], path) == EPOCH
    lower = Tree()
    lower.apply(first.index)
    assert stamp(canonical([member(path, pyc(RAW, 4))], lower)[0], path) == 0


def test_bytecode_of_a_source_that_an_earlier_step_only_touched() -> None:
    lower = tree([member("x.py", b"code", mtime=1234)])
    _, touched = canonical([member("x.py", b"code"), member("other", b"")], lower)
    assert touched is not None
    lower.apply(touched.index, touched.raw_mtimes)
    path = "__pycache__/x.cpython-311.pyc"
    assert stamp(canonical([member(path, pyc(RAW, 4))], lower)[0], path) == 1234


def test_bytecode_follows_symlinks_to_its_source() -> None:
    layer = [
        member("etc/site.py", b"code", mtime=77),
        member("usr/lib/site.py", link="../../etc/site.py"),
        member("usr/lib/__pycache__/site.cpython-311.pyc", pyc(77, 4)),
        member("usr/lib/loop.py", link="loop.py"),
        member("usr/lib/__pycache__/loop.cpython-311.pyc", pyc(77, 4)),
    ]
    data, _ = canonical(layer)
    assert stamp(data, "usr/lib/__pycache__/site.cpython-311.pyc") == EPOCH
    assert stamp(data, "usr/lib/__pycache__/loop.cpython-311.pyc") == 0


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (struct.pack("<H2sII", 3379, b"\r\n", RAW, 4) + b"body of 3.6", struct.pack("<I", EPOCH)),
        (struct.pack("<H2sI", 62211, b"\r\n", RAW) + b"body of 2.7 code", struct.pack("<I", EPOCH)),
    ],
)
def test_bytecode_of_old_pythons(raw: bytes, wanted: bytes) -> None:
    data, _ = canonical([member("x.py", b"code"), member("x.pyc", raw)])
    assert content(data, "x.pyc") == raw[:4] + wanted + raw[8:]


@pytest.mark.parametrize(
    "raw", [pyc(RAW, 4, flags=1), pyc(RAW, 4, flags=3), b"\0\1\2\3" + bytes(20), b"", b"short"]
)
def test_other_bytecode_is_left_alone(raw: bytes) -> None:
    data, _ = canonical([member("x.py", b"code"), member("x.pyc", raw)])
    assert content(data, "x.pyc") == raw


def test_bytecode_below_does_not_become_valid_by_chance() -> None:
    """Both layers have the epoch as mtime, and the new source the old one's size: Python could not tell."""
    below = [
        member("x.py", b"old!", mtime=EPOCH),
        member("__pycache__/x.cpython-311.pyc", pyc(EPOCH, 4)),
        member("__pycache__/x.cpython-312.pyc", pyc(EPOCH, 4, flags=3)),
        member("__pycache__/y.cpython-311.pyc", pyc(EPOCH, 4)),
        member("x.pyc", pyc(EPOCH - 1, 4)),
    ]
    assert names([member("x.py", b"new!")], tree(below)) == ["__pycache__/.wh.x.cpython-311.pyc", "x.py"]
    assert names([member("x.py", b"longer")], tree(below)) == ["x.py"]
    assert names([member("x.py", b"old!", mode=0o755)], tree(below)) == ["x.py"]
    assert names([member(".wh.x.py", b"")], tree(below)) == [".wh.x.py"]
    # What the layer has itself is stale, and says so.
    copied = [member("x.py", b"new!"), member("__pycache__/x.cpython-311.pyc", pyc(EPOCH, 4))]
    data, _ = canonical(copied, tree(below))
    assert stamp(data, "__pycache__/x.cpython-311.pyc") == 0


# What apt and dpkg leave behind


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("package-logs", "var/log/apt/history.log"),
        ("package-logs", "var/log/dpkg.log"),
        ("package-logs", "var/log/alternatives.log"),
        ("package-logs", "var/log/bootstrap.log"),
        ("package-backups", "var/cache/debconf/config.dat-old"),
        ("package-backups", "var/lib/dpkg/status-old"),
        ("account-backups", "etc/passwd-"),
        ("ldconfig-cache", "var/cache/ldconfig/aux-cache"),
        ("apt-cache", "var/cache/apt/pkgcache.bin"),
        ("apt-cache", "var/cache/apt/archives/tree_1.deb"),
        ("apt-lists", "var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_InRelease"),
        ("pip-cache", "root/.cache/pip/http-v2/a/b"),
        ("uv-cache", "home/me/.cache/uv/wheels-v1/x"),
        ("npm-cache", "root/.npm/_cacache/index-v5/a"),
        ("npm-cache", "root/.npm/_logs/2024-debug-0.log"),
        ("npm-cache", "root/.npm/_update-notifier-last-checked"),
    ],
)
def test_leftovers_go_and_each_can_be_turned_off(name: str, path: str) -> None:
    layer = [member(path, b"x"), member("kept", b"x")]
    assert names(layer) == ["kept"]
    assert names(layer, tree([member(path, b"of the base")])) == ["kept"]
    assert set(listed(canonical(layer, normalisers=without(name))[0])) == {"kept", path}


@pytest.mark.parametrize(
    "path",
    [
        "var/log/app.log", "etc/passwd", "home/etc/passwd-",
        "var/log/apt", "var/lib/dpkg/status", "var/cache/ldconfig", "var/lib/apt/lists",
        "srv/var/log/dpkg.log", "root/.cache/pippin", "root/.cache", "root/.npm", "etc/ld.so.cache", "tmp/x",
    ],
)  # fmt: skip
def test_what_is_no_leftover_stays(path: str) -> None:
    assert names([member(path)]) == [path]
    assert names([member(path, b"x")]) == [path]


def test_deleting_a_leftover_of_the_base_still_deletes_it() -> None:
    lower = tree([member("var/lib/apt/lists/x", b"x"), member("root/.cache/pip/y", b"y")])
    layer = [member("var/lib/apt/lists/.wh.x", b""), member("root/.cache/.wh.pip", b"")]
    assert names(layer, lower) == ["root/.cache/.wh.pip", "var/lib/apt/lists/.wh.x"]


def test_the_folder_of_a_cache_goes_with_it() -> None:
    layer = [member("root/.cache"), member("root/.cache/pip"), member("root/.cache/pip/selfcheck")]
    assert names(layer) == ["root/.cache"]


def test_a_cache_that_programs_are_linked_from_stays() -> None:
    layer = [
        member("root/.cache/uv/archive-v0/numpy.py", b"x"),
        member("root/.cache/uv/archive-v0/self", link="/root/.cache/uv/archive-v0/numpy.py"),
    ]
    assert names(layer) == []
    layer.append(member("venv/numpy.py", link="/root/.cache/uv/archive-v0/numpy.py"))
    assert names(layer) == [
        "root/.cache/uv/archive-v0/numpy.py", "root/.cache/uv/archive-v0/self", "venv/numpy.py",
    ]  # fmt: skip


def test_what_is_hard_linked_from_a_cache_keeps_its_content() -> None:
    layer = [
        member("root/.cache/uv/archive-v0/numpy.py", b"numpy"),
        member("venv/numpy.py", kind=tarfile.LNKTYPE, link="root/.cache/uv/archive-v0/numpy.py"),
    ]
    data, _ = canonical(layer)
    assert list(listed(data)) == ["venv/numpy.py"]
    assert content(data, "venv/numpy.py") == b"numpy"


# Accounts and identities

SHADOW = b"root:*:19000:0:99999:7:::\n_apt:*:19000:0:99999:7:::\n"


def test_only_new_lines_of_shadow_get_the_epochs_day() -> None:
    lower = tree([member("etc/shadow", SHADOW), member("etc/shadow-", b"")])
    new = b"app:!:20500::::::\nnever:!:::::::\nnow:!:0:0:99999:7:::\nbroken\n"
    layer = [member("etc/shadow", SHADOW + new), member("etc/shadow-", SHADOW + b"app:!:20499::::::\n")]
    data, _ = canonical(layer, lower, normalisers=without("account-backups"))
    assert content(data, "etc/shadow") == SHADOW + new.replace(b"20500", b"%d" % DAY)
    assert content(data, "etc/shadow-") == SHADOW + b"app:!:%d::::::\n" % DAY
    assert content(canonical(layer, lower, epoch=5)[0], "etc/shadow").startswith(SHADOW + b"app:!:::::::\n")


def test_a_day_alone_is_no_change_to_shadow() -> None:
    lower = tree([member("etc/shadow", b"app:!:%d::::::\n" % DAY)])
    assert names([member("etc/shadow", b"app:!:20500::::::\n")], lower) == []


def test_a_machine_id_becomes_empty_unless_the_base_has_it() -> None:
    identity = b"0123456789abcdef0123456789abcdef\n"
    layer = [member("etc/machine-id", identity), member("var/lib/dbus/machine-id", identity)]
    data, _ = canonical(layer)
    assert content(data, "etc/machine-id") == content(data, "var/lib/dbus/machine-id") == b""
    assert names(layer, tree([member("etc/machine-id", b"")])) == ["var/lib/dbus/machine-id"]
    assert names([layer[0]], tree([layer[0]])) == []
    data, _ = canonical([member("etc/machine-id", identity, mode=0o444)], tree([layer[0]]))
    assert content(data, "etc/machine-id") == identity


def test_every_normaliser_is_found_by_its_own_name() -> None:
    assert all(name == each.name for form in (1, NEWEST) for name, each in normalisers(form).items())
    assert len(NORMALISERS) == 13
    layer = [member("var/log/dpkg.log", b""), member("x.py", b"code"), member("x.pyc", pyc(RAW, 4))]
    data, _ = canonical(layer, normalisers=())
    assert stamp(data, "x.pyc") == RAW
    assert dict(indexed(data).entries).keys() == {b"var/log/dpkg.log", b"x.py", b"x.pyc"}
