"""What happens during a command, as values: the console draws them, `--json` serialises them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=True, omit_defaults=True):
    """The kinds below; `stage` is None for what belongs to no single stage."""

    stage: str | None = None


class Note(Event, frozen=True, kw_only=True, tag="note"):
    """Something that a person wants to know: a base fetched, a lock written."""

    text: str
    level: Literal["info", "warning"] = "info"


class StageStarted(Event, frozen=True, kw_only=True, tag="stage-started"):
    """Work on a stage begins; `why` says what made it necessary."""

    why: str
    steps: int = 0


class StepStarted(Event, frozen=True, kw_only=True, tag="step-started"):
    """Podman came to an instruction: step `number` of `total`, on `line` of the Containerfile."""

    number: int
    total: int
    text: str
    line: int | None = None


class Output(Event, frozen=True, kw_only=True, tag="output"):
    """A line that a build, or a stage that runs, printed."""

    text: str


class Progress(Event, frozen=True, kw_only=True, tag="progress"):
    """How far a long transfer or computation is; `total` is 0 where nobody knows."""

    text: str
    done: int
    total: int
    unit: Literal["bytes", "files"] = "bytes"


class StageDone(Event, frozen=True, kw_only=True, tag="stage-done"):
    """A stage came to its end: `outcome` in one word or two, `digest` of its image where it has one."""

    outcome: str
    ok: bool = True
    digest: str | None = None
    seconds: float | None = None


Emit = Callable[[Event], None]


def silent(_event: Event) -> None:
    """An Emit for callers that draw nothing."""
