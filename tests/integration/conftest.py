"""The fixtures that give every test a world of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import Layouts, World, make_world, remove_world


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: Podman and unix sockets count the characters."""
    path = Path(tempfile.mkdtemp(prefix="rb-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def world(folder: Path) -> Iterator[World]:
    if os.geteuid() == 0:
        pytest.fail("these tests run as an ordinary user: make test takes care of that")
    made = make_world(folder)
    yield made
    remove_world(made)


@pytest.fixture(scope="session")
def layouts() -> Iterator[Layouts]:
    folder = Path(tempfile.mkdtemp(prefix="rb-bases-"))
    yield Layouts(folder)
    shutil.rmtree(folder, ignore_errors=True)
