"""What `rbuild verify` says of its verdicts and of varied conditions, to a terminal and to a page."""

from __future__ import annotations

import pytest

from rbuild.compare.model import Blame, Cause, Change, Comparison, Difference, Part, Side, Verdict
from rbuild.digest import Digest
from rbuild.errors import Problem
from rbuild.verbs.trial import Effect, Trial
from rbuild.verbs.verify import Verification
from rbuild.verifyout import say_verifications, stage_report

A, B = Digest("a" * 64), Digest("b" * 64)
COUNT = Cause(id="cpu-count", title="number of processors", explanation="It is.", hint="make -j4")
ENTRY = Difference(
    part=Part.ENTRY, name="/jobs", change=Change.CHANGED, cause=COUNT, why="line 1: 2 and 1 processors"
)
LAYER = Difference(
    part=Part.LAYER,
    name="layer 3",
    change=Change.CHANGED,
    blame=Blame(text="RUN nproc > /jobs", file="train.Containerfile", line=7),
    children=(ENTRY,),
)
COMPARISON = Comparison(
    a=Side(name="as built", digest=A),
    b=Side(name="varied", digest=B),
    verdict=Verdict.DIFFERENT,
    layers=(),
    differences=(LAYER,),
)
TRIALS = (
    Trial(condition="moment", effect=Effect.NONE, what="one second later", digest=A),
    Trial(condition="cpus", effect=Effect.CHANGES, what="1, not 2", digest=B, comparison=COMPARISON),
    Trial(condition="driver", effect=Effect.FAILED, what="", problems=(Problem(what="no vfs here"),)),
    Trial(condition="isolation", effect=Effect.NOT_VARIED, what="the host has one only"),
)
VARIED = Verification(stage="train", verdict=Verdict.IDENTICAL, locked=A, built=A, trials=TRIALS)


def test_a_line_for_each_condition_then_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    say_verifications([VARIED])
    said = capsys.readouterr().out
    stage, *lines = said.splitlines()
    assert stage == f"train  identical  {A}"
    told = [" ".join(line.split()) for line in lines[:5]]
    assert told == [
        f"moment {Effect.NONE.value} one second later",
        f"cpus {Effect.CHANGES.value} 1, not 2",
        f"driver {Effect.FAILED.value}",
        f"isolation {Effect.NOT_VARIED.value} the host has one only",
        f"{Effect.NOT_VARIED.value} user, kernel, CPU model, Podman's version: one host has one of each",
    ]
    # One below the other, as a table.
    assert len({line.index(one.effect.value) for line, one in zip(lines, TRIALS, strict=False)}) == 1
    detail = "\n".join(lines[5:])
    assert "stage train: as built (A) and with another number of processors (B)" in detail
    for part in ("train.Containerfile:7", "/jobs", COUNT.title, COUNT.hint):
        assert part in detail, part


def test_stages_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    other = Verification(
        stage="preprocess", verdict=Verdict.DIFFERENT, locked=A, built=B, differs=("config", "layer 2")
    )
    say_verifications([Verification(stage="train", verdict=Verdict.IDENTICAL, locked=A, built=A), other])
    assert capsys.readouterr().out.splitlines() == [
        f"train       identical  {A}",
        f"preprocess  different  locked {A}, built {B}  differs in: config, layer 2",
    ]


def test_a_name_cannot_paint_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    trial = Trial(condition="path", effect=Effect.NONE, what="/home/\x1b[31mred\r/x")
    say_verifications([Verification(stage="train", verdict=Verdict.IDENTICAL, trials=(trial,))])
    assert "\x1b" not in (said := capsys.readouterr().out) and "\r" not in said


def test_the_page_is_told_the_same() -> None:
    told = [
        (one.name, one.digest, one.same, one.outcome, one.note) for one in stage_report(VARIED).conditions
    ]
    assert told == [
        ("moment", A, True, Effect.NONE.value, "one second later"),
        ("cpus", B, False, Effect.CHANGES.value, "1, not 2"),
        ("driver", None, False, Effect.FAILED.value, "no vfs here"),
        ("isolation", None, False, Effect.NOT_VARIED.value, "the host has one only"),
    ]
    assert [one.comparison for one in stage_report(VARIED).conditions] == [None, COMPARISON, None, None]
