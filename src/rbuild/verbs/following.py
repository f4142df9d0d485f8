"""What Podman prints while it builds: at which step it is, and which layers came of it.

The output of a RUN arrives on the same pipe, and may look like Podman's own. A line is taken for the start
of a step if it is, word for word, the next one of its build target that Podman has to print. A RUN may print
even that: but then Podman's own line still comes, a second time. So nothing that was printed is believed
any more, once a line of Podman's is not the next one: see `Follower.is_doubtful`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from rbuild.containerfile.model import Instruction
from rbuild.containerfile.steps import Step, Steps
from rbuild.errors import Where
from rbuild.events import Emit, Output, StepStarted
from rbuild.files import says_no_space

_LAST_LINES = 12
_LAYER = re.compile(r"--> (Using cache )?([0-9a-f]{11,64})\Z")
_OWN_LINE = re.compile(r"(?:\[[0-9]+/[0-9]+\] )?COMMIT(?: .*)?\Z|[0-9a-f]{64}\Z")
_PLATFORM = re.compile(r"\AFROM --platform=\S+ ")  # Podman 5 prints it
_COMPARED = 1000  # characters; the longest lines arrive in pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What Podman may print: the steps as the user wrote them, and as the file that it was given has them.

    `needed` are the indexes of the build targets that are built. No step of others counts: they have a FROM
    at most, and some versions of Podman print not even that.
    """

    written: Steps
    given: Steps
    needed: Collection[int]

    def step(self, output: str) -> Step | None:
        """The step that a line of output starts, if it is word for word what Podman prints."""
        written, given = self.written.read(output), self.given.read(output)
        if written is None or given is None or written.target - 1 not in self.needed:
            return None
        return written if _says(given, self.given) else None


def _says(step: Step, given: Steps) -> bool:
    target = given.targets[step.target - 1]
    if step.number == 1:
        # Of a base that is a target, versions of Podman may print another name.
        names = {one.name.lower() for one in given.targets if one.name}
        if target.base.lower() in names:
            return step.text.startswith("FROM ")
        text = _PLATFORM.sub("FROM ", step.text, count=1)
        return text == f"FROM {target.base}" or text.startswith(f"FROM {target.base} AS ")
    if step.is_trigger:
        return True  # the text is in the base, not in this file
    return step.text.startswith(step.instruction.original[:_COMPARED])


class Follower:
    """Takes Podman's output line by line.

    `file` is what messages call the Containerfile, `hide` blots out secrets. `is_full` is asked, at the very
    moment, when a line says that there is no space left: what a failing RUN wrote is gone a moment later.
    """

    def __init__(
        self,
        expected: Expected,
        *,
        stage: str,
        file: str,
        emit: Emit,
        log: Callable[[str], None],
        hide: Callable[[str], str],
        is_full: Callable[[], bool],
    ) -> None:
        self._expected = expected
        self._stage = stage
        self._file = file
        self._emit = emit
        self._log = log
        self._hide = hide
        self._is_full = is_full
        self._at: dict[int, Step] = {}  # where each build target is; Podman changes between them
        self._instructions: dict[int, Instruction] = {}
        self._printed = False  # whether a RUN printed something since Podman's last line
        self.number = 0  # of the step, counted over all build targets
        self.instruction: Instruction | None = None
        self.layers: dict[int, dict[str, bool]] = {}  # step → the layers' IDs, and whether they were cached
        self.is_doubtful = False  # whether a step, with what it read, may have been taken for another one
        self.last: list[str] = []  # lines that the step printed
        self.found_full = False  # whether the step found Podman's storage full

    def where(self, step: int | None) -> Where:
        """The line of the Containerfile that a step is about."""
        instruction = self._instructions.get(step or 0)
        return Where(file=self._file, line=instruction.line if instruction else None)

    def line(self, text: str) -> None:
        """Take one line of Podman's output."""
        shown = self._hide(text)
        self._log(shown)
        if (step := self._expected.step(text)) and self._is_possible(step):
            if self._is_next(step):
                self._begin(step)
                return
            self.is_doubtful = True
        elif _OWN_LINE.match(text):
            return  # an ID is Podman's name for the image, which is not its digest
        layer = _LAYER.search(text)
        if layer is None or layer.start() > 0:
            self._take_output(shown)
        if layer is not None:
            self._note_layer(layer)

    def _is_possible(self, step: Step) -> bool:
        """Whether Podman may print that: for a trigger it is the number of steps that has to be right."""
        before = self._at.get(step.target)
        return not step.is_trigger or (before is not None and before.total == step.total)

    def _is_next(self, step: Step) -> bool:
        before = self._at.get(step.target)
        if before is None:
            return step.number == 1
        return step.number == before.number + 1 and step.total == before.total

    def _begin(self, step: Step) -> None:
        self._at[step.target] = step
        self.number += 1
        self.instruction = self._instructions[self.number] = step.instruction
        self._printed = self.found_full = False
        self.last = []
        self._emit(
            StepStarted(
                stage=self._stage,
                number=step.number,
                total=step.total,
                text=self._hide(step.instruction.original),
                line=step.instruction.line,
            )
        )

    def _note_layer(self, found: re.Match[str]) -> None:
        """Note the layer that the end of a line announces; the output of a RUN may have no end of line.

        Several layers may be announced at one step: by a RUN that likes to, and when Podman goes on with
        another build target. A cached one is announced twice, the second time as if it were new; a RUN whose
        layer is cached prints nothing before.
        """
        cached = found[1] is not None and not self._printed
        self.layers.setdefault(self.number, {}).setdefault(found[2][:11], cached)
        self._printed = False

    def _take_output(self, text: str) -> None:
        self._printed = True
        if text.startswith("Error: building at STEP ") and (found := text.rpartition('": '))[0]:
            text = f"Error: {found[2]}"  # the step is shown already
        if says_no_space(text) and self._is_full():
            self.found_full = True
        self.last = [*self.last[1 - _LAST_LINES :], text]
        self._emit(Output(stage=self._stage, text=text))
