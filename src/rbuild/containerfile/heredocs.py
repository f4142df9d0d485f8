"""Which here-documents a logical line announces, by the builder's own reading of shell words.

Podman 5 reads them with BuildKit's lexer (`frontend/dockerfile/shell/lex.go`): version 0.12.5 in Podman 5.4
and 0.31.2 in 5.8. The two differ within `${name#pattern}` and its kin: a line in which they find different
here-documents means one thing here and another there, and is refused.
"""

from __future__ import annotations

import re
import unicodedata

from rbuild.containerfile.model import Heredoc
from rbuild.containerfile.words import SPACES

_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]*)\Z")
_MAX_DEPTH = 50


def heredoc_openings(line: str) -> list[Heredoc]:
    """The here-documents that a logical line announces, without their content.

    Raises ValueError, with what to say about it, where the builder refuses the line, or where its versions
    disagree about it.
    """
    if "<<" not in line:
        return []
    found = _openings(line, modern=True)
    if "${" in line and found != _openings(line, modern=False):
        raise ValueError("Podman 5.4 and 5.8 differ about whether a here-document begins here")
    return found


def _openings(line: str, *, modern: bool) -> list[Heredoc]:
    try:
        words = _Lexer(line, raw=True, modern=modern).words()
    except _Unreadable:
        return []
    openings = []
    for word in words:
        match = _HEREDOC.match(word)
        if not match or not match[2]:
            continue
        try:
            names = _Lexer(match[2], raw=False, modern=modern).words()
        except _Unreadable as error:
            raise ValueError(f"the name of the here-document {match[2][:40]!r} has no end") from error
        if len(names) == 1:
            openings.append(Heredoc(names[0], "", expand=names[0] == match[2], chomp=match[1] == "-"))
    return openings


class _Unreadable(Exception):
    """The builder's lexer gives up; it then sees no here-document in the line."""


class _Lexer:
    """Words of a text in which no variable is set. `raw` keeps quotes and escapes."""

    def __init__(self, text: str, *, raw: bool, modern: bool) -> None:
        self._text = text
        self._raw = raw
        self._modern = modern
        self._position = 0
        self._depth = 0

    def words(self) -> list[str]:
        words: list[str] = []
        word: list[str] = []
        for part, splits in self._parts("", raw_escapes=self._raw):
            # What a `${…}` leaves is split at its spaces, even at those between quotes in it.
            for piece in part if splits else (part,):
                if splits and piece in SPACES:
                    if any(word):
                        words.append("".join(word))
                        word = []
                else:
                    word.append(piece)
        return [*words, "".join(word)] if any(word) else words

    def _parts(self, stop: str, *, raw_escapes: bool) -> list[tuple[str, bool]]:
        """The text up to `stop` in parts, each with whether spaces in it end a word."""
        parts: list[tuple[str, bool]] = []
        while ch := self._peek():
            if ch == stop:
                self._position += 1
                return parts
            if ch == "$":
                parts.append((self._dollar(raw_escapes), True))
            elif ch == "'":
                parts.append((self._single_quoted(), False))
            elif ch == '"':
                parts.append((self._double_quoted(raw_escapes), False))
            elif ch == "\\":
                end = self._position + 2
                parts.append((self._text[end - 2 if raw_escapes else end - 1 : end], False))
                self._position = end
            else:
                parts.append((ch, True))
                self._position += 1
        if stop:
            raise _Unreadable
        return parts

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _take(self) -> str:
        ch = self._peek()
        self._position += 1
        return ch

    def _single_quoted(self) -> str:
        start = self._position
        end = self._text.find("'", start + 1)
        if end < 0:
            raise _Unreadable
        self._position = end + 1
        return self._text[start : end + 1] if self._raw else self._text[start + 1 : end]

    def _double_quoted(self, raw_escapes: bool) -> str:
        quote = self._take()
        out = [quote] if self._raw else []
        while (ch := self._peek()) != quote:
            if not ch:
                raise _Unreadable
            if ch == "$":
                out.append(self._dollar(raw_escapes))
                continue
            self._position += 1
            if ch == "\\":
                if raw_escapes:
                    out.append(ch)
                if not self._peek():
                    continue
                if self._peek() in '"$\\':
                    ch = self._take()
            out.append(ch)
        self._position += 1
        if self._raw:
            out.append(quote)
        return "".join(out)

    def _dollar(self, raw_escapes: bool) -> str:
        start = self._position
        self._position += 1
        if self._peek() != "{":
            self._name()
            return self._text[start : self._position]
        self._position += 1
        if self._peek() in ("", "{", "}", ":"):
            raise _Unreadable
        self._name()
        modifier = self._take()
        if modifier == "}":
            return self._text[start : self._position]
        if modifier == "/" and self._modern:
            if self._peek() == "/":
                self._position += 1
            head = self._text[start : self._position - (self._text[self._position - 2] == "/")]
            return f"{head}{self._nested('/', raw_escapes=True)}/{self._nested('}', raw_escapes=True)}}}"
        if modifier == ":":
            modifier = self._take()
        elif modifier not in ("+-?#%" if self._modern else "+-?") or not modifier:
            raise _Unreadable
        head = self._text[start : self._position]
        raw = modifier in ("#", "%") if self._modern else raw_escapes
        return f"{head}{self._nested('}', raw_escapes=raw)}}}"

    def _nested(self, stop: str, *, raw_escapes: bool) -> str:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"more than {_MAX_DEPTH} nested substitutions")
        text = "".join(part for part, _ in self._parts(stop, raw_escapes=raw_escapes))
        self._depth -= 1
        return text

    def _name(self) -> None:
        first = self._peek()
        if first and first in "@*#?-$!":
            self._position += 1
            return
        is_part = _is_digit if _is_digit(first) else _is_name
        while (ch := self._peek()) and is_part(ch):
            self._position += 1


def _is_digit(ch: str) -> bool:
    return bool(ch) and unicodedata.category(ch) == "Nd"


def _is_name(ch: str) -> bool:
    return ch == "_" or unicodedata.category(ch)[0] == "L" or _is_digit(ch)
