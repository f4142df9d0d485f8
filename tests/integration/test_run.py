"""`rbuild run` and `rbuild shell`: a pipeline of three stages, in containers that may do little."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worlds import RBUILD, Layouts, World, make_world, project_file, remove_world

CONTAINERFILE = """\
FROM localhost/base:1
COPY stage.sh /stage.sh
ARG KIND
ENV KIND=$KIND
USER 1234
ENTRYPOINT ["busybox", "sh", "/stage.sh"]
"""
# Each stage has an image of its own, which says what it does.
SCRIPT = r"""
set -eu
busybox echo "this is $KIND"
case $KIND in
prepare)  # FILE OUT
    busybox sort "$1" > "$2/sorted.txt"
    busybox ln -s /etc/hostname "$2/escape"
    ;;
count)  # FOLDER OUT
    busybox wc -l < "$1/sorted.txt" > "$2/lines.txt"
    ;;
report)  # FILE FILE OUT
    busybox cat "$1" "$2" > "$3/report.txt"
    ;;
probe)  # FILE OUT
    cd "$2"
    busybox cat /proc/self/status > status
    busybox ls /sys/class/net > net
    busybox id -u > uid
    busybox touch /written 2> root || true
    busybox touch "$1" 2> input || true
    busybox touch /in/x/new 2>> input || true
    busybox touch /tmp/x && busybox echo yes > tmp
    busybox cat /proc/mounts > mounts
    ;;
