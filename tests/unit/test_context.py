"""The context as a build gets it."""

from __future__ import annotations

import os
from pathlib import Path

from rbuild.context import copy_to, ignore_rules, scan


def test_every_folder_of_the_copy_is_open_whatever_the_umask(tmp_path: Path) -> None:
    """An ignored folder that holds something that is not ignored is none of the listed ones."""
    root = tmp_path / "context"
    (root / "logs" / "deep").mkdir(parents=True)
    (root / "kept").mkdir()
    (root / "logs" / "deep" / "two.txt").write_text("2")
    (root / ".containerignore").write_text("logs\n!logs/deep/two.txt\n")
    before = os.umask(0o077)
    try:
        context = scan(root, ignore_rules(root, tmp_path / "Containerfile"), name="context")
        copy_to(context, tmp_path / "copy", epoch=86400)
    finally:
        os.umask(before)
    folders = {path: path.stat() for path in (tmp_path / "copy").glob("**/")}
    assert {str(path.relative_to(tmp_path)) for path in folders} == {
        "copy",
        "copy/kept",
        "copy/logs",
        "copy/logs/deep",
    }
    assert {(oct(status.st_mode), status.st_mtime) for status in folders.values()} == {("0o40755", 86400.0)}
