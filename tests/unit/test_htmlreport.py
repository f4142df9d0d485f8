import re
from collections import Counter
from typing import Any

import pytest
import samplereports as sample
from htmlpages import Page
from hypothesis import given, settings
from hypothesis import strategies as st

from rbuild.compare.model import Change, Detail, Difference, Field, LayerPair, Part, Row, Verdict
from rbuild.errors import Problem, Where
from rbuild.htmlreport import Condition, StageReport, page
from rbuild.htmlreport.text import marked, size, visible
from rbuild.htmlreport.tree import shares

HOSTILE = (
    "</style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{7*7}}\x00\x1b[31m\u202egnp.exe\udcff"
)


def everywhere(text: str) -> list[StageReport]:
    """A report whose every text is `text`."""
    blame = sample.Blame(text=text, file=text, line=1)
    cause = sample.Cause(id=text, title=text, explanation=f"`{text}`", hint=text)
    inner: dict[str, Any] = {
        "name": text,
        "change": Change.CHANGED,
        "cause": cause,
        "why": text,
        "note": text,
    }
    leaf = Difference(
        part=Part.MEMBER,
        **inner,
        blame=blame,
        fields=(Field(name=text, a=text, b=None), Field(name=text, a=text, b=text + "2")),
        detail=Detail(form="text", rows=(Row(a=text, b=None, at_a=text), Row(a=text, b=text + "2"))),
    )
    top = Difference(part=Part.LAYER, **inner, children=(leaf,))
    pair = LayerPair(number=1, blame=blame, a=sample.digest("a"), size_a=1)
    stage = sample.stage(text, top, layers=(pair,))
    problem = Problem(what=text, where=Where(file=text, key=text), hint=text)
    condition = Condition(name=text, digest=None, same=False, note=text)
    unknown = StageReport(name=text, verdict=Verdict.UNKNOWN, problems=(problem,), conditions=(condition,))
    return [stage, unknown]


def test_the_page_tells_what_the_values_hold() -> None:
    text = Page(page(sample.pipeline())).text

    assert "1 of 3 stages is different" in text
    assert "Python bytecode with its source's time" in text
    assert "leave the normaliser bytecode on" in text
    assert "train/Containerfile:21" in text
    assert "2 of 6 layers shared, 31.7 MB. What differs: 130.7 MB in A, 130.8 MB in B." in text
    assert '"built": "2026-03-14T09:31:07Z"' in text
    assert "rbuild.lock:212 stages.infer.context infer.py is not what it was" in text
    assert "umask ≠ another digest" in text
    assert "train has another digest under: umask." in text
    assert "train, another umask A train, as built now" in text
    assert str(sample.digest("pre-process")) in text


def test_causes_are_counted_over_all_stages_with_the_way_to_the_first() -> None:
    one = sample.stage("one", sample.layer(1, sample.entry("/first"), sample.entry("/second")))
    wheel = sample.entry("/x.whl", None, children=(sample.entry("METADATA", sample.ZIP_TIMES),))
    two = sample.stage("two", sample.layer(1, wheel, sample.entry("/third")))

    text = Page(page([one, two])).text

    assert "Build date" not in text
    assert "build date in a file A program wrote the time of the build into a file. 3 /first one" in text
    assert "were written during the build. 1 /x.whl › METADATA two" in text


def test_a_link_leads_from_a_cause_to_its_first_difference() -> None:
    found = Page(page(sample.pipeline()))

    ids = [value for _, name, value in found.attributes if name == "id"]
    links = [value for tag, name, value in found.attributes if tag == "a" and name == "href"]
    assert len(ids) == len(set(ids))
    assert "#first-2" in links
    assert {str(link)[1:] for link in links} <= set(ids)


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        ([Verdict.IDENTICAL], "s: identical"),
        ([Verdict.IDENTICAL, Verdict.IDENTICAL], "All 2 stages are identical"),
        ([Verdict.SAME_CONTENT, Verdict.IDENTICAL], "1 of 2 stages has the same content"),
        ([Verdict.UNKNOWN, Verdict.SAME_CONTENT], "Could not tell about 1 of 2 stages"),
        ([Verdict.UNKNOWN, Verdict.DIFFERENT, Verdict.DIFFERENT], "2 of 3 stages are different"),
        ([], "Nothing was compared"),
    ],
)
def test_the_headline_is_the_worst_verdict(verdicts: list[Verdict], sentence: str) -> None:
    assert sentence in Page(page([StageReport(name="s", verdict=verdict) for verdict in verdicts])).text


