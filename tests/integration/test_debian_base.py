"""Debian bases against the real mirror: resolved, then made twice, without a network, by an ordinary user."""

from __future__ import annotations

import os
import socket
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.request import getproxies_environment

import pytest

from rbuild import process
from rbuild.debian.archives import archives
from rbuild.debian.bootstrap import build_root, remove_tree
from rbuild.debian.packages import Package
from rbuild.debian.resolve import resolve
from rbuild.errors import RbuildError
from rbuild.sealed.upstream import Patience, Upstream, fetch
from rbuild.store import Store

BOOKWORM = archives("bookworm")
EPOCH = 1_700_000_000
PODMAN = ("podman",)


def resolved(work: Path, *names: str) -> tuple[Package, ...]:
    return resolve(BOOKWORM, names, architecture="amd64", environ=os.environ, work=work)


def built(packages: Sequence[Path], work: Path, lines: list[str]) -> Path:
    work.mkdir(mode=0o700)
    return build_root(
        packages,
        archives=BOOKWORM,
        architecture="amd64",
        epoch=EPOCH,
        podman=PODMAN,
        environ=os.environ,
        work=work,
        on_line=lines.append,
    )


def control_file(folder: Path, name: str, extra: str = "", **scripts: str) -> Path:
    """Make a package with nothing but control data, under a name that says nothing."""
    control = folder / name / "DEBIAN"
    control.mkdir(parents=True, mode=0o755)
    (control / "control").write_text(
        f"Package: {name}\nVersion: 1:1+x~1\nArchitecture: all\nMaintainer: A <a@example.org>\n"
        f"Description: for a test\n{extra}"
    )
    for script, text in scripts.items():
        (control / script).write_text(f"#!/bin/sh\nset -eu\n{text}\n")
        (control / script).chmod(0o755)
    deb = folder / f"blob-{name}"
    process.run(["dpkg-deb", "--root-owner-group", "--build", str(folder / name), str(deb)])
    return deb


@pytest.fixture(scope="module")
def essential(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Package, ...], list[Path]]:
    """The packages of a bookworm base with python3, and their files, named by digest as a store has them."""
    folder = tmp_path_factory.mktemp("debs")
    packages = resolved(folder, "python3")
    store = Store(folder / "store")
    upstream = Upstream(getproxies_environment(), patience=Patience(tries=10))
    for one in packages:
        fetch(one.url, sha256=one.sha256, size=one.size, store=store, upstream=upstream)
    upstream.close()
    return packages, [store.path(one.sha256) for one in packages]


def test_a_base_is_what_is_essential_and_what_is_asked_for(
    essential: tuple[tuple[Package, ...], list[Path]],
) -> None:
    names = {package.name for package in essential[0]}
    assert {"python3", "python3.11", "libc6", "bash", "dpkg", "usr-is-merged"} <= names
    assert not names & {"apt", "perl", "usrmerge", "python3-pip", "systemd"}
    assert all(package.architecture in ("amd64", "all") for package in essential[0])


def test_the_same_packages_give_the_same_bytes_without_a_network(
    essential: tuple[tuple[Package, ...], list[Path]], tmp_path: Path
) -> None:
    witness = control_file(
        tmp_path,
        "rbuild-witness",
        postinst='{ hostname; grep -c : /proc/net/dev; grep -q "^127" /etc/hosts 2>/dev/null && echo hosts; '
        "ls /etc/hostname /etc/resolv.conf 2>/dev/null; env | cut -d= -f1; } > /witness || true",
    )
    lines: list[str] = []
    first = built([*essential[1], witness], tmp_path / "first", lines)
    second = built([witness, *reversed(essential[1])], tmp_path / "second", [])
    assert any("installing essential packages" in line for line in lines)
    assert [path.name for path in first.parent.iterdir()] == [first.name]

    with tarfile.open(first) as one, tarfile.open(second) as two:
        members = one.getmembers()
        assert [member.get_info() for member in members] == [member.get_info() for member in two]
        for member in members:
            if member.isreg():
                left, right = one.extractfile(member), two.extractfile(member.name)
                assert left is not None
                assert right is not None
                assert left.read() == right.read(), member.name
        files = {member.name: member for member in members}

        def text(name: str) -> str:
            file = one.extractfile(name)
            assert file is not None
            return file.read().decode()

        witnessed = text("./witness").splitlines()
        status = text("./var/lib/dpkg/status")
        sources = text("./etc/apt/sources.list")
    assert first.read_bytes() == second.read_bytes()

    # The host's name, its files and its network interfaces (but for loopback) are not to be seen.
    assert witnessed[:2] == ["rbuild", "1"]
    assert not {"hosts", "/etc/hostname", "/etc/resolv.conf", "USER", "XDG_RUNTIME_DIR"} & set(witnessed)
    installed = {package.name for package in essential[0]} | {"rbuild-witness"}
    assert status.count("Status: install ok installed") == len(installed)
    assert all(f"Package: {name}\n" in status for name in installed)
    assert sources.startswith("deb http://deb.debian.org/debian bookworm main\n")
    assert max(member.mtime for member in members) == EPOCH
    assert all(member.uid < 65536 for member in members)
    assert not [member.name for member in members if member.isdev()]
    assert files["./dev"].isdir()
    assert files["./bin"].linkname == "usr/bin"
    assert not [
        name
        for name in files
        if "mmdebstrap" in name or "/var/lib/apt/lists/" in name.removesuffix("/partial")
    ]
    # The folders of apt belong to nobody whose number only the host knows.
    assert {member.uid for name, member in files.items() if name.startswith("./var/lib/apt")} == {0}


