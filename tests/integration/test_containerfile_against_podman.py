"""Podman itself: it builds what is rendered, and its steps are found in the user's file."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbuild.containerfile.expand import image_uses, needed_targets
from rbuild.containerfile.model import Containerfile
from rbuild.containerfile.parse import parse
from rbuild.containerfile.render import render
from rbuild.containerfile.steps import step_lines
from rbuild.podman import Podman
from rbuild.verbs.following import Expected

CONTAINERFILE = """\
ARG WHICH=Build
FROM registry.invalid/base:1 AS build
COPY f \\
  # a comment
  /a
LABEL one=1

FROM registry.invalid/unneeded AS unneeded
COPY missing /

FROM ${WHICH} AS next
ARG SOURCE=0
ENV A=1 \\

  B=2
COPY --from=$SOURCE /a /b
FROM registry.invalid/\\
base:1
COPY --from=next \\
  /b /c
COPY --from=registry.invalid/tool /f /d
"""


@pytest.fixture(scope="module")
def podman() -> Iterator[list[str]]:
    storage = Path(tempfile.mkdtemp(prefix="rb-"))  # Podman takes no long path for its run root
    command = [
        "podman",
        "--root",
        f"{storage}/root",
        "--runroot",
        f"{storage}/run",
        "--storage-driver",
        "vfs",
    ]
    context = storage / "context"
    context.mkdir()
    (context / "f").write_text("f\n")
    (context / "Containerfile").write_text("FROM scratch\nCOPY f /f\n")
    subprocess.run([*command, "build", "--quiet", "--tag", "localhost/pin:1", context], check=True)
    yield command
    Podman(env=os.environ).remove_tree(storage)


def build(podman: list[str], file: Containerfile, target: str | None, context: Path) -> list[str]:
    pins = dict.fromkeys(image_uses(file, build_args={}, target=target), "localhost/pin:1")
    context.mkdir()
    (context / "f").write_text("f\n")
    (context / "Containerfile").write_bytes(render(file, pins, target=target))
    chosen = ["--target", target] if target else []
    command = [*podman, "build", "--no-cache", "--pull=never", *chosen, str(context)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_a_build_of_several_targets(podman: list[str], tmp_path: Path) -> None:
    file = parse(CONTAINERFILE.encode(), "Containerfile")
    output = build(podman, file, None, tmp_path / "context")
    steps = step_lines(file)
    found = [instruction.line for line in output if (instruction := steps.find(line)) is not None]
    assert sorted(found) == [2, 3, 6, 11, 12, 13, 16, 17, 19, 21]
    # The last target needs the middle one at its COPY on line 19 only, and Podman prints that step, then
    # waits: whether the last one starts, and says so, before the middle one does is chance.
    assert found[:3] == [2, 3, 6]
    assert found.index(16) < found.index(21)
    assert [line for line in found if 11 <= line < 17] == [11, 12, 13, 16]
    assert [line for line in found if line >= 17] == [17, 19, 21]
    own = [line for line in output if "STEP" in line]
    assert len(own) == len(found)
    # Word for word, but for the target that is not needed.
    rendered = (tmp_path / "context" / "Containerfile").read_bytes()
    expected = Expected(
        written=steps, given=step_lines(parse(rendered, "given")), needed=needed_targets(file)
    )
    assert [line for line in own if expected.step(line) is None] == [
        line for line in own if line.startswith("[2/4] ")
    ]


def test_a_build_of_one_target(podman: list[str], tmp_path: Path) -> None:
    file = parse(CONTAINERFILE.encode(), "Containerfile")
    output = build(podman, file, "build", tmp_path / "context")
    steps = step_lines(file, "build")
    assert [found.line for line in output if (found := steps.find(line)) is not None] == [2, 3, 6]
