"""Podman itself, over a tree of odd names: it copies what `IgnoreRules` says it copies."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbuild.ignore import IgnoreRules
from rbuild.podman import Podman

TREE = [
    ".hidden",
    "#hash",
    "!bang",
    "*star",
    "a b",
    "a.py",
    "app/__pycache__/m.cpython-311.pyc",
    "app/deep/er/keep.py",
    "app/deep/er/x.log",
    "app/m.py",
    "build-x/out",
    "café/ä.txt",
    "docs/a.md",
    "docs/img/b.md",
    "foo/bar/baz",
    "foobar/bar",
    "logs/1.log",
    "logs/keep.log",
    "x[1]",
    "zip.d$",
]

RULE_FILES = [
    "",
    "# comment\n\n  \n#hash\n *star\n\\*star\n",
    "*\n",
    "*\n!app\n!docs/img\n",
    "*\n!**/*.py\n",
    "*\n!app/deep\napp/deep/er/*.log\n",
    "**/*.py[co]\n**/__pycache__\n.hidden\n",
    "/foo/\n./docs//img\n",
    "foo/**\n!foo/bar/baz\n",
    "**/bar\n",
    "**\n!logs/keep.log\n",
    "*.log\n*/*.log\n!logs/keep.log\n",
    "fo?\nx\\[1\\]\nzip.d$\n\\!bang\n",
    "caf*\r\na b\r\n",
    "[a-c]*\n!build-[x-z]\n",
    "app/**/er\n",
    "app/*/er\n**/deep\n!app/deep/er/keep.py\n",
    "!a/../docs\nlogs/..\n.\n/\n",
    "fo*\n!foob\n",
]


@pytest.fixture(scope="module")
def podman() -> Iterator[list[str]]:
    storage = Path(tempfile.mkdtemp(prefix="rb-"))  # Podman takes no long path for its run root
    yield ["podman", "--root", f"{storage}/root", "--runroot", f"{storage}/run", "--storage-driver", "vfs"]
    Podman(env=os.environ).remove_tree(storage)


def copied(podman: list[str], context: Path, rules: str, tar: Path) -> set[str]:
    """What `COPY . /` brings into an empty image: the paths of all that is no directory."""
    containerfile = tar.with_name("Containerfile")
    containerfile.write_text("FROM scratch\nCOPY . /\n")
    # Not `--ignorefile`: Podman 4.3.1 reads that one with a reader of its own, to which `/foo` is no `foo`.
    tar.with_name("Containerfile.containerignore").write_bytes(rules.encode())
    command = [*podman, "build", "--quiet", "--file", str(containerfile)]
    command += ["--output", f"type=tar,dest={tar}", str(context)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stderr
    with tarfile.open(tar) as archive:
        return {member.name.removeprefix("./") for member in archive if not member.isdir()}


@pytest.mark.parametrize("rules", RULE_FILES)
def test_podman_copies_what_is_not_ignored(podman: list[str], tmp_path: Path, rules: str) -> None:
    context = tmp_path / "context"
    for name in TREE:
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    decide = IgnoreRules.parse(rules.encode())
    expected = {name for name in TREE if not decide.ignored(name)}
    assert copied(podman, context, rules, tmp_path / "out.tar") == expected
