from __future__ import annotations

import io
import json
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from rbuild.console import JsonLines, Plain, Quiet, Terminal, print_error, printable, say_columns, screen
from rbuild.errors import Problem, RbuildError, Where
from rbuild.events import Event, Note, Output, Progress, StageDone, StageStarted, StepStarted

BUILD: tuple[Event, ...] = (
    StageStarted(stage="train", why="containerfile: changed"),
    StepStarted(stage="train", number=2, total=4, text="RUN make", line=7),
    Output(stage="train", text="cc -c a.c"),
    Note(text="a lock was written"),
    Note(stage="train", text="the disk is nearly full", level="warning"),
    StageDone(stage="train", outcome="built", digest="sha256:12", seconds=3.14),
    StageDone(stage="infer", outcome="failed", ok=False, seconds=1.0),
)


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext", "plain\ttext"),
        ("宽 テスト é 🎉", "宽 テスト é 🎉"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPdevice\x1b\\text", "text"),
        ("\x1b]0;without an end", "0;without an end"),
        ("\x1bctext\x1b(B\x1b", "text"),
        ("\x9b31mred\x9d0;title\x9c", "red"),
        ("10 %\r50 %\r100 %\r", "100 %"),
        ("a\x00b\x07c\x08d\x7fe\x85f", "abcdef"),
        ("abc\u202etxt\u2066.\u2069exe\u2028", "abctxt.exe"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_long_line_full_of_escapes_takes_no_time() -> None:
    assert printable("\x1b]" * 200_000 + "\x1b[" * 200_000 + "mend") == "end"


def test_plain_lines_have_the_stage_before_them() -> None:
    stream = io.StringIO()
    for event in BUILD:
        Plain(stream).show(event)
    assert stream.getvalue().splitlines() == [
        "[train] started (containerfile: changed)",
        "[train] step 2/4: RUN make",
        "[train] cc -c a.c",
        "a lock was written",
        "[train] warning: the disk is nearly full",
        "[train] built in 3.1 s  sha256:12",
        "[infer] failed in 1.0 s",
    ]


def test_a_plain_line_of_several_lines() -> None:
    stream = io.StringIO()
    Plain(stream).show(StepStarted(stage="one", number=1, total=2, text="RUN a \\\n  b"))
    assert stream.getvalue() == "[one] step 1/2: RUN a \\\n[one]   b\n"


def test_plain_progress_comes_in_tenths() -> None:
    stream = io.StringIO()
    plain = Plain(stream)
    for done in range(1001):
        plain.show(Progress(text="packages", done=done * 1_000_000, total=1_000_000_000))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "packages 0.0/1000.0 MB" and lines[-1] == "packages 1000.0/1000.0 MB"


def test_quiet_shows_warnings_and_failures() -> None:
    stream = io.StringIO()
    for event in BUILD:
        Quiet(stream).show(event)
    assert stream.getvalue().splitlines() == [
        "[train] warning: the disk is nearly full",
        "[infer] failed in 1.0 s",
    ]


def test_json_lines() -> None:
    stream = io.StringIO()
    for event in (*BUILD, Output(stage="train", text="a name that is no UTF-8: \udcff")):
        JsonLines(stream).show(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        *("stage-started", "step-started", "output", "note", "note", "stage-done", "stage-done", "output")
    ]
    assert lines[1] == {
        "event": "step-started", "stage": "train", "number": 2, "total": 4, "text": "RUN make", "line": 7,
    }  # fmt: skip
    assert lines[-1]["text"].endswith("\\udcff")


# The terminal


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Tty:
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Tty()


def drawn(terminal: Terminal, width: int) -> list[str]:
    """The live lines, as a terminal of this width shows them."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(terminal.live.get_renderable())
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def terminal_of(monkeypatch: pytest.MonkeyPatch, stream: Tty, width: int) -> Terminal:
    monkeypatch.setenv("COLUMNS", str(width))
    return Terminal(stream)


def test_one_live_line_a_stage(monkeypatch: pytest.MonkeyPatch, stream: Tty) -> None:
    terminal = terminal_of(monkeypatch, stream, 100)
    terminal.show(StageStarted(stage="train", why="containerfile: changed"))
    terminal.show(StageStarted(stage="preprocess", why="stage: not in the lock yet"))
    assert drawn(terminal, 100) == [
        "preprocess    0 s  stage: not in the lock yet",
        "train         0 s  containerfile: changed",
    ]
    terminal.show(StepStarted(stage="train", number=3, total=12, text="RUN make"))
    terminal.show(Output(stage="train", text="\x1b[32mcc   -c a.c\x1b[0m"))
    terminal.show(Output(stage="train", text="  "))
    assert drawn(terminal, 100)[1] == "train       3/12  0 s  cc -c a.c"
    terminal.show(StageDone(stage="train", outcome="built", digest="sha256:12", seconds=3.14))
    assert [line.split()[0] for line in drawn(terminal, 100)] == ["preprocess"]
    assert "train" in stream.getvalue() and "built in 3.1 s" in stream.getvalue()


@pytest.mark.parametrize("width", [20, 60, 100])
def test_a_live_line_is_one_line(monkeypatch: pytest.MonkeyPatch, stream: Tty, width: int) -> None:
    terminal = terminal_of(monkeypatch, stream, width)
    for name in ("short", "a-very-long-name-of-a-stage-that-somebody-has-chosen-for-his-stage"):
        terminal.show(StageStarted(stage=name, why=""))
        terminal.show(StepStarted(stage=name, number=12, total=34, text="RUN x"))
        terminal.show(Output(stage=name, text="宽字符\t" * 100_000))
    lines = drawn(terminal, width)
    assert len(lines) == 2
    assert all(cell_len(line) <= width for line in lines)
    if width > 20:
        assert all("12/34" in line and "0 s" in line and "宽" in line for line in lines)
        assert "…" in lines[0].split()[0] and lines[1].startswith("short")


def test_markup_in_output_is_text(monkeypatch: pytest.MonkeyPatch, stream: Tty) -> None:
    terminal = terminal_of(monkeypatch, stream, 80)
    terminal.show(StageStarted(stage="one", why="[bold]why[/bold]"))
    assert drawn(terminal, 80) == ["one    0 s  [bold]why[/bold]"]
    terminal.show(Note(stage="one", text="[/] [red]note\x1b[2J", level="warning"))
    assert "warning: [/] [red]note" in stream.getvalue().replace("\x1b[33m", "").replace("\x1b[0m", "")
    assert "\x1b[2J" not in stream.getvalue()


def test_the_line_of_a_base_goes_when_its_stages_go_on(monkeypatch: pytest.MonkeyPatch, stream: Tty) -> None:
    terminal = terminal_of(monkeypatch, stream, 80)
    terminal.show(StageStarted(stage="one", why="new"))
    terminal.show(Output(stage="localhost/base:1", text="installing"))
    terminal.show(Progress(text="fetching", done=1, total=2))
    assert len(drawn(terminal, 80)) == 3
    terminal.show(Output(stage="localhost/base:2", text="installing"))
    assert [line.split()[0] for line in drawn(terminal, 80)] == ["localhost/base:2", "one"]
    terminal.show(StepStarted(stage="one", number=1, total=2, text="FROM localhost/base:1"))
    assert drawn(terminal, 80) == ["one  1/2  0 s  FROM localhost/base:1"]


@pytest.mark.parametrize(
    ("variable", "value", "kind"),
    [("TERM", "xterm", Terminal), ("TERM", "dumb", Plain), ("CI", "true", Plain)],
)
def test_the_screen_for_a_terminal(
    monkeypatch: pytest.MonkeyPatch, stream: Tty, variable: str, value: str, kind: type
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv(variable, value)
    with screen(quiet=False, as_json=False) as shown:
        assert isinstance(shown, kind)


def test_the_screen_elsewhere(monkeypatch: pytest.MonkeyPatch, stream: Tty) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    for quiet, as_json, kind in ((True, False, Quiet), (False, True, JsonLines), (True, True, JsonLines)):
        with screen(quiet=quiet, as_json=as_json) as shown:
            assert isinstance(shown, kind)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with screen(quiet=False, as_json=False) as shown:
        assert isinstance(shown, Plain)


# Errors and results

ERROR = RbuildError(
    [
        Problem(
            what="is \x1b[31mwrong\n  quite", where=Where(file="a.yaml", line=3, key="b.c"), hint="do this"
        ),
        Problem(what="too", where=Where(url="http://x/")),
    ]
)


def test_an_error_reads_without_colour(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(ERROR, as_json=False)
    assert capsys.readouterr().err == (
        "error: a.yaml:3 b.c: is wrong\n  quite\nhint: do this\nerror: http://x/: too\n"
    )


def test_an_error_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(ERROR, as_json=True)
    first, second = json.loads(capsys.readouterr().err)["problems"]
    assert first == {
        "what": "is \x1b[31mwrong\n  quite", "hint": "do this", "file": "a.yaml", "line": 3, "key": "b.c",
    }  # fmt: skip
    assert second == {"what": "too", "hint": None, "url": "http://x/"}


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch, stream: Tty) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    print_error(ERROR, as_json=False)
    assert stream.getvalue().startswith("\x1b[1;31merror:\x1b[0m a.yaml:3")
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            patch.setattr(sys, "stderr", Tty())
            print_error(ERROR, as_json=False)
            assert "\x1b" not in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_no_color_in_the_live_lines(monkeypatch: pytest.MonkeyPatch, stream: Tty) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal_of(monkeypatch, stream, 80).show(StageDone(stage="one", outcome="failed", ok=False))
    assert "one" in stream.getvalue()
    assert "\x1b[31m" not in stream.getvalue() and "31m" not in stream.getvalue()


def test_columns(capsys: pytest.CaptureFixture[str]) -> None:
    say_columns([("A", "LONG", ""), ("wide", "b", "c"), ("x", "", "")])
    assert capsys.readouterr().out == "A     LONG\nwide  b     c\nx\n"
