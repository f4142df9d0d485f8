"""Containerfiles as their authors write them, unedited: recorded, replayed offline from nothing, verified.

Each folder of tests/scenarios is a stage of one project, which goes through all three once; the tests look at
what came of it. What a `FROM` says is mapped to layouts that are made from Debian packages.
"""

from __future__ import annotations

import json
import mmap
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import zstandard
from worlds import Layouts, World, make_world, project_file, remove_world

SCENARIOS = Path(__file__).parents[1] / "scenarios"
BASES = {
    "docker.io/library/python:3.6": "pip",
    "docker.io/library/python:latest": "pip",
    "docker.io/library/debian:bookworm": "python",
    "docker.io/library/node:18": "node",
    "docker.io/library/busybox:1": "tiny",
}
# What each image says when it runs without a network: the command (none: the image's own), and the answer.
RUNS: Mapping[str, tuple[str, str]] = {
    "workshop": ("python /code/infer.py", "0 0 1 1 1"),
    "untagged": ("", "https://example.org/?a=1"),
    "apt": ("tree --version >&2 && echo '{\"a\": [1, 2]}' | jq -c .a", "[1,2]"),
    "apt-triggers": ("wget --version >&2 && fc-cache >&2 && apropos -e wget && id -un app", "app"),
    "npm": ("", "1.2.3"),
    "add-url": ("stat -c %u /opt/Release && tar tzf /opt/left-pad.tgz >&2 && cat /opt/status", "1000\n200"),
    "multi-target": ("tool && busybox cat /srv/said", "made in another target\n" * 2),
    "sdist": ("", "&lt;"),
}
# Variables, mounts and addresses of the build, by what would show that one of them stayed.
LEFTOVERS = (b"/.rbuild", b"127.0.0.1:3128")
INJECTED = ("SOURCE_DATE_EPOCH", "PYTHONHASHSEED", "SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")


@dataclass
class Pipeline:
    """One project with all scenarios, and what three commands made of it, by stage."""

    world: World
    recorded: dict[str, Any] = field(default_factory=dict)
    replayed: dict[str, Any] = field(default_factory=dict)
    verified: dict[str, Any] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    lock: dict[str, Any] = field(default_factory=dict)
    lock_after: dict[str, Any] = field(default_factory=dict)

    def ask(self, *arguments: str) -> dict[str, Any]:
        done = self.world.rbuild(*arguments, "--json", timeout=1800)
        self.said[arguments[0]] = done.stderr[-20_000:]
        return {one["stage"]: one for one in json.loads(done.stdout)} if done.stdout else {}


@pytest.fixture(scope="module")
def pip_layout(layouts: Layouts) -> Iterator[Path]:
    """A base in which an ordinary `pip install` works, as in the images that the workshop used."""
    folder = Path(tempfile.mkdtemp(prefix="rb-pip-"))
    world = make_world(folder)
    bases = layouts.install(world, "python", ("localhost/base:1",))
    shutil.copy(SCENARIOS / "base" / "Containerfile", world.project)
    stages = {"pip": {"containerfile": "Containerfile", "context": "context"}}
    world.write({"rbuild.yaml": project_file(bases, stages), "context/.keep": ""})
    world.ok("lock")
    digest = world.digests()["pip"].removeprefix("sha256:")
    layout = folder / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    image = world.lock["stages"]["pip"]["image"]
    for part in (image["manifest"], image["config"], *(layer["blob"] for layer in image["layers"])):
        name = part.removeprefix("sha256:")
        shutil.copy(world.store / "blobs" / "sha256" / name, blobs / name)
    manifest = (blobs / digest).read_bytes()
    kind = "application/vnd.oci.image.manifest.v1+json"
    entry = {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(manifest)}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    remove_world(world)
    yield layout
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def pipeline(layouts: Layouts, pip_layout: Path) -> Iterator[Pipeline]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    world = make_world(folder)
    found = Pipeline(world)
    bases: dict[str, Any] = {}
    shutil.copytree(pip_layout, world.project / "bases" / "pip")
    for reference, name in BASES.items():
        if name != "pip":
            layouts.install(world, name, ())
        bases[reference] = {"oci": f"bases/{name}"}
    stages = {}
    for name in RUNS:
        shutil.copytree(SCENARIOS / name, world.project / name)
        stages[name] = {"containerfile": f"{name}/Containerfile", "context": name}
    world.write({"rbuild.yaml": project_file(bases, stages)})
    found.recorded = found.ask("all")
    found.lock = world.lock
    world.forget_images()
    for stage in world.lock["stages"].values():
        image = stage["image"]
        for part in (image["manifest"], image["config"], *(layer["blob"] for layer in image["layers"])):
            (world.store / "blobs" / "sha256" / part.removeprefix("sha256:")).unlink(missing_ok=True)
    shutil.rmtree(world.store / "cache")
    found.replayed = found.ask("all", "--offline")
    found.lock_after = world.lock
    found.verified = found.ask("verify")
    yield found
    remove_world(world)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", RUNS)
