"""Runs inside a place, as an ordinary user, under the conditions of one row: checks out, builds, reports.

    row.py SPECIFICATION

SPECIFICATION is JSON: `row`, a value for each axis, and `projects`, for each its name and the variables that
its builds need. /home/bundles has their git repositories, the user's store what an offline build reads.
With the standard library alone. Prints, as JSON, for each project the runs of rbuild that were made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HOME = Path.home()
STORE = HOME / ".local" / "share" / "rbuild"
BLOBS = STORE / "blobs" / "sha256"
PATHS = {
    "short": "p",
    "long": "work in progress/a folder with a rather long name, as people have them/checkouts",
}


def configure(row: dict[str, str]) -> None:
    """Choose storage driver and runtime as a user does."""
    folder = HOME / ".config" / "containers"
    folder.mkdir(parents=True)
    storage = ["[storage]", f'driver = "{"vfs" if row["driver"] == "vfs" else "overlay"}"']
    if row["driver"] == "fuse-overlayfs":
        storage += ["[storage.options.overlay]", 'mount_program = "/usr/bin/fuse-overlayfs"']
    (folder / "storage.conf").write_text("\n".join([*storage, ""]))
    runtime = "crun" if row["isolation"] == "crun" else "runc"
    (folder / "containers.conf").write_text(f'[engine]\nruntime = "{runtime}"\n')


def variables(row: dict[str, str]) -> dict[str, str]:
    """The environment that rbuild is called in."""
    language, _, zone = row["locale"].partition("/")
    chosen = {**os.environ, "LANG": language, "LOCPATH": "/mnt/locale", "TZ": zone}
    if row["isolation"] == "chroot":
        chosen["BUILDAH_ISOLATION"] = "chroot"
    if row["epoch"] == "set":
        chosen["SOURCE_DATE_EPOCH"] = "86400"
    return chosen


def check_out(name: str, row: dict[str, str]) -> Path:
    bundle = f"/home/bundles/{name}"
    project = HOME / PATHS[row["path"]] / name
    project.parent.mkdir(parents=True, exist_ok=True)
    if row["checkout"] == "clone":
        git("clone", "--quiet", bundle, str(project))
    else:
        bare = str(HOME / f"{name}.git")
        git("clone", "--quiet", "--bare", bundle, bare)
        git("--git-dir", bare, "worktree", "add", "--quiet", "--detach", str(project))
    if row["files"] != "as checked out":
        write_anew(project)
    return project


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)


def write_anew(project: Path) -> None:
    """Make every file and link again, in the reverse order, with times of their own."""
    files = [Path(root, name) for root, _, names in os.walk(project) for name in names if ".git" not in root]
    files = [path for path in files if path.name != ".git"]
    links = [
        Path(root, name)
        for root, names, _ in os.walk(project)
        for name in names
        if Path(root, name).is_symlink()
    ]
    for number, path in enumerate(sorted({*files, *links}, reverse=True)):
        new = path.with_name(".new")
        shutil.copy(path, new, follow_symlinks=False)
        path.unlink()
        new.rename(path)
        os.utime(path, (number * 1000, number * 1000), follow_symlinks=False)


def rbuild(project: Path, row: dict[str, str], own: dict[str, str]) -> dict[str, Any]:
    """One `rbuild all`: nothing may leave the host, and nothing in the lock may change."""
    shutil.rmtree(STORE / "logs")
    (STORE / "logs").mkdir()
    argv = [sys.executable, "-m", "rbuild", "all", "--offline", "--locked", "--json", "--jobs", row["jobs"]]
    if row["driver"] != "overlay":
        argv.append("--no-load")  # nothing of a digest depends on it, and with vfs each layer is a whole copy
    if row["cpus"] == "1":
        argv = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), *argv]
    done = subprocess.run(
        argv, cwd=project, env={**variables(row), **own}, capture_output=True, text=True, errors="replace"
    )
    try:
        stages = json.loads(done.stdout)
    except ValueError:
        stages = []
    logs = "".join(log.read_text(errors="replace") for log in (STORE / "logs").glob("*/*.log"))
    return {
        "code": done.returncode,
        "stages": stages,
        "said": done.stderr[-20_000:] if done.returncode else "",
        "cached": logs.count("--> Using cache"),
    }


def main() -> None:
    specification = json.loads(sys.argv[1])
    row = specification["row"]
    configure(row)
    os.umask(int(row["umask"], 8))
    given = set(BLOBS.iterdir())
    runs = {}
    for project in specification["projects"]:
        name = project["name"]
        folder = check_out(name, row)
        runs[name] = [rbuild(folder, row, project["env"])]
        if row["cache"] == "warm" and runs[name][0]["code"] == 0:
            # Podman keeps its layers, rbuild forgets its images: all steps come from the cache.
            for blob in set(BLOBS.iterdir()) - given:
                blob.unlink()
            runs[name].append(rbuild(folder, row, project["env"]))
    print(json.dumps(runs))


if __name__ == "__main__":
    main()
