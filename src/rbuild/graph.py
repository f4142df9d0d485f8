"""The stages of a project as a graph: which stage needs which."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from rbuild.errors import Problem, RbuildError
from rbuild.suggest import did_you_mean


def find_cycle(needs: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The stages of one cycle, such as (a, b, a): a needs b, b needs a. Empty where there is none.

    A need that is no key of `needs` is passed over.
    """
    known = {stage: [need for need in wanted if need in needs] for stage, wanted in needs.items()}
    try:
        TopologicalSorter(known).prepare()
    except CycleError as error:
        return tuple(reversed(error.args[1]))  # graphlib goes from what is needed to what needs it
    return ()


class StageGraph:
    """Stages and their needs.

    `needs` has every stage as a key, in the order of the project's file, which decides wherever two orders
    are possible. Raises RbuildError for a cycle, and for a need that is no stage.

    `levels` holds the stages in groups: those of one group need only stages of the groups before it.
    `order` is the same without the groups.
    """

    def __init__(self, needs: Mapping[str, Iterable[str]]) -> None:
        self._needs = {stage: tuple(wanted) for stage, wanted in needs.items()}
        for wanted in self._needs.values():
            self._refuse_unknown(wanted)
        if cycle := find_cycle(self._needs):
            raise RbuildError(
                f"the stages need each other: {' → '.join(cycle)}", hint="remove one of these needs"
            )
        self.levels = self._levels()
        self.order = tuple(stage for level in self.levels for stage in level)
        self._all_needs = self._transitive()

    def needs(self, stage: str) -> tuple[str, ...]:
        """The stages that `stage` itself names, in its own order."""
        return self._needs[stage]

    def all_needs(self, stage: str) -> frozenset[str]:
        """The stages that `stage` needs, directly or through others."""
        return self._all_needs[stage]

    def closure(self, stages: Iterable[str]) -> tuple[str, ...]:
        """`stages` and all that they need, in `order`.

        Raises RbuildError, which names every unknown stage and the one that may have been meant.
        """
        wanted = tuple(stages)
        self._refuse_unknown(wanted)
        members = set(wanted).union(*(self._all_needs[stage] for stage in wanted))
        return tuple(stage for stage in self.order if stage in members)

    def ready(self, stages: Iterable[str], done: Collection[str]) -> tuple[str, ...]:
        """Those of `stages` that are not done, and of whose needs all are done or not among `stages`."""
        members = dict.fromkeys(stages)
        return tuple(
            stage
            for stage in members
            if stage not in done and all(need in done or need not in members for need in self._needs[stage])
        )

    def _refuse_unknown(self, stages: Iterable[str]) -> None:
        problems = [
            Problem(
                what=f"there is no stage {stage[:80]!r}",
                hint=did_you_mean(stage, self._needs) or f"the stages are: {', '.join(self._needs)}",
            )
            for stage in dict.fromkeys(stages)
            if stage not in self._needs
        ]
        if problems:
            raise RbuildError(problems)

    def _levels(self) -> tuple[tuple[str, ...], ...]:
        rank = {stage: at for at, stage in enumerate(self._needs)}
        sorter = TopologicalSorter(self._needs)
        sorter.prepare()
        levels = []
        while sorter:
            level = tuple(sorted(sorter.get_ready(), key=rank.__getitem__))
            sorter.done(*level)
            levels.append(level)
        return tuple(levels)

    def _transitive(self) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for stage in self.order:
            direct = self._needs[stage]
            found[stage] = frozenset(direct).union(*(found[need] for need in direct))
        return found
