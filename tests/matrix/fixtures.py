"""What every row builds: the projects with their locks, and the blobs that an offline build reads.

Recorded once on this host, with its Podman; what that cannot build, with the first place that can.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from places import CHECKOUT, USERS, Place, network_environment

RECORDER = USERS["one"]
PYTHON = "/mnt/venv/bin/python"
_PATH = "/mnt/src:/mnt/tests/scenarios/matrix"
Version = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A recorded project: `stages` maps each to the digest that is locked."""

    name: str
    podman: Version  # the first that can build it
    stages: Mapping[str, str]
    blobs: frozenset[str]  # by hexadecimal digest
    bundle: Path  # of git, with all files and the lock
    store: Path  # the recorder's, with the images
    env: Mapping[str, str]


def snapshot(place: Place) -> None:
    """Give a place the code and the project as they are now: nobody's edit gets into half of the rows."""
    mnt = place.kept / "mnt"
    for name in ("src", "tests", "project"):
        shutil.rmtree(mnt / name, ignore_errors=True)
    kept_out = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in ("src", "tests"):
        shutil.copytree(CHECKOUT / name, mnt / name, symlinks=True, ignore=kept_out)
    (mnt / "project").mkdir()
    for name in ("rbuild.yaml", "rbuild.lock"):
        shutil.copy(CHECKOUT / name, mnt / "project")
    for name in ("Containerfiles", "policies", "stages"):
        shutil.copytree(CHECKOUT / name, mnt / "project" / name, symlinks=True, ignore=kept_out)
    # The checkout's owner may have had any umask.
    subprocess.run(
        ["chmod", "--recursive", "a+rX", *(mnt / name for name in ("src", "tests", "project"))], check=True
    )


def scenarios(place: Place, cache: Path) -> dict[str, Any]:
    """The scenarios that there are, each with the first Podman that can build it, and their variables."""
    listed: dict[str, Any] = _record(place, cache, "none", "list")
    return listed


def share_base(host: Place, others: Iterable[Place], cache: Path) -> None:
    """Make the base of the scenarios, and give it to the recorders in other places."""
    _record(host, cache, "base", "base")
    tiny = _home(host, cache) / "tiny"
    for place in others:
        target = _home(place, cache) / "tiny"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(tiny, target)
        for path in (target.parent, target, *target.rglob("*")):
            os.chown(path, RECORDER.uid, RECORDER.uid)


def record(
    place: Place,
    cache: Path,
    name: str,
    names: Collection[str],
    *,
    podman: Version,
    env: Mapping[str, str],
    resume: bool,
) -> Project:
    """Record scenarios as one project or, where `names` is empty, the project's own pipeline.

    With `resume`, what the same code recorded of the same files before is taken as it is.
    """
    kind = ["scenarios", name, *sorted(names)] if names else ["iris", name]
    home = _home(place, cache)
    note = home / "data" / name / "recorded.json"
    made_from = [*kind, _contents(place)]
    known = json.loads(note.read_text()) if resume and note.exists() else {}
    if known.get("made_from") == made_from:
        document = known["document"]
    else:
        note.unlink(missing_ok=True)
        document = _record(place, cache, name, *kind)
        note.write_text(json.dumps({"made_from": made_from, "document": document}))
    return Project(
        name=name,
        podman=podman,
        stages=document["stages"],
        blobs=frozenset(document["blobs"]),
        bundle=home / f"{name}.bundle",
        store=home / "data" / name / "rbuild",
        env=env,
    )


def _contents(place: Place) -> str:
    """One digest of all that a recording is made of, but for what comes from the network."""
    total = hashlib.sha256()
    mnt = place.kept / "mnt"
    for part in ("src", "project", "tests/scenarios/matrix", "tests/matrix/record.py"):
        top = mnt / part
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and not path.is_symlink():
                total.update(f"{path.relative_to(mnt)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def _home(place: Place, cache: Path) -> Path:
    return cache / "recorders" / place.name / RECORDER.name


def _record(place: Place, cache: Path, name: str, *arguments: str) -> Any:
    home = _home(place, cache)
    config = home / ".config" / "containers"
    config.mkdir(parents=True, exist_ok=True)
    (config / "storage.conf").write_text('[storage]\ndriver = "overlay"\n')
    (config / "containers.conf").write_text('[engine]\nruntime = "runc"\n')
    # What was fetched stays; what is made of it is made anew, by the code as it is now.
    data = home / "data" / name
    for made in (data / "containers", data / "rbuild" / "cache"):
        shutil.rmtree(made, ignore_errors=True)
    data.mkdir(parents=True, exist_ok=True)
    for folder in (home, home / ".config", config, home / "data", data):
        os.chown(folder, RECORDER.uid, RECORDER.uid)
    env = {
        **network_environment(),
        "PYTHONPATH": _PATH,
        "XDG_DATA_HOME": f"/home/{RECORDER.name}/data/{name}",
    }
    command = [PYTHON, "/mnt/tests/matrix/record.py", *arguments]
    return json.loads(place.check(RECORDER, home.parent, command, env=env))


class Blobs:
    """Blobs as each user may have them: a user's own files, hard-linked into the stores of that user's rows.

    A file has one owner, and only the owner may link to it again, as rbuild does.
    """

    def __init__(self, cache: Path, projects: Collection[Project]) -> None:
        self._folder = cache / "blobs"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._projects = projects

    def store(self, user: str, store: Path) -> None:
        """Make a store with what offline builds need."""
        target = store / "blobs" / "sha256"
        target.mkdir(parents=True)
        own = self._folder / user
        own.mkdir(parents=True, exist_ok=True)
        for project in self._projects:
            for name in project.blobs:
                kept = own / name
                if not kept.exists():
                    shutil.copy(project.store / "blobs" / "sha256" / name, kept)
                    os.chown(kept, USERS[user].uid, USERS[user].uid)
                    kept.chmod(0o444)
                if not (target / name).exists():
                    os.link(kept, target / name)
