"""The fixtures that give every test a world of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import Layouts, World, make_world, remove_world

# Podman keeps in this folder what of a storage is mounted, and rbuild what is under way: one for each process
# that runs tests, and none that whoever runs them works with meanwhile.
worker = os.environ.get("PYTEST_XDIST_WORKER")
if runtime := os.environ.get("XDG_RUNTIME_DIR"):
    Path(runtime, worker or "gw").mkdir(mode=0o700, exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = str(Path(runtime, worker or "gw"))


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
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Layouts:
    """The bases, which all processes of one run share."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if worker else folder) / "bases"
    folder.mkdir(exist_ok=True)
    return Layouts(folder)
