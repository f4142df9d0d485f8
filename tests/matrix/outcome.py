"""What became of a row of the matrix."""

from __future__ import annotations

from dataclasses import dataclass, field

from axes import Row


@dataclass(slots=True)
class Outcome:
    """What became of one row."""

    row: Row
    builds: int = 0
    differing: list[str] = field(default_factory=list)  # project/stage
    refused: int = 0  # with a clear error, as expected
    failures: list[str] = field(default_factory=list)  # what else went wrong, in words
    cached: int = 0
    seconds: float = 0.0
