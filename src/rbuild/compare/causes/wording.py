"""Values of strangers within sentences for people."""

from __future__ import annotations

from rbuild.compare.model import Field
from rbuild.visible import visible

_LONGEST = 80  # characters


def quoted(data: bytes, longest: int = _LONGEST) -> str:
    """Bytes as text: what is not UTF-8 or not printable escaped, and cut short."""
    return visible(data[: 4 * longest].decode("utf-8", "backslashreplace"), longest)


def values(a: bytes | None, b: bytes | None) -> str:
    """Two values: "A and B"."""
    return " and ".join("nothing" if side is None or side == b"" else quoted(side) for side in (a, b))


def said(field: Field) -> str:
    """A property with its two values: "mode is 0664 and 0644"."""
    sides = (
        None if side is None else side.encode("utf-8", "backslashreplace") for side in (field.a, field.b)
    )
    return f"{quoted(field.name.encode('utf-8', 'backslashreplace'))} is {values(*sides)}"
