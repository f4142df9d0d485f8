"""JSON as the canonical form writes it, and as it is read from strangers."""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

import msgspec

from rbuild.errors import RbuildError

T = TypeVar("T")


def canonical_json(value: object) -> bytes:
    """Keys sorted, no white space, UTF-8. Raises RbuildError for text that is no Unicode."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise RbuildError(f"a text in the image is not Unicode: {error.object[error.start]!r}") from error


def read_json(data: bytes, what: str, limit: int) -> dict[str, Any]:
    """Read a JSON object; `what` names it in errors, `limit` is how many bytes it may have.

    Raises RbuildError for anything that two programs may read in two ways: a key that comes twice, NaN,
    nesting without end, bytes after the object, text that is not UTF-8.
    """
    if len(data) > limit:
        raise RbuildError(f"{what} has {len(data)} bytes; more than {limit} are refused")

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=refuse)
    except RecursionError:
        raise RbuildError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise RbuildError(f"{what} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise RbuildError(f"{what} is not a JSON object")
    return value


def typed(value: object, kind: type[T], what: str) -> T:
    """A JSON value as a typed one; raises RbuildError with the path of the first key that does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise RbuildError(f"{what}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} comes twice")
    return value
