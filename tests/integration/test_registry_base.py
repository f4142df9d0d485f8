"""A base in a registry: pinned by digest, its blobs untouched."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import yaml
from worlds import Layouts, World, project_file


@dataclass(frozen=True)
class Registry:
    """A registry on this host's loopback."""

    port: int

    @property
    def base(self) -> str:
        return f"localhost:{self.port}/library/base:1"

    def push(self, layout: str, world: World) -> str:
        """Let the tag mean an image of a layout, byte for byte; gives its digest."""
        argv = ["skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
        subprocess.run([*argv, layout, f"docker://{self.base}"], env=world.env, check=True)
        argv = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}"]
        said = subprocess.run(
            [*argv, f"docker://{self.base}"], env=world.env, check=True, capture_output=True, text=True
        )
        return said.stdout.strip()

    def blob(self, kind: str, digest: str) -> bytes:
        url = f"http://127.0.0.1:{self.port}/v2/library/base/{kind}/{digest}"
        accept = "application/vnd.oci.image.manifest.v1+json"
        with urlopen(Request(url, headers={"Accept": accept})) as answer:
            data: bytes = answer.read()
        return data


@pytest.fixture
def registry(folder: Path) -> Iterator[Registry]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "registry.yml").write_text(yaml.safe_dump(config))
    process = subprocess.Popen(["docker-registry", "serve", str(folder / "registry.yml")])
    try:
        for _ in range(100):
            assert process.poll() is None, "docker-registry ended"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield Registry(port)
    finally:
        process.terminate()
        process.wait()


def test_a_tag_that_moves(world: World, layouts: Layouts, registry: Registry) -> None:
    layouts.install(world, "tiny", ())
    pushed = registry.push(f"oci:{world.project}/bases/tiny", world)
    stage = {"one": {"containerfile": "Containerfile", "context": "context"}}
    world.write(
        {
            "rbuild.yaml": project_file({}, stage),
            "Containerfile": f"FROM {registry.base}\nRUN busybox echo hello > /greeting\n",
            "context/.keep": "",
        }
    )
    world.ok("all")
    assert world.lock["bases"][registry.base]["digest"] == pushed
    below = json.loads(registry.blob("manifests", pushed))["layers"]
    locked = world.lock["stages"]["one"]["image"]
    blobs = world.store / "blobs" / "sha256"
    manifest = json.loads((blobs / locked["manifest"].removeprefix("sha256:")).read_bytes())
    assert manifest["layers"][: len(below)] == below
    assert len(manifest["layers"]) == len(below) + 1
    for layer in below:
        held = (blobs / layer["digest"].removeprefix("sha256:")).read_bytes()
        assert held == registry.blob("blobs", layer["digest"])

    # The tag moves: what is locked stays, even where everything has to be fetched again.
    first = world.digests()
    moved = registry.push(f"oci:{world.store}:demo/one", world)
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
    assert world.lock["bases"][registry.base]["digest"] == moved
    assert len(world.lock["stages"]["one"]["image"]["layers"]) >= len(below) + 1
    assert world.digests() != first
