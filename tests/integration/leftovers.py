"""What a build that came to a bad end may leave, and what it may not."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from worlds import Layouts, World, project_file

# In every RUN that takes a while: how its processes are told from all others, whose they may be.
MARK = f"271.828{os.getpid()}"
SLOW = f"busybox sleep {MARK}"


def two_stages(world: World, layouts: Layouts, **runs: str) -> None:
    """A project of the stages `one` and `two`, each with a RUN: `one="busybox false"`."""
    bases = layouts.install(world, "busybox", ("localhost/base:1",))
    names = ("one", "two")
    world.env["SOURCE_DATE_EPOCH"] = "1700000000"
    world.write(
        {
            "rbuild.yaml": project_file(
                bases,
                {name: {"containerfile": f"{name}.Containerfile", "context": "context"} for name in names},
            ),
            "context/file.txt": "text\n",
            **{
                f"{name}.Containerfile": "FROM localhost/base:1\nCOPY file.txt /data/\n"
                f"RUN {runs.get(name, f'busybox echo {name} > /made')}\n"
                for name in names
            },
        }
    )


def processes(world: World) -> dict[int, str]:
    """The processes that belong to this world, by id; Podman's pause process, which outlives all, is none."""
    found: dict[int, str] = {}
    needle = f"XDG_DATA_HOME={world.data}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            mine = MARK in command or needle in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mine and command and "catatonit -P" not in command and int(entry.name) != os.getpid():
            found[int(entry.name)] = command
    return found


def until(condition: Callable[[], bool], seconds: float = 300) -> bool:
    """Wait for a condition; whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def in_run(world: World) -> bool:
    """Whether a RUN (or a container) that holds the mark is under way: not its builder, itself."""
    return any(command.startswith(("busybox", "/bin/busybox")) for command in processes(world).values())


def let_go_on(world: World) -> None:
    """End the waiting of a RUN that is `f"{SLOW} || busybox true"`, so that its build goes on."""
    for process, command in processes(world).items():
        if command.startswith(("busybox", "/bin/busybox")) and command.endswith(MARK):
            os.kill(process, signal.SIGKILL)


def assert_nothing_runs(world: World) -> None:
    assert until(lambda: not processes(world), 60), processes(world)


def assert_no_containers(world: World) -> None:
    assert world.podman("ps", "--all", "--external", "--format", "{{.ID}} {{.Names}} {{.Status}}") == ""


def assert_store_is_sound(world: World) -> None:
    """An OCI layout whose every blob is what its name says, and whose every image is whole."""
    if not (world.store / "index.json").exists():
        return
    blobs = world.store / "blobs" / "sha256"
    for blob in blobs.iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert json.loads((world.store / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((world.store / "index.json").read_bytes())
    for image in index["manifests"]:
        manifest = json.loads((blobs / image["digest"].removeprefix("sha256:")).read_bytes())
        for part in (manifest["config"], *manifest["layers"]):
            assert (blobs / part["digest"].removeprefix("sha256:")).stat().st_size == part["size"]


def scratch(world: World) -> list[str]:
    """What is left in the store of things that were being written."""
    return sorted(path.name for path in (world.store / "tmp").iterdir())
