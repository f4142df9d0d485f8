"""`rbuild all` and what follows it, on a small project."""

from __future__ import annotations

import hashlib
import subprocess

from worlds import Layouts, World, project_file

CONTAINERFILE = """\
FROM localhost/base:1
RUN busybox echo hello > /greeting
COPY file.txt /data/
WORKDIR /data/made
CMD ["busybox", "cat", "/greeting"]
"""


def small_project(world: World, layouts: Layouts) -> None:
    bases = layouts.install(world, "busybox", ("localhost/base:1",))
    world.write(
        {
            "rbuild.yaml": project_file(
                bases, {"one": {"containerfile": "Containerfile", "context": "context"}}
            ),
            "Containerfile": CONTAINERFILE,
            "context/file.txt": "text\n",
        }
    )


def test_a_second_run_has_nothing_to_do(world: World, layouts: Layouts) -> None:
    small_project(world, layouts)
    (first,) = world.json("all")
    before = (world.project / "rbuild.lock").read_bytes()
    (second,) = world.json("all")
    assert first["outcome"] == "built"
    assert second["outcome"] == "up to date"
    assert first["digest"] == second["digest"] == world.digests()["one"]
    assert (world.project / "rbuild.lock").read_bytes() == before


def test_the_image_in_podman_has_the_locked_digest(world: World, layouts: Layouts) -> None:
    small_project(world, layouts)
    world.ok("all")
    found = world.podman("image", "inspect", "--format", "{{.Digest}}", "localhost/demo/one:latest")
    assert found.strip() == world.digests()["one"]


def test_without_loading_the_store_alone_has_the_image(world: World, layouts: Layouts) -> None:
    small_project(world, layouts)
    assert [one["outcome"] for one in world.json("all", "--no-load")] == ["built"]
    assert [one["outcome"] for one in world.json("build", "one", "--no-load")] == ["up to date"]
    assert "localhost/demo/one" not in world.podman("images")
    inspect = ["skopeo", "inspect", "--raw", f"oci:{world.store}:demo/one"]
    manifest = subprocess.run(inspect, capture_output=True, check=True).stdout
    assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == world.digests()["one"]

    assert [one["outcome"] for one in world.json("all")] == ["loaded"]
    assert "localhost/demo/one" in world.podman("images")


def test_offline_from_nothing_gives_the_same_digest(world: World, layouts: Layouts) -> None:
    small_project(world, layouts)
    world.ok("all")
    before = world.digests()
    for blob in before.values():
        (world.store / "blobs" / "sha256" / blob.removeprefix("sha256:")).unlink()
    world.forget_images()
    (result,) = world.json("all", "--offline")
    assert result["outcome"] == "built"
    assert world.digests() == before


def test_verify_says_identical(world: World, layouts: Layouts) -> None:
    small_project(world, layouts)
    world.ok("all")
    images = world.podman("images", "--all", "--quiet")
    (found,) = world.json("verify")
    assert found["verdict"] == "identical"
    assert found["built"] == found["locked"] == world.digests()["one"]
    assert world.podman("images", "--all", "--quiet") == images
