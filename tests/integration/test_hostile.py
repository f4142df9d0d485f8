"""Bases that strangers made: each lie is an error that names blob and entry, in little time and memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lying_registry import Answer, serving
from strangers import (
    CASES,
    INDEX,
    MANIFEST,
    Stranger,
    deep,
    digest,
    list_of,
    tar,
    twice,
)
from worlds import RBUILD, World, make_world, project_file, remove_world

_SECONDS = 300  # far more than any takes, also on a host that has other things to do
_MEMORY = 200 << 20
_MEMORY_OF_A_MILLION = 400 << 20
_MEMORY_OF_A_MILLION_COMPARED = 700 << 20
# Says the peak memory of a command in KiB. What this process starts itself would inherit its own peak.
_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
raise SystemExit(code)
"""


@pytest.fixture(scope="module")
def victim() -> Iterator[World]:
    """One world for all: none of the strangers may leave anything in it."""
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    made = make_world(folder)
    yield made
    remove_world(made)
    shutil.rmtree(folder)


def _write_project(world: World, base: str, bases: dict[str, Any]) -> None:
    (world.project / "rbuild.lock").unlink(missing_ok=True)
    stages = {"one": {"containerfile": "Containerfile", "context": "context"}}
    world.write(
        {
            "rbuild.yaml": project_file(bases, stages),
            "Containerfile": f"FROM {base}\nLABEL a=b\n",
            "context/.keep": "",
        }
    )


def _refused(world: World, *command: str, memory: int = _MEMORY) -> str:
    """What `rbuild all`, or another command, says; it has to fail as it should, and leave nothing behind."""
    peak = world.data / "peak"
    peak.unlink(missing_ok=True)
    before = _tree(world)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(peak), *RBUILD, *(command or ("all",))],
        cwd=world.project,
        env=world.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    used = int(peak.read_text()) << 10
    assert used < memory, f"{used >> 20} MiB"
    peak.unlink()
    assert _tree(world) == before
    assert [path.name for path in (world.store / "tmp").iterdir()] == []
    return re.sub(r"\s+", " ", done.stderr)


def _tree(world: World) -> set[tuple[str, int]]:
    """Everything around but for the store and what is asked of Podman."""
    found = set()
    for folder, folders, files in os.walk(world.data.parent):
        folders[:] = [name for name in folders if name not in ("rbuild", "containers", ".rbuild")]
        found |= {(f"{folder}/{name}", (Path(folder) / name).lstat().st_size) for name in [*folders, *files]}
    return found


# One of each kind; the unit tests have them all.
FRONT_DOOR = (
    *("a million", "gzip bomb", "zstd bomb", "claim", "sparse", "dots", "link", "truncated", "trailing"),
    *("size", "digest", "layers", "media type", "deep manifest", "deep config", "key twice", "list"),
)


@pytest.mark.parametrize("case", FRONT_DOOR)
def test_a_layout_of_a_stranger(victim: World, case: str) -> None:
    make, blob, message = CASES[case]
    stranger = make()
    folder = victim.project / "base"
    shutil.rmtree(folder, ignore_errors=True)
    stranger.lay_out(folder)
    _write_project(victim, "localhost/base:1", {"localhost/base:1": {"oci": "base"}})
    said = _refused(victim, memory=_MEMORY_OF_A_MILLION if case == "a million" else _MEMORY)
    assert re.search(message, said), said
    assert stranger.name_of(blob) in said


@pytest.mark.parametrize("case", FRONT_DOOR)
def test_a_layout_of_a_stranger_in_a_comparison(victim: World, case: str) -> None:
    make, blob, message = CASES[case]
    stranger = make()
    for name, image in (("theirs", stranger), ("honest", Stranger(tar(("bin/tool", b"another"))))):
        shutil.rmtree(victim.project / name, ignore_errors=True)
        image.lay_out(victim.project / name)
    if case == "list":  # a comparison chooses no platform
        message = "is a list of images, one for each platform"
    if case == "digest":
        message = "does not hold the bytes of its digest"
    # Entries are held there, to be compared.
    said = _refused(
        victim,
        *("diff", "oci:honest", "oci:theirs"),
        memory=_MEMORY_OF_A_MILLION_COMPARED if case == "a million" else _MEMORY,
    )
    assert re.search(message, said), said
    assert stranger.name_of(blob) in said or case == "list", said