def test_nothing_hostile_becomes_markup() -> None:
    plain, hostile = Page(page(everywhere("x"))), Page(page(everywhere(HOSTILE)))

    assert hostile.tags - Counter({"span": hostile.tags["span"]}) == plain.tags - Counter(
        {"span": plain.tags["span"]}
    )
    assert "</style><script>alert(1)</script>" in hostile.text
    assert "{{7*7}}" in hostile.text
    assert not any(name.startswith("on") or name == "style" for _, name, _ in hostile.attributes)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=40))
def test_any_text_makes_a_well_formed_page(text: str) -> None:
    shown = page(everywhere(text))

    Page(shown)
    assert all(character.isprintable() or character == "\n" for character in shown)
    shown.encode()


def test_what_is_not_seen_is_shown_as_escapes() -> None:
    assert visible("a\x1b[0m\u202eb") == ('a<span class="x">\\x1b</span>[0m<span class="x">\\u202e</span>b')
    assert visible("caf\udce9") == 'caf<span class="x">\\xe9</span>'
    assert visible("naïve 猫") == "naïve 猫"


def test_of_long_texts_the_middle_goes() -> None:
    shown = visible("a" * 700 + "b" * 5000 + "c" * 400)

    assert shown.startswith("aaa") and shown.endswith("ccc")
    assert "… 5,100 characters …" in shown
    assert "…" not in visible("/" + "x" * 255)


def test_what_differs_in_a_line_is_marked() -> None:
    assert marked("at 09:26 UTC", "at 10:31 UTC", "text") == (
        "at <mark>09:26</mark> UTC",
        "at <mark>10:31</mark> UTC",
    )
    assert marked("aa", "aaa", "text") == ("aa", "aa<mark>a</mark>")
    a, b = marked("x" * 9000 + "1" + "y" * 9000, "x" * 9000 + "2" + "y" * 9000, "text")
    assert "<mark>1</mark>" in a and "<mark>2</mark>" in b and len(a) < 600


def test_every_differing_byte_is_marked_as_number_and_as_letter() -> None:
    a, b = marked(sample.hexadecimal(b"A-B-CCCC"), sample.hexadecimal(b"a-b-CCCC"), "hex")

    assert a.startswith("<mark>41</mark> 2d <mark>42</mark> 2d 43")
    assert a.endswith("<mark>A</mark>-<mark>B</mark>-CCCC")
    assert b.startswith("<mark>61</mark> 2d <mark>62</mark> 2d 43")
    unprinted, _ = marked(sample.hexadecimal(b"\0=\0"), sample.hexadecimal(b"\1=\1"), "hex")
    assert unprinted.endswith("<mark>.</mark>=<mark>.</mark>")


def test_the_page_refers_to_nothing_outside() -> None:
    text = page(sample.pipeline())
    found = Page(text)

    for tag, name, value in found.attributes:
        if name in {"href", "src", "srcset", "action", "data", "poster"}:
            assert value and (value.startswith("#") or value == "data:,"), (tag, name, value)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy and policy[1].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy[1]


def test_the_same_values_are_the_same_bytes() -> None:
    assert page(sample.pipeline()) == page(sample.pipeline())


def test_a_deep_tree_ends() -> None:
    found = sample.entry("leaf")
    for _ in range(200):
        found = sample.entry("folder", None, children=(found,))

    text = Page(page([sample.stage("s", found)])).text

    assert "Not shown, to keep this page small: 1 difference." in text


def test_left_out_by_the_comparison_is_told_too() -> None:
    text = Page(page([sample.stage("s", sample.layer(1, sample.entry("/x"), omitted=41))])).text

    assert "41 differences" in text


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(0, 300))
def test_shares_are_fair_and_never_more_than_there_is(wanted: list[int], room: int) -> None:
    given_ = shares(wanted, room)

    assert sum(given_) == min(sum(wanted), room)
    short = [got for got, want in zip(given_, wanted, strict=True) if got < want]
    assert all(max(given_) - got <= 1 for got in short)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_700, "1.0 MB"), (10**14, "100.0 TB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
