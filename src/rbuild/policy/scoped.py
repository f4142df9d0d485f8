"""What the instructions of a stage say once their variables are replaced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rbuild.containerfile.expand import scopes
from rbuild.containerfile.model import Instruction
from rbuild.containerfile.scope import Scope
from rbuild.containerfile.variables import expand
from rbuild.containerfile.words import split_words
from rbuild.errors import RbuildError
from rbuild.policy.facts import FileFacts


@dataclass(frozen=True, slots=True)
class Said:
    """What an instruction says of users (USER, --chown) or ports (EXPOSE); `values` is expanded."""

    instruction: Instruction
    values: tuple[str, ...]


def said(facts: FileFacts) -> tuple[Said, ...]:
    """Those of the needed targets, in the order of the file; of an ONBUILD what it keeps for later.

    What cannot be expanded is left out: the build says what is wrong with it.
    """
    known = facts.memo.get("said")
    if not isinstance(known, tuple):
        known = facts.memo["said"] = tuple(_said(facts))
    return known


def _said(facts: FileFacts) -> Iterator[Said]:
    stage = facts.stage
    every = scopes(
        facts.containerfile, build_args=stage.args, platform=facts.project.platform, target=stage.target
    )
    for written, scope in every:
        instruction = written.trigger or written
        words: list[str] = []
        if instruction.keyword == "USER":
            words = [instruction.arguments]
        elif instruction.keyword == "EXPOSE":
            words = split_words(instruction.arguments, facts.containerfile.escape)
        elif instruction.keyword in ("COPY", "ADD"):
            words = [flag.value for flag in instruction.flags if flag.name == "chown" and flag.value]
        if words:
            yield Said(instruction, tuple(_expanded(words, scope)))


def _expanded(words: list[str], scope: Scope) -> Iterator[str]:
    for word in words:
        try:
            yield expand(word, scope.variable).strip()
        except RbuildError:
            continue
