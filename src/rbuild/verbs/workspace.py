"""A project on disk: its file, its lock, its guard, and the hands that work for it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rbuild import __version__
from rbuild import lock as lockfile
from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.files import write_atomically
from rbuild.lock import BaseLock, Lock
from rbuild.podman import Podman
from rbuild.project import PROJECT_FILE, Known, Project, check_project, project_of
from rbuild.projectfile import Base, Kind
from rbuild.store import Store, store_root

if TYPE_CHECKING:
    from rbuild.trustfiles import Trust

LOCK_FILE = "rbuild.lock"
PRIVATE = ".rbuild"
POLICIES = "policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """What every verb needs; made once, at the top."""

    root: Path
    project: Project
    store: Store
    podman: Podman
    env: Mapping[str, str]
    trust: Trust | None = None  # the project's own; where it has none, the user's holds
    secrets_root: Path | None = None  # what the files of secrets are relative to, if not to `root`

    @property
    def lock_path(self) -> Path:
        return self.root / LOCK_FILE

    def image_name(self, stage: str) -> str:
        """What the user's own Podman calls a stage's image."""
        return f"localhost/{self.project.name}/{stage}:latest"


def open_workspace(folder: Path, env: Mapping[str, str]) -> Workspace:
    """Open the project that `folder` is in.

    Raises RbuildError with all that is wrong in its rbuild.yaml, or in the trust policy that this names.
    """
    root = project_root(folder)
    if root is None:
        raise RbuildError(
            f"there is no {PROJECT_FILE} here, nor in a folder above",
            where=Where(file=str(folder.absolute())),
            hint="go to the project's folder, or name it: rbuild --project FOLDER …",
        )
    store, podman = open_store(env)
    project = read_project(root, store)
    if project.trust is None:
        return Workspace(root=root, project=project, store=store, podman=podman, env=env)
    from rbuild.trustfiles import project_trust  # a few milliseconds

    trust = project_trust(root, str(project.trust))
    podman = replace(podman, handed=trust.handed(store))
    return Workspace(root=root, project=project, store=store, podman=podman, env=env, trust=trust)


def read_project(root: Path, store: Store) -> Project:
    """The project in a folder. Raises RbuildError with all that is wrong in its rbuild.yaml.

    Like the lock, it is parsed once.
    """
    try:
        text = (root / PROJECT_FILE).read_bytes()
    except OSError as error:
        raise RbuildError(f"cannot be read: {error.strerror}", where=Where(file=PROJECT_FILE)) from error
    key = Digest.of(f"{__version__}\n".encode() + text).hex
    if kept := store.cached("projects", key):
        with contextlib.suppress(RbuildError):  # an older rbuild's form of it
            known = Known.decode(kept)
            if all(_what_is_at(root, path) == kind for path, kind in known.found.items()):
                return project_of(known.file)
    found: dict[str, Kind | None] = {}

    def exists(path: str) -> Kind | None:
        return found.setdefault(path, _what_is_at(root, path))

    file = check_project(text, exists=exists)
    with contextlib.suppress(RbuildError, OSError):  # who only looks needs no disk with space
        store.cache("projects", key, Known(file, found).encode())
    return project_of(file)


def open_store(env: Mapping[str, str]) -> tuple[Store, Podman]:
    """The user's store and Podman, which need no project. Raises RbuildError if there can be no store."""
    podman = Podman(env=env)
    return Store(store_root(env.get), clear=podman.clear), podman


def project_root(folder: Path) -> Path | None:
    """The folder of the project that `folder` is in; None where there is none."""
    folder = folder.absolute()
    return next((each for each in (folder, *folder.parents) if (each / PROJECT_FILE).is_file()), None)


def policy_files(workspace: Workspace) -> list[Path]:
    """The project's policies, in the order of their names; costs one listing of a folder."""
    folder = workspace.root / POLICIES
    try:
        with os.scandir(folder) as entries:
            names = [one.name for one in entries if one.name.endswith((".yaml", ".yml")) and one.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RbuildError(f"cannot be read: {error.strerror}", where=Where(file=POLICIES)) from error
    return [folder / name for name in sorted(names)]


def _what_is_at(root: Path, path: str) -> Kind | None:
    place = root / path
    try:
        real = place.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    if not real.is_relative_to(root.resolve()):
        return "outside"
    return "directory" if real.is_dir() else "file"


def read_lock(workspace: Workspace) -> Lock | None:
    """The project's lock, if it has one. Raises RbuildError for one that is torn, or of another rbuild.

    Its parsed form is kept in the store by the file's digest: parsing YAML is most of what "nothing to do"
    would cost.
    """
    try:
        data = workspace.lock_path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RbuildError(f"cannot be read: {error.strerror}", where=Where(file=LOCK_FILE)) from error
    key = Digest.of(data).hex
    if parsed := workspace.store.cached("locks", key):
        try:
            return lockfile.decode(parsed)
        except RbuildError:
            pass  # an older rbuild's form of it
    lock = lockfile.read_lock(data)
    workspace.store.cache("locks", key, lockfile.encode(lock))
    return lock


def write_lock(workspace: Workspace, lock: Lock) -> None:
    """Replace the project's lock: whoever reads it sees the old one or the new one."""
    data = lockfile.write_lock(lock)
    try:
        write_atomically(workspace.lock_path, data)
    except OSError as error:
        raise RbuildError(f"cannot be written: {error.strerror}", where=Where(file=LOCK_FILE)) from error


def fits(definition: Base, lock: BaseLock) -> bool:
    """Whether a locked base is still what rbuild.yaml asks for."""
    if definition.debian:
        asked, pinned = definition.debian, lock.debian
        return pinned is not None and (
            (asked.suite, asked.mirror, asked.snapshot, asked.components, asked.packages)
            == (pinned.suite, pinned.mirror, pinned.snapshot, pinned.components, pinned.wanted)
        )
    if definition.oci:
        return (lock.oci, lock.tag) == (str(definition.oci), definition.tag)
    return lock.image == str(definition.image)


@contextmanager
def guarded(workspace: Workspace, command: str, waiting: Callable[[str], None]) -> Iterator[None]:
    """Let one command at a time change the project; `waiting` is told for whom this one waits."""
    folder = workspace.root / PRIVATE
    try:
        if not os.access(workspace.root, os.W_OK):  # the lock is replaced by a new file
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        file = (folder / "guard").open("a+")
    except OSError as error:
        raise RbuildError(
            f"the project's folder cannot be written to: {error.strerror}",
            where=Where(file=str(folder)),
            hint="work on a copy that belongs to you",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            waiting(f"waiting for another command in this project: {file.read().strip() or 'unknown'}")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(f"rbuild {command} (process {os.getpid()})\n")
        file.flush()
        yield
