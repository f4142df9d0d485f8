"""Word expansion: `$x`, `${x}`, `${x:-default}` and their kin, quotes and escapes."""

from __future__ import annotations

import re
from collections.abc import Callable

from rbuild.errors import RbuildError, Where

_MAX_SIZE = 64 * 1024
_MAX_DEPTH = 50
_SPECIAL = re.compile(r"[\\'\"$]")
_PLAIN = re.compile(r"[^\\'\"$]+")

Lookup = Callable[[str], str | None]  # from a variable's name to its value; None if it is not set


def expand(word: str, lookup: Lookup, *, where: Where | None = None) -> str:
    """`word` with its variables replaced and its quotes and escapes removed; an unset variable is empty.

    Follows imagebuilder's `ProcessWord`; `${x-d}` and `${x+d}`, which only BuildKit knows, work as there.
    Raises RbuildError, at `where`, for an open quote or brace, for a `${x:?message}` without a value, and for
    the pattern forms (`${x#p}`, `${x%p}`, `${x/p/r}`), which Podman 4 does not know.
    """
    if _SPECIAL.search(word) is None:
        return word  # most words, and a stage's are expanded again and again
    return _Expansion(word, lookup, where).until("")


class _Expansion:
    def __init__(self, word: str, lookup: Lookup, where: Where | None) -> None:
        self._word = word
        self._lookup = lookup
        self._where = where
        self._position = 0
        self._depth = 0
        self._size = 0

    def until(self, stop: str) -> str:
        """Expand up to the character `stop`, or to the end."""
        out: list[str] = []
        while True:
            if not stop and (plain := _PLAIN.match(self._word, self._position)):
                self._position = plain.end()
                out.append(plain[0])
            if not (ch := self._take()):
                break
            if ch == stop:
                return "".join(out)
            if ch == "'":
                out.append(self._single_quoted())
            elif ch == '"':
                out.append(self._double_quoted())
            elif ch == "$":
                out.append(self._dollar())
            elif ch == "\\":
                out.append(self._take())
            else:
                out.append(ch)
        if stop:
            raise self._error(f"a `{stop}` is missing")
        return "".join(out)

    def _take(self) -> str:
        ch = self._word[self._position : self._position + 1]
        self._position += 1
        return ch

    def _peek(self) -> str:
        return self._word[self._position : self._position + 1]

    def _error(self, what: str, hint: str | None = None) -> RbuildError:
        return RbuildError(f"{what} in {self._word[:200]!r}", where=self._where, hint=hint)

    def _single_quoted(self) -> str:
        end = self._word.find("'", self._position)
        if end < 0:
            raise self._error("a closing ' is missing")
        text = self._word[self._position : end]
        self._position = end + 1
        return text

    def _double_quoted(self) -> str:
        out: list[str] = []
        while (ch := self._take()) != '"':
            if not ch:
                raise self._error('a closing " is missing')
            if ch == "$":
                out.append(self._dollar())
            elif ch == "\\" and self._peek() in ('"', "$", "\\", ""):
                out.append(self._take())
            else:
                out.append(ch)
        return "".join(out)

    def _dollar(self) -> str:
        if self._peek() == "{":
            self._take()
            value = self._braced()
        else:
            name = self._name()
            value = (self._lookup(name) or "") if name else "$"
        self._size += len(value)
        if self._size > _MAX_SIZE:
            raise self._error(f"more than {_MAX_SIZE} characters after expansion")
        return value

    def _name(self) -> str:
        start = self._position
        while ch := self._peek():
            if ch.isdecimal() and self._position == start:
                return self._take()
            if not (ch == "_" or ch.isalpha() or ch.isdecimal()):
                break
            self._take()
        return self._word[start : self._position]

    def _braced(self) -> str:
        name = self._name()
        modifier = self._take()
        value = self._lookup(name)
        if modifier == "}":
            return value or ""
        if modifier == ":":
            modifier = self._take()
            value = value or None
        if modifier not in ("-", "+", "?"):
            what = f"`{modifier}` after ${{{name}" if modifier else "a `}` is missing"
            raise self._error(what, "use ${NAME}, ${NAME:-default} or ${NAME:+other}")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"more than {_MAX_DEPTH} nested substitutions")
        other = self.until("}")
        self._depth -= 1
        if modifier == "+":
            return other if value is not None else ""
        if value is not None:
            return value
        if modifier == "?":
            raise self._error(f"{name}: {other or 'has no value'}", f"give it one in the build args: {name}")
        return other
