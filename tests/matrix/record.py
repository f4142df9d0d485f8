"""Runs inside a place, as an ordinary user: lays a project out, records it, and says what came out.

    record.py list              the scenarios, and the variables that their builds need
    record.py base              the base of the scenarios, in ~/tiny
    record.py iris FOLDER       the project's own pipeline, in ~/FOLDER
    record.py scenarios FOLDER NAME…

All is in the git bundle ~/FOLDER.bundle afterwards, with the lock; the store is where it always is. Prints,
as JSON, the digests that are locked and the blobs of the store that an offline build needs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pages

import scenarios
from rbuild.image.manifest import read_manifest
from rbuild.lock import Lock, read_lock
from rbuild.store import Store, store_root

MNT = Path("/mnt")
IRIS = ("rbuild.yaml", "rbuild.lock", "Containerfiles", "policies", "stages")
# Of stages that have no epoch in their lock: any, but always the same.
EPOCH = "1700000000"


def iris(folder: Path) -> None:
    for name in IRIS:
        place = MNT / "project" / name
        (shutil.copytree if place.is_dir() else shutil.copy)(place, folder / name)
    record(folder, {})


def lay_out(folder: Path, names: list[str]) -> None:
    tiny = Path.home() / "tiny"
    with pages.served() as url:
        scenarios.lay_out(folder, tiny, names, url=url)
        for name in names:
            (folder / name / "context" / ".gitkeep").touch()  # git keeps no empty folder
        record(folder, scenarios.ENVIRONMENT)


def make_tiny(layout: Path) -> None:
    """Make the base of the scenarios, a small Debian with busybox, as an OCI layout."""
    folder = Path.home() / "tiny.project"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "context").mkdir(parents=True)
    base = {"debian": {"suite": "bookworm", "packages": ["busybox"]}}
    stage = {"containerfile": "Containerfile", "context": "context"}
    project = {"project": "tiny", "bases": {"localhost/tiny": base}, "stages": {"base": stage}}
    (folder / "rbuild.yaml").write_text(json.dumps(project))  # which is YAML as well
    (folder / "Containerfile").write_text("FROM localhost/tiny\nLABEL made=once\n")
    rbuild(folder)
    image = f"oci:{store_root(os.environ.get)}:tiny/base"
    subprocess.run(["skopeo", "copy", "--quiet", image, f"oci:{layout}:base"], check=True)


def record(folder: Path, variables: Mapping[str, str]) -> None:
    """Commit what is in `folder`, build what git kept of it, and commit the lock."""
    (folder / ".gitignore").write_text(".rbuild/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "The project")
    git(folder, "clean", "--quiet", "-ffdx")  # empty folders, which git does not keep
    rbuild(folder, **variables)
    git(folder, "add", "rbuild.lock")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "The lock")
    git(folder, "bundle", "create", "--quiet", f"{folder}.bundle", "HEAD", "main")


def rbuild(folder: Path, **variables: str) -> None:
    env = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "NO_COLOR": "1", **variables}
    argv = [sys.executable, "-m", "rbuild", "all", "--quiet"]
    subprocess.run(argv, cwd=folder, env=env, check=True, stdout=sys.stderr)


def git(folder: Path, *arguments: str) -> None:
    settings = (
        "user.name=matrix",
        "user.email=matrix@localhost",
        "core.compression=1",
        "init.defaultBranch=main",
    )
    options = [part for setting in settings for part in ("-c", setting)]
    subprocess.run(["git", *options, *arguments], cwd=folder, check=True)


def needed(text: str, lock: Lock, store: Store) -> set[str]:
    """The blobs of what goes into the images, without those of the images themselves."""
    images = {str(stage.image.manifest) for stage in lock.stages.values()}
    images |= {str(stage.image.config) for stage in lock.stages.values()}
    images |= {str(layer.blob) for stage in lock.stages.values() for layer in stage.image.layers}
    found = {name for name in re.findall(r"sha256:[0-9a-f]{64}", text) if name not in images}
    for base in lock.bases.values():
        manifest = read_manifest(store.read(base.digest))
        found |= {
            str(base.digest),
            str(manifest.config.digest),
            *(str(one.digest) for one in manifest.layers),
        }
    return {hexadecimal for name in found if (store.blobs / (hexadecimal := name[7:])).exists()}


def main() -> None:
    match sys.argv[1:]:
        case ["list"]:
            known = {
                name: {"podman": one.podman, "small": one.small} for name, one in scenarios.SCENARIOS.items()
            }
            print(json.dumps({"scenarios": known, "environment": dict(scenarios.ENVIRONMENT)}))
            return
        case ["base"]:
            if not (tiny := Path.home() / "tiny").exists():
                make_tiny(tiny)
            print(json.dumps(None))
            return
        case [kind, name, *chosen]:
            folder = Path.home() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if kind == "iris":
        iris(folder)
    else:
        lay_out(folder, chosen)
    text = (folder / "rbuild.lock").read_bytes()
    lock = read_lock(text)
    store = Store(store_root(os.environ.get))
    document = {
        "stages": {name: str(stage.image.manifest) for name, stage in lock.stages.items()},
        "blobs": sorted(needed(text.decode(), lock, store)),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
