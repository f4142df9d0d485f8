"""From physical to logical lines: byte order mark, parser directives, comments, continuations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rbuild.containerfile.model import Piece
from rbuild.containerfile.words import SPACES

# Builders before imagebuilder 1.2.7 (Podman 4) silently stop reading at a longer line.
MAX_LINE = 64 * 1024 - 1

# Only `escape` is a directive to Podman: `# syntax=` and `# check=` are comments, and the first comment or
# instruction ends the directives. BuildKit would still see an `# escape=` after a `# syntax=`.
_ESCAPE = re.compile(r"#[ \t]*escape[ \t]*=[ \t]*(.)")


def split_lines(text: str) -> tuple[str, ...]:
    """The physical lines with their ends. Only a newline ends a line."""
    parts = text.split("\n")
    last = parts.pop()
    lines = [f"{part}\n" for part in parts]
    return (*lines, last) if last else tuple(lines)


@dataclass(frozen=True, slots=True)
class LogicalLine:
    text: str
    line: int
    end_line: int
    pieces: tuple[Piece, ...]


class LineReader:
    """Iterates over the logical lines; here-documents are taken out by the caller between two of them."""

    def __init__(self, lines: tuple[str, ...], report: Callable[[int, str, str | None], None]) -> None:
        self.escape = "\\"
        self.number = 0  # of the physical line that was read last
        self._lines = lines
        self._report = report
        self._directives = True
        self._escape_seen = False

    def __iter__(self) -> Iterator[LogicalLine]:
        while (body := self._next()) is not None:
            start = self.number
            column = 1 if start == 1 and body.startswith("\ufeff") else 0
            column += len(body) - column - len(body[column:].lstrip(SPACES))
            body = body[column:]
            self._directive(body)
            body, more = self._continuation("" if body.startswith("#") else body)
            if not body and not more:
                continue
            parts, pieces, length = [body], [Piece(0, start, column, len(body))], len(body)
            while more and (body := self._next()) is not None:
                self._directive(body)
                if body.lstrip(SPACES)[:1] in ("", "#"):
                    continue
                body, more = self._continuation(body)
                parts.append(body)
                pieces.append(Piece(length, self.number, 0, len(body)))
                length += len(body)
            yield _strip("".join(parts), start, self.number, pieces)

    def heredoc(self, name: str, *, chomp: bool) -> str | None:
        """The content up to the line that only holds `name`; None if there is none."""
        content: list[str] = []
        while (body := self._next()) is not None:
            line = body.rstrip("\r")
            if (line.lstrip("\t") if chomp else line) == name:
                return "".join(content)
            content.append(f"{body}\n")
        return None

    def _next(self) -> str | None:
        if self.number == len(self._lines):
            return None
        line = self._lines[self.number]
        self.number += 1
        if (
            len(line) > MAX_LINE // 4
            and len(line.encode("utf-8", "surrogateescape").rstrip(b"\n")) > MAX_LINE
        ):
            self._report(
                self.number, f"the line is longer than {MAX_LINE} bytes", "break it with a continuation"
            )
        return line.removesuffix("\n").removesuffix("\r")

    def _continuation(self, body: str) -> tuple[str, bool]:
        stripped = body.rstrip(" \t")
        return (stripped[:-1], True) if stripped.endswith(self.escape) else (body, False)

    def _directive(self, body: str) -> None:
        if not self._directives:
            return
        match = _ESCAPE.match(body.lower())
        if not match:
            self._directives = False
        elif self._escape_seen:
            self._report(self.number, "a second escape directive", "keep one `# escape=` line")
        elif match[1] not in "\\`":
            self._report(
                self.number, f"not an escape character: {match[1]!r}", "write `# escape=\\` or a backtick"
            )
        else:
            self._escape_seen = True
            self.escape = match[1]


def _strip(text: str, line: int, end_line: int, pieces: list[Piece]) -> LogicalLine:
    lead = len(text) - len(text.lstrip(SPACES))
    if lead:
        pieces = [Piece(piece.at - lead, piece.line, piece.column, piece.length) for piece in pieces]
    return LogicalLine(text.strip(SPACES), line, end_line, tuple(pieces))
