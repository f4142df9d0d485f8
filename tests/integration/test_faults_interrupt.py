"""Ctrl-C, and two commands at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from leftovers import (
    SLOW,
    assert_no_containers,
    assert_nothing_runs,
    assert_store_is_sound,
    in_run,
    let_go_on,
    scratch,
    two_stages,
    until,
)
from worlds import Layouts, World

PATIENCE = 300  # seconds, far less than the RUN or container that is waited for would take


def assert_last_line(said: list[str]) -> None:
    """One line, and no error of what was broken off."""
    (line,) = said
    assert "interrupted; what was done is kept" in line


def interrupt(world: World, *arguments: str, number: signal.Signals = signal.SIGINT) -> list[str]:
    """Start a command, signal it once its RUN or container is under way; what it said, by lines."""
    process = world.start(*arguments)
    assert until(lambda: in_run(world) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert_nothing_runs(world)
    assert_no_containers(world)
    assert scratch(world) == []
    assert_store_is_sound(world)
    assert "Traceback" not in said
    return said.splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_during_a_run_instruction(world: World, layouts: Layouts, number: signal.Signals) -> None:
    two_stages(world, layouts, two=SLOW)
    world.ok("build", "one")
    lock = (world.project / "rbuild.lock").read_bytes()
    said = interrupt(world, "all", "--quiet", number=number)
    assert_last_line(said)
    assert (world.project / "rbuild.lock").read_bytes() == lock
    two_stages(world, layouts)
    world.ok("all")
    assert set(world.digests()) == {"one", "two"}


def test_a_signal_twice(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts, two=SLOW)
    process = world.start("all", "--quiet")
    assert until(lambda: in_run(world))
    for _ in range(5):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.02)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert_last_line(said.splitlines())
    assert_nothing_runs(world)
    assert_no_containers(world)


def test_ctrl_c_during_run(world: World, layouts: Layouts) -> None:
    running(world, layouts, f"busybox echo half > /out/made/half; {SLOW}")
    world.ok("all")
    (world.project / "made").mkdir()
    (world.project / "made" / "old").write_text("old\n")
    assert_last_line(interrupt(world, "run", "--quiet"))
    assert [path.name for path in (world.project / "made").iterdir()] == ["old"]
    assert [path for path in world.project.iterdir() if path.name.startswith(".made")] == []


def test_a_killed_run_leaves_nothing_once_the_next_has_begun(world: World, layouts: Layouts) -> None:
    running(world, layouts, f"busybox echo half > /out/made/half; busybox test -e /in/go/go/go || {SLOW}")
    world.ok("all")
    process = world.start("run")
    assert until(lambda: in_run(world))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (world.project / "go" / "go").touch()
    world.ok("run")
    assert_nothing_runs(world)
    assert_no_containers(world)
    assert [path.name for path in (world.project / "made").iterdir()] == ["half"]
    assert [path for path in world.project.iterdir() if path.name.startswith(".made")] == []


def test_outputs_of_a_run_that_was_killed_between_two_renames_come_back(
    world: World, layouts: Layouts
) -> None:
    running(world, layouts, "busybox false")
    world.ok("all")
    before = world.project / ".made.0123abcd.before"
    before.mkdir()
    (before / "old").write_text("old\n")
    assert world.rbuild("run").returncode == 2
    assert (world.project / "made" / "old").read_text() == "old\n"
    assert not before.exists()


def running(world: World, layouts: Layouts, command: str) -> None:
    """A project of one stage, which runs `command` in a shell, with the input `go` and the output `made`."""
    two_stages(world, layouts)
    path = world.project / "rbuild.yaml"
    project = yaml.safe_load(path.read_text())
    del project["stages"]["two"]
    project["stages"]["one"]["run"] = {
        "command": ["busybox", "sh", "-c", command],
        "inputs": {"go": "go"},
        "outputs": {"made": "made"},
    }
    path.write_text(yaml.safe_dump(project))
    (world.project / "go").mkdir(exist_ok=True)


def build_what_waits(world: World, layouts: Layouts) -> None:
    """Build a stage whose RUN waits for `let_go_on`, and would again."""
    two_stages(world, layouts, two=f"{SLOW} || busybox true")
    process = world.start("all", "--quiet")
    assert until(lambda: in_run(world) or process.poll() is not None)
    let_go_on(world)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said


def test_ctrl_c_during_verify(world: World, layouts: Layouts) -> None:
    build_what_waits(world, layouts)
    lock = (world.project / "rbuild.lock").read_bytes()
    images = world.podman("images", "--all", "--quiet")
    assert_last_line(interrupt(world, "verify", "--quiet"))
    assert (world.project / "rbuild.lock").read_bytes() == lock
    assert world.podman("images", "--all", "--quiet") == images
    runtime = Path(world.env["XDG_RUNTIME_DIR"]) / f"rbuild-{os.getuid()}"
    assert [path.name for path in runtime.iterdir()] == ["lock"]
    world.ok("verify", "one")
    assert [path.name for path in runtime.iterdir()] == ["lock"]
    assert scratch(world) == []


def test_a_killed_verify_is_cleared_by_the_next_command(world: World, layouts: Layouts) -> None:
    build_what_waits(world, layouts)
    process = world.start("verify")
    assert until(lambda: in_run(world))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert_nothing_runs(world)
    assert scratch(world) != []
    world.ok("verify", "one")
    assert scratch(world) == []


def test_two_at_once(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts, two=f"{SLOW} || busybox true")
    first = world.start("all")
    assert until(lambda: in_run(world))
    second = world.start("all")
    assert second.stderr is not None
    waiting = second.stderr.readline()
    let_go_on(world)
    _, first_said = first.communicate(timeout=PATIENCE)
    second_out, second_said = second.communicate(timeout=PATIENCE)
    second_said = waiting + second_said
    assert (first.returncode, second.returncode) == (0, 0), (first_said, second_said)
    assert f"rbuild all (process {first.pid})" in second_said
    assert "waiting for another command in this project" in second_said
    assert "waiting" not in first_said
    assert second_out.split() == [
        word for name, digest in world.digests().items() for word in (name, "up", "to", "date", digest)
    ]


def test_a_project_that_is_waited_for_can_be_given_up(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts, two=SLOW)
    first = world.start("all")
    assert until(lambda: in_run(world))
    second = world.start("all", "--quiet")
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    second.send_signal(signal.SIGINT)
    _, said = second.communicate(timeout=PATIENCE)
    assert second.returncode == 130
    assert_last_line(said.splitlines())
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=PATIENCE)
    assert_nothing_runs(world)
