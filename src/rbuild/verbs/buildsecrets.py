"""What `RUN --mount=type=secret` reads: handed to Podman by name, and kept out of all that rbuild writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rbuild.errors import Problem, RbuildError, Where
from rbuild.project import PROJECT_FILE, Stage, locate
from rbuild.projectfile import Secret
from rbuild.verbs.workspace import Workspace

HIDDEN: Final = "***"

_MAX_SIZE: Final = 1 << 20
_SHORTEST: Final = 4  # characters: what is shorter stands in any output by chance


@dataclass(frozen=True, slots=True)
class _Value:
    name: str  # the secret's id
    data: bytes = field(repr=False)
    file: Path | None  # None for one from the environment

    def spellings(self) -> Iterable[str]:
        """What would give the value away in a text: its lines, also as a URL has them."""
        for line in os.fsdecode(self.data).splitlines():
            if len(line.strip()) >= _SHORTEST:
                yield line.strip()
                yield quote(os.fsencode(line.strip()), safe="")


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of one stage, as they are now."""

    values: tuple[_Value, ...] = ()

    def hand_over(self, folder: Path) -> tuple[list[str], dict[str, str]]:
        """What `podman build --secret` takes, and the variables that Podman has to find in its environment.

        Neither holds a value but the variables. `folder`, which is made, gets a link to each file: an option
        of Podman's ends a path at a comma.
        """
        options: list[str] = []
        variables: dict[str, str] = {}
        folder.mkdir(mode=0o700)
        for number, value in enumerate(self.values):
            if value.file is None:
                variable = f"RBUILD_SECRET_{number}"
                variables[variable] = os.fsdecode(value.data)
                options.append(f"id={value.name},env={variable}")
            else:
                link = folder / str(number)
                link.symlink_to(value.file)
                options.append(f"id={value.name},src={link}")
        return options, variables

    def hide(self, text: str) -> str:
        """`text` with every line of every value blotted out; lines of less than four characters are not."""
        for spelling in self._spellings():
            text = text.replace(spelling, HIDDEN)
        return text

    def shown_in(self, data: bytes) -> str | None:
        """The id of a secret whose value `data` gives away."""
        for value in self.values:
            if any(os.fsencode(spelling) in data for spelling in value.spellings()):
                return value.name
        return None

    def shown_in_any(self, chunks: Iterable[bytes]) -> str | None:
        """The id of a secret whose value one stream of bytes gives away, which comes in pieces."""
        spellings = {os.fsencode(text): one.name for one in self.values for text in one.spellings()}
        overlap = max(map(len, spellings), default=0)
        kept = b""
        for chunk in chunks:
            kept += chunk
            for spelling, name in spellings.items():
                if spelling in kept:
                    return name
            kept = kept[-overlap:] if overlap else b""
        return None

    def _spellings(self) -> list[str]:
        found = {spelling for value in self.values for spelling in value.spellings()}
        return sorted(found, key=len, reverse=True)


def check_secrets(workspace: Workspace, stages: Iterable[str]) -> None:
    """Raises RbuildError with every secret of these stages that cannot be had."""
    problems: list[Problem] = []
    for name in stages:
        try:
            read_secrets(workspace, workspace.project.stages[name])
        except RbuildError as error:
            problems.extend(error.problems)
    if problems:
        raise RbuildError(problems)


def read_secrets(workspace: Workspace, stage: Stage) -> Secrets:
    """The secrets of a stage. Raises RbuildError with every one that cannot be had; never with a value."""
    values: list[_Value] = []
    problems: list[Problem] = []
    for name, secret in stage.secrets.items():
        try:
            values.append(_read(name, secret, workspace))
        except RbuildError as error:
            where = _in_project_file(workspace, stage.name, name)
            problems += [Problem(what=one.what, where=where, hint=one.hint) for one in error.problems]
    if problems:
        raise RbuildError(problems)
    return Secrets(tuple(values))


def secrets_at_hand(workspace: Workspace, stage: Stage) -> Secrets:
    """Those secrets of a stage that can be had now."""
    values: list[_Value] = []
    for name, secret in stage.secrets.items():
        with contextlib.suppress(RbuildError):
            values.append(_read(name, secret, workspace))
    return Secrets(tuple(values))


def _read(name: str, secret: Secret, workspace: Workspace) -> _Value:
    if secret.env is not None:
        text = workspace.env.get(secret.env)
        if text is None:
            raise RbuildError(
                f"the secret {name!r} is missing: the variable {secret.env} is not set",
                hint=f"set it for this command: {secret.env}=… rbuild …",
            )
        return _Value(name, os.fsencode(text), None)
    assert secret.file is not None  # checked with the file
    path = (workspace.secrets_root or workspace.root) / secret.file
    try:
        if not path.is_file():
            raise FileNotFoundError(2, "there is no such file")
        with path.open("rb") as file:
            data = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise RbuildError(
            f"the secret {name!r} is missing: {str(secret.file)!r} cannot be read: {error.strerror}",
            hint=f"put the secret's value into {secret.file}, and the file into .gitignore",
        ) from error
    if len(data) > _MAX_SIZE:
        raise RbuildError(f"the secret {name!r} is larger than {_MAX_SIZE} bytes")
    return _Value(name, data, path.resolve())


def _in_project_file(workspace: Workspace, stage: str, secret: str) -> Where:
    text = (workspace.root / PROJECT_FILE).read_bytes()
    return locate(text, "stages", stage, "secrets", secret)
