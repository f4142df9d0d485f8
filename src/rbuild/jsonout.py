"""Results as JSON on stdout: one document a command, keys as the values' own fields."""

from __future__ import annotations

import dataclasses
import sys
from datetime import date
from enum import Enum
from typing import Any

import msgspec

from rbuild.errors import RbuildError


def document(value: Any) -> Any:
    """A result as mappings, lists, strings and numbers. Digests and references become their text."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()  # a file's name need not be UTF-8
    if value is None or isinstance(value, (int, float, bool)):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return document(value.value)
    if isinstance(value, RbuildError):
        return document(value.problems)
    if isinstance(value, dict):
        return {document(str(key)): document(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [document(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return document(msgspec.structs.asdict(value))
    if dataclasses.is_dataclass(value) and type(value).__str__ is object.__str__:
        return _fields(value)
    return str(value) if type(value).__module__.endswith(("digest", "reference")) else _fields(value)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: document(getattr(value, field.name)) for field in dataclasses.fields(value)}


def json_line(value: Any) -> str:
    """A value as JSON, in one line."""
    return msgspec.json.encode(document(value)).decode()


def print_json(value: Any) -> None:
    """Print a result as one JSON document."""
    print(msgspec.json.format(msgspec.json.encode(document(value)), indent=2).decode(), file=sys.stdout)
