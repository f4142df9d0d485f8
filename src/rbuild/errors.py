"""The words for what went wrong: a problem is a value, an error means "cannot continue"."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FINDING = 1  # not reproducible, a policy violation, something out of date under --locked
    CANNOT_TELL = 2  # bad usage, bad configuration, host, network


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The place of a problem. Every part is optional; `line` counts from 1."""

    file: str | None = None
    line: int | None = None
    key: str | None = None  # a key path: stages.train.containerfile
    url: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place += f":{self.line}"
        return " ".join(part for part in (place, self.key, self.url, self.digest) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: what, where, and what to type about it."""

    what: str
    where: Where | None = None
    hint: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where and str(self.where) else self.what]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class RbuildError(Exception):
    """Cannot continue. Carries one or more problems, and the exit code that they mean."""

    def __init__(
        self,
        what: str | Iterable[Problem],
        *,
        where: Where | None = None,
        hint: str | None = None,
        exit_code: Exit = Exit.CANNOT_TELL,
    ) -> None:
        if isinstance(what, str):
            self.problems: tuple[Problem, ...] = (Problem(what=what, where=where, hint=hint),)
        else:
            self.problems = tuple(what)
        self.exit_code = exit_code
        super().__init__(what)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@contextlib.contextmanager
def at(where: Where) -> Iterator[None]:
    """Within it, an error's problems get those parts of `where` that they do not have themselves."""
    try:
        yield
    except RbuildError as error:
        error.problems = tuple(
            replace(problem, where=_completed(problem.where, where)) for problem in error.problems
        )
        raise


def _completed(place: Where | None, where: Where) -> Where:
    if place is None:
        return where
    return Where(
        file=place.file or where.file,
        line=place.line if place.file else where.line,
        key=place.key or where.key,
        url=place.url or where.url,
        digest=place.digest or where.digest,
    )
