"""The nodes of a YAML file as typed values, with every problem noted at its place.

The types are msgspec's Structs, `dict[str, T]`, `tuple[T, ...]`, `str`, `int`, `bool`, `Literal`, unions of
these with None, and any class with a classmethod `parse(text)` that raises RbuildError, such as Digest.
`msgspec.Meta` adds limits; its `extra={"expected": …}` says in words what a pattern wants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final, TypeVar, cast

import msgspec
import msgspec.inspect as mi

from rbuild.errors import RbuildError
from rbuild.suggest import did_you_mean
from rbuild.yamlfile import Document, Mapping, Node, Path, Scalar, Sequence, implicit_type

T = TypeVar("T", bound=msgspec.Struct)

_BROKEN: Final = object()
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")

_Reader = Callable[[Node, Path, Document], Any]


def read(document: Document, kind: type[T]) -> T | None:
    """The document as a `kind`, or None when its outermost value cannot be made.

    Problems are noted in `document`. While there are any, what comes back serves only to find more of them:
    a broken optional value is its default, a broken required text is empty, a broken entry is left out.
    """
    return read_part(document, kind, document.root, ())


def read_part(document: Document, kind: type[T], node: Node, path: Path) -> T | None:
    """The value at `path` as a `kind`: as `read`, for files whose keys decide the types of their values."""
    value = _reader_of(kind)(node, path, document)
    return None if value is _BROKEN else cast(T, value)


@cache
def _reader_of(kind: type[msgspec.Struct]) -> _Reader:
    return _reader(mi.type_info(kind))


def _reader(info: mi.Type, expected: str | None = None) -> _Reader:
    match info:
        case mi.Metadata():
            return _reader(info.type, (info.extra or {}).get("expected"))
        case mi.StructType():
            return _struct(info.cls)
        case mi.DictType():
            return _mapping(_reader(info.key_type), _reader(info.value_type))
        case mi.VarTupleType():
            return _sequence(_reader(info.item_type))
        case mi.StrType():
            return _text(info, expected)
        case mi.IntType():
            return _integer(info)
        case mi.BoolType():
            return _boolean
        case mi.LiteralType():
            return _literal(info.values)
        case mi.UnionType():
            return _union(info)
        case mi.DataclassType() | mi.CustomType():
            return _parsed(getattr(info.cls, "parse"))  # noqa: B009
    raise TypeError(f"no reader for {info}")


@cache
def _struct(kind: type[msgspec.Struct]) -> _Reader:
    info = cast(mi.StructType, mi.type_info(kind))
    fields = {field.encode_name: (field, _reader(field.type)) for field in info.fields}

    def read_struct(node: Node, path: Path, document: Document) -> Any:
        if not isinstance(node, Mapping):
            return _wrong_kind("a mapping", node, path, document)
        values: dict[str, Any] = {}
        broken = False
        for key in [key for key in node.items if key not in fields]:
            hint = did_you_mean(key, fields.keys() - node.items.keys())
            document.problem("is not a known key", *path, key, hint=hint or _known(fields))
        for key, (field, reader) in fields.items():
            if (item := node.items.get(key)) is None:
                if field.required:
                    document.problem("is missing", *path, key)
                    value = _BROKEN
                else:
                    continue
            else:
                value = reader(item, (*path, key), document)
            if value is not _BROKEN:
                values[field.name] = value
            elif field.required:
                blank = "" if _is_text(field.type) else _BROKEN
                values[field.name] = blank
                broken = broken or blank is _BROKEN
        if broken:
            return _BROKEN
        try:
            return kind(**values)
        except RbuildError as error:
            for problem in error.problems:
                document.problem(problem.what, *path, hint=problem.hint)
            return _BROKEN

    return read_struct


def _known(keys: Iterable[str]) -> str:
    return f"known keys: {', '.join(keys)}"


def _is_text(info: mi.Type) -> bool:
    return isinstance(info.type if isinstance(info, mi.Metadata) else info, mi.StrType)


def _mapping(read_key: _Reader, read_value: _Reader) -> _Reader:
    def read_mapping(node: Node, path: Path, document: Document) -> Any:
        if not isinstance(node, Mapping):
            return _wrong_kind("a mapping", node, path, document)
        values = {}
        for key, item in node.items.items():
            key_node = Scalar(item.line, key, key in node.plain_keys)
            name = read_key(key_node, (*path, key), document)
            value = read_value(item, (*path, key), document)
            if name is not _BROKEN and value is not _BROKEN:
                values[name] = value
        return values

    return read_mapping


def _sequence(read_item: _Reader) -> _Reader:
    def read_sequence(node: Node, path: Path, document: Document) -> Any:
        if not isinstance(node, Sequence):
            return _wrong_kind("a list", node, path, document)
        values = tuple(read_item(item, (*path, at), document) for at, item in enumerate(node.items))
        return _BROKEN if _BROKEN in values else values

    return read_sequence


def _text(info: mi.StrType, expected: str | None) -> _Reader:
    pattern = re.compile(info.pattern) if info.pattern else None

    def read_text(node: Node, path: Path, document: Document) -> Any:
        if not isinstance(node, Scalar):
            return _wrong_kind("a text", node, path, document)
        text = node.text
        if node.is_null:
            return _broken("is empty; a text is expected", path, document)
        if node.plain and (taken_for := implicit_type(text)):
            return _broken(
                f"is not a text: YAML takes {_show(text)} for {taken_for}",
                path,
                document,
                hint=f'quote it: "{text[:80]}"',
            )
        if "\0" in text:
            return _broken("holds a NUL character", path, document)
        if pattern and not pattern.fullmatch(text):
            return _broken(
                f"is not {expected}: {_show(text)}"
                if expected
                else f"does not match {info.pattern}: {_show(text)}",
                path,
                document,
            )
        if info.max_length is not None and len(text) > info.max_length:
            return _broken(f"is longer than {info.max_length} characters", path, document)
        return text

    return read_text


def _integer(info: mi.IntType) -> _Reader:
    def read_integer(node: Node, path: Path, document: Document) -> Any:
        if not isinstance(node, Scalar):
            return _wrong_kind("a whole number", node, path, document)
        if not node.plain or not _INTEGER.match(node.text):
            return _broken(f"is not a whole number: {_show(node.text)}", path, document)
        number = int(node.text)
        if info.ge is not None and number < info.ge:
            return _broken(f"is less than {info.ge}: {number}", path, document)
        if info.le is not None and number > info.le:
            return _broken(f"is more than {info.le}: {number}", path, document)
        return number

    return read_integer


def _boolean(node: Node, path: Path, document: Document) -> Any:
    if isinstance(node, Scalar) and node.plain and node.text in ("true", "false"):
        return node.text == "true"
    if isinstance(node, Scalar):
        hint = "write true or false, without quotes"
        return _broken(f"is neither true nor false: {_show(node.text)}", path, document, hint=hint)
    return _wrong_kind("true or false", node, path, document)


def _literal(choices: tuple[Any, ...]) -> _Reader:
    read_text = _text(mi.StrType(), None)

    def read_literal(node: Node, path: Path, document: Document) -> Any:
        text = read_text(node, path, document)
        if text is _BROKEN or text in choices:
            return text
        hint = did_you_mean(text, choices)
        return _broken(f"is not one of {', '.join(choices)}: {_show(text)}", path, document, hint=hint)

    return read_literal


def _union(info: mi.UnionType) -> _Reader:
    """None where the value may be empty, true or false where that is one of the kinds, else the other."""
    members = [member for member in info.types if not isinstance(member, mi.NoneType)]
    optional = len(members) < len(info.types)
    flag = any(isinstance(member, mi.BoolType) for member in members)
    read_other = _reader(next(member for member in members if not (flag and isinstance(member, mi.BoolType))))

    def read_union(node: Node, path: Path, document: Document) -> Any:
        if isinstance(node, Scalar) and node.plain:
            if optional and node.is_null:
                return None
            if flag and node.text in ("true", "false"):
                return node.text == "true"
        return read_other(node, path, document)

    return read_union


def _parsed(parse: Callable[[str], Any]) -> _Reader:
    read_text = _text(mi.StrType(), None)

    def read_parsed(node: Node, path: Path, document: Document) -> Any:
        text = read_text(node, path, document)
        if text is _BROKEN:
            return _BROKEN
        try:
            return parse(text)
        except RbuildError as error:
            for problem in error.problems:
                _broken(f"is {problem.what}", path, document, hint=problem.hint)
            return _BROKEN

    return read_parsed


def _wrong_kind(expected: str, node: Node, path: Path, document: Document) -> Any:
    match node:
        case Mapping():
            found = "a mapping"
        case Sequence():
            found = "a list"
        case Scalar(is_null=True):
            found = "empty"
        case Scalar(text=text):
            found = _show(text)
    hint = "write {} where nothing is to be said" if (found, expected) == ("empty", "a mapping") else None
    return _broken(f"is {found}; {expected} is expected", path, document, hint=hint)


def _broken(what: str, path: Path, document: Document, *, hint: str | None = None) -> Any:
    document.problem(what, *path, hint=hint)
    return _BROKEN


def _show(text: str) -> str:
    return repr(text[:80] + "…" if len(text) > 80 else text)
