"""Compressed files and bytecode that mean harm, or are damaged: compared as bytes, at little cost."""

from __future__ import annotations

import bz2
import lzma
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagepairs import of_file
from packs import PACKS, deb, pyc
from pycs import PYC

from rbuild.compare import budget


@pytest.mark.parametrize("ending", PACKS)
def test_bombs_are_not_unpacked(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(budget, "MAX_OPENED", 1 << 20)
    a, b = (PACKS[ending](bytes(64 << 20) + end) for end in (b"a", b"b"))
    tracemalloc.start()
    found = of_file(f"x.{ending}", a, b)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "unpacks to more than 1048576 bytes" in (found.note or "")
    assert peak < 24 << 20


def test_what_asks_for_too_much_memory_is_not_unpacked() -> None:
    # The dictionary's size is in xz's header: here 1 GiB.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    a, b = (lzma.compress(text, filters=filters) for text in (b"a", b"b"))
    at = a.index(b"\x21\x01") + 2
    greedy = [data[:at] + b"\x24" + data[at + 1 :] for data in (a, b)]
    assert (of_file("x.xz", *greedy).note or "").startswith("could not look inside: ")


def test_empty_streams_without_end_cost_little() -> None:
    empty = bz2.compress(b"")
    a, b = (empty * 200_000 + bz2.compress(end) for end in (b"a", b"b"))
    assert "more than 100000 streams" in (of_file("x.bz2", a, b).note or "")


REF = b"r" + struct.pack("<I", 0)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (b"", "ends too early"),
        (b"\xe3" + bytes(9), "ends too early"),
        (b"N", "holds no code"),
        (b"0", "holds no code"),
        (b"i\1\0\0\0x", "holds no code"),
        (b"(\xff\xff\xff\x7f", "ends too early"),
        (b"s\xff\xff\xff\xff", "ends too early"),
        (b"\xff" * 40, "unknown kind"),
        (b")\1" * 5000, "nested more than 60 deep"),
        (b"\xa9\1" + REF, "refers to what is not there"),
        (REF, "refers to what is not there"),
        (b"[\x40\x42\x0f\0" + b"N" * 1_000_000, "more than 500000 objects"),
        (b"l\xff\xff\xff\x7f", "ends too early"),
    ],
)
def test_hostile_code_is_compared_as_bytes(code: bytes, why: str) -> None:
    found = of_file("m.pyc", pyc(code + b"a"), pyc(code + b"b"))
    (leaf,) = found.leaves()
    assert (leaf.note or "").startswith("compared as bytes: ")
    assert why in (leaf.note or "")


def test_what_is_referred_to_again_is_not_written_out_again() -> None:
    """Ten to the power of thirty items, in 300 bytes."""
    bomb = b"\xa9\x0a" + b"N" * 10
    for level in range(30):
        bomb = b"\xa9\x0a" + bomb + (b"r" + struct.pack("<I", 30 - level)) * 9
    fixture = PYC["3.12"][16:]
    at = fixture.index(b"A point.") - 2
    for spoil in (b"x", b"yy"):
        of_file("m.pyc", pyc(fixture[:at] + bomb + fixture[at + 10 :], 3531), pyc(fixture + spoil, 3531))


@settings(max_examples=300)
@given(st.sampled_from(sorted(PYC)), st.integers(16, 2000), st.binary(min_size=1, max_size=4))
def test_damaged_code_is_a_difference(version: str, at: int, damage: bytes) -> None:
    sample = PYC[version]
    at = 16 + at % (len(sample) - 16)
    other = sample[:at] + damage + sample[at + len(damage) :]
    if other != sample:
        assert all(leaf.cause for leaf in of_file("m.pyc", sample, other).leaves())


@settings(max_examples=200)
@given(st.sampled_from(sorted(PACKS)), st.integers(0, 4000), st.binary(min_size=1, max_size=4))
def test_damaged_files_are_differences(ending: str, at: int, damage: bytes) -> None:
    for sample in (PACKS[ending](b"a text\n" * 40), deb(b"c")):
        at %= len(sample)
        other = sample[:at] + damage + sample[at + len(damage) :]
        if other != sample:
            assert all(leaf.cause for leaf in of_file(f"x.{ending}", sample, other).leaves())
