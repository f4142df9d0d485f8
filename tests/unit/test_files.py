"""Scratch folders whose makers come and go at the same time."""

from __future__ import annotations

import shutil
from pathlib import Path

from rbuild.files import Scratch


def test_what_killed_ones_left_is_cleared(tmp_path: Path) -> None:
    root = tmp_path / "tmp"
    (root / "load-dead").mkdir(parents=True)
    (root / "blob-dead").touch()
    with Scratch(root, tmp_path / "lock").folder("build-") as mine:
        assert list(root.iterdir()) == [mine]
    assert list(root.iterdir()) == []


def test_a_folder_that_goes_while_it_is_cleared_is_no_error(tmp_path: Path) -> None:
    root = tmp_path / "tmp"
    (root / "load-going").mkdir(parents=True)

    def clear(folder: Path) -> None:
        shutil.rmtree(folder)  # its maker, which got there first
        list(folder.iterdir())

    with Scratch(root, tmp_path / "lock", clear).folder("build-") as mine:
        assert list(root.iterdir()) == [mine]
