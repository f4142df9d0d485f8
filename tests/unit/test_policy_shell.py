"""The commands of RUN instructions: what they are, and on which line each stands."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policyfacts import file_facts

from rbuild.policy.runs import Command, Run, last_places, runs
from rbuild.policy.shell import read_script


def only(text: str) -> Run:
    (run,) = runs(file_facts(f"FROM a.example/b:1\n{text}\n"))
    return run


def said(text: str) -> list[tuple[int, str]]:
    """Line and words of every command of the one RUN, which begins on line 2."""
    return [(one.line, " ".join(one.words)) for one in only(text).commands]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN a b && c d", [(2, "a b"), (2, "c d")]),
        ("RUN a \\\n # said\n && b \\\n\n ; c", [(2, "a"), (4, "b"), (6, "c")]),
        ("RUN pip install \\\n  one \\\n  two", [(2, "pip install one two")]),
        ('RUN ["pip", "install", "a b"]', [(2, "pip install a b")]),
        ('RUN ["/bin/sh", "-c", \\\n "a && b"]', [(2, "/bin/sh -c a && b"), (3, "a"), (3, "b")]),
        ("RUN bash -lc 'a && \\\n b'", [(2, "bash -lc a &&  b"), (2, "a"), (3, "b")]),
        ("RUN <<EOF\na\n# no\nb \\\n c\nEOF", [(2, ""), (3, "a"), (5, "b c")]),
        ("RUN <<-'EOF'\n\ta\n\tEOF", [(2, ""), (3, "a")]),
        ("RUN bash -e <<EOF\na\nEOF", [(2, "bash -e"), (3, "a")]),
        ("RUN cat <<EOF >/x && b\na\nEOF", [(2, "cat"), (2, "b")]),
        ("RUN <<ONE cat && <<TWO b\n1\n2\nONE\n3\nTWO", [(2, "cat"), (2, "b")]),
        ("RUN <<EOF\n#!/usr/bin/env python3\nimport os\nEOF", [(2, "")]),
        ("RUN <<EOF\n#!/bin/bash -e\na\nEOF", [(2, ""), (4, "a")]),
        ("RUN <<EOF\ncat >f <<IN\nnot me\nIN\nb\nEOF", [(2, ""), (3, "cat"), (6, "b")]),
        ("RUN a # b && c", [(2, "a")]),
        ("RUN echo '#' \"# b\" a#b", [(2, "echo # # b a#b")]),
        ("RUN if [ -f x ]; then a; else b; fi; c", [(2, "[ -f x ]"), (2, "a"), (2, "b"), (2, "c")]),
        ("RUN for i in 1 2; do a $i; done && b", [(2, "a $i"), (2, "b")]),
        ("RUN case $X in a|b) c ;; *) d;; esac && e", [(2, "c"), (2, "d"), (2, "e")]),
        ("RUN f() { a; } && { b; } && (c)", [(2, "a"), (2, "b"), (2, "c")]),
        ("RUN ! a || [[ b && c ]]", [(2, "a"), (2, "[[ b c ]]")]),
        ('RUN a "$(b `c`)" <(d)', [(2, "a $(b `c`) <(d)"), (2, "b `c`"), (2, "c"), (2, "d")]),
        ("RUN sudo -u me -E X=1 a -b", [(2, "a -b")]),
        ("RUN env -i A=1 nice -n 5 timeout 10 a", [(2, "a")]),
        ("RUN a | xargs -n 1 -0 b c", [(2, "a"), (2, "b c")]),
        ("RUN find / -name x -exec a {} \\;", [(2, "find / -name x -exec a {} ;"), (2, "a {} ;")]),
        ('RUN eval "a && b"', [(2, "eval a && b"), (2, "a"), (2, "b")]),
        ("RUN command -v a && exec b", [(2, "command -v a"), (2, "b")]),
        ("RUN a$X${Y:-z} \"$((1 + 2))\" $'\\n'", [(2, "a$X${Y:-z} $((1 + 2)) \\n")]),
        ("ONBUILD RUN a && b", [(2, "a"), (2, "b")]),
    ],
)
def test_commands_and_lines(text: str, expected: list[tuple[int, str]]) -> None:
    assert said(text) == expected


def test_every_word_has_its_line() -> None:
    (command,) = only("RUN pip install \\\n  one \\\n  # not two\n  three").commands
    assert command.lines == (2, 2, 3, 5)
    assert command.operands() == (("install", 2), ("one", 3), ("three", 5))


def test_assignments_redirections_and_pipes() -> None:
    curl, sh, date = only("RUN A=1 B= curl -fsSL u 2>&1 | sudo sh -s >/dev/null; C=2 date >> /x").commands
    assert curl.assignments == (("A", "1"), ("B", ""))
    assert [(one.fd, one.sign, one.target) for one in curl.redirections] == [("2", ">&", "1")]
    assert sh.through == ("sudo",)
    assert curl.feeds(last_places([sh]))
    assert not sh.feeds(last_places([curl]))
    assert not curl.feeds(last_places([date]))
    assert (sh.joined, date.joined) == ("|", ";")
    assert [one.target for one in date.redirections] == ["/x"]


def test_what_a_group_writes_is_fed_on() -> None:
    curl, echo, sh = only("RUN { curl u; echo; } | sh").commands
    assert curl.feeds(last_places([sh]))
    assert echo.feeds(last_places([sh]))
    assert not curl.feeds(last_places([echo]))


def test_what_is_substituted_knows_its_command() -> None:
    sh, _, curl = only('RUN sh -c "$(curl u)"').commands
    assert (sh.name, curl.name, curl.inside) == ("sh", "curl", sh.number)
    sh, echo, date = only("RUN sh -c 'echo $(date)'").commands
    assert (sh.inside, date.name, date.inside) == (None, "date", echo.number)


def test_shell_says_who_reads_the_commands() -> None:
    text = 'FROM a.example/b:1 AS one\nSHELL ["/bin/bash", "-o", "pipefail", "-c"]\nRUN a\nFROM one\nRUN b\n'
    text += 'SHELL ["python3", "-c"]\nRUN import os\nRUN ["c"]\n'
    found = runs(file_facts(text))
    assert [[one.name for one in run.commands] for run in found] == [["a"], ["b"], [], ["c"]]
    assert found[1].shell[-2:] == ("pipefail", "-c")


def test_variables_that_are_known() -> None:
    text = 'ARG V=1\nFROM a.example/b:1\nARG V\nENV U=https://x/$V\nRUN W=2; curl "$U-$W-$Z-${Q:-d}"\n'
    (run,) = runs(file_facts(text))
    assert run.value(run.commands[1].words[1]) == "https://x/1-2-$Z-d"


def test_options() -> None:
    command: Command = only("RUN apt-get -qy install --allow-downgrades=1 -- -y x").commands[0]
    assert command.has("-y")
    assert command.has("--allow-downgrades")
    assert not command.has("-z")
    assert [word for word, _ in command.operands()] == ["install", "-y", "x"]


SIGNS = [*"abc $`\"'\\(){}<>|&;#\n=!", "$(", "${", "((", "))", "<<E", "<<-'E'\n", "E\n", "&&", "||", ";;"]
WORDS = "if |then |fi |for i in |do |done |case x in |esac |[[ |]] |f() |sh -c '|eval |sudo |xargs |env |a=("
PARTS = st.sampled_from([*SIGNS, *WORDS.split("|"), "\\\n", "find -exec ", "2>&1 ", "<(", "é"])
LONG = """$(,((,"$(,case x in ,case x in a) ,`,if ,{ ,${,a;,[[ ,<<E ,x=(,\\`,f () ,"`,sh -c ,for i in ,<("""


@settings(deadline=None)
@given(st.lists(PARTS, max_size=60).map("".join))
def test_no_script_is_too_odd(text: str) -> None:
    for command in read_script(text):
        assert 0 <= command.start <= command.end <= len(text)
        assert len(command.words) == len(command.at)
        assert all(0 <= at < len(text) for at in command.at)


@settings(deadline=None)
@given(st.lists(PARTS, max_size=40).map("".join))
def test_no_run_is_too_odd(text: str) -> None:
    line = text.replace("\n", " ").replace("\\", "").replace("<<", "") or "a"
    for run in runs(file_facts(f"FROM a.example/b:1\nRUN a {line}\n")):
        assert all(command.line == 2 for command in run.commands)


@pytest.mark.parametrize("part", LONG.split(","))
def test_a_long_script_takes_no_more_steps_for_each_character(part: str) -> None:
    """Twice the script, about twice the steps: counted in calls, so that no clock is asked."""
    assert steps(part * 400) < 2.5 * steps(part * 200) + 1000


def steps(text: str) -> int:
    """How many functions are called, and lines are run, to read a script."""
    count = 0

    def trace(*_: object) -> object:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        read_script(text)
    finally:
        sys.settrace(before)
    return count
