"""A Containerfile as the builder understands it, written so plainly that other parsers cannot misread it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from rbuild.containerfile.model import Containerfile, Heredoc, Instruction

_NAME = "RBUILD_END"
_BLANK = str.maketrans("\v\f\r", "   ")
_PRAGMA = "# hadolint ignore=DL3000"
_IGNORES = re.compile(r"\s*#\s*hadolint\s+(?:global\s+)?ignore\b")
_TAKES_JSON = frozenset({"ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"})


@dataclass(frozen=True, slots=True)
class Flat:
    """`text`, and for each of its lines the line of the instruction in the file; lines count from 1."""

    text: bytes
    lines: tuple[int, ...]

    def line(self, number: int) -> int:
        """The line of the file that a line of `text` stands for; the nearest, for one that is not there."""
        return self.lines[min(max(number, 1), len(self.lines)) - 1] if self.lines else 1


def flattened(containerfile: Containerfile, *, without: Collection[int] = ()) -> Flat:
    """Every instruction on one line: no continuations, one here-document at most, and no comments but that
    there was one that tells a linter to ignore something.

    The keyword is in capitals, the JSON form is JSON and nothing after it. A RUN that is a script in a
    here-document stays one; any other here-document becomes an empty file, or a name. Instructions that
    begin on lines of `without` are left out.
    """
    out: list[str] = []
    lines: list[int] = []
    if containerfile.escape != "\\":
        out.append(f"# escape={containerfile.escape}")
        lines.append(1)
    pragmas = _pragmas(containerfile)
    for instruction in _instructions(containerfile):
        while pragmas and pragmas[0] < instruction.line:
            out.append(_PRAGMA)
            lines.append(pragmas.pop(0))
        if instruction.line in without:
            continue
        written = _written(instruction, containerfile.escape)
        out += written
        lines += [instruction.line] * len(written)
    text = "".join(f"{line}\n" for line in out)
    return Flat(text.encode("utf-8", "replace"), tuple(lines))


def _instructions(containerfile: Containerfile) -> list[Instruction]:
    found = list(containerfile.global_args)
    for target in containerfile.targets:
        found += [target.origin, *target.instructions]
    return found


def _pragmas(containerfile: Containerfile) -> list[int]:
    """The lines of comments that tell hadolint to ignore something."""
    found = [number for number, line in enumerate(containerfile.lines, 1) if _IGNORES.match(line)]
    documents = [
        range(max((piece.line for piece in one.pieces), default=one.line) + 1, one.end_line + 1)
        for one in (_instructions(containerfile) if found else ())
        if one.heredocs
    ]
    return [number for number in found if not any(number in lines for lines in documents)]


def _written(instruction: Instruction, escape: str) -> list[str]:
    inner = instruction.trigger or instruction
    keyword = inner.keyword if inner is instruction else f"{instruction.keyword} {inner.keyword}"
    flags = [inner.original[flag.start : flag.end] for flag in inner.flags]
    script = None
    if inner.exec_form is not None and inner.keyword in _TAKES_JSON:
        arguments = json.dumps(inner.exec_form, ensure_ascii=False)
    elif inner.heredocs:
        script = _script(inner)
        arguments = f"<<{_NAME}" if script is not None else _without_heredocs(inner)
    elif inner.keyword == "WORKDIR" and len(name := inner.arguments.strip("'\"")) < 2:
        arguments = name if name == "/" else f"{name or '.'}/"  # over a single letter hadolint 2.15 falls
    else:
        arguments = inner.arguments
    if not arguments.startswith("["):  # where one of these decides that it is no JSON
        arguments = arguments.translate(_BLANK)
    end = ("--",) if arguments.startswith("--") else ()
    line = " ".join((keyword, *flags, *end, arguments)).replace("\0", "\ufffd")
    bare = line.rstrip()
    # What is stripped from the end may have kept an escape there from continuing the line.
    if bare.endswith(escape):
        bare = bare.rstrip(escape) + "?"
    if script is None:
        return [bare]
    return [bare, *script, _NAME, ""]


def _script(instruction: Instruction) -> list[str] | None:
    """The lines of a RUN that is nothing but a script."""
    if instruction.keyword != "RUN" or len(instruction.heredocs) != 1:
        return None
    if not re.fullmatch(r"[0-9]*<<-?\S+", instruction.arguments):
        return None
    (document,) = instruction.heredocs
    lines = _content(document)
    return None if _NAME in lines else lines


def _content(document: Heredoc) -> list[str]:
    lines = document.content.replace("\0", "\ufffd").split("\n")[:-1]
    return [line.lstrip("\t") if document.chomp else line for line in lines]


def _without_heredocs(instruction: Instruction) -> str:
    instead = "</dev/null" if instruction.keyword == "RUN" else "here-document"
    return re.sub(r"(?<!\S)[0-9]*<<-?(?:\"[^\"]*\"|'[^']*'|\S)+", instead, instruction.arguments)
