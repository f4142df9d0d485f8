"""A base in a registry: pinned by digest, its blobs untouched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from registries import Registry, registry
from worlds import Layouts, World, project_file


@pytest.fixture
def server(folder: Path) -> Iterator[Registry]:
    with registry(folder) as running:
        yield running


def base_in(server: Registry) -> str:
    return f"{server.host}/library/base:1"


def push(server: Registry, layout: str, world: World) -> str:
    """Let the tag mean an image of a layout, byte for byte; gives its digest."""
    argv = ["skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
    subprocess.run([*argv, layout, f"docker://{base_in(server)}"], env=world.env, check=True)
    return server.digest("library/base", "1")


def blob(server: Registry, kind: str, digest: str) -> bytes:
    url = f"{server.url}/v2/library/base/{kind}/{digest}"
    accept = "application/vnd.oci.image.manifest.v1+json"
    with urlopen(Request(url, headers={"Accept": accept})) as answer:
        data: bytes = answer.read()
    return data


def test_a_tag_that_moves(world: World, layouts: Layouts, server: Registry) -> None:
    layouts.install(world, "tiny", ())
    pushed = push(server, f"oci:{world.project}/bases/tiny", world)
    stage = {"one": {"containerfile": "Containerfile", "context": "context"}}
    world.write(
        {
            "rbuild.yaml": project_file({}, stage),
            "Containerfile": f"FROM {base_in(server)}\nRUN busybox echo hello > /greeting\n",
            "context/.keep": "",
        }
    )
    world.ok("all")
    assert world.lock["bases"][base_in(server)]["digest"] == pushed
    below = json.loads(blob(server, "manifests", pushed))["layers"]
    locked = world.lock["stages"]["one"]["image"]
    blobs = world.store / "blobs" / "sha256"
    manifest = json.loads((blobs / locked["manifest"].removeprefix("sha256:")).read_bytes())
    assert manifest["layers"][: len(below)] == below
    assert len(manifest["layers"]) == len(below) + 1
    for layer in below:
        held = (blobs / layer["digest"].removeprefix("sha256:")).read_bytes()
        assert held == blob(server, "blobs", layer["digest"])

    # The tag moves: what is locked stays, even where everything has to be fetched again.
    first = world.digests()
    moved = push(server, f"oci:{world.store}:demo/one", world)
    assert moved == first["one"] != pushed
    (found,) = world.json("all")
    assert found["outcome"] == "up to date"
    world.forget_images()
    world.forget_store()
    (found,) = world.json("all", "--locked")
    assert found["outcome"] == "built"
    assert world.digests() == first
    (found,) = world.json("verify")
    assert found["verdict"] == "identical"

    world.ok("lock", "--upgrade")
    assert world.lock["bases"][base_in(server)]["digest"] == moved
    assert len(world.lock["stages"]["one"]["image"]["layers"]) >= len(below) + 1
    assert world.digests() != first
