"""The values that a Containerfile is made of."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of one physical line; `line` counts from 1, columns from 0."""

    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a logical line: its `length` characters from `at` on are those at `line`, `column`."""

    at: int
    line: int
    column: int
    length: int


@dataclass(frozen=True, slots=True)
class Flag:
    """`--name=value` before an instruction's arguments, quotes removed; `value` is None without a `=`.

    `start` and `end` are where the flag stands in `Instruction.original`, quotes included.
    """

    name: str
    value: str | None
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document of an instruction.

    `content` is as written, each line with its newline; `chomp` (`<<-`) means that leading tabs are still
    to be removed, `expand` that variables are (no part of the name was quoted).
    """

    name: str
    content: str
    expand: bool
    chomp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction: one logical line, with its here-documents.

    `original` is the logical line as the builder shows it and keeps it in the history: continuations joined,
    comments between them gone. `arguments` is what follows the flags. `exec_form` holds the strings of the
    JSON form, where the instruction has one. `line` and `end_line` count from 1 and include here-documents.
    `target` is the index of the build target, None before the first FROM. `trigger` is what an ONBUILD keeps
    for later; its `original` is the whole line.
    """

    keyword: str
    flags: tuple[Flag, ...]
    arguments: str
    exec_form: tuple[str, ...] | None
    heredocs: tuple[Heredoc, ...]
    line: int
    end_line: int
    original: str
    target: int | None
    arguments_start: int = field(repr=False)
    pieces: tuple[Piece, ...] = field(repr=False)
    trigger: Instruction | None = None

    def spans(self, start: int, end: int) -> tuple[Span, ...]:
        """Where characters `start` to `end` of `original` stand in the file; one span a physical line."""
        first = bisect_right(self.pieces, start, key=lambda piece: piece.at) - 1
        spans = []
        for piece in self.pieces[max(first, 0) :]:
            if piece.at >= end:
                break
            low, high = max(start, piece.at), min(end, piece.at + piece.length)
            if low < high:
                shift = piece.column - piece.at
                spans.append(Span(piece.line, low + shift, high + shift))
        return tuple(spans)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTarget:
    """`FROM base AS name` and the instructions up to the next FROM.

    `base` and `platform` are as written: variables in them are not expanded.
    """

    index: int
    name: str | None
    base: str
    platform: str | None
    origin: Instruction  # the FROM
    instructions: tuple[Instruction, ...]  # without the FROM

    @property
    def line(self) -> int:
        return self.origin.line

    @property
    def reference(self) -> str:
        """What the builder calls this target, and what `podman build --target` takes: its name or index."""
        return self.name if self.name is not None else str(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Containerfile:
    """A Containerfile without mistakes of form.

    `lines` are the physical lines with their ends (`"".join(lines)` is the file; bytes that are not UTF-8,
    which only comments may hold, are there as surrogate escapes). `escape` is `\\` or a backtick.
    """

    name: str
    escape: str
    lines: tuple[str, ...] = field(repr=False)
    global_args: tuple[Instruction, ...]
    targets: tuple[BuildTarget, ...]
