"""The commands around a build, on a project that is built once; every test changes a copy of it."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import pty
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from worlds import RBUILD, Layouts, World, make_world, project_file, remove_world

from rbuild.podman import Podman
from rbuild.verbs.workspace import PRIVATE

CONTAINERFILE = """\
FROM localhost/base:1
ARG FLAVOUR
COPY . /data/
RUN busybox echo made with "$FLAVOUR" > /made
"""
STAGE = {"containerfile": "Containerfile", "context": "context", "args": {"FLAVOUR": "plain"}}
RUDE = r"RUN busybox printf '\033[31mred\033[0m \033]0;title\007 \033[2J宽字符 %0500d\n' 1; busybox sleep 2"


@pytest.fixture(scope="module")
def built(layouts: Layouts) -> Iterator[World]:
    """A project with the stages one and two, built."""
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    made = make_world(folder)
    bases = layouts.install(made, "busybox", ("localhost/base:1",))
    files = {f"context/many/{number:02}.txt": "" for number in range(20)}
    made.write(
        {
            "rbuild.yaml": project_file(bases, {"one": STAGE, "two": {**STAGE, "args": {}}}),
            "Containerfile": CONTAINERFILE,
            "context/kept.txt": "kept\n",
            "context/changed.txt": "before\n",
            **files,
        }
    )
    made.ok("all")
    yield made
    remove_world(made)
    shutil.rmtree(folder)


@pytest.fixture
def copy(built: World, folder: Path) -> World:
    """The built project in a folder of its own, with the same store and storage."""
    project = folder / "project"
    shutil.copytree(built.project, project, copy_function=shutil.copy2)
    return dataclasses.replace(built, project=project)


def state(world: World) -> dict[str, tuple[int, int, bytes]]:
    """Every file of the project and of the store's own folders: mode, time and bytes."""
    found = {}
    for path in sorted(world.project.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, data)
    for path in sorted((world.store / "blobs").rglob("*")):
        found[str(path)] = (path.lstat().st_mode, path.lstat().st_mtime_ns, b"")
    return found


def edited(name: str, old: str, new: str) -> Callable[[World], None]:
    """Replace some text of a file of the project, once."""

    def edit(world: World) -> None:
        path = world.project / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit


def with_stage_one(**changes: object) -> Callable[[World], None]:
    """Give stage one of the project's file other keys."""

    def edit(world: World) -> None:
        path = world.project / "rbuild.yaml"
        project = yaml.safe_load(path.read_text())
        project["stages"]["one"].update(changes)
        path.write_text(yaml.safe_dump(project, sort_keys=False))

    return edit


def other_base(world: World) -> None:
    (world.project / "bases/busybox").rename(world.project / "bases/moved")
    edited("rbuild.yaml", "bases/busybox", "bases/moved")(world)


# status, lock --check, --locked


@pytest.mark.parametrize(
    ("change", "part", "detail"),
    [
        (lambda world: world.write({"context/new.txt": ""}), "file", "new.txt is new"),
        (edited("context/changed.txt", "before", "after"), "file", "changed.txt changed"),
        (lambda world: (world.project / "context/changed.txt").chmod(0o755), "file", "changed.txt changed"),
        (lambda world: (world.project / "context/kept.txt").unlink(), "file", "kept.txt is gone"),
        (edited("Containerfile", "made with", "done with"), "containerfile", "changed"),
        (with_stage_one(args={"FLAVOUR": "sweet"}), "arg", "FLAVOUR: plain → sweet"),
        (with_stage_one(args={}), "arg", "FLAVOUR is gone"),
        (other_base, "base", "localhost/base:1 is defined otherwise in rbuild.yaml now"),
        (with_stage_one(normalisers={"bytecode": False}), "normalisers", "switched: bytecode"),
        (
            edited("rbuild.lock", "FLAVOUR: plain", "FLAVOUR: sour"),
            "arg",
            "FLAVOUR: sour → plain",
        ),
    ],
)
def test_status_names_what_changed(
    copy: World, change: Callable[[World], None], part: str, detail: str
) -> None:
    assert copy.rbuild("lock", "--check").returncode == 0
    change(copy)
    before = state(copy)
    (found,) = copy.json("status", "one")
    assert {"part": part, "detail": detail} in found["changes"]
    assert f"{part}: {detail}\n" in copy.ok("status", "one").stdout
    assert copy.rbuild("lock", "--check", "one").returncode == 1
    locked = copy.rbuild("all", "--locked")
    assert locked.returncode == 1
    assert "stage one is out of date" in locked.stderr
    assert detail in locked.stderr
    after = state(copy)
    assert {path for path in after if ".rbuild" not in path} == {
        path for path in before if ".rbuild" not in path
    }


