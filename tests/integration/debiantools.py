"""Programs of a later Debian, fetched and unpacked for the tests; nothing of the host changes."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

_MIRROR = "http://deb.debian.org/debian"


def debian_programs(folder: Path, packages: Collection[str], *, suite: str) -> dict[str, Path]:
    """The programs of those names out of the packages of those names, with the libraries that they need.

    A program finds its loader and libraries by itself: Podman starts itself anew, not by way of the loader.
    """
    options = _lists(folder, suite)
    _unpack(folder, sorted({*packages, *_libraries(packages, options)}), options)
    loader = _loader(folder)
    programs = {name: folder / "root/usr/bin" / name for name in packages}
    for program in programs.values():
        # RPATH, which counts for the libraries of libraries too.
        argv = ["patchelf", "--set-interpreter", str(loader), "--force-rpath", "--set-rpath"]
        done = subprocess.run([*argv, str(loader.parent), str(program)], capture_output=True, text=True)
        assert done.returncode == 0 or "cannot find section" in done.stderr, done.stderr  # it needs none
    return programs


def _lists(folder: Path, suite: str) -> list[str]:
    """apt's options for that suite, whose lists are there then."""
    for name in ("lists/partial", "cache/archives/partial", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb {_MIRROR} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "8",
        "Acquire::Check-Valid-Until": "false",  # a mirror of an unstable suite may lag
    }
    options = [f"--option={key}={value}" for key, value in settings.items()]
    subprocess.run(["apt-get", "--quiet=2", *options, "update"], cwd=folder, check=True, timeout=900)
    return options


def _libraries(packages: Collection[str], options: Sequence[str]) -> set[str]:
    """The packages of libraries that they depend on, and that these depend on."""
    found: set[str] = set()
    asked = set(packages)
    while asked:
        argv = ["apt-cache", *options, "--important", "depends", *sorted(asked)]
        lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
        named = {line.partition("epends: ")[2] for line in lines}
        asked = {name for name in named if name.startswith("lib")} - found
        found |= asked
    return found


def _unpack(folder: Path, packages: Sequence[str], options: Sequence[str]) -> None:
    argv = ["apt-get", "--quiet=2", *options, "download", *packages]
    subprocess.run(argv, cwd=folder, check=True, timeout=900)
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(archive), str(folder / "root")], check=True)


def _loader(folder: Path) -> Path:
    (loader,) = folder.glob("root/usr/lib/*/ld-linux-*.so.*")
    return loader
