"""How layers are compressed: as the project asks for, and by what this host has."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from registries import registry
from worlds import World, lock_with_codec, make_world, remove_world, temporary

from rbuild.digest import Digest

BASE = "localhost/base:1"
OTHER_CODEC = "zstd:3:1.4.9"


def _write(world: World, **more: str) -> None:
    project = {
        "project": "demo",
        "bases": {BASE: {"debian": {"suite": "bookworm", "packages": ["busybox"]}}},
        "stages": {"one": {"containerfile": "Containerfile", "context": "context"}},
        **more,
    }
    world.write(
        {
            "rbuild.yaml": yaml.safe_dump(project),
            "Containerfile": f"FROM {BASE}\nCOPY file /file\nRUN busybox wc /file > /counted\n",
            "context/file": "of one\n",
        }
    )


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    """A project that is locked with zstd, upon a base of packages."""
    with temporary() as folder:
        world = make_world(folder)
        try:
            _write(world)
            world.ok("all")
            yield world
        finally:
            remove_world(world)


@pytest.fixture
def copy(built: World, folder: Path) -> World:
    """The project in a folder of its own, with the same store and storage."""
    project = folder / "project"
    shutil.copytree(built.project, project, copy_function=shutil.copy2)
    return dataclasses.replace(built, project=project)


def _manifest(world: World, digest: str) -> Any:
    return json.loads((world.store / "blobs" / digest.replace(":", "/")).read_bytes())


def _diff_ids(world: World) -> list[str]:
    return [layer["diff_id"] for layer in world.lock["stages"]["one"]["image"]["layers"]]


def test_a_project_changes_to_gzip(copy: World) -> None:
    before, diff_ids = copy.lock, _diff_ids(copy)

    # The same packages and files, compressed otherwise: base and stage.
    _write(copy, compression="gzip")
    assert "codec: " in copy.rbuild("status").stdout
    assert copy.rbuild("all", "--locked").returncode == 1
    copy.ok("all", "--offline")
    assert copy.lock["stages"]["one"]["codec"] == copy.lock["bases"][BASE]["debian"]["codec"] == "gzip:6"
    assert copy.lock["bases"][BASE]["debian"]["packages"] == before["bases"][BASE]["debian"]["packages"]
    assert _diff_ids(copy) == diff_ids
    digest = copy.digests()["one"]
    kinds = {layer["mediaType"] for layer in _manifest(copy, digest)["layers"]}
    assert kinds == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    (found,) = copy.json("verify", "--offline")
    assert (found["verdict"], found["built"]) == ("identical", digest)

    with registry(copy.data) as server:
        copy.ok("push", "--to", f"{server.host}/team", "--tag", "latest")
        image = f"{server.host}/team/demo/one:latest"
        copy.forget_images()
        copy.podman("pull", "--quiet", "--tls-verify=false", image)
        shown = copy.podman("image", "inspect", "--format", "{{.Digest}}", image)
        assert shown.strip() == digest
        said = copy.podman("run", "--rm", "--network=none", image, "busybox", "cat", "/file")
        assert said == "of one\n"


def test_a_base_that_another_libzstd_compressed_is_made_with_this_one_to_verify(copy: World) -> None:
    _as_locked_by_another_libzstd(copy)
    assert "one  up to date" in copy.ok("status").stdout
    done = copy.rbuild("verify", "--offline", "--quiet")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("one  same content  ")
    assert f"it is locked with the codec {OTHER_CODEC}, and this rbuild has libzstd" in done.stdout
    lock = (copy.project / "rbuild.lock").read_bytes()
    built = copy.rbuild("all", "--offline")
    assert built.returncode == 1, built.stderr
    said = " ".join(built.stderr.split())
    assert f"the base {BASE} comes out as sha256:" in said
    assert f"it is locked with the codec {OTHER_CODEC}, and this rbuild has libzstd" in said
    assert (copy.project / "rbuild.lock").read_bytes() == lock


def _as_locked_by_another_libzstd(world: World) -> None:
    """Write the lock of an rbuild whose libzstd gave other bytes; the store has none of its blobs."""
    lock = world.lock
    elsewhere = {kind: str(Digest.of(kind.encode())) for kind in ("base", "layer", "own", "manifest")}
    lock["bases"][BASE] |= {"digest": elsewhere["base"]}
    lock["bases"][BASE]["debian"]["codec"] = OTHER_CODEC
    stage = lock["stages"]["one"]
    stage["image"]["manifest"] = elsewhere["manifest"]
    stage["image"]["layers"][0] |= {"blob": elsewhere["layer"], "size": 1}
    stage["image"]["layers"][-1] |= {"blob": elsewhere["own"], "size": 1}
    lock_with_codec(world, lock, "one", OTHER_CODEC)
