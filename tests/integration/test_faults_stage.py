"""Stages that cannot be built or run: what is said, and what is left as it was."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import yaml
from leftovers import assert_no_containers, assert_nothing_runs, assert_store_is_sound, scratch, two_stages
from worlds import Layouts, World


def hints(said: str) -> int:
    return sum(line.startswith("hint:") for line in said.splitlines())


# The context


def test_a_symlink_that_points_outside(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts)
    (world.project / "context" / "up").symlink_to("../one.Containerfile")
    (world.project / "context" / "root").symlink_to("/etc/passwd")
    (world.project / "context" / "inside").symlink_to("file.txt")
    done = world.rbuild("all")
    assert done.returncode == 2
    assert "context/up: a symbolic link that points outside the context" in done.stderr
    assert "context/root: a symbolic link that points outside the context" in done.stderr
    assert "context/inside" not in done.stderr
    assert ".containerignore" in done.stderr
    (world.project / "context" / ".containerignore").write_text("up\nroot\n")
    world.ok("all")


def test_a_link_through_a_folder_that_leads_outside(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts)
    (world.project / "context" / "folder").symlink_to("..")
    done = world.rbuild("all")
    assert done.returncode == 2
    assert "context/folder: a symbolic link that points outside" in done.stderr


def test_what_is_no_file(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts)
    context = world.project / "context"
    os.mkfifo(context / "pipe")
    (context / "secret").write_text("s")
    (context / "secret").chmod(0)
    (context / "closed").mkdir(mode=0)
    here = Path.cwd()
    os.chdir(context)  # a socket's path may have no more than 107 characters
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("listening")
    finally:
        os.chdir(here)
    done = world.rbuild("all")
    (context / "closed").chmod(0o700)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "context/pipe: neither a file, a folder nor a link" in done.stderr
    assert "context/listening: neither a file, a folder nor a link" in done.stderr
    assert "context/secret: cannot be read: Permission denied" in done.stderr
    assert "context/closed: cannot be read: Permission denied" in done.stderr
    assert hints(done.stderr) >= 3
    assert not (world.project / "rbuild.lock").exists()


# A RUN


def test_a_run_that_fails(world: World, layouts: Layouts) -> None:
    said = "; ".join(f"busybox echo said {number}" for number in range(40))
    two_stages(world, layouts, one=f"{said}; exit 7")
    done = world.rbuild("all")
    assert done.returncode == 2
    assert "one.Containerfile:3: stage one: `RUN " in done.stderr
    assert "failed with exit code 7" in done.stderr
    error = done.stderr.partition("error:")[2]
    assert "\n  said 39\n" in error and "said 3\n" not in error
    log = Path(re.findall(r"the whole output: (.*)", error)[0])
    assert [f"said {number}" for number in range(40)] == [
        line for line in log.read_text().splitlines() if line.startswith("said ")
    ]
    assert re.search(r"^one +failed$", done.stdout, re.MULTILINE)
    assert re.search(rf"^two +built +{world.digests()['two']}$", done.stdout, re.MULTILINE)
    assert set(world.digests()) == {"two"}
    assert_no_containers(world)
    assert_nothing_runs(world)
    assert_store_is_sound(world)
    assert scratch(world) == []
    two_stages(world, layouts)
    world.ok("all")
    assert set(world.digests()) == {"one", "two"}


def test_a_run_that_a_signal_ends(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts, one="busybox echo before; busybox sh -c 'kill -9 $$'")
    done = world.rbuild("all")
    assert done.returncode == 2
    assert "one.Containerfile:3: stage one" in done.stderr
    assert "failed with exit code 137" in done.stderr
    assert "\n  before" in done.stderr.partition("error:")[2]
    assert set(world.digests()) == {"two"}
    assert_no_containers(world)


def test_a_failing_change_keeps_what_is_locked(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts)
    world.ok("all")
    before = (world.project / "rbuild.lock").read_bytes()
    two_stages(world, layouts, one="busybox false")
    assert world.rbuild("all").returncode == 2
    assert (world.project / "rbuild.lock").read_bytes() == before


# `rbuild run`


def pipeline(world: World, layouts: Layouts, one: str) -> None:
    """`one` runs a command; `two` copies what it made."""
    two_stages(world, layouts)
    path = world.project / "rbuild.yaml"
    project = yaml.safe_load(path.read_text())
    project["stages"]["one"]["run"] = {
        "command": ["busybox", "sh", "-c", one],
        "inputs": {"data": "data.txt"},
        "outputs": {"made": "made"},
    }
    project["stages"]["two"]["needs"] = ["one"]
    project["stages"]["two"]["run"] = {
        "command": ["busybox", "cp", "{inputs.made}/result", "{outputs.copy}/result"],
        "inputs": {"made": "made"},
        "outputs": {"copy": "copy"},
    }
    path.write_text(yaml.safe_dump(project))
    (world.project / "data.txt").write_text("data\n")
    world.ok("all")


def test_a_stage_that_fails_when_it_is_run(world: World, layouts: Layouts) -> None:
    pipeline(world, layouts, "busybox cat /in/data/data.txt > /out/made/result; . /in/data/data.txt")
    (world.project / "data.txt").write_text("true\n")
    world.ok("run")
    assert (world.project / "copy" / "result").read_text() == "true\n"
    talk = "".join(f"echo said {number}\n" for number in range(40))
    (world.project / "data.txt").write_text(f"{talk}exit 5\n")
    done = world.rbuild("run")
    assert done.returncode == 2
    assert "stage one failed with exit code 5" in done.stderr
    error = done.stderr.partition("error:")[2]
    assert "\n  said 39\n" in error and "said 3\n" not in error
    log = Path(re.findall(r"the whole output: (.*)", error)[0])
    assert log.read_text().splitlines() == [f"said {number}" for number in range(40)]
    for folder in ("made", "copy"):
        assert [path.name for path in (world.project / folder).iterdir()] == ["result"]
        assert (world.project / folder / "result").read_text() == "true\n"
    hidden = {path.name for path in world.project.iterdir() if path.name.startswith(".")}
    assert hidden == {".rbuild"}
    assert_no_containers(world)
    assert "[two]" not in done.stderr


def test_an_input_that_is_missing(world: World, layouts: Layouts) -> None:
    pipeline(world, layouts, "busybox true")
    (world.project / "data.txt").unlink()
    done = world.rbuild("run")
    assert done.returncode == 2
    assert "stages.one.run.inputs.data: the input data.txt does not exist" in done.stderr
    assert not (world.project / "made").exists()
    done = world.rbuild("run", "two")
    assert done.returncode == 2
    assert "the input made does not exist" in done.stderr
    assert "hint: rbuild run one two" in done.stderr


# The project's own files


def test_a_lock_that_nobody_can_read(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts)
    world.ok("all")
    path = world.project / "rbuild.lock"
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    middle = len(lines) // 2
    conflict = f"{lines[middle]}=======\n{lines[middle]}>>>>>>> theirs\n"
    digests = world.digests()
    torn = {
        "merge": "".join([*lines[:middle], "<<<<<<< ours\n", conflict, *lines[middle + 1 :]]),
        "cut": whole[: len(whole) * 2 // 3],
        "empty": "",
        "newer": re.sub(r"(?m)^version: .*$", "version: 99", whole),
        "other": "- a list\n",
    }
    for what, text in torn.items():
        path.write_text(text)
        for command in ("all", "status", "verify", "run"):
            done = world.rbuild(command)
            assert done.returncode == 2, (what, command, done.stderr)
            assert "Traceback" not in done.stderr
            assert "rbuild.lock" in done.stderr, (what, command)
            assert hints(done.stderr) >= 1, (what, command, done.stderr)
        if what == "merge":
            assert "merge" in done.stderr and f"rbuild.lock:{middle + 1}" in done.stderr
        if what == "newer":
            assert "99" in done.stderr
        assert path.read_text() == text
    path.write_text(whole)
    world.ok("all")
    assert world.digests() == digests


def test_five_mistakes_at_once(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts)
    (world.project / "rbuild.yaml").write_text(
        """\
project: Demo Project
platfrom: linux/amd64
bases:
  localhost/base:1: {oci: bases/busybox}
stages:
  one:
    containerfile: nowhere.Containerfile
    context: 12
  two:
    containerfile: two.Containerfile
    context: ../..
    needs: [three]
"""
    )
    done = world.rbuild("all")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    lines = {int(number) for number in re.findall(r"rbuild\.yaml:(\d+)", done.stderr)}
    assert {1, 2, 8, 11} <= lines, done.stderr
    assert not (world.project / "rbuild.lock").exists()
