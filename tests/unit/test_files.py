"""Scratch folders whose makers come and go at the same time."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

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


def test_who_is_at_work_on_nfs_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, an exclusive lock takes a file that is open for writing: flock(2), on NFS."""
    local = fcntl.flock

    def flock(file: int, operation: int) -> None:
        mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if operation & fcntl.LOCK_EX and mode == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        local(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    scratch = Scratch(tmp_path / "tmp", tmp_path / "lock")
    (tmp_path / "tmp").mkdir()
    with scratch.folder("load-") as first, scratch.folder("build-"):
        assert first.is_dir()
