"""`rbuild policy init`: the policies that come with rbuild, as files of a project."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files

from rbuild import policy
from rbuild.errors import RbuildError, Where
from rbuild.files import sync_directory
from rbuild.verbs.workspace import POLICIES, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFileWritten:
    """A file of `policies/`; `kept`: it was there before, and is as it was."""

    file: str
    kept: bool


def init_policies(workspace: Workspace) -> tuple[PolicyFileWritten, ...]:
    """Write the policies that come with rbuild into the project. What is there is never overwritten.

    Raises RbuildError where a file cannot be written.
    """
    folder = workspace.root / POLICIES
    written: list[PolicyFileWritten] = []
    try:
        folder.mkdir(exist_ok=True)
        for name, data in shipped_policies().items():
            file = f"{POLICIES}/{name}"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                descriptor = os.open(folder / name, flags, 0o666)
            except FileExistsError:
                written.append(PolicyFileWritten(file=file, kept=True))
                continue
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(descriptor)
            written.append(PolicyFileWritten(file=file, kept=False))
        sync_directory(folder)
    except OSError as error:
        raise RbuildError(
            f"the policies cannot be written: {error.strerror}", where=Where(file=POLICIES)
        ) from error
    return tuple(written)


def shipped_policies() -> dict[str, bytes]:
    """The policies that come with rbuild, by the name of their file."""
    folder = files(policy) / "shipped"
    if not folder.is_dir():
        return {}
    found = {one.name: one.read_bytes() for one in folder.iterdir() if one.name.endswith(".yaml")}
    return dict(sorted(found.items()))
