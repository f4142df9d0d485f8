"""`rbuild diff` on images from everywhere: stages, files, a registry, Podman's storage."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from registries import registry
from worlds import World, make_world, project_file, remove_world

ONE = "FROM scratch\nENV FLAVOUR=plain\nCOPY same.txt /\nCOPY one.txt /made.txt\n"
TWO = ONE.replace("one.txt", "two.txt")
OTHER = "FROM scratch\nENV FLAVOUR=sweet\nCOPY same.txt /\nCOPY one.txt /made.txt\n"
STAGES = {
    name: {"containerfile": f"{name}.Containerfile", "context": "context"} for name in ("one", "two", "other")
}
CONTEXT = {
    "context/same.txt": "same\n",
    "context/one.txt": "made 2026-01-01T04:00:00Z\n",
    "context/two.txt": "made 2026-01-01T04:00:07Z\n",
}


@dataclass(frozen=True)
class Places:
    """A project with three stages, built, and the images of the first two in every other place."""

    world: World
    files: Path
    port: int

    def of(self, stage: str) -> dict[str, str]:
        """What to call the image of a stage, by the place."""
        return {
            "stage": stage,
            "stage:": f"stage:{stage}",
            "layout": f"oci:{self.files}/layout:{stage}",
            "bare layout": f"{self.files}/{stage}",
            "archive": f"oci-archive:{self.files}/{stage}.tar",
            "bare archive": f"{self.files}/{stage}.tar.gz",
            "registry": f"docker://localhost:{self.port}/team/{stage}:1",
            "bare registry": f"localhost:{self.port}/team/{stage}:1",
            "storage": f"containers-storage:localhost/demo/{stage}",
        }

    def docker(self, form: str) -> str:
        return f"{self.files}/plain-{form}.tar"


def skopeo(world: World, *arguments: str) -> None:
    subprocess.run(["skopeo", "copy", "--quiet", *arguments], env=world.env, check=True)


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    files = folder / "files"
    files.mkdir()
    world = make_world(folder)
    world.write({"rbuild.yaml": project_file({}, STAGES), **CONTEXT})
    world.write({f"{name}.Containerfile": text for name, text in zip(STAGES, (ONE, TWO, OTHER), strict=True)})
    world.ok("all")
    with registry(folder) as server:
        for name in ("one", "two"):
            source = f"oci:{world.store}:demo/{name}"
            skopeo(world, source, f"oci:{files}/layout:{name}")
            skopeo(world, source, f"oci:{files}/{name}")
            skopeo(world, source, f"oci-archive:{files}/{name}.tar")
            subprocess.run(["gzip", "--keep", f"{files}/{name}.tar"], check=True)
            target = f"docker://{server.host}/team/{name}:1"
            skopeo(world, "--preserve-digests", "--dest-tls-verify=false", source, target)
        # What Podman itself builds, in its own compression.
        world.podman(
            "build",
            "--quiet",
            "--tag=plain",
            f"--file={world.project}/one.Containerfile",
            str(world.project / "context"),
        )
        for form in ("docker-archive", "oci-archive"):
            world.podman(
                "save", "--quiet", "--format", form, "--output", f"{files}/plain-{form}.tar", "plain"
            )
        yield Places(world, files, server.port)
    remove_world(world)
    shutil.rmtree(folder)


def compared(places: Places, *arguments: str) -> Any:
    """The comparison of two images that differ, as JSON."""
    done = places.world.rbuild("diff", *arguments, "--json")
    assert done.returncode == 1, done.stderr
    return json.loads(done.stdout)["comparison"]


def leaves(node: Any, above: str = "") -> Iterator[tuple[str, str, str | None]]:
    """Every difference that has no parts of its own: where it is, what happened, and why."""
    below = node.get("children") or ()
    place = f"{above}{node['name']} "
    if not below:
        yield place.strip(), node["change"], node["cause"]["id"] if node["cause"] else None
    for child in below:
        yield from leaves(child, place)


def found(comparison: Any) -> set[tuple[str, str, str | None]]:
    return {leaf for difference in comparison["differences"] for leaf in leaves(difference)}


def refused(world: World, *arguments: str) -> str:
    """What is said about operands that are no good."""
    done = world.rbuild("diff", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


PLACES = (
    "stage:",
    "layout",
    "bare layout",
    "archive",
    "bare archive",
    "registry",
    "bare registry",
    "storage",
)


@pytest.mark.parametrize("place", PLACES)
def test_the_same_image_elsewhere_is_identical(places: Places, place: str) -> None:
    digest = places.world.digests()["one"]
    other = places.of("one")[place]
    done = places.world.rbuild("diff", "one", other)
    assert (done.returncode, done.stdout) == (0, f"identical\n  A  {digest}  one\n  B  {digest}  {other}\n")
    assert "fetching" not in done.stderr and "unpacking" not in done.stderr


@pytest.fixture(scope="module")
def between_stages(places: Places) -> set[tuple[str, str, str | None]]:
    return found(compared(places, "one", "two"))


@pytest.mark.parametrize("place", PLACES)
def test_what_differs_is_the_same_wherever_the_image_is(
    places: Places, place: str, between_stages: set[tuple[str, str, str | None]]
) -> None:
    comparison = compared(places, "one", places.of("two")[place])
    assert comparison["verdict"] == "different"
    assert [pair["shared"] for pair in comparison["layers"]] == [True, False]
    assert ("layer 2 /made.txt", "changed", "build-date") in found(comparison)
    assert found(comparison) == between_stages
    assert list((places.world.store / "tmp").iterdir()) == []


def test_the_text(places: Places) -> None:
    done = places.world.rbuild("diff", "one", "two")
    assert done.returncode == 1
    assert done.stdout.startswith("different\n  A  sha256:")
    tree = done.stdout.partition("\nlayer 2 ")[2]
    assert tree.splitlines()[:5] == [
        " changed  two.Containerfile:4 COPY two.txt /made.txt",
        "└── /made.txt  changed",
        "          1 - made 2026-01-01T04:00:00Z",
        "          1 + made 2026-01-01T04:00:07Z",
        "      cause build date in a file: line 1 holds 2026-01-01T04:00:00Z and 2026-01-01T04:00:07Z",
    ]
    assert "1 of 2 layers is shared" in done.stdout
    assert "\nbuild date in a file (build-date, 1 difference)\n" in done.stdout
    assert "  hint: write the epoch instead" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_stage_as_its_files_are_now(places: Places) -> None:
    world = places.world
    lock, made = world.project / "rbuild.lock", world.project / "context" / "one.txt"
    before = (lock.read_bytes(), world.podman("images", "--all", "--quiet"))
    assert world.rbuild("diff", "one", "built:one").returncode == 0
    made.write_text("made 2026-01-01T04:00:09Z\n")
    try:
        done = world.rbuild("diff", "one", "built:one", "--offline")
        assert done.returncode == 1
        assert "layer 2  changed  one.Containerfile:4 COPY one.txt /made.txt\n" in done.stdout
        assert "+ made 2026-01-01T04:00:09Z" in done.stdout
        assert "[one] started (rebuilding from nothing)" in done.stderr
        assert world.rbuild("diff", "one", "built:one", "--quiet").stderr == ""
    finally:
        made.write_text(CONTEXT["context/one.txt"])
    assert before == (lock.read_bytes(), world.podman("images", "--all", "--quiet"))
    assert list((world.store / "tmp").iterdir()) == []


def test_a_containerfile_that_was_edited_since_is_not_blamed(places: Places) -> None:
    file = places.world.project / "two.Containerfile"
    file.write_text(f"# A comment that moves all lines.\n{TWO}")
    try:
        comparison = compared(places, places.of("one")["layout"], "two")
    finally:
        file.write_text(TWO)
    (layer,) = (one for one in comparison["differences"] if one["part"] == "layer")
    assert layer["blame"] == {"text": "COPY two.txt /made.txt", "file": None, "line": None}


def test_equal_layers_are_not_opened(places: Places, folder: Path) -> None:
    """Two stages with equal layers, one of them in a layout that has nothing but zeros for these layers."""
    skopeo(places.world, f"oci:{places.world.store}:demo/other", f"oci:{folder}/layout")
    blobs = folder / "layout" / "blobs" / "sha256"
    for layer in places.world.lock["stages"]["other"]["image"]["layers"]:
        blob = blobs / layer["blob"].removeprefix("sha256:")
        blob.chmod(0o644)
        blob.write_bytes(bytes(layer["size"]))
    comparison = compared(places, "one", f"oci:{folder}/layout")
    assert all(pair["shared"] for pair in comparison["layers"])
    assert ("configuration config.Env.FLAVOUR", "changed") in {leaf[:2] for leaf in found(comparison)}
    # What has to be opened is checked.
    said = refused(places.world, "two", f"oci:{folder}/layout")
    assert f"layer 2 of oci:{folder}/layout: does not hold the bytes of its digest" in said


def test_what_podman_writes(places: Places) -> None:
    world = places.world
    stored, docker = "containers-storage:localhost/plain", places.docker("docker-archive")
    oci = places.docker("oci-archive")
    done = world.rbuild("diff", stored, docker)
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "same content")
    assert world.rbuild("diff", stored, docker, "--accept", "same-content").returncode == 0
    assert world.rbuild("diff", docker, oci, "--accept", "same-content").returncode == 0
    assert world.rbuild("diff", docker, f"docker-archive:{docker}:localhost/plain:latest").returncode == 0
    for other in (stored, docker, oci):
        assert compared(places, "one", other, "--accept", "same-content")["verdict"] == "different"


def test_outside_of_a_project(places: Places, folder: Path) -> None:
    world = replace(places.world, project=folder)
    one, two = places.of("one"), places.of("two")
    assert world.rbuild("diff", one["layout"], one["archive"]).returncode == 0
    assert world.rbuild("diff", one["layout"], two["storage"]).returncode == 1
    assert "'one' is no stage of this project" in refused(world, "one", one["layout"])


# Reports, and diffoscope


def test_a_report(places: Places, folder: Path) -> None:
    page = folder / "report.html"
    done = places.world.rbuild("diff", "one", "two", f"--report={page}")
    assert done.returncode == 1
    text = page.read_text()
    assert text.startswith("<!doctype html>") and "/made.txt" in text and "build date in a file" in text
    assert done.stdout == places.world.rbuild("diff", "one", "two").stdout
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    assert f"there is no folder {folder}/gone" in refused(
        places.world, "one", "built:two", f"--report={folder}/gone/report.html"
    )


def deep(places: Places, path: Path) -> subprocess.CompletedProcess[str]:
    """Nothing but what is in `path` can be called."""
    return places.world.rbuild("diff", "one", "two", "--deep", env={"PATH": str(path)})


def test_deep_without_diffoscope(places: Places, folder: Path) -> None:
    done = deep(places, folder)
    assert done.returncode == 1
    assert "/made.txt  changed" in done.stdout
    assert done.stdout.endswith(
        "\ndiffoscope was not asked: diffoscope is not installed\n"
        "  hint: apt install diffoscope-minimal, or pip install diffoscope\n"
    )


@pytest.mark.parametrize(
    ("program", "said"),
    [
        # It finds differences, and exits with 1.
        (
            'echo "$1 $2"\nfor side in "$5" "$6"\n'
            'do read -r line < "$side"; echo "${side##*/}: $line"\ndone\nexit 1',
            "diffoscope on /made.txt\n  --text -\n  made.txt: made 2026-01-01T04:00:00Z\n"
            "  made.txt: made 2026-01-01T04:00:07Z\n",
        ),
        ("echo half; echo it broke >&2; exit 2", "diffoscope on /made.txt: it broke\n  half\n"),
    ],
)
def test_deep(places: Places, folder: Path, program: str, said: str) -> None:
    (folder / "diffoscope").write_text(f"#!/bin/sh\n{program}\n")
    (folder / "diffoscope").chmod(0o755)
    done = deep(places, folder)
    assert done.returncode == 1
    assert done.stdout.endswith(f"\n{said}")
    assert "diffoscope /made.txt" in done.stderr
    assert list((places.world.store / "tmp").iterdir()) == []


# Operands that are no good


@pytest.mark.parametrize(
    ("operand", "what", "hint"),
    [
        ("tow", "error: 'tow' is no stage of this project, no file", "did you mean 'two'? Or say what it is"),
        ("built:tow", "error: there is no stage 'tow'", "did you mean 'two'?"),
        ("oci:gone", "error: there is no file or folder 'gone'", "give its path from here"),
        ("rbuild.yaml", "error: rbuild.yaml: is no tar that rbuild can read", "gzip or zstd"),
        ("context", "error: context: is no image: it holds neither the index.json", "oci:FOLDER"),
        ("/dev/null", "error: /dev/null: is not a regular file", None),
        ("docker://localhost:1/x", "connection refused", "check its name"),
        ("docker://registry.invalid/x --offline", "is in a registry", "leave --offline out"),
        ("containers-storage:localhost/gone", "has no image localhost/gone", "podman images"),
    ],
)
def test_an_operand_that_is_no_image(places: Places, operand: str, what: str, hint: str | None) -> None:
    said = refused(places.world, "one", *operand.split())
    assert what in said
    assert hint is None or hint in said.partition("\nhint: ")[2]


def test_a_layout_with_several_images(places: Places) -> None:
    said = refused(places.world, "one", f"{places.files}/layout")
    assert "it holds 2 images" in said and "hint: name one of them: one, two" in said
    said = refused(places.world, "one", f"oci:{places.files}/layout:three")
    assert "there is no image with the tag 'three'" in said
    digest = places.world.digests()["one"]
    assert places.world.rbuild("diff", "one", f"oci:{places.files}/layout@{digest}").returncode == 0


def test_a_list_of_images_is_no_image(places: Places) -> None:
    digest = places.world.digests()["one"]
    blobs = places.world.store / "blobs" / "sha256"
    manifest = (blobs / digest.removeprefix("sha256:")).read_bytes()
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": len(manifest),
                "platform": {"os": "linux", "architecture": places.world.lock["platform"].split("/")[1]},
            }
        ],
    }
    repository = f"localhost:{places.port}/team/one"
    upload = Request(
        f"http://127.0.0.1:{places.port}/v2/team/one/manifests/all",
        data=json.dumps(index).encode(),
        headers={"Content-Type": index["mediaType"]},
        method="PUT",
    )
    urlopen(upload).close()
    said = refused(places.world, "one", f"docker://{repository}:all")
    assert f"docker://{repository} is a list of images, one for each platform: linux/" in said
    (named,) = re.findall(r"hint: the one for linux/\w+ is (\S+)$", said, re.MULTILINE)
    assert places.world.rbuild("diff", "one", named).returncode == 0


def test_a_stage_whose_image_is_not_here(places: Places, folder: Path) -> None:
    empty = {"RBUILD_STORE": str(folder / "store")}
    done = places.world.rbuild("diff", "one", "two", env=empty)
    assert done.returncode == 2
    assert "rbuild.lock stages.one" in done.stderr
    assert "the image of stage one is not in the store\nhint: rbuild build one makes it anew" in done.stderr