def test_an_epoch_that_was_edited_by_hand(copy: World) -> None:
    epoch = copy.lock["stages"]["one"]["epoch"]
    edited("rbuild.lock", f"epoch: {epoch}", f"epoch: {epoch + 1}")(copy)
    found = copy.json("status")
    assert [change["part"] for one in found for change in one["changes"]] == ["lock"]


def test_many_changed_files_are_not_all_printed(copy: World) -> None:
    shutil.rmtree(copy.project / "context/many")
    (found, _) = copy.json("status")
    assert len(found["changes"]) == 21  # with the folder
    said = copy.ok("status", "one").stdout
    assert said.count("is gone") == 10
    assert said.endswith("… and 11 more\n")


def test_status_without_the_image(copy: World) -> None:
    nowhere = copy.data.with_name("empty")
    said = copy.ok("status", env={"RBUILD_STORE": str(nowhere)})
    assert said.stdout.splitlines() == [
        f"{stage}  up to date, but its image is not in the store" for stage in ("one", "two")
    ]


# plan


def test_plan_changes_nothing(copy: World) -> None:
    edited("context/changed.txt", "before", "after")(copy)
    before = state(copy)
    found = copy.json("plan", "one")
    text = copy.ok("plan", "one").stdout
    assert state(copy) == before
    assert found["action"] == "build"
    assert found["changes"] == [{"part": "file", "detail": "changed.txt changed"}]
    assert found["bases"] == [
        {"key": "localhost/base:1", "digest": copy.lock["bases"]["localhost/base:1"]["digest"]}
    ]
    assert [step["text"].split()[0] for step in found["steps"]] == ["FROM", "ARG", "COPY", "RUN"]
    assert "because file: changed.txt changed" in text
    assert re.search(r"^ +4  RUN busybox echo made", text, re.MULTILINE)


def test_plan_of_what_is_up_to_date(copy: World) -> None:
    assert copy.json("plan", "two")["action"] == "nothing"
    assert copy.ok("plan", "two").stdout.startswith("stage two: nothing to do\n")


def test_plan_of_an_image_that_is_not_where_it_has_to_be(copy: World) -> None:
    """In Podman's storage, but not in the store; then the other way round."""
    config = yaml.safe_load((copy.project / "rbuild.yaml").read_text())
    elsewhere = {"RBUILD_STORE": str(copy.data.with_name("empty"))}
    said = copy.ok("plan", "two", env=elsewhere).stdout
    assert said.startswith("stage two: build\n  because image: not in the store\n")
    copy.write({"rbuild.yaml": yaml.safe_dump({**config, "substitutes": ["quay.io/team"]})})
    said = copy.ok("plan", "two", env=elsewhere).stdout
    assert said.startswith(
        "stage two: fetch its image from quay.io/team, or build it\n  because image: not in"
    )
    found = json.loads(copy.ok("plan", "two", "--json", env=elsewhere).stdout)
    assert (found["action"], found["substitutes"]) == ("fetch", ["quay.io/team"])

    nobodys = {"XDG_DATA_HOME": str(copy.data.with_name("nobodys")), "RBUILD_STORE": str(copy.store)}
    try:
        said = copy.ok("plan", "two", env=nobodys).stdout
    finally:
        Podman(env={**copy.env, **nobodys}).remove_tree(Path(nobodys["XDG_DATA_HOME"]))
    assert said.startswith(
        "stage two: load its image into Podman's storage\n  because image: not in Podman's"
    )


# lock, build, images


def test_build_of_one_stage_leaves_the_others(copy: World) -> None:
    before = copy.digests()
    edited("context/changed.txt", "before", "after")(copy)
    (result,) = copy.json("build", "one")
    assert (result["stage"], result["outcome"]) == ("one", "built")
    assert copy.digests() == {"one": result["digest"], "two": before["two"]}
    assert result["digest"] != before["one"]
    assert [bool(one["changes"]) for one in copy.json("status")] == [False, True]


def test_lock_brings_the_lock_up_to_date(copy: World) -> None:
    edited("Containerfile", "made with", "made by lock with")(copy)
    assert copy.rbuild("lock", "--check").returncode == 1
    copy.ok("lock")
    assert copy.rbuild("lock", "--check").returncode == 0
    assert copy.rbuild("lock", "--check", "--json").returncode == 0


def test_lock_upgrade_makes_a_stage_anew(copy: World) -> None:
    before = copy.lock["stages"]
    upgraded = copy.ok("lock", "--upgrade", "one", env={"SOURCE_DATE_EPOCH": "1700000000"})
    assert "[one] started (its recording is made anew)" in upgraded.stderr
    assert "[two]" not in upgraded.stderr
    after = copy.lock["stages"]
    assert after["one"]["epoch"] == 1700000000 != before["one"]["epoch"]
    assert after["two"] == before["two"]


