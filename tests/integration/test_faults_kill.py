"""kill -9 at any moment: nothing is torn, nothing goes on running, and the next run puts all right."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time

from leftovers import (
    assert_no_containers,
    assert_nothing_runs,
    assert_store_is_sound,
    processes,
    scratch,
    two_stages,
)
from worlds import Layouts, World

KILLS = 50
BETWEEN = 10  # kills before a run may go on to its end
KILLS_OF_A_CHANGE = 12


def test_kill_at_fifty_random_moments(world: World, layouts: Layouts) -> None:
    chance = random.Random(20260401)
    two_stages(world, layouts, one="busybox sleep 0.2; busybox echo one > /made")
    began = time.monotonic()
    world.ok("all")
    duration = time.monotonic() - began
    digests = world.digests()
    killed = 0
    while killed < KILLS:
        if killed % BETWEEN == 0:
            _force_work(world, chance)
        process = world.start("all", "--quiet")
        try:
            process.wait(chance.uniform(0.05, duration))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        _, said = process.communicate()
        if process.returncode == 0:
            assert world.digests() == digests
            _force_work(world, chance)
            continue
        assert process.returncode == -signal.SIGKILL, said
        killed += 1
        assert_nothing_runs(world)
        _assert_lock_is_whole(world, digests)
        assert_store_is_sound(world)
        if killed % BETWEEN == 0:
            world.ok("all")
            assert world.digests() == digests
            assert scratch(world) == []
            assert_no_containers(world)
    assert processes(world) == {}


def test_kill_while_an_older_lock_is_replaced(world: World, layouts: Layouts) -> None:
    """Each stage is locked as it was or as it is to be, and nothing else is ever in the lock."""
    chance = random.Random(20260402)
    two_stages(world, layouts, one="busybox sleep 0.2; busybox echo one > /made")
    world.ok("all")
    path = world.project / "rbuild.lock"
    older, old = path.read_bytes(), world.lock
    world.write({"context/file.txt": "another text\n"})
    began = time.monotonic()
    world.ok("all")
    duration = time.monotonic() - began
    newer, new = path.read_bytes(), world.lock
    assert all(old["stages"][name] != new["stages"][name] for name in ("one", "two"))
    killed = 0
    while killed < KILLS_OF_A_CHANGE:
        path.write_bytes(older)
        if chance.random() < 0.5:
            world.forget_images()  # else the layers are cached
        process = world.start("all", "--quiet")
        try:
            process.wait(chance.uniform(0.3, duration))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        _, said = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said
        assert_nothing_runs(world)
        world.ok("status")  # reads the lock
        lock = world.lock
        assert set(lock["stages"]) == {"one", "two"}
        for name, stage in lock["stages"].items():
            assert stage in (old["stages"][name], new["stages"][name])
        assert {**lock, "stages": None} == {**old, "stages": None}
        assert_store_is_sound(world)
    world.ok("all")
    assert path.read_bytes() == newer
    assert scratch(world) == []
    assert_no_containers(world)


def _force_work(world: World, chance: random.Random) -> None:
    """Take away something that the next run has to make again."""
    what = chance.choice(["lock", "store", "images", "all of it"])
    if what in ("lock", "all of it"):
        (world.project / "rbuild.lock").unlink(missing_ok=True)
    if what in ("store", "all of it"):
        shutil.rmtree(world.store, ignore_errors=True)
    if what in ("images", "all of it"):
        world.forget_images()


def _assert_lock_is_whole(world: World, digests: dict[str, str]) -> None:
    """Absent, or with whole stages only; `rbuild status` reads it."""
    if not (world.project / "rbuild.lock").exists():
        return
    world.ok("status")
    assert world.digests().items() <= digests.items()


def test_an_image_whose_copy_was_killed(world: World, layouts: Layouts) -> None:
    """Without its manifest it ends every list of Podman's."""
    two_stages(world, layouts)
    world.ok("all")
    digests = world.digests()
    config = world.lock["stages"]["one"]["image"]["config"].removeprefix("sha256:")
    (image,) = (world.data / "containers" / "storage").glob(f"*-images/{config}")
    (image / "manifest").unlink()
    for copy in image.glob("=*"):
        copy.unlink()
    world.ok("all")
    assert world.digests() == digests
    assert "localhost/demo/one" in world.podman("images")
