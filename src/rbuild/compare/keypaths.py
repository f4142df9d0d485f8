"""Which keys differ between two documents of mappings, lists and scalars."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rbuild.compare.model import Change

Key = str | int
MAX_DEPTH: Final = 64


class TooDeep(ValueError):
    """A document is nested deeper than MAX_DEPTH levels."""


_MISSING: Final = object()  # stands for a value that one side does not have


@dataclass(frozen=True, slots=True)
class KeyDifference:
    """A key with two values as text: texts as they are, all else as JSON; None: the side has no such key."""

    path: tuple[Key, ...]
    a: str | None
    b: str | None

    @property
    def change(self) -> Change:
        """What happened to the key."""
        if self.a is None:
            return Change.ADDED
        return Change.REMOVED if self.b is None else Change.CHANGED


def differing(a: object, b: object, path: tuple[Key, ...] = ()) -> Iterator[KeyDifference]:
    """The keys that differ, in the order of the documents; raises TooDeep.

    Mappings are compared by key, lists item by item after what they have in common at their start and end,
    scalars by type and value: 1, 1.0 and true differ.
    """
    if len(path) > MAX_DEPTH:
        raise TooDeep(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from differing(a.get(key, _MISSING), b.get(key, _MISSING), (*path, key))
    elif isinstance(a, list) and isinstance(b, list):
        yield from _items(a, b, path)
    elif not _same(a, b):
        yield KeyDifference(path, _text(a), _text(b))


def _items(a: Sequence[object], b: Sequence[object], path: tuple[Key, ...]) -> Iterator[KeyDifference]:
    start = end = 0
    if len(a) != len(b):
        most = min(len(a), len(b))
        while start < most and _equal(a[start], b[start], path):
            start += 1
        while end < most - start and _equal(a[-1 - end], b[-1 - end], path):
            end += 1
    left, right = len(a) - end, len(b) - end
    for at in range(start, max(left, right)):
        one = a[at] if at < left else _MISSING
        other = b[at] if at < right else _MISSING
        yield from differing(one, other, (*path, at))


def _equal(a: object, b: object, path: tuple[Key, ...]) -> bool:
    return next(differing(a, b, (*path, 0)), None) is None


def _same(a: object, b: object) -> bool:
    if type(a) is not type(b) or isinstance(a, (Mapping, list)):
        return False
    return a == b or repr(a) == repr(b)  # NaN is not equal to itself


def _text(value: object) -> str | None:
    if value is _MISSING:
        return None
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise TooDeep(f"it is nested deeper than {MAX_DEPTH} levels") from None
