"""JSON and YAML: the keys that differ."""

from __future__ import annotations

import json
from typing import Any

from rbuild.compare.budget import MAX_CHILDREN
from rbuild.compare.keypaths import KeyDifference, differing
from rbuild.compare.model import Difference, Part
from rbuild.compare.place import Inner, Opened, Place, Unopened, changed, reading
from rbuild.yamlfile import Document, Mapping, Node, Scalar, key_path

_MAX_JSON = 4 << 20
_MAX_YAML = 1 << 20
_MAX_NODES = 50_000


def open_json(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """The keys of two JSON documents that differ; none where only the writing does."""
    return _compared(place, "json", _json(a), _json(b))


def open_yaml(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """The keys of two YAML documents that differ; none where only the writing does."""
    return _compared(place, "yaml", _yaml(a), _yaml(b))


def _compared(place: Place, format: str, a: object, b: object) -> Opened:
    with reading(ValueError, RecursionError):
        found = list(differing(a, b))
    if any(not one.path for one in found):
        raise Unopened("the two documents have no keys in common")
    children = [key_leaf(place, format, one) for one in found[:MAX_CHILDREN]]
    return Opened(children, len(found) - len(children))


def key_leaf(place: Place, format: str, one: KeyDifference, part: Part = Part.MEMBER) -> Difference:
    """A key that differs, named by its path."""
    name = key_path(one.path)
    return place.leaf(
        name,
        part=part,
        format=format,
        aspect=name,
        change=one.change,
        fields=changed("value", one.a, one.b),
        a=_bytes(one.a),
        b=_bytes(one.b),
    )


def _bytes(text: str | None) -> bytes:
    return (text or "").encode("utf-8", "backslashreplace")


def _json(data: bytes) -> object:
    if len(data) > _MAX_JSON:
        raise Unopened(f"it has more than {_MAX_JSON >> 20} MiB of JSON")
    with reading(ValueError, RecursionError):
        return json.loads(data.decode())


def _yaml(data: bytes) -> object:
    with reading():
        document = Document(data, file="it", max_size=_MAX_YAML, max_nodes=_MAX_NODES)
        document.finish()
        return _plain(document.root)


def _plain(node: Node) -> Any:
    if isinstance(node, Scalar):
        return node.text if node.plain else f'"{node.text}"'
    if isinstance(node, Mapping):
        return {key: _plain(item) for key, item in node.items.items()}
    return [_plain(item) for item in node.items]
