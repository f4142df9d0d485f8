"""Programs and libraries: the sections that differ (elf(5))."""

from __future__ import annotations

from collections import Counter

from rbuild.compare.budget import MAX_CHILDREN
from rbuild.compare.model import Change, Difference
from rbuild.compare.place import Inner, Opened, Place, Unopened
from rbuild.image.normalise.elf import MAGIC, sections

__all__ = ["MAGIC", "open_elf"]

_Sections = dict[tuple[bytes, int], bytes]


def open_elf(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """The sections that differ, by name; the header only where no section does."""
    sections_a, sections_b = _sections(a), _sections(b)
    if not sections_a or not sections_b:
        raise Unopened("it has no sections")
    keys = [*sections_a, *(key for key in sections_b if key not in sections_a)]
    differing = [key for key in keys if sections_a.get(key) != sections_b.get(key)]
    children = [_leaf(place, key[0], sections_a.get(key), sections_b.get(key)) for key in differing]
    if not children:
        children = [place.binary("header", a, b, format="elf", aspect="header")]
    return Opened(children[:MAX_CHILDREN], len(children[MAX_CHILDREN:]))


def _leaf(place: Place, name: bytes, a: bytes | None, b: bytes | None) -> Difference:
    text = name.decode("utf-8", "backslashreplace")
    if a is None or b is None:
        change = Change.ADDED if a is None else Change.REMOVED
        return place.leaf(text, format="elf", aspect=text, change=change, a=a or b"", b=b or b"")
    return place.binary(text, a, b, format="elf", aspect=text)


def _sections(data: bytes) -> _Sections:
    """Contents by name and number among those of that name."""
    seen: Counter[bytes] = Counter()
    found: _Sections = {}
    size = 0
    for section in sections(lambda at, length: data[at : at + length], len(data)):
        size += section.size
        if size > 2 * len(data):
            raise Unopened("its sections overlap")
        found[section.name, seen[section.name]] = data[section.offset : section.offset + section.size]
        seen[section.name] += 1
    return found