def test_packages_that_cannot_be_installed_are_an_error_that_leaves_nothing(
    essential: tuple[tuple[Package, ...], list[Path]], tmp_path: Path
) -> None:
    bad = control_file(tmp_path, "rbuild-bad", postinst="echo the reason is this >&2; exit 3")
    with pytest.raises(RbuildError, match="mmdebstrap failed") as caught:
        built([*essential[1], bad], tmp_path / "work", lines := [])
    assert "rbuild-bad" in str(caught.value)
    assert "the reason is this" in "\n".join(lines)
    assert not list((tmp_path / "work").iterdir())


def test_a_dependency_that_is_not_handed_in_is_not_fetched(
    essential: tuple[tuple[Package, ...], list[Path]], tmp_path: Path
) -> None:
    wants = control_file(tmp_path, "rbuild-wants", "Depends: jq\n")
    with pytest.raises(RbuildError, match="jq"):
        built([*essential[1], wants], tmp_path / "work", [])
    assert not list((tmp_path / "work").iterdir())


def test_an_interrupted_build_leaves_nothing(
    essential: tuple[tuple[Package, ...], list[Path]], tmp_path: Path
) -> None:
    def interrupt(line: str) -> None:
        if "installing essential packages" in line:
            raise KeyboardInterrupt

    class Interrupting(list[str]):
        def append(self, line: str) -> None:
            interrupt(line)

    with pytest.raises(KeyboardInterrupt):
        built(essential[1], tmp_path / "work", Interrupting())
    assert not list((tmp_path / "work").iterdir())
    commands = [
        (folder / "cmdline").read_bytes()
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit()
        if (folder / "cmdline").exists()
    ]
    assert not [command for command in commands if str(tmp_path).encode() in command]


def test_a_folder_of_another_user_of_the_namespace_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "root"
    script = 'mkdir -p "$1/closed/a" && chown 5:60 "$1/closed" && chmod 700 "$1/closed"'
    process.run([*PODMAN, "unshare", "sh", "-c", script, "sh", str(folder)])
    with pytest.raises(PermissionError):
        list((folder / "closed").iterdir())
    remove_tree(folder, podman=PODMAN, environ=os.environ)
    assert not folder.exists()


def test_an_unknown_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(RbuildError, match=r"bookworm has no such package: pyhton3") as caught:
        resolved(tmp_path, "pyhton3")
    assert "did you mean 'python3'?" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_unknown_suite_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        RbuildError, match=r"http://deb\.debian\.org/debian/dists/bokworm/: there is no suite bokworm"
    ):
        resolve(archives("bokworm"), [], architecture="amd64", environ=os.environ, work=tmp_path)


def test_an_archive_that_nobody_signed_for_is_refused(tmp_path: Path) -> None:
    keyring = "/usr/share/keyrings/debian-archive-removed-keys.gpg"
    with pytest.raises(RbuildError, match="the signature of suite bookworm is not good"):
        resolve(BOOKWORM, ["bash"], architecture="amd64", environ=os.environ, work=tmp_path, keyring=keyring)


def test_an_unreachable_mirror_is_named_within_bounded_time(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        mirror = f"http://127.0.0.1:{closed.getsockname()[1]}/debian"
        started = time.monotonic()
        with pytest.raises(RbuildError, match=rf"{mirror}/dists/sid/InRelease: cannot be fetched"):
            resolve(archives("sid", mirror=mirror), [], architecture="amd64", environ={}, work=tmp_path)
    assert time.monotonic() - started < 240
