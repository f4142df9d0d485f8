"""The instructions of a stage with the variables that each one sees."""

from __future__ import annotations

from collections.abc import Iterator

from rbuild.containerfile.expand import scopes
from rbuild.containerfile.model import Instruction
from rbuild.containerfile.scope import Scope
from rbuild.containerfile.variables import expand
from rbuild.policy.facts import FileFacts


def every_instruction(facts: FileFacts) -> Iterator[tuple[Instruction, Scope]]:
    """Those of the needed targets; what an ONBUILD keeps for later is there as itself, at its line."""
    stage = facts.stage
    every = scopes(
        facts.containerfile, build_args=stage.args, platform=facts.project.platform, target=stage.target
    )
    for instruction, scope in every:
        yield instruction.trigger or instruction, scope


def expanded(word: str, scope: Scope) -> str:
    """A word with its variables replaced. Raises RbuildError where that is not possible."""
    return expand(word, scope.variable)
