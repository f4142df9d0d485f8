"""Reports of more than a page holds."""

from __future__ import annotations

import samplereports as sample
from htmlpages import Page

from rbuild.compare.model import Detail, Field, Row
from rbuild.htmlreport import page
from rbuild.htmlreport.page import NODES


def test_a_page_is_bounded_and_says_what_is_left_out() -> None:
    text = page(sample.many(10_000))

    assert len(text) < 6_000_000
    found = Page(text)
    assert "Not shown, to keep this page small: 7,001 differences." in found.text
    assert "Differences 10,000" in found.text
    assert found.tags["details"] <= NODES


def test_hostile_values_do_not_grow_a_page() -> None:
    long = "\x01\u202e" * 100_000
    leaf = sample.entry(
        long,
        why=long,
        note=long,
        fields=(Field(name=long, a=long, b=long[1:]),) * 100,
        detail=Detail(form="text", rows=(Row(a=long, b=long[1:]),) * 1000),
    )

    assert len(page([sample.stage("s", *[leaf] * 1000)])) < 12_000_000


def test_the_one_unknown_cause_is_seen_among_thousands() -> None:
    pyc = [sample.entry(f"/{number}.pyc", sample.BYTECODE) for number in range(5000)]
    odd = sample.entry("/odd", sample.UNKNOWN)
    layers = [sample.layer(1, *pyc[:4000], odd, *pyc[4000:]), sample.layer(2, sample.entry("/other"))]

    found = Page(page([sample.stage("s", *layers)]))

    assert found.text.count("/odd") == 2
    assert found.text.count("/other") == 2


def test_a_large_stage_leaves_room_for_the_next() -> None:
    small = sample.stage("small", sample.numbered(1))

    text = Page(page([*sample.many(4000), small])).text

    assert text.rpartition("small, as built now")[2].count("built: 2026-03-14 09:31:07") == 1
