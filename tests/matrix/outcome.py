"""What became of a row of the matrix, and the journal from which an interrupted run goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

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


def read_journal(path: Path) -> dict[str, Outcome]:
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text().splitlines():
        values = json.loads(line)
        found[values["row"]] = Outcome(**{**values, "row": Row.parse(values["row"])})
    return found


def write_journal(path: Path, outcome: Outcome) -> None:
    path.parent.mkdir(exist_ok=True)
    values = {name: getattr(outcome, name) for name in outcome.__slots__}
    with path.open("a") as file:
        file.write(json.dumps({**values, "row": str(outcome.row)}) + "\n")
