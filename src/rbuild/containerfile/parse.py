"""Bytes to a Containerfile; all mistakes of form are reported at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from rbuild.containerfile import grammar
from rbuild.containerfile.heredocs import heredoc_openings
from rbuild.containerfile.lines import LineReader, LogicalLine, split_lines
from rbuild.containerfile.model import BuildTarget, Containerfile, Flag, Heredoc, Instruction
from rbuild.containerfile.words import BLANKS, SPACES, read_flags, upper
from rbuild.errors import Problem, RbuildError, Where

MAX_SIZE = 1024 * 1024
_MAX_PROBLEMS = 50


def parse(text: bytes, name: str) -> Containerfile:
    """Read a Containerfile as Podman does, here-documents (Podman 5) included.

    `name` is what messages call the file. Raises RbuildError with every mistake of form in the file, each
    with its line. Variables are not expanded here, and no image is looked for.
    """
    return _Parser(name, split_lines(_bounded(text, name).decode("utf-8", "surrogateescape"))).parse()


@dataclass(frozen=True, slots=True)
class Reading:
    """Every instruction of a file in its order, those with mistakes as well, and all mistakes."""

    instructions: tuple[Instruction, ...]
    escape: str
    problems: tuple[Problem, ...]


def read_instructions(text: bytes, name: str) -> Reading:
    """What the parser makes of a file, also of one with mistakes. Raises RbuildError over the limit."""
    parser = _Parser(name, split_lines(_bounded(text, name).decode("utf-8", "surrogateescape")))
    return parser.read()


def _bounded(text: bytes, name: str) -> bytes:
    if len(text) > MAX_SIZE:
        raise RbuildError(
            f"the Containerfile has {len(text)} bytes; at most {MAX_SIZE} are read",
            where=Where(file=name),
            hint="COPY large content from the context instead",
        )
    return text


@dataclass(slots=True)
class _OpenTarget:
    name: str | None
    base: str
    origin: Instruction
    instructions: list[Instruction] = field(default_factory=list)


class _Parser:
    def __init__(self, name: str, lines: tuple[str, ...]) -> None:
        self._name = name
        self._lines = lines
        self._reader = LineReader(lines, self._report)
        self._problems: list[Problem] = []
        self._global_args: list[Instruction] = []
        self._targets: list[_OpenTarget] = []
        self._names: dict[str, int] = {}  # of targets, case folded, with the line

    def parse(self) -> Containerfile:
        self.read()
        if not self._targets and not self._problems:
            self._report(None, "no FROM: the file describes no image", "begin with `FROM image`")
        if self._problems:
            raise RbuildError(self._problems[:_MAX_PROBLEMS])
        return Containerfile(
            name=self._name,
            escape=self._reader.escape,
            lines=self._lines,
            global_args=tuple(self._global_args),
            targets=tuple(_close(index, target) for index, target in enumerate(self._targets)),
        )

    def read(self) -> Reading:
        instructions = []
        for logical in self._reader:
            instructions.append(self._instruction(logical))
            self._add(instructions[-1])
        return Reading(tuple(instructions), self._reader.escape, tuple(self._problems))

    def _report(self, line: int | None, what: str, hint: str | None) -> None:
        self._problems.append(Problem(what=what, where=Where(file=self._name, line=line), hint=hint))

    def _instruction(self, logical: LogicalLine) -> Instruction:
        instruction = self._read(logical, start=0)
        trigger = instruction
        if instruction.keyword == "ONBUILD" and instruction.arguments:
            trigger = self._read(logical, start=instruction.arguments_start)
            if trigger.keyword in ("ONBUILD", "FROM", "MAINTAINER"):
                self._report(logical.line, f"{trigger.keyword} cannot be an ONBUILD trigger", None)
        heredocs: list[Heredoc] = []
        if trigger.keyword in grammar.HEREDOC_KEYWORDS and trigger.exec_form is None:
            for opening in self._openings(logical):
                content = self._reader.heredoc(opening.name, chomp=opening.chomp)
                if content is None:
                    self._report(
                        logical.line,
                        f"the here-document {opening.name[:40]!r} does not end",
                        f"end it with a line that holds only {opening.name[:40]}",
                    )
                heredocs.append(replace(opening, content=content or ""))
        if not _is_text(logical.text) or not all(_is_text(heredoc.content) for heredoc in heredocs):
            self._report(logical.line, "the instruction is not valid UTF-8", "save the file as UTF-8")
        documents, end = tuple(heredocs), self._reader.number
        kept = None if trigger is instruction else replace(trigger, heredocs=documents, end_line=end)
        return replace(instruction, heredocs=documents, end_line=end, trigger=kept)

    def _openings(self, logical: LogicalLine) -> list[Heredoc]:
        try:
            return heredoc_openings(logical.text)
        except ValueError as error:
            self._report(logical.line, str(error), "write the line without `<<`, or without the `${…}`")
            return []

    def _read(self, logical: LogicalLine, *, start: int) -> Instruction:
        """The instruction that begins at `start` of a logical line (after ONBUILD, the trigger)."""
        blank = BLANKS.search(logical.text, start)
        keyword = upper(logical.text[start : blank.start() if blank else None])
        arguments_start = blank.end() if blank else len(logical.text)
        flags: tuple[Flag, ...] = ()
        exec_form = None
        mistake = grammar.unknown_keyword(keyword)
        try:
            flags, arguments_start = read_flags(logical.text, arguments_start)
        except ValueError as error:
            mistake = f"{keyword}: {error}", None
        arguments = logical.text[arguments_start:].lstrip(SPACES)
        arguments_start = len(logical.text) - len(arguments)
        try:
            exec_form = grammar.json_form(keyword, arguments)
        except ValueError as error:
            mistake = f"{keyword}: {error}", f'{keyword} ["first", "second"]'
        if mistake is None and keyword != "FROM":
            mistake = grammar.wrong_arguments(keyword, arguments, exec_form, self._reader.escape)
        if mistake:
            self._report(logical.line, *mistake)
        return Instruction(
            keyword=keyword,
            flags=flags,
            arguments=arguments,
            exec_form=exec_form,
            heredocs=(),
            line=logical.line,
            end_line=logical.end_line,
            original=logical.text,
            target=len(self._targets) - 1 if self._targets else None,
            arguments_start=arguments_start,
            pieces=logical.pieces,
        )

    def _add(self, instruction: Instruction) -> None:
        if instruction.keyword == "FROM":
            self._open_target(replace(instruction, target=len(self._targets)))
        elif self._targets:
            self._targets[-1].instructions.append(instruction)
        elif instruction.keyword == "ARG":
            self._global_args.append(instruction)
        elif instruction.keyword in grammar.KEYWORDS:
            self._report(
                instruction.line,
                f"{instruction.keyword} before the first FROM",
                "only ARG may stand before the first FROM",
            )

    def _open_target(self, origin: Instruction) -> None:
        try:
            base, name = grammar.from_words(origin.arguments)
        except ValueError as error:
            self._report(origin.line, str(error), "FROM image AS name")
            base, name = "", None
        for flag in origin.flags:
            if flag.name != "platform" or not flag.value:
                self._report(
                    origin.line, f"FROM does not know --{flag.name[:40]}", "FROM --platform=linux/amd64 image"
                )
        if name is not None:
            first = self._names.setdefault(name.casefold(), origin.line)
            if first != origin.line:
                self._report(
                    origin.line,
                    f"a second build target with the name {name[:80]}; the first is in line {first}",
                    "give it another name",
                )
        self._targets.append(_OpenTarget(name, base, origin))


def _close(index: int, target: _OpenTarget) -> BuildTarget:
    platform = next((flag.value for flag in target.origin.flags if flag.name == "platform"), None)
    return BuildTarget(
        index=index,
        name=target.name,
        base=target.base,
        platform=platform,
        origin=target.origin,
        instructions=tuple(target.instructions),
    )


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\udc80" <= ch <= "\udcff" for ch in text)
