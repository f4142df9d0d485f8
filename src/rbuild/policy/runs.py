"""The commands of RUN instructions: shell and exec form, `sh -c`, here-documents, whatever SHELL says."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from rbuild.containerfile.expand import resolve, scopes
from rbuild.containerfile.model import Instruction
from rbuild.policy.facts import FileFacts
from rbuild.policy.model import Violation
from rbuild.policy.shell import Redirection, Simple, line_at, line_starts, read_script
from rbuild.policy.wrappers import SHELLS, executed, is_shell, program, unwrap

_MAX_SCRIPTS = 4  # in one another, by `sh -c`
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_VARIABLE = re.compile(
    r"\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?::?-(?P<default>[^{}$]*))?\})"
)
_POSIX = ("/bin/sh", "-c")
_MAX_VALUE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command that a RUN runs, with wrappers (`sudo`, `env`, `xargs`, …) taken off into `through`.

    `words` begin with the program; quotes are removed, variables and substitutions stand as written. `lines`
    are the physical lines of the words. `pipelines` are those that it is in, from the outermost, each with
    its place there. `joined` is the operator before it: &&, ||, ;, |, &, a newline. `inside` is the number of
    the command in whose words it is substituted.
    """

    number: int
    words: tuple[str, ...]
    lines: tuple[int, ...]
    line: int
    assignments: tuple[tuple[str, str], ...]
    redirections: tuple[Redirection, ...]
    pipelines: tuple[tuple[int, int], ...]
    joined: str
    inside: int | None
    through: tuple[str, ...]
    text: str = field(repr=False)

    @property
    def name(self) -> str:
        """The program without its folder; empty for a command that only assigns or redirects."""
        return program(self.words[0]) if self.words else ""

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.words[1:]

    def has(self, *options: str) -> bool:
        """Whether one of these options is among the arguments: `-y` also as `-qy`, `--a` as `--a=1`."""
        for word in self.arguments:
            if not word.startswith("-"):
                continue
            for option in options:
                if word == option or word.startswith(f"{option}="):
                    return True
                if len(option) == 2 and not word.startswith("--") and option[1] in word[1:]:
                    return True
        return False

    def operands(self, with_value: tuple[str, ...] = ()) -> tuple[tuple[str, int], ...]:
        """The arguments that are no options, nor values of the options in `with_value`, with their lines."""
        found, skip, ended = [], False, False
        for word, line in zip(self.arguments, self.lines[1:], strict=True):
            if skip:
                skip = False
            elif word == "--" and not ended:
                ended = True
            elif word.startswith("-") and word != "-" and not ended:
                skip = word in with_value
            else:
                found.append((word, line))
        return tuple(found)

    def feeds(self, places: Mapping[int, int]) -> bool:
        """Whether its output is what another one reads, by the last places of those in each pipeline."""
        return any(places.get(pipeline, place) > place for pipeline, place in self.pipelines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A RUN with its commands, in the order in which they begin.

    `variables` are those that ARG and ENV set before it, or it sets itself, as far as they are known. `fed`
    is the last place of each pipeline. `shell` runs the shell form; where that is no shell whose language
    is known, there are no commands.
    """

    instruction: Instruction
    commands: tuple[Command, ...]
    variables: Mapping[str, str]
    shell: tuple[str, ...] = _POSIX
    fed: Mapping[int, int] = field(default_factory=dict, repr=False)

    def value(self, word: str) -> str:
        """`word` with the variables replaced that are known: by ARG, ENV, or an assignment in this RUN."""
        if "$" not in word:
            return word

        def of(match: re.Match[str]) -> str:
            value = self.variables.get(match["plain"] or match["braced"], match["default"])
            return match[0] if value is None else value[:_MAX_VALUE]

        word = word[:_MAX_VALUE]
        for _ in range(3):  # a value may hold variables itself
            replaced = _VARIABLE.sub(of, word)[:_MAX_VALUE]
            if replaced == word:
                break
            word = replaced
        return word


def about(
    facts: FileFacts, command: Command, message: str, *, line: int | None = None, hint: str | None = None
) -> Violation:
    """A violation by a command, at its line or at the line of one of its words."""
    text = " ".join(command.text[:2000].split())[:300]
    return Violation(message=message, where=facts.at(line or command.line), text=text, hint=hint)


def runs(facts: FileFacts) -> tuple[Run, ...]:
    """Every RUN of the needed targets, ONBUILD RUN included, in the order of the file."""
    known = facts.memo.get("runs")
    if not isinstance(known, tuple):
        known = facts.memo["runs"] = tuple(_runs(facts))
    return known


def with_values(facts: FileFacts) -> tuple[tuple[Instruction, Mapping[str, str]], ...]:
    """Every instruction of the needed targets, with the values that ARG and ENV gave variables up to it."""
    known = facts.memo.get("values")
    if not isinstance(known, tuple):
        known = facts.memo["values"] = tuple(_with_values(facts))
    return known


def _with_values(facts: FileFacts) -> Iterator[tuple[Instruction, Mapping[str, str]]]:
    stage = facts.stage
    every = scopes(
        facts.containerfile, build_args=stage.args, platform=facts.project.platform, target=stage.target
    )
    values: dict[str, str] = {}
    target: int | None = None
    for instruction, scope in every:
        if instruction.target != target or instruction.keyword in ("ARG", "ENV"):
            target = instruction.target
            found = {**scope.args, **scope.env}
            values = {name: value for name, value in found.items() if isinstance(value, str)}
        yield instruction, values


def _runs(facts: FileFacts) -> Iterator[Run]:
    args, platform, target = facts.stage.args, facts.project.platform, facts.stage.target
    resolved = resolve(facts.containerfile, build_args=args, platform=platform, target=target)
    parents = {use.target: use.index for use in resolved.targets if use.kind == "FROM"}
    shells: dict[int, tuple[str, ...]] = {}
    for written, variables in with_values(facts):
        instruction = written.trigger or written
        index = written.target or 0
        shell = shells.setdefault(index, shells.get(parents.get(index, -1), _POSIX))
        if written.keyword == "SHELL":
            shells[index] = written.exec_form or _POSIX
        elif instruction.keyword == "RUN":
            commands = read_commands(instruction, shell)
            assigned = {name: value for one in commands for name, value in one.assignments}
            yield Run(
                instruction=instruction,
                commands=commands,
                variables={**variables, **assigned} if assigned else variables,
                shell=shell,
                fed=last_places(commands),
            )


def last_places(commands: Iterable[Command]) -> dict[int, int]:
    """The last place of each pipeline that one of these commands stands at."""
    found: dict[int, int] = {}
    for command in commands:
        for pipeline, place in command.pipelines:
            found[pipeline] = max(found.get(pipeline, 0), place)
    return found


def read_commands(instruction: Instruction, shell: tuple[str, ...] = _POSIX) -> tuple[Command, ...]:
    """The commands of a RUN, CMD or ENTRYPOINT; `shell` is what SHELL says."""
    reader = _Reader(instruction)
    if instruction.exec_form is not None:
        return reader.exec_form(instruction.exec_form)
    if not is_shell(shell):
        return ()
    return reader.shell_form()


Place = Callable[[int], int]  # from a place in a script to one in the instruction's whole text


@dataclass(frozen=True, slots=True)
class _Source:
    """A script in an instruction; `place` leads from a place in it to one in the instruction's text."""

    text: str
    place: Place
    through: tuple[str, ...]
    depth: int  # of scripts in scripts


class _Reader:
    def __init__(self, instruction: Instruction) -> None:
        self._instruction = instruction
        self._arguments = instruction.arguments
        documents = "".join(f"{one.content}{one.name}\n" for one in instruction.heredocs)
        self._text = f"{self._arguments}\n{documents}" if documents else self._arguments
        self._starts = line_starts(self._text)
        self._last = max((piece.line for piece in instruction.pieces), default=instruction.line)
        self._numbers = 0
        self._pipelines = 0
        self._found: list[Command] = []

    def shell_form(self) -> tuple[Command, ...]:
        self._script(_Source(self._text, lambda at: at, (), 0))
        return tuple(self._found)

    def exec_form(self, words: tuple[str, ...]) -> tuple[Command, ...]:
        at = [match.start() + 1 for match in _STRING.finditer(self._arguments)][: len(words)]
        at += [0] * (len(words) - len(at))
        if words:
            one = Simple(0, words, tuple(at), 0, len(self._arguments), (), (), ((0, 0),), "", None)
            self._command(one, _Source(self._arguments, lambda place: place, (), 0), known=False)
        return tuple(self._found)

    def _script(self, source: _Source, *, known: bool = False) -> None:
        """`known`: what is substituted in it was found where it was written, outside of it."""
        first, pipelines = self._numbers, self._pipelines
        commands = [one for one in read_script(source.text) if not (known and one.inside is not None)]
        numbers = [pipeline for one in commands for pipeline, _ in one.pipelines]
        low = min(numbers, default=0)
        self._numbers += max((one.number for one in commands), default=0) + 1
        self._pipelines += max(numbers, default=0) - low + 1
        holding = {one.inside for one in commands}
        for one in commands:
            moved = replace(
                one,
                number=first + one.number,
                inside=None if one.inside is None else first + one.inside,
                pipelines=tuple((pipelines + number - low, at) for number, at in one.pipelines),
            )
            self._command(moved, source, known=one.number in holding)

    def _command(self, simple: Simple, source: _Source, *, known: bool) -> None:
        unwrapped = unwrap(simple.words)
        passed = source.through + unwrapped.through
        first = unwrapped.first if unwrapped.first < len(simple.words) else 0
        lines = tuple(self._line(source.place(at)) for at in simple.at[first:])
        command = Command(
            number=simple.number,
            words=simple.words[first:],
            lines=lines,
            line=lines[0] if lines else self._line(source.place(simple.start)),
            assignments=simple.assignments,
            redirections=simple.redirections,
            pipelines=simple.pipelines,
            joined=simple.joined,
            inside=simple.inside,
            through=passed,
            text=source.text[simple.start : simple.end].strip(),
        )
        self._found.append(command)
        for at in executed(command.words):
            through = (*passed, "find")
            words, lines = command.words[at:], command.lines[at:]
            self._found.append(replace(command, words=words, lines=lines, line=lines[0], through=through))
        if source.depth >= _MAX_SCRIPTS:
            return
        if unwrapped.script is not None:
            inner = _word_source(simple, unwrapped.script, source, (*passed, command.name))
            self._script(inner, known=known)
        elif not command.words or (command.name in SHELLS and not command.operands()):
            for one in simple.redirections:
                if one.body and _for_shell(one.body):
                    self._script(_body_source(one, source, (*passed, *command.words[:1])))

    def _line(self, at: int) -> int:
        """The physical line of a place in the text."""
        if at > len(self._arguments):
            return self._last + line_at(self._starts, at) - line_at(self._starts, len(self._arguments))
        start = self._instruction.arguments_start + at
        pieces = self._instruction.pieces
        if not pieces:
            return self._instruction.line
        return pieces[max(bisect_right(pieces, start, key=lambda piece: piece.at) - 1, 0)].line


def _word_source(simple: Simple, index: int, source: _Source, through: tuple[str, ...]) -> _Source:
    """The script in one word. Its places are known to the character where it is simply in quotes."""
    at, text = simple.at[index], simple.words[index]
    if through[-1] == "eval":
        text = " ".join(simple.words[index:])
    if source.text.startswith(text, at + 1) and source.text[at : at + 1] in ("'", '"'):
        return _Source(text, lambda inner: source.place(at + 1 + inner), through, source.depth + 1)
    return _Source(text, lambda _: source.place(at), through, source.depth + 1)


def _body_source(one: Redirection, source: _Source, through: tuple[str, ...]) -> _Source:
    return _Source(one.body, lambda at: source.place(one.body_at + at), through, source.depth + 1)


def _for_shell(body: str) -> bool:
    """Whether a here-document is run by the shell: it has no `#!`, or one that names a shell."""
    if not body.startswith("#!"):
        return True
    return is_shell(tuple(body[2:].split("\n", 1)[0].split()))