esac
"""


def stage(
    kind: str, command: list[str], inputs: dict[str, str], outputs: dict[str, str], *needs: str
) -> dict[str, Any]:
    return {
        "args": {"KIND": kind},
        "containerfile": "Containerfile",
        "context": "context",
        "needs": list(needs),
        "run": {"command": command, "inputs": inputs, "outputs": outputs},
    }


# In the file, what comes last stands first.
STAGES = {
    "report": stage(
        "report",
        ["{inputs.lines}", "{inputs.sorted}", "{outputs.out}"],
        {"lines": "out/count/lines.txt", "sorted": "out/prepare/sorted.txt"},
        {"out": "out/report"},
        "count",
    ),
    "count": stage(
        "count",
        ["{inputs.folder}", "{outputs.out}"],
        {"folder": "out/prepare"},
        {"out": "out/count"},
        "prepare",
    ),
    "prepare": stage(
        "prepare", ["{inputs.raw}", "{outputs.out}"], {"raw": "raw.txt"}, {"out": "out/prepare"}
    ),
    "probe": stage("probe", ["{inputs.x}", "{outputs.out}"], {"x": "raw.txt"}, {"out": "out/probe"}),
}
PIPELINE = ("prepare", "count", "report")


@pytest.fixture(scope="module")
def built(layouts: Layouts) -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    made = make_world(folder)
    bases = layouts.install(made, "busybox", ("localhost/base:1",))
    made.write(
        {
            "rbuild.yaml": project_file(bases, STAGES),
            "Containerfile": CONTAINERFILE,
            "context/stage.sh": SCRIPT,
            "raw.txt": "b\nc\na\n",
        }
    )
    made.ok("all", "--jobs", "1")
    yield made
    remove_world(made)
    shutil.rmtree(folder)


@pytest.fixture
def pipeline(built: World, folder: Path) -> World:
    """The built project in a folder of its own, whose name is no easy one; nothing ran in it yet."""
    project = folder / 'a "project", of: ours'
    shutil.copytree(built.project, project)
    return dataclasses.replace(built, project=project)


def outputs(world: World) -> dict[str, bytes]:
    """Every file below out/, and nothing else that may be there."""
    out = world.project / "out"
    return {
        str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()
    }


def containers(world: World) -> str:
    return world.podman("ps", "--all", "--quiet")


def test_the_pipeline_runs_in_the_order_of_needs(pipeline: World) -> None:
    done = pipeline.ok("run", *PIPELINE, "--json")
    found = json.loads(done.stdout)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [one["stage"] for one in found] == [*PIPELINE]
    assert [event["stage"] for event in events if event["event"] == "stage-started"] == [*PIPELINE]
    assert {one["stage"]: one["image"] for one in found} == {
        name: pipeline.digests()[name] for name in PIPELINE
    }
    assert (pipeline.project / "out/report/report.txt").read_text() == "3\na\nb\nc\n"
    first = outputs(pipeline)
    inodes = {path: path.stat().st_ino for path in (pipeline.project / "out").iterdir()}

    (pipeline.project / "out/count/of-an-older-run").write_text("")
    text = pipeline.ok("run", *PIPELINE)
    assert outputs(pipeline) == first
    assert text.stdout == "prepare: out/prepare\ncount: out/count\nreport: out/report\n"
    assert "[count] this is count\n" in text.stderr
    assert f"[count] started (image {pipeline.digests()['count']})\n" in text.stderr
    # A finished folder took the old one's place.
    now = {path: path.stat().st_ino for path in (pipeline.project / "out").iterdir()}
    assert now.keys() == inodes.keys() and all(now[path] != inodes[path] for path in now)
    assert all(path.stat().st_uid == os.getuid() for path in (pipeline.project / "out").rglob("*.txt"))
    assert containers(pipeline) == ""
    assert pipeline.ok("run", "prepare", "--quiet").stderr == ""


def test_a_stage_may_do_little(pipeline: World) -> None:
    pipeline.ok("run", "probe")
    seen = {name.removeprefix("probe/"): data.decode() for name, data in outputs(pipeline).items()}
    status = dict(line.split(":\t", 1) for line in seen["status"].splitlines() if ":\t" in line)
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert seen["net"] == "lo\n"
    assert seen["uid"] == f"{os.getuid()}\n"
    assert "Read-only file system" in seen["root"]
    assert seen["input"].count("Read-only file system") == 2
    assert seen["tmp"] == "yes\n"
    options = {line.split()[1]: line.split()[3].split(",") for line in seen["mounts"].splitlines()}
    assert "ro" in options["/"] and "ro" in options["/in/x/raw.txt"] and "rw" in options["/out/out"]
    assert (pipeline.project / "raw.txt").read_text() == "b\nc\na\n"


def test_an_input_that_no_stage_of_the_run_makes(pipeline: World) -> None:
    done = pipeline.rbuild("run", "report")
    assert (done.returncode, done.stdout) == (2, "")
    place = "error: rbuild.yaml stages.report.run.inputs"
    assert done.stderr.splitlines() == [
        f"{place}.lines: the input out/count/lines.txt does not exist",
        "hint: rbuild run count report",
        f"{place}.sorted: the input out/prepare/sorted.txt does not exist",
        "hint: rbuild run prepare report",
    ]


def test_a_failing_stage_changes_nothing(pipeline: World) -> None:
    pipeline.ok("run", *PIPELINE)
    before = outputs(pipeline)
    (pipeline.project / "out/prepare/sorted.txt").unlink()
    before.pop("prepare/sorted.txt")
    done = pipeline.rbuild("run", "count")
    assert (done.returncode, done.stdout) == (2, "")
    assert "stage count failed with exit code 1\n  this is count\n" in done.stderr
    assert "can't open /in/folder/prepare/sorted.txt" in done.stderr
    log = pipeline.store / "logs/demo/count.run.log"
    assert f"the whole output: {log}\n" in done.stderr
    assert log.read_text().startswith("this is count\n")
    assert outputs(pipeline) == before
    assert sorted(path.name for path in (pipeline.project / "out").iterdir()) == sorted(PIPELINE)
    assert containers(pipeline) == ""


def test_a_symbolic_link_that_a_stage_left_leads_nowhere(pipeline: World) -> None:
    file = pipeline.project / "rbuild.yaml"
    file.write_text(file.read_text().replace("out/prepare/sorted.txt", "out/prepare/escape"))
    done = pipeline.rbuild("run", *PIPELINE)
    assert done.returncode == 2
    assert (
        "error: rbuild.yaml stages.report.run.inputs.sorted: "
        "a symbolic link leads the input out/prepare/escape out of the project\n"
    ) in done.stderr
    assert not (pipeline.project / "out/report").exists()


def test_an_input_that_its_stage_did_not_make(pipeline: World) -> None:
    file = pipeline.project / "rbuild.yaml"
    file.write_text(file.read_text().replace("out/count/lines.txt", "out/count/line.txt"))
    done = pipeline.rbuild("run", *PIPELINE)
    assert done.returncode == 2
    assert (
        "the input out/count/line.txt does not exist\nhint: stage count ran, and did not make it"
        in done.stderr
    )


def test_what_changed_since_still_runs_as_it_was_locked(pipeline: World) -> None:
    script = pipeline.project / "context/stage.sh"
    script.write_text(script.read_text().replace("this is", "that was"))
    done = pipeline.ok("run", "prepare")
    assert "[prepare] warning: changed since it was locked" in done.stderr
    assert "rbuild build prepare" in done.stderr
    assert "[prepare] this is prepare\n" in done.stderr
    (pipeline.project / "Containerfile").write_text("FORM x\n")
    done = pipeline.ok("run", "prepare", "--quiet")
    assert "warning: " in done.stderr and "Containerfile:1" in done.stderr


def test_an_image_that_podman_lost_is_loaded_again(pipeline: World) -> None:
    pipeline.forget_images()
    pipeline.ok("run", "prepare")
    found = pipeline.podman("image", "inspect", "--format", "{{.Digest}}", "localhost/demo/prepare:latest")
    assert found.strip() == pipeline.digests()["prepare"]


# shell


def test_a_shell_reads_its_standard_input(pipeline: World) -> None:
    done = subprocess.run(
        [*RBUILD, "shell", "prepare"],
        cwd=pipeline.project,
        env=pipeline.env,
        input="echo uid $(busybox id -u)\nbusybox ls /sys/class/net\nbusybox touch /x || echo no\nexit 7\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.stdout == f"uid {os.getuid()}\nlo\nno\n"
    assert done.returncode == 7


@pytest.mark.parametrize("separator", [(), ("--",)])
def test_a_command_with_options_of_its_own(pipeline: World, separator: tuple[str, ...]) -> None:
    done = pipeline.rbuild(
        "shell", "prepare", *separator, "busybox", "echo", "-h", "--json", "two words", "-C"
    )
    assert (done.returncode, done.stdout) == (0, "-h --json two words -C\n")
