"""Pictures in PNG: their chunks hold times and texts beside the pixels (PNG specification, chapter 11)."""

from __future__ import annotations

from rbuild.compare.budget import MAX_CHILDREN
from rbuild.compare.model import Change, Difference
from rbuild.compare.place import Inner, Opened, Place, Unopened

MAGIC = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS = 100_000
_TEXTS = ("tEXt", "iTXt", "zTXt")


def open_png(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """The chunks that differ, by type; all chunks of one type are one content, texts go by their keyword."""
    chunks_a, chunks_b = _chunks(a), _chunks(b)
    keys = [*chunks_a, *(key for key in chunks_b if key not in chunks_a)]
    differing = [key for key in keys if chunks_a.get(key) != chunks_b.get(key)]
    children = [_leaf(place, *key, chunks_a.get(key), chunks_b.get(key)) for key in differing[:MAX_CHILDREN]]
    return Opened(children, len(differing) - len(children))


def _leaf(place: Place, kind: str, keyword: str, a: bytes | None, b: bytes | None) -> Difference:
    name = f"{kind} {keyword}" if keyword else kind
    if a is None or b is None:
        change = Change.ADDED if a is None else Change.REMOVED
        return place.leaf(name, format="png", aspect=kind, change=change, a=a or b"", b=b or b"")
    if kind in _TEXTS[:2]:
        return place.text(name, a, b, format="png", aspect=kind)
    return place.binary(name, a, b, format="png", aspect=kind)


def _chunks(data: bytes) -> dict[tuple[str, str], bytes]:
    found: dict[tuple[str, str], list[bytes]] = {}
    at = len(MAGIC)
    count = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8].decode("ascii", "backslashreplace")
        content = data[at + 8 : at + 8 + size]
        at += 12 + size
        count += 1
        if at > len(data) or count > _MAX_CHUNKS:
            raise Unopened("its chunks are broken")
        keyword = ""
        if kind in _TEXTS:
            start, _, content = content.partition(b"\0")
            keyword = start[:79].decode("latin-1")
        found.setdefault((kind, keyword), []).append(content)
        if kind == "IEND":
            break
    if at < len(data):
        found["after the end", ""] = [data[at:]]
    return {key: b"".join(parts) for key, parts in found.items()}
