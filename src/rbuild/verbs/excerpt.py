"""Single lines of a project's files, to be shown beside what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from rbuild.errors import Where
from rbuild.policy.secrets import masked

_MOST_BYTES = 4 << 20


def line_reader(root: Path) -> Callable[[Where], str | None]:
    """A function from a place in the project to its line, without the line's end.

    It gives None where there is no such file in the project, or no such line. Bytes that are not UTF-8 are
    there as surrogates; what looks like a secret is replaced.
    """
    folder = root.resolve()

    @lru_cache(maxsize=32)
    def lines(file: str) -> tuple[str, ...]:
        path = (folder / file).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            return ()
        try:
            with path.open("rb") as opened:
                data = opened.read(_MOST_BYTES + 1)
        except OSError:
            return ()
        return tuple(data.decode(errors="surrogateescape").split("\n")) if len(data) <= _MOST_BYTES else ()

    def line(where: Where) -> str | None:
        if not where.file or not where.line or Path(where.file).is_absolute():
            return None
        found = lines(where.file)
        return masked(found[where.line - 1].rstrip("\r")) if where.line <= len(found) else None

    return line
