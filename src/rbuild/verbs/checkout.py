"""Another checkout of a project: the same files in another folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rbuild.context import IGNORE_FILES, Kind
from rbuild.project import PROJECT_FILE
from rbuild.verbs.source import Source
from rbuild.verbs.workspace import Workspace


def checkout(
    workspace: Workspace,
    sources: Iterable[Source],
    target: Path,
    *,
    backwards: bool = False,
    mtime: float | None = None,
) -> Workspace:
    """Copy what stages are made of into the new folder `target`; gives the project that is there.

    Secrets are not copied: they are read from where they are.
    Files are made in the order of their names, or `backwards`; modes follow from the executable bit and the
    umask of this process, as those of a git checkout do. `mtime` is in seconds since 1970; None: now.
    """
    target.mkdir(parents=True)
    files: dict[Path, bool] = {Path(PROJECT_FILE): False}
    folders: dict[Path, None] = {}
    links: dict[Path, str] = {}
    for source in sources:
        containerfile, context = Path(source.stage.containerfile), Path(source.stage.context)
        folders[context] = None
        files[containerfile] = False
        for name in IGNORE_FILES:
            for path in (containerfile.with_name(containerfile.name + name), context / name):
                if (workspace.root / path).is_file():
                    files[path] = False
        for entry in source.context.files:
            path = context / os.fsdecode(os.fsencode(entry.path))
            match entry.kind:
                case Kind.DIRECTORY:
                    folders[path] = None
                case Kind.SYMLINK:
                    links[path] = entry.content
                case Kind.FILE:
                    files[path] = entry.executable
    for path in sorted({*folders, *files, *links}, reverse=backwards):
        place = target / path
        (place if path in folders else place.parent).mkdir(parents=True, exist_ok=True)
        if path in links:
            place.symlink_to(links[path])
        elif path in files:
            _copy(workspace.root / path, place, executable=files[path])
        if mtime is not None:
            os.utime(place, (mtime, mtime), follow_symlinks=False)
    return replace(workspace, root=target, secrets_root=workspace.secrets_root or workspace.root)


def _copy(source: Path, place: Path, *, executable: bool) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if executable else 0o666)
    with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
