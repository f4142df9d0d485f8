"""Code objects out of Python's marshal format, as far as a comparison needs them.

A reader of its own: Python's, by its own documentation, is not made for hostile data. Nothing is evaluated,
depth and number of objects are bounded, and what is referred to again is neither read nor written out again.
The format is that of CPython's Python/marshal.c; Python 3.7 to 3.14 differ in a code object's fields alone.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import NamedTuple

_MAX_DEPTH = 60
_MAX_OBJECTS = 500_000
_MOST_SHOWN = 1000  # characters of one constant
_NULL, _REFERENCE, _CODE = ord("0"), ord("r"), ord("c")
_SINGLE = {
    ord("N"): "None",
    ord("T"): "True",
    ord("F"): "False",
    ord("S"): "StopIteration",
    ord("."): "...",
}
_CONTAINERS = {
    ord("("): ("(", ")"),
    ord(")"): ("(", ")"),
    ord("["): ("[", "]"),
    ord("<"): ("{", "}"),
    ord(">"): ("frozenset({", "})"),
}
_TEXTS = {ord("u"): 4, ord("t"): 4, ord("a"): 4, ord("A"): 4, ord("z"): 1, ord("Z"): 1}  # bytes of the size
_AGAIN = 0x80  # this object may be referred to later

# First magic number of a Python; those between are of its alphas and betas.
_BEFORE_POSITIONAL_ONLY, _FIRST_KNOWN = 3410, 3390
_FROM_3_11, _FIRST_UNKNOWN = 3450, 3650


class Unreadable(Exception):
    """The bytes are not a code object, or not of a Python that is known here; the text says why."""


class Thing(NamedTuple):
    """An object: as text for people, and a digest of all of it, in the order in which it is written."""

    text: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A code object: a module, a class body, a function."""

    name: str  # with the classes and functions that it is in, where the Python writes that
    numbers: dict[str, int]  # of arguments and the like; flags; first line
    file: Thing
    names: tuple[Thing, ...]
    variables: tuple[Thing, ...]
    constants: tuple[Thing, ...]  # code among them by its name alone
    inner: tuple[Code, ...]
    instructions: bytes
    lines: bytes  # the table from instructions to lines (and columns)
    exceptions: bytes


def is_known(magic: int) -> bool:
    """Whether the code of a Python with this magic number can be read."""
    return _FIRST_KNOWN <= magic < _FIRST_UNKNOWN


def read_code(data: bytes, magic: int) -> Code:
    """The code object that `data`, what follows the header of a .pyc file, consists of.

    Raises Unreadable.
    """
    reader = _Reader(data, magic)
    try:
        found = reader.read(0)
    except (IndexError, struct.error):
        raise Unreadable("its code ends too early") from None
    if not isinstance(found, _WithCode) or found.code is None:
        raise Unreadable("it holds no code")
    if reader.at != len(data):
        raise Unreadable("something follows its code")
    return found.code


class _WithCode(NamedTuple):
    """An object as the reader holds it: `raw` is what a string of bytes has, `items` what a tuple has."""

    text: str
    digest: bytes
    raw: bytes | None = None
    items: tuple[_WithCode, ...] | None = None
    code: Code | None = None
    number: int | None = None

    @property
    def thing(self) -> Thing:
        return Thing(self.text, self.digest)


def _plain(kind: int, text: str, content: bytes) -> _WithCode:
    """An object whose kind and `content` tell it from every other."""
    digest = _digest(bytes([kind]) + content)
    if len(text) > _MOST_SHOWN:
        text = f"{text[:_MOST_SHOWN]}… (and more; {digest.hex()[:12]})"
    return _WithCode(text, digest)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _long(raw: bytes, negative: bool) -> str:
    """An integer, which is written as its digits to the base 2**15."""
    digits = struct.unpack(f"<{len(raw) // 2}H", raw)
    number = sum(digit << 15 * at for at, digit in enumerate(digits))
    return str(-number if negative else number)


