"""Projects, stores and Podman storage for tests that go through the front door.

Every test gets a world of its own: a project folder, an empty store and empty Podman storage (both follow
XDG_DATA_HOME). Bases that take long to make are made once a session, and handed in as OCI layouts.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from rbuild.digest import Digest
from rbuild.podman import Podman
from rbuild.verbs.assessment import assess
from rbuild.verbs.workspace import open_workspace, read_lock

RBUILD = (sys.executable, "-m", "rbuild")
# Root file systems that scenarios start from, by the Debian packages in them.
BASES = {
    "python": (
        "python3",
        "python3-pip",
        "python3-venv",
        "ca-certificates",
        "apt",
        "curl",
        "gcc",
        "libc6-dev",
    ),
    "node": ("nodejs", "npm", "ca-certificates"),
    "tiny": ("busybox",),
}
# What most tests start from: a shell, busybox and what they load, out of "tiny": 2 MB instead of 28, on which
# a build costs a third.
BUSYBOX = """\
FROM localhost/base:1 AS made
RUN mkdir -p /made/bin /made/tmp && chmod 1777 /made/tmp && \\
    cp /bin/busybox /made/bin/busybox && cp /bin/dash /made/bin/sh && \\
    for library in $(ldd /bin/busybox /bin/dash | grep -o '/lib[^ ]*'); do \\
        mkdir -p "/made${library%/*}" && cp "$library" "/made$library"; \\
    done
FROM scratch
COPY --from=made /made /
ENV PATH=/bin
"""


@dataclass
class World:
    """One user's view: a project folder, a store, Podman's storage."""

    project: Path
    data: Path
    env: dict[str, str] = field(repr=False)

    @property
    def store(self) -> Path:
        return self.data / "rbuild"

    @property
    def lock(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.project / "rbuild.lock").read_text())
        return loaded

    def write(self, files: Mapping[str, str]) -> None:
        """Write files of the project; parents are made."""
        for name, text in files.items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def rbuild(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 1800
    ) -> subprocess.CompletedProcess[str]:
        """Run rbuild as a user does; nothing is checked."""
        return subprocess.run(
            [*RBUILD, *arguments],
            cwd=self.project,
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start rbuild in a process group of its own."""
        return subprocess.Popen(
            [*RBUILD, *arguments],
            cwd=self.project,
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def ok(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run rbuild, which has to succeed."""
        done = self.rbuild(*arguments, env=env)
        assert done.returncode == 0, f"rbuild {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        """The result of a command that succeeds, read from its JSON."""
        return json.loads(self.ok(*arguments, "--json").stdout)

    def podman(self, *arguments: str) -> str:
        done = subprocess.run(
            ["podman", *arguments], env=self.env, capture_output=True, text=True, check=True, timeout=900
        )
        return done.stdout

    def digests(self) -> dict[str, str]:
        """The locked manifest digest of every stage."""
        return {name: stage["image"]["manifest"] for name, stage in self.lock["stages"].items()}

    def forget_images(self) -> None:
        """Remove every container image and layer cache."""
        self.podman("rmi", "--all", "--force")

    def forget_store(self) -> None:
        """Remove the store; a read-only blob is no obstacle to its owner."""
        shutil.rmtree(self.store)


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder with a short name, for a module of tests."""
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_world(folder: Path) -> World:
    project, data = folder / "project", folder / "data"
    project.mkdir()
    data.mkdir(mode=0o700)
    # pytest-xdist tells its processes how wide the terminal is.
    mine = ("RBUILD_", "SOURCE_DATE", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return World(project, data, {**kept, "XDG_DATA_HOME": str(data), "NO_COLOR": "1"})


def remove_world(world: World) -> None:
    """Files in Podman's storage belong to the user's subordinate ids."""
    Podman(env=world.env).remove_tree(world.data)


class Layouts:
    """OCI layouts of the bases, each made by rbuild the first time that a test asks for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Path:
        layout = self._folder / name
        # One lock for each: who wants one base does not wait for another to be made.
        with FileLock(self._folder / f"{name}.lock"):
            if not layout.exists():
                self._make(name, layout)
        return layout

    def _make(self, name: str, layout: Path) -> None:
        folder = Path(tempfile.mkdtemp(prefix="rb-"))
        world = make_world(folder)
        if name == "busybox":
            bases = self.install(world, "tiny", ("localhost/base:1",))
        else:
            packages = list(BASES[name])
            bases = {"localhost/base:1": {"debian": {"suite": "bookworm", "packages": packages}}}
        stages = {"base": {"containerfile": "Containerfile", "context": "context"}}
        world.write(
            {
                "rbuild.yaml": project_file(bases, stages, name="bases"),
                "Containerfile": BUSYBOX if name == "busybox" else "FROM localhost/base:1\nLABEL made=once\n",
                "context/.keep": "",
            }
        )
        world.ok("all", "--no-load")
        subprocess.run(
            ["skopeo", "copy", "--quiet", f"oci:{world.store}:bases/base", f"oci:{folder}/layout:base"],
            env=world.env,
            check=True,
        )
        remove_world(world)
        shutil.move(folder / "layout", layout)
        shutil.rmtree(folder)

    def install(self, world: World, name: str, references: tuple[str, ...]) -> dict[str, Any]:
        """Copy a base into a project, and give the `bases` of rbuild.yaml that make `references` mean it."""
        target = world.project / "bases" / name
        if not target.exists():
            shutil.copytree(self[name], target, copy_function=os.link)
        return {reference: {"oci": f"bases/{name}"} for reference in references}


def project_file(bases: Mapping[str, Any], stages: Mapping[str, Any], *, name: str = "demo") -> str:
    """The text of an rbuild.yaml."""
    text: str = yaml.safe_dump(
        {"project": name, "bases": dict(bases), "stages": dict(stages)}, sort_keys=False
    )
    return text


def lock_with_codec(world: World, lock: dict[str, Any], stage: str, codec: str) -> None:
    """Write `lock` as if a stage had been locked with another codec: its input digest fits."""
    workspace = open_workspace(world.project, world.env)
    now = assess(workspace, read_lock(workspace), [stage])[stage]
    assert now.locked is not None
    inputs = now.source.inputs(
        workspace.project.platform,
        {key: Digest.parse(lock["bases"][key]["digest"]) for key in now.source.bases},
        epoch=now.locked.epoch,
        form=now.locked.form,
        codec=codec,
    )
    lock["stages"][stage] |= {"codec": codec, "input": str(inputs.digest(now.locked.recording))}
    (world.project / "rbuild.lock").write_text(yaml.safe_dump(lock))
