"""Which instruction a `STEP` line of Podman's output is about."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rbuild.containerfile.expand import find_target
from rbuild.containerfile.model import BuildTarget, Containerfile, Instruction

_STEP = re.compile(
    r"(?:\[([0-9]{1,6})/([0-9]{1,6})\] )?STEP ([0-9]{1,6})(?:/([0-9]{1,6}))?:\s*((\S*).*)", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step as a line announces it: `number` of `total` of a build target, all counted from 1.

    `total` is 0 where the line has none. For a trigger (ONBUILD) of its base, `instruction` is the FROM.
    """

    target: int
    number: int
    total: int
    text: str
    instruction: Instruction

    @property
    def is_trigger(self) -> bool:
        return self.number > 1 and self.instruction.keyword == "FROM"


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a build of one target: `STEP 3/7: RUN …`, or `[2/3] STEP 1/4: …` with several targets.

    Buildah counts every target up to the wanted one, skipped ones too; a step is a FROM or an instruction
    after it, so an ARG before the first FROM is none.
    """

    targets: tuple[BuildTarget, ...] = field(repr=False)

    def find(self, output: str) -> Instruction | None:
        """The instruction that a line of output announces; None for any other line."""
        step = self.read(output)
        return step.instruction if step else None

    def read(self, output: str) -> Step | None:
        """The step that a line of output announces; None for any other line.

        ONBUILD triggers of a base image count as steps between the FROM and its first instruction; they are
        reported as the FROM, which brought them.
        """
        match = _STEP.match(output)
        if not match:
            return None
        number, count = int(match[1] or 1), int(match[2] or 1)
        if count != len(self.targets) or not 1 <= number <= count:
            return None
        target = self.targets[number - 1]
        step, total = int(match[3]), int(match[4] or 0)
        triggers = max(total - len(target.instructions) - 1, 0) if step > 1 else 0
        position = step - 2 - triggers
        if step < 1 or position >= len(target.instructions):
            return None
        instruction = target.origin if position < 0 else target.instructions[position]
        if position >= 0 and match[6].upper() != instruction.keyword:
            return None
        return Step(target=number, number=step, total=total, text=match[5], instruction=instruction)


def step_lines(containerfile: Containerfile, target: str | None = None) -> Steps:
    """The steps of `podman build --target` of this file. Raises RbuildError if there is no such target."""
    return Steps(containerfile.targets[: find_target(containerfile, target).index + 1])
