"""What became of a stage that was built under a varied condition."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from rbuild.compare.model import Comparison
from rbuild.digest import Digest
from rbuild.errors import Problem


class Effect(Enum):
    """What a condition does to the digest of an image."""

    NONE = "no change"
    CHANGES = "changes the digest"
    AS_EVER = "differs, as every build does"  # in nothing but what a mere repetition changes as well
    NOT_VARIED = "not varied"
    FAILED = "could not tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A stage that was built under one condition. `what` says how that was varied, or why it was not.

    `digest` is that of the manifest; `comparison` holds the reference against it, where they differ.
    """

    condition: str
    effect: Effect
    what: str
    digest: Digest | None = None
    comparison: Comparison | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def circumstance(self) -> str:
        """The condition as a part of a sentence: with another number of processors."""
        return circumstance(self.condition)


def circumstance(condition: str) -> str:
    """What a build under a condition was made under, in words."""
    return _CIRCUMSTANCES.get(condition, f"with another {condition}")


_CIRCUMSTANCES = {
    "moment": "at a later moment",
    "clock": "under another clock",
    "hostname": "under another host name",
    "cpus": "with another number of processors",
    "umask": "under another umask",
    "path": "at another path",
    "order": "with its files in another order",
    "jobs": "with another number of jobs",
    "environment": "in another environment",
    "driver": "on another storage driver",
    "isolation": "under another isolation",
}
