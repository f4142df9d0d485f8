"""A stranger's text, for people."""

from __future__ import annotations


def visible(text: str, limit: int = 240) -> str:
    """A text on one line: what does not print is escaped, what is too long is cut."""
    cut = text[: limit + 1]
    if not cut.isprintable():
        cut = "".join(char if char.isprintable() else escaped(char) for char in cut)
    return cut if len(cut) <= limit else f"{cut[:limit]}…"


def escaped(char: str) -> str:
    r"""A character as Python escapes it, `\u202e`; a byte that was no UTF-8 as `\xff`."""
    if 0xDC80 <= ord(char) <= 0xDCFF:
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
