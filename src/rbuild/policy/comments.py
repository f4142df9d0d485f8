"""Waivers in comments of a Containerfile: `# rbuild: allow=RB101 until=2027-01-31 owner=ann reason=…`.

One stands on the lines before the instruction that it is about, or between its continued lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rbuild.containerfile.model import Containerfile, Instruction
from rbuild.errors import RbuildError, Where
from rbuild.policy.model import Violation, Waiver
from rbuild.policy.policyfile import Day

_COMMENT = re.compile(r"[ \t]*#[ \t]*rbuild:[ \t]*(?P<said>.*?)[ \t\r\n]*\Z")
_WORD = re.compile(r"(?P<key>[a-z]+)=(?P<value>\S+)\s*")
_FORM = "# rbuild: allow=RB101 until=2027-01-31 owner=NAME reason=WHY"
_NOBODY = "whoever committed the comment"


@dataclass(frozen=True, slots=True)
class CommentWaivers:
    """The waivers of a Containerfile, and the comments that should be one and are none."""

    waivers: tuple[Waiver, ...]
    broken: tuple[Violation, ...]


def comment_waivers(containerfile: Containerfile, stage: str) -> CommentWaivers:
    """Read the waivers of a stage's Containerfile. They hold for the file as this stage builds it."""
    waivers: list[Waiver] = []
    broken: list[Violation] = []
    instructions = sorted(_instructions(containerfile), key=lambda one: one.line)
    for number, text in enumerate(containerfile.lines, 1):
        match = _COMMENT.match(text)
        if match is None:
            continue
        around = next((one for one in instructions if one.line < number <= one.end_line), None)
        if around is not None and _in_heredoc(around, number):
            continue
        about = around or next((one for one in instructions if one.line > number), None)
        where = Where(file=containerfile.name, line=number)
        try:
            waivers.append(_waiver(match["said"], about, where, stage))
        except RbuildError as error:
            broken += (
                Violation(message=one.what, where=where, text=text.strip()[:200], hint=one.hint or _FORM)
                for one in error.problems
            )
    return CommentWaivers(tuple(waivers), tuple(broken))


def _instructions(containerfile: Containerfile) -> Iterator[Instruction]:
    yield from containerfile.global_args
    for target in containerfile.targets:
        yield target.origin
        yield from target.instructions


def _in_heredoc(instruction: Instruction, line: int) -> bool:
    """Whether a line is part of a here-document: it comes after the last physical line of the instruction."""
    last = max((piece.line for piece in instruction.pieces), default=instruction.line)
    return bool(instruction.heredocs) and line > last


def _waiver(said: str, about: Instruction | None, where: Where, stage: str) -> Waiver:
    values: dict[str, str] = {}
    rest = said
    while rest:
        if rest.startswith("reason="):
            values["reason"] = rest.removeprefix("reason=").strip()
            break
        match = _WORD.match(rest)
        if match is None or match["key"] not in ("allow", "until", "owner"):
            raise RbuildError(f"a waiver in a comment has no {rest.split(maxsplit=1)[0][:40]!r}")
        values[match["key"]] = match["value"]
        rest = rest[match.end() :]
    missing = [key for key in ("allow", "until", "reason") if not values.get(key)]
    if missing:
        raise RbuildError(f"a waiver in a comment without {' and '.join(missing)}")
    if about is None:
        raise RbuildError("a waiver in a comment stands before no instruction")
    return Waiver(
        rule=values["allow"],
        reason=values["reason"],
        owner=values.get("owner", _NOBODY),
        expires=Day.parse(values["until"]).date,
        where=where,
        stage=stage,
        at=(where.file or "", about.line, about.end_line),
    )
