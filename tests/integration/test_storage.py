"""Where Podman keeps what it builds: never upon fuse-overlayfs, where a RUN finds the wrong files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from worlds import Layouts, World, project_file

# Upon fuse-overlayfs `/folder/old` comes back.
CONTAINERFILE = """\
FROM localhost/base:1
RUN busybox mkdir /folder && busybox touch /folder/old
RUN busybox touch /between
RUN busybox rm -r /folder && busybox mkdir /folder && busybox touch /folder/new
RUN busybox ls /folder > /listed
"""


@pytest.fixture
def fuse(world: World, layouts: Layouts) -> World:
    """A user whose Podman mounts by fuse-overlayfs."""
    program = shutil.which("fuse-overlayfs")
    assert program is not None
    settings = world.data / "storage.conf"
    settings.write_text(
        f'[storage]\ndriver = "overlay"\n[storage.options.overlay]\nmount_program = "{program}"\n'
    )
    bases = layouts.install(world, "tiny", ("localhost/base:1",))
    stages = {"one": {"containerfile": "Containerfile", "context": "context"}}
    world.write(
        {"rbuild.yaml": project_file(bases, stages), "Containerfile": CONTAINERFILE, "context/.keep": ""}
    )
    world.ok("lock")
    world.forget_store()
    world.env["CONTAINERS_STORAGE_CONF"] = str(settings)
    return world


def test_nothing_is_built_upon_fuse_overlayfs(fuse: World) -> None:
    locked = fuse.digests()
    (verified,) = fuse.json("verify")
    assert verified["verdict"] == "identical", verified
    (built,) = fuse.json("build", "one", "--locked")
    assert built["digest"] == locked["one"]
    storage = fuse.store / "storage"
    assert {path.name for path in storage.iterdir() if path.is_dir()} <= {"overlay", "vfs"}
    # A second build meets the layers of the first one, there.
    manifest = locked["one"].removeprefix("sha256:")
    (fuse.store / "blobs" / "sha256" / manifest).unlink()
    again = fuse.ok("build", "one", "--locked")
    assert "Using cache" in Path(fuse.store, "logs", "demo", "one.log").read_text(), again.stderr
