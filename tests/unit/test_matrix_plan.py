"""The rows of the matrix: every engine, every pair of conditions, always the same."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from axes import AXES, DRIVERS, FREE, ISOLATIONS, PODMANS, Row, engines, plan
from covering import cover
from hypothesis import given
from hypothesis import strategies as st

ALL = engines(PODMANS, DRIVERS, ISOLATIONS)


def pairs(rows: list[dict[str, str]], one: str, other: str) -> set[tuple[str, str]]:
    return {(row[one], row[other]) for row in rows}


@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.lists(st.sampled_from("0123456789"), min_size=1, max_size=4, unique=True),
        min_size=1,
    ),
    st.lists(st.tuples(*(st.sampled_from("xyz"),) * 2), min_size=1, max_size=9, unique=True),
)
def test_every_pair_occurs(free: dict[str, list[str]], fixed: list[tuple[str, str]]) -> None:
    rows = cover([dict(zip("XY", row, strict=True)) for row in fixed], free)
    for one, other in combinations(free, 2):
        assert pairs(rows, one, other) == set(product(free[one], free[other]))
    for axis, (place, name) in product(free, enumerate("XY")):
        assert pairs(rows, name, axis) == set(product({row[place] for row in fixed}, free[axis]))
    assert {(row["X"], row["Y"]) for row in rows} == set(fixed)
    assert [(row["X"], row["Y"]) for row in rows][: len(fixed)] == fixed


def test_a_covering_array_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        cover([], FREE)


def test_the_plan_has_every_engine_and_hardly_more_rows() -> None:
    rows = plan(ALL)
    assert [row.engine for row in rows[: len(ALL)]] == ALL
    assert len(ALL) == 27
    assert len(rows) <= len(ALL) + 2


def test_a_run_that_ends_early_has_seen_every_pair_of_engine_parts() -> None:
    assert len(set(ALL)) == 27
    for first in (ALL[:9], ALL[9:18], ALL[18:]):
        assert len({(one.podman, one.driver) for one in first}) == 9
        assert len({(one.podman, one.isolation) for one in first}) == 9
        assert len({(one.driver, one.isolation) for one in first}) == 9


def test_the_plan_without_crun_has_every_pair() -> None:
    possible = [engine for engine in ALL if engine.isolation != "crun"]
    rows = [dict(row.values) for row in plan(possible)]
    for one, other in combinations(AXES, 2):
        expected = set(product(AXES[one], AXES[other]))
        assert pairs(rows, one, other) == {pair for pair in expected if "crun" not in pair}


def test_one_engine_has_every_pair_of_the_other_axes() -> None:
    rows = plan(ALL[:1])
    assert {row.engine for row in rows} == {ALL[0]}
    assert len(rows) <= 12


def test_the_plan_is_always_the_same() -> None:
    assert plan(ALL) == plan(ALL)


def test_a_row_is_read_as_it_is_written() -> None:
    for row in plan(ALL):
        assert Row.parse(str(row)) == row


def test_a_row_needs_no_axis_to_be_named() -> None:
    row = Row.parse("podman=sid,umask=077")
    assert (row["podman"], row["umask"], row["driver"], row["user"]) == ("sid", "077", "overlay", "one")


@pytest.mark.parametrize("text", ["podman=3", "weather=fine", "umask"])
def test_a_row_of_other_axes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="there are"):
        Row.parse(text)
