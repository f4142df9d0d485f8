"""`rbuild sbom` and `rbuild provenance` on an image that a build made."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import World, make_world, project_file, remove_world

CONTAINERFILE = "FROM scratch\nCOPY root /\nCOPY later /\n"
FILES = {
    "context/root/var/lib/dpkg/status": "Package: tzdata\nStatus: install ok installed\n"
    "Version: 2024a-0\nArchitecture: all\n",
    "context/root/opt/site-packages/requests-2.32.3.dist-info/METADATA": "Name: requests\n"
    "Version: 2.32.3\nLicense: Apache-2.0\n\n# Requests",
    "context/root/srv/node_modules/left-pad/package.json": '{"name": "left-pad", "version": "1.3.0"}',
    "context/later/srv/node_modules/left-pad/package.json": '{"name": "left-pad", "version": "1.3.1"}',
    "context/later/srv/node_modules/broken/package.json": "{",
}


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    world = make_world(folder)
    stages = {"app": {"containerfile": "Containerfile", "context": "context"}}
    world.write({"rbuild.yaml": project_file({}, stages), "Containerfile": CONTAINERFILE, **FILES})
    world.ok("build")
    yield world
    remove_world(world)
    shutil.rmtree(folder)


def test_an_image_has_the_same_bill_each_time(built: World, tmp_path: Path) -> None:
    done = built.ok("sbom", "app")
    bom = json.loads(done.stdout)
    assert sorted(one["purl"] for one in bom["components"]) == [
        "pkg:deb/debian/tzdata@2024a-0?arch=all",
        "pkg:npm/left-pad@1.3.1",
        "pkg:pypi/requests@2.32.3",
    ]
    assert bom["metadata"]["component"]["version"] == built.digests()["app"]
    assert "/srv/node_modules/broken/package.json" in done.stderr and "not JSON" in done.stderr
    assert built.ok("sbom", "app").stdout == done.stdout
    file = tmp_path / "app.json"
    said = built.ok("sbom", "app", "--output", str(file)).stdout
    assert "Debian packages: 1, npm packages: 1, Python distributions: 1; 0 of 3" in said
    assert file.read_text() == done.stdout
    summary = built.json("sbom", "app", "--format", "spdx", "-o", str(file))
    assert summary["packages"] == {"deb": 1, "npm": 1, "pypi": 1}
    assert json.loads(file.read_text())["spdxVersion"] == "SPDX-2.3"


def test_without_lock_or_bytes_there_is_no_bill(built: World, tmp_path: Path) -> None:
    done = built.rbuild("sbom", "app", env={"RBUILD_STORE": str(tmp_path / "store")})
    assert done.returncode == 2 and "hint: rbuild build app" in done.stderr and not done.stdout
    shutil.copytree(built.project, tmp_path / "copy", ignore=shutil.ignore_patterns("rbuild.lock"))
    done = built.rbuild("--project", str(tmp_path / "copy"), "sbom", "app")
    assert done.returncode == 2 and "stage app is not in the lock yet" in done.stderr


def test_the_provenance_is_that_of_the_lock(built: World) -> None:
    said = built.json("provenance", "app")
    digest = built.digests()["app"]
    assert said["subject"] == [{"name": "demo/app", "digest": {"sha256": digest.partition(":")[2]}}]
    definition = said["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["stage"] == "app"
    assert definition["internalParameters"]["epoch"] == built.lock["stages"]["app"]["epoch"]
    done = built.rbuild("provenance", "nothing")
    assert done.returncode == 2 and "nothing" in done.stderr