def test_record_replay_verify(pipeline: Pipeline, name: str) -> None:
    assert pipeline.recorded[name]["outcome"] == "built", pipeline.said["all"]
    assert pipeline.lock["stages"][name] == pipeline.lock_after["stages"][name]
    assert pipeline.replayed[name]["outcome"] == "built"
    assert pipeline.replayed[name]["digest"] == pipeline.recorded[name]["digest"]
    assert pipeline.verified[name]["verdict"] == "identical", pipeline.said["verify"]


@pytest.mark.parametrize("name", RUNS)
def test_it_runs_without_a_network(pipeline: Pipeline, name: str) -> None:
    command, answer = RUNS[name]
    arguments = ["sh", "-c", command] if command else []
    said = pipeline.world.podman("run", "--rm", "--network", "none", f"localhost/demo/{name}", *arguments)
    assert said.endswith(answer.strip() + "\n")


@pytest.mark.parametrize("name", RUNS)
def test_nothing_of_the_build_is_left(pipeline: Pipeline, name: str) -> None:
    store = pipeline.world.store
    locked = pipeline.lock["stages"][name]
    manifest, config = (
        blob_json(store, locked["image"]["manifest"]),
        blob_json(store, locked["image"]["config"]),
    )
    below = base_manifest(pipeline.world, manifest["annotations"]["org.opencontainers.image.base.name"])
    own = manifest["layers"][len(below["layers"]) :]
    assert manifest["layers"][: len(below["layers"])] == below["layers"]
    environment = dict(each.partition("=")[::2] for each in config["config"]["Env"])
    assert not environment.keys() & {*INJECTED, "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy"}
    assert "io.buildah.version" not in config["config"].get("Labels", {})
    written = own_instructions((SCENARIOS / name / "Containerfile").read_text())
    assert [entry["created_by"] for entry in config["history"]][-len(written) :] == written
    assert len(config["history"]) == len(base_config(pipeline.world, below)["history"]) + len(written)
    for layer in own:
        check_layer(store / "blobs" / "sha256" / layer["digest"][7:], locked["epoch"])


def test_a_lock_and_the_package_index_are_enough(pipeline: Pipeline, folder: Path) -> None:
    """A host with an empty store: the index is derived from the lock, wheels come by URL and sha256."""
    elsewhere = make_world(folder)
    elsewhere.project.rmdir()
    shutil.copytree(pipeline.world.project, elsewhere.project)
    try:
        (result,) = elsewhere.json("build", "untagged", "--locked")
        assert result["outcome"] == "built"
        assert result["digest"] == pipeline.recorded["untagged"]["digest"]
        assert elsewhere.lock == pipeline.lock_after
        indexes = elsewhere.lock["stages"]["untagged"]["recording"]["indexes"]
        assert {"requests", "urllib3", "idna"} <= {index["project"] for index in indexes}
        assert all(len(index["files"]) == 1 for index in indexes)
    finally:
        remove_world(elsewhere)


def own_instructions(containerfile: str) -> list[str]:
    """What follows the last FROM, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", containerfile, flags=re.MULTILINE).replace("\\\n", "")
    lines = [line for line in text.splitlines() if line.strip()]
    last = max(at for at, line in enumerate(lines) if line.startswith("FROM"))
    return lines[last + 1 :]


def blob_json(store: Path, digest: str) -> Any:
    return json.loads((store / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes())


def base_manifest(world: World, key: str) -> Any:
    blobs = world.project / "bases" / BASES[key] / "blobs" / "sha256"
    index = json.loads((blobs.parents[1] / "index.json").read_text())
    return json.loads((blobs / index["manifests"][0]["digest"].removeprefix("sha256:")).read_bytes())


def base_config(world: World, manifest: Any) -> Any:
    return blob_json(world.store, manifest["config"]["digest"])


def check_layer(blob: Path, epoch: int) -> None:
    """A layer that the build made: one mtime, sorted paths, nothing that speaks of the build."""
    with tempfile.TemporaryFile(prefix="rb-layer-") as plain:
        with blob.open("rb") as packed:
            zstandard.ZstdDecompressor().copy_stream(packed, plain)
        plain.seek(0)
        paths = []
        with tarfile.open(fileobj=plain, mode="r:") as tar:
            for entry in tar:
                assert entry.mtime == epoch, entry.name
                assert not entry.name.startswith(".rbuild")
                assert not entry.uname and not entry.gname
                paths.append(entry.name.encode())
        assert paths == sorted(paths)
        with mmap.mmap(plain.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for leftover in LEFTOVERS:
                assert content.find(leftover) == -1, leftover


def test_the_scenarios_are_all_here() -> None:
    assert {path.name for path in SCENARIOS.iterdir() if path.is_dir()} == {*RUNS, "base", "forms", "matrix"}
