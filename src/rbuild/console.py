"""What people see while rbuild works: a live line a stage on a terminal, plain lines elsewhere, on stderr."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

import msgspec

from rbuild.errors import RbuildError
from rbuild.events import Event, Note, Output, Progress, StageDone, StageStarted, StepStarted

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_CONTROL = {code: None for code in (*range(32), 127, *range(128, 160)) if code != 9}


class Screen(Protocol):
    """Something that shows events as they happen; called from any thread."""

    def show(self, event: Event) -> None: ...


def printable(text: str) -> str:
    """Text of a build, without what would move a terminal's cursor or set its title."""
    return text.translate(_CONTROL)


class Quiet:
    """Shows warnings and failures only."""

    def __init__(self, stream: TextIO) -> None:
        self._plain = Plain(stream)

    def show(self, event: Event) -> None:
        if (isinstance(event, Note) and event.level == "warning") or (
            isinstance(event, StageDone) and not event.ok
        ):
            self._plain.show(event)


class JsonLines:
    """One JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def show(self, event: Event) -> None:
        with self._lock:
            print(msgspec.json.encode(event).decode(), file=self._stream, flush=True)


class Plain:
    """Lines with the stage's name before them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._tenths: dict[str, int] = {}

    def show(self, event: Event) -> None:
        text = self._line(event)
        if text is None:
            return
        stage = f"[{event.stage}] " if event.stage else ""
        with self._lock:
            print(stage + printable(text), file=self._stream, flush=True)

    def _line(self, event: Event) -> str | None:
        match event:
            case Progress(text=text, done=done, total=total):
                tenth = done * 10 // total if total else 0
                if self._tenths.get(text) == tenth and done != total:
                    return None
                self._tenths[text] = tenth
                return f"{text} {_amount(event)}"
            case _:
                return _text(event)


def _text(event: Event) -> str | None:
    match event:
        case Note(text=text, level=level):
            return text if level == "info" else f"warning: {text}"
        case StageStarted(why=why):
            return f"building: {why}"
        case StepStarted(number=number, total=total, text=text):
            return f"step {number}/{total}: {text}"
        case Output(text=text):
            return text
        case StageDone(outcome=outcome, digest=digest, seconds=seconds):
            took = f" in {seconds:.1f} s" if seconds is not None else ""
            return f"{outcome}{took}" + (f"  {digest}" if digest else "")
    return None


def _amount(event: Progress) -> str:
    if event.unit == "files":
        return f"{event.done}/{event.total}"
    if not event.total:
        return f"{event.done / 1e6:.1f} MB"
    return f"{event.done / 1e6:.1f}/{event.total / 1e6:.1f} MB"


class _Line:
    """What the live line of one stage says."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.step = ""
        self.last = ""


class Terminal:
    """One live line a stage; what is done scrolls up."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False)
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()
        self.live: Live = Live(
            get_renderable=self._draw, console=self._console, refresh_per_second=8, transient=True
        )

    def show(self, event: Event) -> None:
        from rich.text import Text

        name = event.stage or ""
        with self._lock:
            match event:
                case StageStarted(why=why):
                    self._lines[name] = _Line()
                    self._lines[name].last = why
                case StepStarted(number=number, total=total, text=text):
                    line = self._lines.setdefault(name, _Line())
                    line.step, line.last = f"{number}/{total}", text
                case Output(text=text):
                    if text.strip():
                        self._lines.setdefault(name, _Line()).last = text
                case Progress(text=text):
                    self._lines.setdefault(name, _Line()).last = f"{text} {_amount(event)}"
                    if event.total and event.done >= event.total and not name:
                        self._lines.pop(name, None)
                case StageDone(ok=ok, outcome=outcome, digest=digest, seconds=seconds):
                    self._lines.pop(name, None)
                    mark = Text("✓ ", "green") if ok else Text("✗ ", "bold red")
                    took = f" in {seconds:.1f} s" if seconds is not None else ""
                    said = Text.assemble(mark, (name, "bold"), f"  {outcome}{took}")
                    if digest:
                        said.append(f"  {digest}", "dim")
                    self._console.print(said)
                case Note(text=text, level=level):
                    said = Text(printable(text))
                    if level == "warning":
                        said = Text.assemble(("warning: ", "yellow"), said)
                    self._console.print(Text.assemble((f"{name}  ", "bold"), said) if name else said)

    def _draw(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            lines = sorted(self._lines.items())
        now = time.monotonic()
        rows = [(name, line.step, f"{int(now - line.started)} s", line.last) for name, line in lines]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        rest = max(self._console.width - sum(widths) - 2 * 4, 10)
        grid = Table.grid(padding=(0, 2))
        for width, style in zip(widths, ("bold", "", "cyan"), strict=True):
            grid.add_column(no_wrap=True, min_width=width, style=style)
        grid.add_column(no_wrap=True, style="dim")
        for name, step, elapsed, last in rows:
            text = Text(" ".join(printable(last).split()))
            text.truncate(rest, overflow="ellipsis")
            grid.add_row(name, step, elapsed, text)
        return grid


@contextmanager
def screen(*, quiet: bool, as_json: bool) -> Iterator[Screen]:
    """The screen for this command and this terminal."""
    stream = sys.stderr
    if as_json:
        yield JsonLines(stream)
    elif quiet:
        yield Quiet(stream)
    elif stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "CI" not in os.environ:
        terminal = Terminal(stream)
        with terminal.live:
            yield terminal
    else:
        yield Plain(stream)


def print_error(error: RbuildError, *, as_json: bool) -> None:
    """All that is wrong, on stderr, each with its hint on a line of its own."""
    if as_json:
        problems = [
            {
                "what": problem.what,
                "hint": problem.hint,
                **(
                    {
                        name: getattr(problem.where, name)
                        for name in ("file", "line", "key", "url", "digest")
                        if getattr(problem.where, name) is not None
                    }
                    if problem.where
                    else {}
                ),
            }
            for problem in error.problems
        ]
        print(msgspec.json.encode({"event": "error", "problems": problems}).decode(), file=sys.stderr)
        return
    for problem in error.problems:
        place = f"{problem.where}: " if problem.where and str(problem.where) else ""
        _print_lines(_painted("error:", "1;31"), f"{place}{problem.what}")
        if problem.hint:
            _print_lines(_painted("hint:", "36"), problem.hint)


def _print_lines(label: str, text: str) -> None:
    first, *others = (printable(line) for line in text.split("\n"))
    print("\n".join([f"{label} {first}", *others]), file=sys.stderr)


def _painted(text: str, code: str) -> str:
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        return f"\x1b[{code}m{text}\x1b[0m"
    return text
