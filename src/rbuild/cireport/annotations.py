"""Annotations of lines of files, as GitHub's workflow commands.

Source: GitHub's "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from rbuild.errors import Problem

Level = Literal["error", "warning", "notice"]


def annotation(level: Level, title: str, said: str, file: str | None, line: int | None) -> str:
    """A command, in one line without its end. `file` is from the repository's root."""
    properties = {"file": file, "line": line if file else None, "title": title}
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{level} {written}::{_message(said)}"


def problem_annotation(title: str, problem: Problem, folder: PurePosixPath) -> str:
    """An error. `folder` is the project's in its repository."""
    where = problem.where
    file = str(folder / where.file) if where and where.file else None
    said = f"{problem.what}\nhint: {problem.hint}" if problem.hint else problem.what
    return annotation("error", title, said, file, where.line if where else None)


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: object) -> str:
    return _message(str(value)).replace(":", "%3A").replace(",", "%2C")
