"""Programs of a later Debian, fetched and unpacked for the tests; nothing of the host changes."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

_MIRROR = "http://deb.debian.org/debian"


def debian_tool(
    folder: Path, package: str, *, libraries: Sequence[str] = (), suite: str = "trixie"
) -> list[str]:
    """How to call the program of that name out of the package of that name.

    `libraries` are the packages that it loads from, libc6 among them: its own, since the host's are older.
    `folder` is empty, and takes apt's lists and the packages.
    """
    for name in ("lists/partial", "cache/archives/partial", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb {_MIRROR} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
    }
    options = [f"--option={key}={value}" for key, value in settings.items()]
    for command in (["update"], ["download", package, *libraries]):
        subprocess.run(["apt-get", "--quiet=2", *options, *command], cwd=folder, check=True, timeout=120)
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(archive), str(folder / "root")], check=True)
    program = str(folder / "root/usr/bin" / package)
    if not libraries:
        return [program]
    (loader,) = folder.glob("root/usr/lib/*/ld-linux-*.so.*")
    return [str(loader), "--library-path", str(loader.parent), program]