def test_images(copy: World) -> None:
    found = copy.json("images")
    assert {one["stage"]: one["digest"] for one in found} == copy.digests()
    assert all(one["bases"] == ["localhost/base:1"] and 1e6 < one["size"] < 1e9 for one in found)
    assert all(time.time() - 3600 < one["built"] <= time.time() for one in found)
    header, *rows = copy.ok("images").stdout.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", header)]
    for row, one in zip(rows, found, strict=True):
        cells = [row[start:].split("  ")[0] for start in starts]
        assert cells[:3] == [one["stage"], f"localhost/demo/{one['stage']}:latest", one["digest"]]
        assert cells[3].endswith(" MB") and cells[5] == "localhost/base:1"
    nowhere = copy.data.with_name("empty")
    assert copy.ok("images", env={"RBUILD_STORE": str(nowhere)}).stdout.count("not here") == 2


# What is printed, and where


def test_progress_is_on_stderr_and_the_result_on_stdout(copy: World) -> None:
    edited("Containerfile", "echo made", "echo loudly; busybox echo made")(copy)
    plain = copy.ok("build", "one")
    assert plain.stdout == f"one  built       {copy.digests()['one']}\n"
    assert all(line.startswith(("[one] ", "rbuild.lock: ")) for line in plain.stderr.splitlines())
    assert "[one] started (containerfile: changed)" in plain.stderr
    assert re.search(r"^\[one\] step 4/4: RUN busybox", plain.stderr, re.MULTILINE)

    edited("Containerfile", "loudly", "quietly")(copy)
    quiet = copy.ok("build", "one", "--quiet")
    assert quiet.stderr == ""
    assert quiet.stdout == f"one  built       {copy.digests()['one']}\n"

    edited("Containerfile", "quietly", "as JSON")(copy)
    as_json = copy.ok("build", "one", "--json")
    (result,) = json.loads(as_json.stdout)
    assert result["digest"] == copy.digests()["one"]
    events = [json.loads(line) for line in as_json.stderr.splitlines()]
    assert {"stage-started", "step-started", "stage-done"} <= {event["event"] for event in events}


def test_a_failing_stage(copy: World) -> None:
    edited("Containerfile", "> /made", "&& exit 42")(copy)
    text = copy.rbuild("all", "--quiet")
    assert text.returncode == 2
    assert [line.split() for line in text.stdout.splitlines()] == [["one", "failed"], ["two", "failed"]]
    assert "error: Containerfile:4: stage one: `RUN" in text.stderr and "exit code 42" in text.stderr
    found = copy.rbuild("build", "one", "--json")
    assert found.returncode == 2
    (result,) = json.loads(found.stdout)
    assert result["outcome"] == "failed" and "exit code 42" in result["error"][0]["what"]
    last = json.loads(found.stderr.splitlines()[-1])
    assert last["event"] == "error" and last["problems"][0]["line"] == 4


@pytest.mark.parametrize("command", [("status",), ("images",), ("plan", "one", "--json"), ("schema",)])
def test_a_reader_that_goes_away(copy: World, command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [*RBUILD, *command],
            cwd=copy.project,
            env=copy.env,
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.stderr == b""
    assert done.returncode == 2


@pytest.mark.parametrize("command", ["build", "verify", "run"])
def test_a_wrong_name_is_told_while_another_command_is_at_work(copy: World, command: str) -> None:
    folder = copy.project / PRIVATE
    folder.mkdir(exist_ok=True)
    with (folder / "guard").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        done = copy.rbuild(command, "frist", timeout=120)
    assert done.returncode == 2
    assert "there is no stage 'frist'" in done.stderr
    assert "waiting" not in done.stderr


def test_root_is_refused(copy: World) -> None:
    done = subprocess.run(
        ["unshare", "--map-root-user", *RBUILD, "status"],
        cwd=copy.project,
        env=copy.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: rbuild needs no root.*su - builder\n", done.stderr)


def on_terminal(world: World, *arguments: str, width: int = 80) -> bytes:
    """What rbuild writes to a terminal of this width."""
    env = {**world.env, "TERM": "xterm-256color", "COLUMNS": str(width), "LINES": "24"}
    for name in ("CI", "NO_COLOR"):
        env.pop(name, None)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*RBUILD, *arguments], cwd=world.project, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # Linux says that the last writer is gone with EIO
                break
            written += data
    os.close(ours)
    assert process.returncode == 0, written.decode(errors="replace")
    return written


def test_a_live_line_on_a_terminal(copy: World) -> None:
    with (copy.project / "Containerfile").open("a") as file:
        file.write(RUDE + "\n")
    written = on_terminal(copy, "build", "one").decode()
    live = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert re.search(r"one  5/5  \d+ s  red 宽字符 0000+…", live)
    assert re.search(r"✓ one  built in \d+\.\d s\r\n", live)
    assert live.endswith(f"one  built       {copy.digests()['one']}\r\n")
    assert "\x1b]" not in written and "\x1b[2J" not in written and "\x1b[31m" not in written
    assert written.rstrip().count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is back
