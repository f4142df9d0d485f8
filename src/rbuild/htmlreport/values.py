"""What a page is made from."""

from __future__ import annotations

from dataclasses import dataclass

from rbuild.compare.model import Comparison, Verdict
from rbuild.digest import Digest
from rbuild.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A build under one varied condition; `digest` is its image's, None where it was not built.

    `outcome` says in a word or two what came of it, `note` more about it; `comparison` holds the usual image
    against this one.
    """

    name: str  # umask
    digest: Digest | None
    same: bool
    outcome: str | None = None
    note: str | None = None
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """What became of one stage, or of one pair of images.

    `problems` tell why it could not be judged; `locked` and `built` are digests of manifests, for a stage
    that has no `comparison`: identical, or never built.
    """

    name: str
    verdict: Verdict
    comparison: Comparison | None = None
    problems: tuple[Problem, ...] = ()
    locked: Digest | None = None
    built: Digest | None = None
    conditions: tuple[Condition, ...] = ()

    def comparisons(self) -> tuple[tuple[str, Comparison], ...]:
        """All comparisons with what to call them: the stage's own first, then those of varied builds."""
        varied = tuple(
            (f"{self.name}, another {one.name}", one.comparison) for one in self.conditions if one.comparison
        )
        return ((self.name, self.comparison), *varied) if self.comparison else varied