@pytest.mark.parametrize("kind", ["link", "fifo", "device"])
def test_a_layout_whose_blobs_are_no_files(victim: World, kind: str, tmp_path: Path) -> None:
    folder = victim.project / "base"
    shutil.rmtree(folder, ignore_errors=True)
    stranger = Stranger(tar(("never", b"taken")))
    stranger.lay_out(folder)
    path = folder / "blobs" / "sha256" / digest(stranger.layer).removeprefix("sha256:")
    outside = tmp_path / "outside"
    outside.mkdir()
    path.rename(outside / path.name)
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(outside / path.name if kind == "link" else "/dev/zero")
    _write_project(victim, "localhost/base:1", {"localhost/base:1": {"oci": "base"}})
    said = _refused(victim)
    assert re.search("leads out of the folder|is not a regular file", said), said
    assert path.name in said
    shutil.rmtree(folder)


def _redirect(to: str) -> Answer:
    return lambda handler: handler.give(b"", "text/plain", 307, Location=to)


def _say(data: bytes, kind: str = MANIFEST) -> Answer:
    return lambda handler: handler.give(data, kind)


HONEST = tar(("bin/tool", b"from a registry"))
_BLOB = digest(HONEST)
# What the registry says in place of the truth, by the blob or "manifests", and the message.
LIES: dict[str, tuple[dict[str, Answer], str]] = {
    "no end": ({_BLOB: lambda handler: handler.give_without_end()}, "more comes than the"),
    "too short": ({_BLOB: _say(HONEST[:-512])}, "cannot fetch|bytes"),
    "too long": ({_BLOB: _say(HONEST + b"more")}, "cannot fetch|bytes"),
    "other bytes": ({_BLOB: _say(b"x" * len(HONEST))}, "(?i)digest"),
    "no blob": ({_BLOB: lambda handler: handler.give(b"{}", "application/json", 404)}, "cannot fetch"),
    "elsewhere": ({_BLOB: _redirect("http://127.0.0.1:1/blob")}, "cannot fetch"),
    "to a file": ({_BLOB: _redirect("file:///etc/passwd")}, "cannot fetch"),
    "deep": ({"manifests": _say(deep())}, "nested too deeply|cannot read"),
    "twice": ({"manifests": _say(twice(Stranger(HONEST).parts()[0]))}, "comes twice|cannot read"),
    "list": ({"manifests": _say(list_of("arm64"), INDEX)}, "no image for linux/amd64"),
    "list of a liar": ({"manifests": _say(list_of("amd64"), INDEX)}, "digest|cannot read"),
    "endless manifest": ({"manifests": lambda handler: handler.give_without_end()}, "cannot read"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_registry_of_a_stranger(victim: World, lie: str) -> None:
    lies, message = LIES[lie]
    with serving(Stranger(HONEST), lies) as registry:
        _write_project(victim, registry.base, {})
        said = _refused(victim)
        assert registry.sent < 4 << 30
    assert re.search(message, said), said
    assert "library/base:1" in said
    assert "sha256:" in said or lie == "endless manifest", said


def test_a_stranger_who_tells_the_truth(victim: World) -> None:
    """The table means something: the same image without a lie is built upon."""
    with serving(Stranger(HONEST)) as registry:
        _write_project(victim, registry.base, {})
        victim.ok("all")
    folder = victim.project / "base"
    shutil.rmtree(folder, ignore_errors=True)
    Stranger(HONEST).lay_out(folder)
    _write_project(victim, "localhost/base:1", {"localhost/base:1": {"oci": "base"}})
    victim.ok("all")
