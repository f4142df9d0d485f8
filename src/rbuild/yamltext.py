"""YAML as rbuild writes it: sorted keys, one value a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rbuild.yamlfile import implicit_type

# What may stand without quotes; less than YAML allows.
_PLAIN = re.compile(r"[A-Za-z0-9/_](?:[!-~ ]*[!-9;-~])?\Z")
# What is escaped within quotes: all that YAML does not call printable, and its line breaks.
_SPECIAL = re.compile(
    "[^ !#-\\[\\]-~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def yaml_lines(value: Any) -> Iterator[str]:
    """The lines of a plain mapping or list that is not empty."""
    if isinstance(value, dict):
        for key, item in sorted(value.items()):
            yield from _entry(f"{_scalar(key)}:", item)
    else:
        for item in value:
            yield from _item(item)


def _entry(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, (dict, list)):
        yield f"{key} {_scalar(value)}"
    elif not value:
        yield f"{key} {'{}' if isinstance(value, dict) else '[]'}"
    else:
        yield key
        for line in yaml_lines(value):
            yield f"  {line}"


def _item(value: Any) -> Iterator[str]:
    if not isinstance(value, (dict, list)):
        yield f"- {_scalar(value)}"
    else:
        mark = "- "
        for line in yaml_lines(value):
            yield mark + line
            mark = "  "


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if _PLAIN.match(text) and ": " not in text and " #" not in text and implicit_type(text) is None:
        return text
    return f'"{_SPECIAL.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return f"\\{character}"
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
