"""What `podman build` makes of odd Containerfiles: the steps that it prints, and the images that come out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from containerfilecorpus import corpus

from rbuild.containerfile.model import Containerfile, Instruction
from rbuild.containerfile.parse import parse
from rbuild.containerfile.steps import step_lines
from rbuild.containerfile.words import SPACES
from rbuild.errors import RbuildError
from rbuild.podman import Podman
from rbuild.verbs.following import Expected

FILES = int(os.environ.get("RBUILD_PODMAN_FILES", "100"))
_STEP = re.compile(r"STEP ([0-9]+)/([0-9]+): (.*)", re.S)


@dataclass(frozen=True, slots=True)
class Built:
    """The steps that Podman announced, of how many, and the image, if there is one."""

    steps: tuple[str, ...]
    total: int
    image: str | None
    said: str


@pytest.fixture(scope="module")
def podman() -> Iterator[list[str]]:
    storage = Path(tempfile.mkdtemp(prefix="rb-"))  # Podman takes no long path for its run root
    places = ["--root", f"{storage}/root", "--runroot", f"{storage}/run", "--storage-driver", "vfs"]
    yield ["podman", *places]
    Podman(env=os.environ).remove_tree(storage)


def sample(count: int) -> list[tuple[bytes, Containerfile]]:
    """Files of the corpus that rbuild reads, with one build target, which needs no other image."""
    found: list[tuple[bytes, Containerfile]] = []
    first = 0
    while len(found) < count:
        for text in corpus(500, first=first, seed="podman", heredocs=False):
            try:
                file = parse(text, "Containerfile")
            except RbuildError:
                continue
            if len(file.targets) == 1 and b"\0" not in text:
                found.append((text, file))
        first += 500
    return found[:count]


def build(podman: list[str], folder: Path, text: bytes) -> Built:
    folder.mkdir()
    (folder / "Containerfile").write_bytes(text)
    (folder / "context").mkdir()
    command = [*podman, "build", "--layers=false", "--format=docker", f"--iidfile={folder / 'image'}"]
    command += ["--file", str(folder / "Containerfile"), str(folder / "context")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    said = done.stdout.decode("utf-8", "replace")
    announced = [match for line in said.split("\n") if (match := _STEP.fullmatch(line))]
    image = (folder / "image").read_text().removeprefix("sha256:") if done.returncode == 0 else None
    total = int(announced[0][2]) if announced else 0
    # Podman 5 shows the platform of a FROM, too.
    steps = (re.sub(r"^FROM --platform=\S+ ", "FROM ", match[3].strip(SPACES)) for match in announced)
    return Built(tuple(steps), total, image, said)


def expected_steps(file: Containerfile) -> tuple[str, ...]:
    (target,) = file.targets
    name = f" AS {target.name}" if target.name else ""  # Podman shows a FROM by its parts
    return (f"FROM {target.base}{name}", *(one.original for one in target.instructions))


def command_of(instruction: Instruction | None) -> list[str] | None:
    if instruction is None:
        return None
    shell = ("/bin/sh", "-c", instruction.arguments)
    return list(shell if instruction.exec_form is None else instruction.exec_form) or None


def test_podman_sees_the_same_instructions(podman: list[str], tmp_path: Path) -> None:
    files = sample(FILES)
    with ThreadPoolExecutor(2) as pool:
        folders = [tmp_path / str(number) for number in range(len(files))]
        built = list(pool.map(partial(build, podman), folders, (text for text, _ in files)))
    steps = 0
    for (text, file), one in zip(files, built, strict=True):
        expected = expected_steps(file)
        if one.steps:
            assert one.total == len(expected), (text, one.said)
        assert one.steps == expected[: len(one.steps)], (text, one.said)
        assert one.image is None or len(one.steps) == len(expected), (text, one.said)
        own = Expected(written=step_lines(file), given=step_lines(file), needed=(0,))
        read = [step for line in one.said.split("\n") if (step := own.step(line))]
        assert [step.number for step in read] == [*range(1, len(one.steps) + 1)], (text, one.said)
        steps += len(one.steps)
    assert steps > 2 * FILES
    done = [(file, one.image) for (_, file), one in zip(files, built, strict=True) if one.image]
    assert len(done) > FILES // 5
    argv = [*podman, "image", "inspect", *(image for _, image in done)]
    inspected = json.loads(subprocess.run(argv, check=True, capture_output=True, timeout=300).stdout)
    compared = 0
    for (file, _), image in zip(done, inspected, strict=True):
        last = {one.keyword: one for one in file.targets[0].instructions}
        if "SHELL" in last:
            continue
        config = image["Config"]
        assert config.get("Entrypoint") == command_of(last.get("ENTRYPOINT")), file.lines
        if "ENTRYPOINT" not in last:
            assert config.get("Cmd") == command_of(last.get("CMD")), file.lines
        compared += "ENTRYPOINT" in last or "CMD" in last
    assert compared > FILES // 20
