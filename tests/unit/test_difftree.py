"""A comparison as text."""

from __future__ import annotations

import pytest

from rbuild.compare.model import (
    Blame,
    Cause,
    Change,
    Comparison,
    Detail,
    Difference,
    Field,
    LayerPair,
    Part,
    Row,
    Side,
    Verdict,
)
from rbuild.digest import Digest
from rbuild.textout import say_comparison

A, B = Digest("a" * 64), Digest("b" * 64)
RUN = Blame(text="RUN make \\\n  all", file="Containerfile", line=7)
DATE = Cause(id="build-date", title="build date in a file", explanation="A clock.", hint="use the epoch")
UNKNOWN = Cause(id="unknown", title="cause unknown", explanation="Nobody knows.", hint="ask")


def entry(name: str, **known: object) -> Difference:
    return Difference(part=Part.ENTRY, name=name, change=Change.CHANGED, **known)  # type: ignore[arg-type]


def layer(*children: Difference, omitted: int = 0) -> Difference:
    return Difference(
        part=Part.LAYER, name="layer 2", change=Change.CHANGED, blame=RUN, children=children, omitted=omitted
    )


def said(
    capsys: pytest.CaptureFixture[str],
    *differences: Difference,
    verdict: Verdict = Verdict.DIFFERENT,
    full: bool = False,
) -> list[str]:
    """The lines after the head."""
    layers = (
        LayerPair(number=1, blame=None, a=A, b=A, size_a=5_000_000, size_b=5_000_000, shared=True),
        LayerPair(number=2, blame=RUN, a=A, b=B, size_a=1, size_b=2),
    )
    comparison = Comparison(
        a=Side(name="train", digest=A),
        b=Side(name="oci:x", digest=B),
        verdict=verdict,
        layers=layers,
        differences=differences,
    )
    say_comparison(comparison, full=full)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [verdict.value, f"  A  {A}  train", f"  B  {B}  oci:x"]
    return lines[3:]


def test_identical(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, verdict=Verdict.IDENTICAL) == []


def test_the_layers_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, verdict=Verdict.SAME_CONTENT) == ["  1 of 2 layers is shared (5.0 MB)"]


def test_a_tree(capsys: pytest.CaptureFixture[str]) -> None:
    text = Detail(
        form="text",
        rows=(
            Row(a="same", b="same", at_a="1", at_b="1"),
            Row(a="old", b="new", at_a="2", at_b="2"),
            Row(a=None, b="more", at_b="3"),
        ),
        omitted=True,
    )
    code = Detail(
        form="hex",
        rows=(Row(a="00", b="01", at_a="10", at_b="10"), Row(a="02", b="03", at_a="20", at_b="20")),
    )
    lines = said(
        capsys,
        layer(
            entry(
                "/a",
                blame=RUN,
                fields=(Field(name="mode", a="644", b=None),),
                detail=text,
                cause=DATE,
                why="line 2",
            ),
            entry(
                "/b",
                children=(entry("code", detail=code, cause=UNKNOWN, why="byte 16"), entry("x", note="odd")),
            ),
        ),
    )
    assert lines[1:-8] == [
        "",
        "layer 2  changed  Containerfile:7 RUN make \\ all",
        "├── /a  changed",
        "│     mode 644 → absent",
        "│         1   same",
        "│         2 - old",
        "│         2 + new",
        "│         3 + more",
        "│     … and there is more that differs",
        "│     cause build date in a file: line 2",
        "└── /b  changed",
        "    ├── code  changed",
        "    │        10 - 00",
        "    │        10 + 01",
        "    │        20 - 02",
        "    │        20 + 03",
        "    │     cause unknown: byte 16",
        "    └── x  changed",
        "          note odd",
    ]
    assert lines[-8:] == [
        "",
        "build date in a file (build-date, 1 difference)",
        "  A clock.",
        "  hint: use the epoch",
        "",
        "cause unknown (unknown, 1 difference)",
        "  Nobody knows.",
        "  hint: ask",
    ]


def test_what_is_long_is_folded(capsys: pytest.CaptureFixture[str]) -> None:
    rows = tuple(Row(a=f"old {number}", b=None, at_a=str(number)) for number in range(15))
    node = layer(
        *(entry(f"/{number}", cause=DATE) for number in range(25)),
        entry("/z", detail=Detail(form="text", rows=rows)),
        omitted=3,
    )
    lines = said(capsys, node)
    assert "├── /19  changed" in lines and "├── /20  changed" not in lines
    assert (
        lines[lines.index("├── … and 6 more; --full shows all") + 1]
        == "└── … and 3 more, which were left out"
    )
    assert "build date in a file (build-date, 25 differences)" in lines
    full = said(capsys, node, full=True)
    assert "├── /24  changed" in full and any(line.endswith(" 14 - old 14") for line in full)
    assert "└── … and 3 more, which were left out" in full and not any("--full" in line for line in full)
    assert (
        "  … 3 more lines; --full shows them"
        in said(capsys, entry("/z", detail=Detail(form="text", rows=rows)))[-1]
    )


def test_sentences_are_broken_and_paths_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    path = f"/{'x' * 150}"
    long = entry(path, cause=DATE, why="a word " * 40, fields=(Field(name="link", a="y" * 80, b="z" * 80),))
    lines = said(capsys, layer(long))
    assert f"└── {path}  changed" in lines
    assert f"        - {'y' * 80}" in lines and f"        + {'z' * 80}" in lines
    assert sorted(map(len, lines))[-2] <= 100


def test_what_strangers_write_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "a\x1b[2Jb\rc\u202ed\x00\udcff\n"
    lines = said(
        capsys,
        entry(
            nasty,
            fields=(Field(name=nasty, a=nasty, b=nasty),),
            detail=Detail(form="text", rows=(Row(a=nasty, b="x" * 5000),)),
            why=nasty,
            note=nasty,
            blame=Blame(text=nasty),
        ),
    )
    assert r"a\x1b[2Jb\rc\u202ed\x00\xff\n  changed" in lines[2]
    assert all(line.isprintable() and len(line) < 500 for line in lines)
