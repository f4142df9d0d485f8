"""Evidence full of anything: one cause, one short sentence, bounded time."""

from __future__ import annotations

import time

import pytest
from evidences import binary, swapped
from hypothesis import given, settings
from hypothesis import strategies as st

from rbuild.compare.causes import CATALOGUE, find
from rbuild.compare.evidence import WINDOW, Evidence, Facts
from rbuild.compare.model import Change, Field

# Patterns of one kind, on and on.
HOSTILE = (
    b"a",
    b" ",
    b"\n",
    b"-",
    b"0",
    b"1-",
    b"/tmp/",
    b"tmp.",
    b"tmp_",
    b"pip-aa-",
    b"2026-11-23 ",
    b"2026-11-23T10:00:00.",
    b"10:00:00",
    b"Mon ",
    b"Mon Nov 23 ",
    b"0b8f6f1e-3c55-",
    b"$6$",
    b"$6$aaaaaaaa$",
    b"Linux ",
    b"a.",
    b"1.1.",
    b"host",
    b"cpu",
    b"http://a ",
    b"curl http://a ",
    b"curl ",
    b"x\n2026-11-23\n",
    b"-----BEGIN ",
    b"\xff",
    b"{'a', ",
)


@pytest.mark.parametrize("pattern", HOSTILE)
@pytest.mark.parametrize("format", ["text", "binary"])
def test_a_window_full_of_anything_takes_bounded_time(pattern: bytes, format: str) -> None:
    full = (pattern * (WINDOW // len(pattern) + 1))[: WINDOW - 9]
    half = len(full) // 2
    hostile = [
        (full + b"1", full + b"2"),
        (b"1" + full, b"2" + full),
        (full[:half] + b"1" + full[half:], full[:half] + b"2" + full[half:]),
        (full, full[half:]),
    ]
    start = time.process_time()
    for a, b in hostile:
        find(binary(a, b, format=format, instruction=(pattern * 9999).decode("latin-1")))
    assert time.process_time() - start < 5


words = st.sampled_from(
    [
        *HOSTILE,
        b"23",
        b"Nov 23 2026",
        b"0b8f6f1e-3c55-4d0e-9a67-2f1f0c7f6a11",
        b"/tmp/tmp.AbC123",
        b"=",
        b":",
        b"version",
        b"UTC",
        b"\0",
    ]
)
contents = st.lists(words | st.binary(max_size=8), max_size=40).map(b"".join)
names = st.text(max_size=20)
parts = ["", "header", "code", "order", "time", "attributes", "pages", "table t", "created", "tIME", "tEXt"]
parts += ["history[0].created_by", ".note.gnu.build-id", ".debug_str", "a.b"]
formats = [
    *("metadata", "entry", "text", "json", "yaml", "binary", "pyc", "gzip", "zip", "tar", "elf", "sqlite"),
    *("png", "config", "of another day"),
]
evidences = st.builds(
    Evidence,
    path=contents | st.sampled_from([b"etc/shadow", b"etc/machine-id", b"etc/hostname", b"var/log/dpkg.log"]),
    members=st.lists(names, max_size=2).map(tuple),
    change=st.sampled_from(Change),
    format=st.sampled_from(formats),
    part=st.sampled_from(parts) | names,
    fields=st.lists(
        st.builds(
            Field,
            name=st.sampled_from(["mode", "owner", "mtime", "x: mode", "x: extra", "link"]) | names,
            a=st.none() | st.sampled_from(["0644", "0664", "5554090003", "/tmp/tmp.AbC123"]) | names,
            b=st.none() | st.sampled_from(["0644", "0755", "5554090004", "/tmp/tmp.ZbC129"]) | names,
        ),
        max_size=3,
    ).map(tuple),
    a=contents,
    b=contents,
    first=st.integers(0, 1 << 40),
    start=st.integers(0, 1 << 40),
    sha256_a=st.sampled_from([b"", b"1" * 32, b"2" * 32]),
    sha256_b=st.sampled_from([b"", b"1" * 32, b"2" * 32]),
    others=st.frozensets(contents, max_size=4),
    instruction=names | st.sampled_from(["RUN curl -o /x http://y", "ADD http://z /", "COPY a b"]),
    facts=st.builds(
        Facts,
        responses_a=st.sampled_from([{}, {b"1" * 32: "http://x"}]),
        responses_b=st.sampled_from([{}, {b"2" * 32: "http://x"}]),
        hosts=st.frozensets(st.sampled_from(["host", "a"])),
    ),
)


@settings(max_examples=400, deadline=None)
@given(evidences)
def test_any_evidence_has_one_cause_and_a_short_sentence(evidence: Evidence) -> None:
    found, why = find(evidence)
    assert found in CATALOGUE
    assert why.isprintable()
    assert 0 < len(why) < 1000
    assert find(evidence) == (found, why)
    assert find(swapped(evidence))[0] == found
