"""What is kept of an image that came out otherwise than it is locked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from axes import Row
from fixtures import PYTHON, Project
from places import USERS, Place, home_of

_MOST_LINES = 40


def came_out_as(said: str) -> str | None:
    """The digest of an image that was built otherwise than locked, from rbuild's message."""
    found = re.search(r"came out as (sha256:[0-9a-f]{64})", said)
    return found[1] if found else None


def keep(
    row: Row, projects: Sequence[Project], runs: Mapping[str, Any], store: Path, host: Place, cache: Path
) -> list[str]:
    """Keep both images of each stage that differs, with what `rbuild diff` says; gives lines to print."""
    folder = cache / "different" / hashlib.sha256(str(row).encode()).hexdigest()[:12]
    shutil.rmtree(folder, ignore_errors=True)
    lines: list[str] = []
    for project in projects:
        for stage in (stage for run in runs[project.name] for stage in run["stages"]):
            built = came_out_as(json.dumps(stage["error"]))
            target = folder / project.name / stage["stage"]
            if built is None or target.exists():
                continue
            layout_of(project.stages[stage["stage"]], project.store, target / "locked")
            layout_of(built, store, target / "built")
            said = _diff(target, host, cache)
            (target / "diff.txt").write_text(said)
            lines += [f"{project.name}/{stage['stage']}: kept in {target}", *said.splitlines()[:_MOST_LINES]]
    return lines


def layout_of(digest: str, store: Path, target: Path) -> None:
    """Copy an image out of a store, as an OCI layout."""
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def take(name: str) -> Path:
        return Path(shutil.copy(store / "blobs" / "sha256" / name.removeprefix("sha256:"), blobs))

    manifest = take(digest)
    document = json.loads(manifest.read_bytes())
    for part in (document["config"], *document["layers"]):
        take(part["digest"])
    descriptor = {"mediaType": document["mediaType"], "digest": digest, "size": manifest.stat().st_size}
    (target / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (target / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))


def _diff(images: Path, host: Place, cache: Path) -> str:
    user = USERS["one"]
    with home_of(user, cache) as home:
        shutil.copytree(images, home / user.name / "images")
        for path in (home / user.name).rglob("*"):
            os.chown(path, user.uid, user.uid)
        operands = [f"oci:/home/{user.name}/images/{name}" for name in ("locked", "built")]
        done = host.run(user, home, [PYTHON, "-m", "rbuild", "diff", *operands], timeout=600)
    return done.stdout or done.stderr
