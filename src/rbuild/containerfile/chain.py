"""Which instructions made an image: those of the wanted build target, and of the targets that it is FROM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rbuild.containerfile.expand import ImageUse, resolve
from rbuild.containerfile.model import BuildTarget, Containerfile, Instruction
from rbuild.containerfile.words import name_values


@dataclass(frozen=True, slots=True)
class Chain:
    """The outside image that it starts from (None: scratch), and every instruction since, without FROMs.

    What a target's ONBUILDs trigger is among the instructions of the target that is FROM it, as the first.
    """

    base: ImageUse | None
    instructions: tuple[Instruction, ...]


def image_chain(
    containerfile: Containerfile, *, build_args: Mapping[str, str], platform: str, target: str | None
) -> Chain:
    """The chain of the image of `target`. Raises as `resolve`."""
    found = resolve(containerfile, build_args=build_args, platform=platform, target=target)
    bases = {use.target: use.index for use in found.targets if use.kind == "FROM"}
    index: int | None = found.wanted
    instructions: tuple[Instruction, ...] = ()
    while index is not None:
        current = containerfile.targets[index]
        if index != found.wanted:
            instructions = (*_triggers(current), *instructions)
        instructions = (*current.instructions, *instructions)
        index = bases.get(current.index)
    base = next((use for use in found.images if use.kind == "FROM" and use.target == current.index), None)
    return Chain(base, instructions)


def _triggers(target: BuildTarget) -> tuple[Instruction, ...]:
    return tuple(one.trigger for one in target.instructions if one.trigger is not None)


def variables_set(instructions: Iterable[Instruction], escape: str) -> frozenset[str]:
    """The names of the variables that the ENVs among these instructions set."""
    return frozenset(
        name
        for instruction in instructions
        if instruction.keyword == "ENV"
        for name, _ in name_values(instruction.arguments, escape)
    )
