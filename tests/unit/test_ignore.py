"""Ignore files: the same decisions as Buildah's."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbuild.errors import RbuildError
from rbuild.ignore import IgnoreRules


def rules(*lines: str) -> IgnoreRules:
    return IgnoreRules.parse("\n".join(lines).encode())


@pytest.mark.parametrize(
    ("lines", "ignored", "kept"),
    [
        (["a"], ["a", "a/b", "a/b/c"], ["b", "b/a", "ab"]),
        (["/a/"], ["a", "a/b"], ["b/a"]),
        (["./a//b/."], ["a/b"], ["a"]),
        (["*.py"], ["x.py", ".py", "x.py/y"], ["d/x.py", "x.pyc", "xpy"]),
        (["*/x"], ["a/x"], ["x", "a/b/x"]),
        (["**/x"], ["x", "a/x", "a/b/x/y"], ["ax", "a/xb"]),
        (["**"], ["a", "a/b"], []),
        (["a/**"], ["a/b", "a/b/c"], ["a", "ab"]),
        (["a/**/z"], ["a/z", "a/b/z", "a/b/c/z"], ["a", "z", "a/bz"]),
        (["**/*.log"], ["a.log", "b/c/a.log"], ["log", "a.logs"]),
        (["**/a*b*c/**/d"], ["abc/d", "x/aXbYc/y/d"], ["abc", "ab/d", "x/acb/d"]),
        (["a?c"], ["abc", "a.c"], ["ac", "a/c", "abbc"]),
        (["[a-c]x", "[^a]y", "[!]z"], ["ax", "by", "!z"], ["dx", "ay", "z"]),
        (["[._]*.sw[a-p]", r"[\]\-]"], [".x.swp", "]", "-"], ["x.swp", "\\"]),
        (["a.b$"], ["a.b$"], ["axb$"]),
        ([r"\*a", r"b\?", r"\!c"], ["*a", "b?", "!c"], ["xa", "bx", "c"]),
        (["# not this", " # this", "#"], ["# this"], ["# not this", "#"]),
        (["", "  ", "/", "  a b  "], ["a b"], ["a", "b"]),
        (["a\r", "!b\r"], ["a"], ["b"]),
        (["*.{a,b}", "~x", "c-d@e"], ["x.{a,b}", "~x", "c-d@e"], ["x.a"]),
        (["é*"], ["éa"], ["e"]),
        (["."], [], ["a"]),
        (["../a"], [], ["a"]),
    ],
)
def test_patterns(lines: list[str], ignored: list[str], kept: list[str]) -> None:
    found = rules(*lines)
    assert [path for path in ignored if not found.ignored(path)] == []
    assert [path for path in kept if found.ignored(path)] == []


def test_the_last_match_wins() -> None:
    found = rules("*", "!a", "a/b", "!a/b/c")
    assert not found.ignored("a")
    assert not found.ignored("a/x")
    assert found.ignored("a/b")
    assert not found.ignored("a/b/c")
    assert found.ignored("a/b/d")
    assert found.ignored("x")


def test_a_walk_stays_out_of_a_directory_that_no_exception_begins_with() -> None:
    found = rules("*", "!**/*.py", "!src/x.py")
    assert found.prunes("lib")
    assert not found.prunes("src")
    assert found.ignored("lib/a.py")  # COPY . / does not get there
    assert not found.matches("lib/a.py")  # COPY lib/a.py / does
    assert not found.ignored("src/a.py")
    assert not found.ignored("a.py")


def test_nothing_is_pruned_that_is_not_excluded() -> None:
    assert not rules("a/b").prunes("a")
    assert rules("a").prunes("a")


def test_the_order_of_cleaning_is_buildahs() -> None:
    assert rules("!a/../b").patterns == ("b",)  # the `!` is taken for part of a name
    assert rules("!/a/").patterns == ("!a",)
    assert rules("!./a").patterns == ("!a",)
    assert rules(" /a").patterns == ("/a",)  # matches nothing


@pytest.mark.parametrize(
    "pattern",
    [
        "!",
        "[a",
        "[]a]",
        "[-a]",
        "[a-]",
        "[a&&b]",
        "[a/b]",
        "a\\",
        r"a\d",
        "a+",
        "(b)",
        "a|b",
        "x{2}",
        "[z-a]",
        "^a",
    ],
)
def test_patterns_that_podman_refuses_or_misreads(pattern: str) -> None:
    with pytest.raises(RbuildError) as caught:
        rules("ok", pattern, pattern)
    assert [problem.where.line for problem in caught.value.problems if problem.where] == [2, 3]


def test_a_hundred_thousand_paths() -> None:
    found = rules(
        "**/__pycache__", "**/*.py[cod]", ".git", "*.log", "!keep.log", "node_modules", "docs/**/*.md", "d*7"
    )
    paths = [f"src/pkg{n % 300}/mod{n % 7}/file{n}.{'pyc' if n % 5 == 0 else 'py'}" for n in range(100_000)]
    start = time.process_time()
    assert sum(map(found.ignored, paths)) == 20_000
    assert time.process_time() - start < 4


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 100 + "b", "a" * 4000),
        ("**/a/" * 100 + "b", "a/" * 2000 + "c"),
        ("**/*a*a*a*a*/" * 20 + "b", ("a" * 100 + "/") * 40 + "c"),
    ],
)
def test_hostile_patterns_take_bounded_time(pattern: str, path: str) -> None:
    start = time.process_time()
    assert not rules(pattern).matches(path)
    assert time.process_time() - start < 2


@given(
    st.lists(st.text("ab*?!/[]^-.\\#é +(", max_size=8), max_size=5), st.text("ab/.é", min_size=1, max_size=8)
)
def test_any_rules_decide_or_give_an_rbuild_error(lines: list[str], path: str) -> None:
    try:
        found = rules(*lines)
    except RbuildError as error:
        assert error.problems
    else:
        assert found.ignored(path) or not found.matches(path)


def test_bytes_that_are_not_utf8_match_themselves() -> None:
    assert IgnoreRules.parse(b"caf\xe9").ignored(b"caf\xe9".decode("utf-8", "surrogateescape"))
