"""Podman storage of rbuild's own: for a while, to rebuild in, and for good, where the user's builds wrongly.

Upon fuse-overlayfs (seen with 1.10 and 1.13) a folder that was removed and made again has its old files back,
a folder loses its setgid bit when it is copied up, and names of more than 251 bytes are refused: what a `RUN`
finds is not what the Containerfile says. The kernel's own overlay gives what vfs gives.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rbuild.files import runtime_folder, runtime_scratch, write_atomically
from rbuild.podman import Podman
from rbuild.process import run


@contextlib.contextmanager
def storage_in(folder: Path, user: Podman, *, driver: str | None = None) -> Iterator[Podman]:
    """A Podman with empty storage of its own below `folder`, then gone.

    Its driver is the one that `builder` has, or another.
    """
    root = folder / "storage"
    with contextlib.ExitStack() as stack:
        # Podman takes no more than 50 characters for its run root.
        run_root = stack.enter_context(runtime_scratch(user.env.get, user.remove_tree).folder("run-"))
        stack.callback(user.remove_tree, root)
        own = user
        if driver is None:
            driver, program, _ = user.graph()
            if program:
                own, driver = _without_program(user, folder)
        yield _at(own, root, run_root, driver)


def builder(user: Podman, store: Path) -> Podman:
    """The Podman that builds stages: the user's own, or one in the store where that uses fuse-overlayfs."""
    _, program, root = user.graph()
    if not program:
        return replace(user, root=root)
    folder = store / "storage"
    folder.mkdir(mode=0o700, exist_ok=True)
    own, driver = _without_program(user, folder)
    name = hashlib.sha256(os.fsencode(store.absolute())).hexdigest()[:8]
    run_root = runtime_folder(user.env.get, f"rbuild-{os.getuid()}-{name}")
    return _at(own, folder / driver, run_root, driver)


def _without_program(user: Podman, folder: Path) -> tuple[Podman, str]:
    """A Podman for which nothing but the kernel mounts, and the driver that works with it."""
    settings = folder / "storage.conf"
    if not settings.exists():
        write_atomically(settings, b'[storage]\ndriver = "overlay"\n')
    own = replace(user, env={**user.env, "CONTAINERS_STORAGE_CONF": str(settings)})
    with runtime_scratch(user.env.get, user.remove_tree).folder("try-") as run_root:
        tried = Path(tempfile.mkdtemp(dir=folder, prefix="try-"))
        try:
            argv = _at(own, tried, run_root, "overlay").argv("info", "--format", "{{.Store.GraphDriverName}}")
            works = run(argv, env=own.env, check=False).returncode == 0
        finally:
            user.remove_tree(tried)
    return own, "overlay" if works else "vfs"


def _at(podman: Podman, root: Path, run_root: Path, driver: str) -> Podman:
    command = ["--root", str(root), "--runroot", str(run_root), "--storage-driver", driver]
    return replace(
        podman, command=(*podman.command, *command), root=str(root), place=f"[{driver}@{root}+{run_root}]"
    )
