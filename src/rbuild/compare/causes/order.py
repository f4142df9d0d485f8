"""The same things in another order: members of an archive, lines of a text, items of a line."""

from __future__ import annotations

import re
from collections import Counter

from rbuild.compare.causes import catalogue
from rbuild.compare.causes.tokens import Spot
from rbuild.compare.evidence import WINDOW, Evidence
from rbuild.compare.model import Cause

_FEWEST = 3  # that moved: two may have changed places by hand
_ARCHIVES = ("tar", "zip", "ar")
_OF_LINES = ("text", "json", "yaml", "config", "sqlite", "binary", "png", "pyc")
_PATH = re.compile(rb"[^\s/]{0,255}/[^\s]{1,4096}")
_STRING = re.compile(rb"[ -~]{3,}")
_NUMBER = re.compile(rb"[\d.eE+-]*")
_DELIMITERS = re.compile(rb"[\s,;:=|{}\[\]()<>\"']+")
_NO_LETTER = re.compile(rb"[^A-Za-z0-9\x80-\xff]+")


def of_order(evidence: Evidence, spot: Spot | None) -> tuple[Cause, str] | None:
    """The cause of another order of the same lines, or of the same items in the line of the first spot."""
    if evidence.format in _ARCHIVES and evidence.part == "order":
        lines = _same_lines(evidence)
        if lines is None:
            return None
        return catalogue.UNSORTED_LISTING, f"the same {len(lines[0])} members stand in another order"
    if evidence.format == "pyc" and evidence.part == "code":
        # Sets of constants; Python writes them in a fixed order since 3.11.
        return _of_items("the code", *(_STRING.findall(side) for side in (evidence.a, evidence.b)))
    if evidence.format not in _OF_LINES:
        return None
    found = _of_lines(evidence)
    if found is None and spot is not None and spot.both is not None:
        items = ([item for item in _DELIMITERS.split(token.line) if item] for token in spot.both)
        return _of_items(spot.at, *items)
    return found


def _of_lines(evidence: Evidence) -> tuple[Cause, str] | None:
    lines = _same_lines(evidence)
    if lines is None or not (moved := _moved(*lines)):
        return None
    count = len(lines[0])
    if _sorted_by_two_rules(*lines):
        return catalogue.LOCALE, f"the same {count} lines are sorted by different rules"
    if all(_PATH.fullmatch(line) for line in moved):
        return catalogue.UNSORTED_LISTING, f"the same {count} paths stand in another order"
    return catalogue.HASH_ORDER, f"the same {count} lines stand in another order"


def _of_items(where: str, a: list[bytes], b: list[bytes]) -> tuple[Cause, str] | None:
    if not _moved(a, b):
        return None
    return catalogue.HASH_ORDER, f"{where} holds the same {len(a)} items in another order"


def _same_lines(evidence: Evidence) -> tuple[list[bytes], list[bytes]] | None:
    """The lines of both sides, where they are the same ones and enough of them moved."""
    a, b = evidence.a, evidence.b
    if evidence.start or max(len(a), len(b)) >= WINDOW or abs(len(a) - len(b)) > 2:
        return None
    # A comma, or the line's end, may be missing after whatever comes last.
    ours, theirs = ([line.rstrip(b", \t\r") for line in side.split(b"\n")] for side in (a, b))
    if len(ours) != len(theirs) or Counter(ours) != Counter(theirs):
        return None
    moved = {one for one, other in zip(ours, theirs, strict=True) if one != other}
    if len(moved) < _FEWEST:
        return None
    return [line for line in ours if line], [line for line in theirs if line]


def _moved(a: list[bytes], b: list[bytes]) -> set[bytes]:
    """The items that stand elsewhere, where both sides have the same ones; none if they are few or numbers.

    The hash of a number is no matter of chance.
    """
    if len(a) != len(b) or Counter(a) != Counter(b):
        return set()
    moved = {one for one, other in zip(a, b, strict=True) if one != other and not _NUMBER.fullmatch(one)}
    return moved if len(moved) >= _FEWEST else set()


def _sorted_by_two_rules(a: list[bytes], b: list[bytes]) -> bool:
    """Whether one side is sorted by bytes, and the other as a dictionary is: case and marks count last."""
    by_bytes = [lines == sorted(lines) for lines in (a, b)]
    other = b if by_bytes[0] else a
    return by_bytes[0] != by_bytes[1] and other == sorted(other, key=_letters)


def _letters(line: bytes) -> bytes:
    return _NO_LETTER.sub(b"", line).lower()
