"""Containerfiles read as BuildKit 0.12.5 does, and what its own parser makes of them.

The `dockerfile` package wraps that parser. Podman's is an older fork of it. Whatever the two see differently
is an entry of DIFFERENCES, and each entry is a rule that is changed here in rbuild's own parser: so what is
left must be equal to the last character, in every file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import dockerfile

from rbuild.containerfile import heredocs
from rbuild.containerfile.grammar import KEYWORDS
from rbuild.containerfile.lines import LineReader, LogicalLine, split_lines
from rbuild.containerfile.model import Heredoc, Instruction
from rbuild.containerfile.parse import Reading, _Parser, read_instructions
from rbuild.containerfile.words import BLANKS, name_values, split_words, upper

DIFFERENCES = {
    "doubled-escape": "A line that ends in two escapes or more",
    "directives": "Parser directives",
    "carriage-returns": "Several carriage returns before a newline",
    "heredoc-line-ends": "Line ends in a here-document",
}
"""What Podman reads otherwise than BuildKit; docs/containerfiles.md has the reasons."""

NOT_COMPARED = {
    "flags": "A flag with other characters than ASCII",
    "unknown": "An unknown instruction",
    "onbuild": "Flags and here-documents of a trigger",
    "nul": "A NUL",
    "heredoc-versions": "A here-document within `${name#…}` and its kin",
}
"""What the reference cannot tell, or what rbuild refuses to read; docs/containerfiles.md has the reasons."""

_DIRECTIVE = re.compile(r"#[\t\n\f\r ]*([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*\Z")


class _Lines(LineReader):
    _seen: frozenset[str] = frozenset()

    def _next(self) -> str | None:
        body = super()._next()
        return None if body is None else body.rstrip("\r")  # carriage-returns

    def _continuation(self, body: str) -> tuple[str, bool]:
        stripped = body.rstrip(" \t")
        if stripped.endswith(self.escape * 2):  # doubled-escape
            return body, False
        return super()._continuation(body)

    def _directive(self, body: str) -> None:  # directives
        match = _DIRECTIVE.match(body) if self._directives else None
        name = match[1].lower() if match else ""
        if not match or name not in ("escape", "syntax"):
            self._directives = False
        elif name in self._seen:
            self._report(self.number, f"a second {name} directive", None)
        elif name == "escape" and match[2] not in ("\\", "`"):
            self._report(self.number, "not an escape character", None)
        elif name == "escape":
            self.escape = match[2]
        self._seen |= {name}

    def heredoc(self, name: str, *, chomp: bool) -> str | None:
        start = self.number
        content = super().heredoc(name, chomp=chomp)
        return None if content is None else "".join(self._lines[start : self.number - 1])  # heredoc-line-ends


class _BuildKit(_Parser):
    def __init__(self, text: str) -> None:
        super().__init__("f", split_lines(text))
        self._reader: LineReader = _Lines(self._lines, self._report)

    def _openings(self, logical: LogicalLine) -> list[Heredoc]:
        try:
            return heredocs._openings(logical.text, modern=False)
        except ValueError as error:
            self._report(logical.line, str(error), None)
            return []


@dataclass(frozen=True, slots=True)
class View:
    """What is compared of an instruction: where it stands, what it is, and all that it is given."""

    line: int
    end_line: int
    keyword: str
    trigger: str | None = None
    flags: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    heredocs: tuple[tuple[str, str], ...] = ()


def as_podman(text: bytes) -> Reading:
    """What rbuild makes of a file."""
    return read_instructions(text.replace(b"\0", b"\1"), "f")


def as_buildkit(text: bytes) -> Reading:
    """What rbuild's parser makes of a file under BuildKit's rules."""
    return _BuildKit(text.replace(b"\0", b"\1").decode("utf-8", "surrogateescape")).read()


def views(reading: Reading) -> list[View]:
    return [_view(instruction, reading) for instruction in reading.instructions]


def reference(text: bytes, reading: Reading) -> list[View] | str:
    """What the reference parser makes of a file, as far as that can be compared; or what it says against it.

    `reading` is rbuild's own, which says what NOT_COMPARED applies to.
    """
    try:
        commands = dockerfile.parse_string(text.replace(b"\0", b"\1").decode())
    except dockerfile.GoParseError as error:
        return str(error)
    except UnicodeDecodeError as error:
        # A flag that ends in the middle of a character: the package hands nothing out then.
        garbled = any(_is_garbled(instruction, reading) for instruction in reading.instructions)
        return views(reading) if garbled else str(error)
    found = []
    for number, command in enumerate(commands):
        keyword = upper(command.cmd or "")
        trigger = upper(command.sub_cmd) if command.sub_cmd else None
        view = View(command.start_line, command.end_line, keyword, trigger)
        ours = reading.instructions[number] if number < len(reading.instructions) else None
        if ours and _is_garbled(ours, reading):
            view = View(command.start_line, command.end_line, keyword)
        elif _is_compared(keyword, trigger):
            documents = tuple((one.name, one.content) for one in command.heredocs)
            hidden = keyword == "ONBUILD"
            view = View(
                command.start_line,
                command.end_line,
                keyword,
                trigger,
                () if hidden else command.flags,
                command.value,
                () if hidden else documents,
            )
        found.append(_folded(view))
    return found


def _view(instruction: Instruction, reading: Reading) -> View:
    trigger = instruction.trigger.keyword if instruction.trigger else None
    view = View(instruction.line, instruction.end_line, instruction.keyword, trigger)
    if _is_garbled(instruction, reading):
        return _folded(View(instruction.line, instruction.end_line, instruction.keyword))
    if not _is_compared(view.keyword, trigger):
        return _folded(view)
    hidden = trigger is not None
    return View(
        instruction.line,
        instruction.end_line,
        instruction.keyword,
        trigger,
        () if hidden else tuple(_written(flag.name, flag.value) for flag in instruction.flags),
        _values(instruction.trigger or instruction, reading.escape),
        () if hidden else tuple((one.name, one.content) for one in instruction.heredocs),
    )


def _is_compared(keyword: str, trigger: str | None) -> bool:
    return keyword in KEYWORDS and (trigger is None or trigger in KEYWORDS)


def _is_garbled(instruction: Instruction, reading: Reading) -> bool:
    return any(
        problem.where is not None and problem.where.line == instruction.line and "ASCII" in problem.what
        for problem in reading.problems
    )


def _folded(view: View) -> View:
    """Unknown words are shown by each in a case of its own."""
    if _is_compared(view.keyword, view.trigger):
        return view
    return View(view.line, view.end_line, view.keyword.casefold(), (view.trigger or "").casefold())


def _written(name: str, value: str | None) -> str:
    return f"--{name}" if value is None else f"--{name}={value}"


def _values(instruction: Instruction, escape: str) -> tuple[str, ...]:
    keyword, text, strings = instruction.keyword, instruction.arguments, instruction.exec_form
    try:
        if keyword in ("ENV", "LABEL"):
            return tuple(part for pair in name_values(text, escape) for part in pair)
    except ValueError as error:  # the reference refuses it as well, or this is no value of its
        return (str(error),)
    if keyword == "ARG":
        return tuple(split_words(text, escape))
    if not text:
        return ()
    if keyword == "HEALTHCHECK":
        kind, *rest = BLANKS.split(text, maxsplit=1)
        return (kind, *(rest if strings is None else strings))
    if strings is not None:
        return strings
    return tuple(BLANKS.split(text)) if keyword in ("ADD", "COPY", "EXPOSE", "FROM", "VOLUME") else (text,)
