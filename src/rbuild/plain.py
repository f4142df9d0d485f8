"""Frozen values as plain mappings, lists, strings and numbers, ready to be written as JSON or YAML."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

_SCALARS = (str, int, float, bool, type(None))


def plain(value: Any) -> Any:
    """`value` with every Struct as a dict of its fields, and every tuple as a list.

    Fields that hold their default are left out. What is neither a Struct, a mapping, a sequence nor a
    scalar (a Digest, a Reference) becomes its text.
    """
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, msgspec.Struct):
        return {
            name: plain(item)
            for name, default in _defaults(type(value))
            if (item := getattr(value, name)) is not default and item != default
        }
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value)


@cache
def _defaults(kind: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    """Every field of `kind` with its default; NODEFAULT, which equals no value, where there is none."""
    return tuple(
        (
            field.name,
            field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory(),
        )
        for field in msgspec.structs.fields(kind)
    )
