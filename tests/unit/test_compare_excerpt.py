from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rbuild.compare.alignment import common
from rbuild.compare.budget import Budget
from rbuild.compare.excerpt import first_difference, hex_detail, text_detail
from rbuild.compare.model import Detail
from rbuild.visible import visible


def text(a: bytes, b: bytes) -> Detail:
    return text_detail(a, b, Budget())


def differing(detail: Detail) -> list[tuple[str | None, str | None]]:
    return [(row.a, row.b) for row in detail.rows if row.differs]


@given(
    st.binary(max_size=50),
    st.binary(max_size=50),
    st.binary(max_size=50),
    st.sampled_from([0, 65_530, 65_536, 200_000]),
)
def test_the_first_byte_that_differs(start: bytes, a: bytes, b: bytes, padding: int) -> None:
    one, other = bytes(padding) + start + a, bytes(padding) + start + b
    found = first_difference(one, other)
    if one == other:
        assert found is None
    else:
        assert found is not None
        assert one[:found] == other[:found]
        assert one[found : found + 1] != other[found : found + 1]


LINES = st.lists(st.sampled_from(["", "a", "b", "ab", "c"]), max_size=12)


@settings(deadline=None)
@given(LINES, LINES, st.booleans(), st.booleans())
def test_rows_hold_both_texts_in_order(one: list[str], other: list[str], end_a: bool, end_b: bool) -> None:
    a, b = ("\n".join(lines) + "\n" * end for lines, end in ((one, end_a), (other, end_b)))
    detail = text(a.encode(), b.encode())
    assert bool(differing(detail)) is (a != b)
    assert not detail.omitted
    for side, data, at in (
        ([row.a for row in detail.rows], a, [row.at_a for row in detail.rows]),
        ([row.b for row in detail.rows], b, [row.at_b for row in detail.rows]),
    ):
        lines = data.split("\n")
        for line, number in zip(side, at, strict=True):
            if line is not None:
                assert line.removesuffix("  (no newline at the end)") == lines[int(number) - 1]
        numbers = [int(number) for number in at if number]
        assert numbers == sorted(set(numbers))


def test_three_lines_around_what_differs() -> None:
    a = b"".join(b"%d\n" % number for number in range(20))
    detail = text(a, a.replace(b"10\n", b"ten\n"))
    assert [row.a for row in detail.rows] == ["7", "8", "9", "10", "11", "12", "13"]
    assert differing(detail) == [("10", "ten")]
    assert detail.rows[0].at_b == "8"


def test_a_line_at_the_start_and_one_at_the_end() -> None:
    lines = [b"%d\n" % number for number in range(100)]
    detail = text(b"".join(lines), b"".join([b"new\n", *lines[:-1], b"last\n"]))
    assert differing(detail) == [(None, "new"), ("99", "last")]
    assert len(detail.rows) < 20


def test_a_newline_at_the_end_is_a_difference() -> None:
    assert differing(text(b"a\nb", b"a\nb\n")) == [("b  (no newline at the end)", "b")]


def test_long_lines_are_cut_around_what_differs() -> None:
    ((a, b),) = differing(text(b"x" * 5000 + b"1" + b"y" * 5000, b"x" * 5000 + b"2" + b"y" * 5000))
    assert a is not None
    assert b is not None
    assert "x1y" in a
    assert "x2y" in b
    assert max(len(a), len(b)) < 300


def test_huge_texts_cost_little() -> None:
    a = b"".join(b"%d\n" % (number % 7) for number in range(500_000))
    b = b"".join(b"%d\n" % (number % 5) for number in range(500_000))
    detail = text(a, b)
    assert detail.omitted
    assert len(detail.rows) <= 60
    assert text(b"x" * (1 << 21), b"y" * (1 << 21)).rows


def test_aligning_stops_when_it_cost_enough() -> None:
    budget = Budget()
    assert budget.align(20_000_000)
    detail = text_detail(b"a\nb\nc\n", b"x\na\nb\ny\n", budget)
    assert differing(detail)[:2] == [("a", "x"), ("b", "a")]


def test_text_that_does_not_print_is_escaped() -> None:
    assert differing(text(b"a\x1b[31m\xff\n", b"a\r\n")) == [("a\\x1b[31m\\xff", "a\\r")]
    assert visible("\ud800\u2028") == "\\ud800\\u2028"
    assert len(visible("x" * 1000, 10)) == 11


def test_rows_of_hex() -> None:
    detail = hex_detail(bytes(range(64)), bytes(range(32)))
    assert detail.form == "hex"
    assert [row.at_a for row in detail.rows] == ["00000010", "00000020", "00000030"]
    assert [row.b is None for row in detail.rows] == [False, True, True]
    assert detail.rows[1].a == "20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f   !\"#$%&'()*+,-./"
    assert hex_detail(bytes(500), b"\1" * 500).omitted
    assert hex_detail(b"a", b"b", 0x1000).rows[0].at_a == "00001000"


@given(st.text("xyz", max_size=8), st.text("xyz", max_size=8))
def test_common_subsequences_are_symmetric(a: str, b: str) -> None:
    pairs = common(a, b)
    assert all(a[i] == b[j] for i, j in pairs)
    assert pairs == sorted(pairs)
    assert sorted((j, i) for i, j in pairs) == common(b, a)