class _Reader:
    def __init__(self, data: bytes, magic: int) -> None:
        self._data = data
        self._magic = magic
        self._seen: list[_WithCode | None] = []
        self._left = _MAX_OBJECTS
        self.at = 0

    def read(self, depth: int) -> _WithCode | None:
        """The next object; None for what ends a dictionary."""
        if depth > _MAX_DEPTH:
            raise Unreadable(f"its code is nested more than {_MAX_DEPTH} deep")
        self._left -= 1
        if self._left < 0:
            raise Unreadable(f"its code has more than {_MAX_OBJECTS} objects")
        kind = self._byte()
        slot = None
        if kind & _AGAIN:
            kind &= ~_AGAIN
            slot = len(self._seen)
            self._seen.append(None)
        if kind == _NULL:
            return None
        if kind == _REFERENCE:
            number = self._unsigned()
            known = self._seen[number] if number < len(self._seen) else None
            if known is None:
                raise Unreadable("its code refers to what is not there")
            return known
        found = self._object(kind, depth)
        if slot is not None:
            self._seen[slot] = found
        return found

    def _object(self, kind: int, depth: int) -> _WithCode:
        if kind == _CODE:
            return self._code(depth)
        if kind in _SINGLE:
            return _plain(kind, _SINGLE[kind], b"")
        if kind in _CONTAINERS:
            size = self._byte() if kind == ord(")") else self._unsigned()
            return self._container(kind, [self._one(depth) for _ in range(self._fits(size))])
        if kind in _TEXTS:
            raw = self._take(self._byte() if _TEXTS[kind] == 1 else self._unsigned())
            # marshal writes lone surrogates as they are.
            text = repr(raw[: 4 * _MOST_SHOWN].decode("utf-8", "backslashreplace"))
            return _plain(ord("u"), text, raw)
        if kind == ord("s"):
            raw = self._take(self._unsigned())
            return _plain(kind, repr(raw[:_MOST_SHOWN]), raw)._replace(raw=raw)
        return self._number(kind, depth)

    def _number(self, kind: int, depth: int) -> _WithCode:
        match chr(kind):
            case "i":
                (number,) = struct.unpack("<i", self._take(4))
                found = _plain(ord("l"), str(number), str(number).encode())
                return found._replace(number=number)
            case "l":
                (digits,) = struct.unpack("<i", self._take(4))
                raw = self._take(2 * abs(digits))
                shown = (
                    _long(raw, digits < 0) if abs(digits) <= 16 else f"an integer of {abs(digits) * 15} bits"
                )
                return _plain(kind, shown, bytes([digits < 0]) + raw)
            case "g":
                raw = self._take(8)
                return _plain(kind, repr(struct.unpack("<d", raw)[0]), raw)
            case "y":
                raw = self._take(16)
                return _plain(kind, repr(complex(*struct.unpack("<2d", raw))), raw)
            case "{":
                items: list[_WithCode] = []
                while (item := self.read(depth + 1)) is not None:
                    items += (item, self._one(depth))
                return self._container(kind, items)
            case ":":
                return self._container(kind, [self._one(depth) for _ in range(3)])
        raise Unreadable(f"its code holds an object of the unknown kind {chr(kind)!r}")

    def _one(self, depth: int) -> _WithCode:
        found = self.read(depth + 1)
        if found is None:
            raise Unreadable("its code lacks an object")
        return found

    def _container(self, kind: int, items: list[_WithCode]) -> _WithCode:
        start, end = _CONTAINERS.get(kind, ("dict(", ")") if kind == ord("{") else ("slice(", ")"))
        texts: list[str] = []
        size = 0
        for item in items:
            texts.append(item.text)
            size += len(item.text) + 2
            if size > _MOST_SHOWN:
                break
        inside = ", ".join(texts) + ("," if len(items) == 1 and end == ")" else "")
        total = b"".join(item.digest for item in items)
        # Small and large tuples are one kind.
        found = _plain(ord("(") if kind == ord(")") else kind, f"{start}{inside}{end}", total)
        return found._replace(items=tuple(items))

    # Fields of code objects

    def _code(self, depth: int) -> _WithCode:
        magic = self._magic
        if magic < _BEFORE_POSITIONAL_ONLY:
            counted = ["arguments", "keyword-only arguments", "variables", "stack size", "flags"]
        else:
            counted = ["arguments", "positional-only arguments", "keyword-only arguments"]
            counted += (
                ["stack size", "flags"] if magic >= _FROM_3_11 else ["variables", "stack size", "flags"]
            )
        numbers = {name: self._unsigned() for name in counted}
        instructions = self._bytes(depth)
        constants = self._tuple(depth)
        names = self._tuple(depth)
        if magic >= _FROM_3_11:
            variables = self._tuple(depth)
            kinds = self._bytes(depth)
            if len(kinds) != len(variables):
                raise Unreadable("its code has variables without a kind")
            described = tuple(
                Thing(f"{one.text} (kind {kind:#x})", one.digest + bytes([kind]))
                for one, kind in zip(variables, kinds, strict=True)
            )
        else:
            local, free, cell = (self._tuple(depth) for _ in range(3))
            described = tuple(
                Thing(f"{one.text} ({kind})", one.digest + kind.encode())
                for kind, some in (("local", local), ("free", free), ("cell", cell))
                for one in some
            )
        file = self._one(depth)
        name = self._one(depth)
        if magic >= _FROM_3_11:
            name = self._one(depth)
        numbers["first line"] = self._unsigned()
        lines = self._bytes(depth)
        exceptions = self._bytes(depth) if magic >= _FROM_3_11 else b""
        code = Code(
            name=name.text.strip("'\""),
            numbers=numbers,
            file=file.thing,
            names=tuple(one.thing for one in names),
            variables=described,
            constants=tuple(Thing(one.text, b"code") if one.code else one.thing for one in constants),
            inner=tuple(one.code for one in constants if one.code is not None),
            instructions=instructions,
            lines=lines,
            exceptions=exceptions,
        )
        parts = (instructions, lines, exceptions, repr(numbers).encode(), name.digest, file.digest)
        things = (*code.names, *code.variables, *(one.thing for one in constants))
        digests = [*map(_digest, parts), *(thing.digest for thing in things)]
        return _plain(_CODE, f"<code {code.name}>", b"".join(digests))._replace(code=code)

    def _bytes(self, depth: int) -> bytes:
        raw = self._one(depth).raw
        if raw is None:
            raise Unreadable("its code has no bytes where there should be some")
        return raw

    def _tuple(self, depth: int) -> tuple[_WithCode, ...]:
        items = self._one(depth).items
        if items is None:
            raise Unreadable("its code has no tuple where there should be one")
        return items

    # Bytes

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self.at:
            raise Unreadable("its code ends too early")
        self.at += size
        return self._data[self.at - size : self.at]

    def _fits(self, count: int) -> int:
        """A number of objects, each of which takes a byte at least."""
        if count > len(self._data) - self.at:
            raise Unreadable("its code ends too early")
        return count

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _unsigned(self) -> int:
        return int.from_bytes(self._take(4), "little")
