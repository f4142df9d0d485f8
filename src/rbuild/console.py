"""What people read. On stderr: a live line a stage on a terminal, plain lines elsewhere, and what went wrong.
On stdout: results as text."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

import msgspec

from rbuild.errors import RbuildError
from rbuild.events import Event, Note, Output, Progress, StageDone, StageStarted, StepStarted
from rbuild.jsonout import json_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

# ECMA-48: control sequences, control strings such as a title with their end, and what else ESC begins.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
# C0 but for the tab, DEL, C1, what ends a line elsewhere, and what turns the direction of a text around.
_CONTROLS = (*range(9), *range(10, 32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F))
_CONTROL = dict.fromkeys((*_CONTROLS, *range(0x2066, 0x206A)))
_LONGEST = 1000  # characters of an output line that a terminal may have to show


class Screen(Protocol):
    """Something that shows events as they happen; called from any thread."""

    def show(self, event: Event) -> None: ...


def printable(text: str) -> str:
    """One line of a build's text, without what would colour it, move the cursor or set the title.

    Of a line that was written over (carriage returns, as progress bars have them) the last state.
    """
    if text.isascii() and text.isprintable():
        return text
    return _ESCAPES.sub("", text).rstrip("\r").rpartition("\r")[2].translate(_CONTROL)


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
            print(json_line(msgspec.to_builtins(event)), file=self._stream, flush=True)


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
            for line in text.split("\n"):
                print(stage + printable(line), file=self._stream, flush=True)

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
            return f"started ({why})"
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

    def __init__(self, last: str = "", *, stage: bool = False) -> None:
        self.started = time.monotonic()
        self.step = ""
        self.last = last
        self.stage = stage  # else something that comes before a stage: a base, a transfer


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
        name = event.stage or ""
        with self._lock:
            match event:
                case StageStarted(why=why):
                    self._lines[name] = _Line(why, stage=True)
                case StepStarted(number=number, total=total, text=text):
                    self._forget_bases()
                    line = self._lines.setdefault(name, _Line(stage=True))
                    line.step, line.last = f"{number}/{total}", text
                case Output(text=text):
                    if name not in self._lines:
                        self._forget_bases()
                    if shown := printable(text[-_LONGEST:]).strip():
                        self._lines.setdefault(name, _Line()).last = shown
                case Progress(text=text):
                    self._lines.setdefault(name, _Line()).last = f"{text} {_amount(event)}"
                    if event.total and event.done >= event.total and not name:
                        self._lines.pop(name, None)
                case StageDone():
                    self._lines.pop(name, None)
                    self._console.print(_done(name, event))
                case Note():
                    self._console.print(_note(name, event))

    def _forget_bases(self) -> None:
        """No event says that a base is done; but one is made at a time, and then its stages go on."""
        self._lines = {name: line for name, line in self._lines.items() if line.stage}

    def _draw(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            lines = sorted(self._lines.items())
        now = time.monotonic()
        rows = [(name, line.step, f"{int(now - line.started)} s", line.last) for name, line in lines]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        widths[0] = min(widths[0], max(self._console.width // 3, 8))
        rest = max(self._console.width - sum(widths) - 2 * 3, 1)
        grid = Table.grid(padding=(0, 2))
        for width, style in zip(widths, ("bold", "", "cyan"), strict=True):
            grid.add_column(no_wrap=True, width=width, overflow="ellipsis", style=style)
        grid.add_column(no_wrap=True, width=rest, overflow="ellipsis", style="dim")
        for name, step, elapsed, last in rows:
            text = " ".join(printable(last[:_LONGEST]).split())
            grid.add_row(Text(name), step, elapsed, Text(text))
        return grid


def _done(name: str, event: StageDone) -> Text:
    """The line for a stage that came to its end. Its digest is in the result."""
    from rich.text import Text

    mark = Text("✓ ", "green") if event.ok else Text("✗ ", "bold red")
    took = f" in {event.seconds:.1f} s" if event.seconds is not None else ""
    return Text.assemble(mark, (name, "bold"), f"  {event.outcome}{took}")


def _note(name: str, event: Note) -> Text:
    from rich.text import Text

    said = Text("\n".join(map(printable, event.text.split("\n"))))
    if event.level == "warning":
        said = Text.assemble(("warning: ", "yellow"), said)
    return Text.assemble((f"{name}  ", "bold"), said) if name else said


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
    sys.stdout.flush()  # where both go to one file, what was said before stands before
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
        print(json_line({"event": "error", "problems": problems}), file=sys.stderr)
        return
    for problem in error.problems:
        place = f"{problem.where}: " if problem.where and str(problem.where) else ""
        _print_lines(_painted("error:", "1;31"), f"{place}{problem.what}")
        if problem.hint:
            _print_lines(_painted("hint:", "36"), problem.hint)


def say(text: str) -> None:
    """Print a line of a result."""
    print(printable(text))


Span = tuple[str, str]  # a text, and its style as SGR parameters of ECMA-48


def say_spans(*spans: Span) -> None:
    """Print a line of a result in styles, which only a terminal is told."""
    styled = _takes_styles(sys.stdout)
    print("".join(_styled(printable(text), style if styled else "") for text, style in spans))


def say_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print a result as columns that are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_lines(label: str, text: str) -> None:
    first, *others = (printable(line) for line in text.split("\n"))
    print("\n".join([f"{label} {first}", *others]), file=sys.stderr)


def _painted(text: str, code: str) -> str:
    return _styled(text, code if _takes_styles(sys.stderr) else "")


def _styled(text: str, style: str) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if style else text


def _takes_styles(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
