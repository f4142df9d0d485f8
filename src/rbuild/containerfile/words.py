"""How the builder cuts a logical line into words: keywords, flags, ARG and ENV, JSON arrays."""

from __future__ import annotations

import json
import math
import re

from rbuild.containerfile.model import Flag

# Go's unicode.IsSpace. Python's str.isspace also counts U+001C to U+001F.
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)
BLANKS = re.compile(r"[\t\v\f\r ]+")

_WORD = re.compile(f"[^{SPACES}]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FLAG_SPACES = "\t\n\v\f\r "
# Go's lower case of these two is ASCII; Python's `upper` would take others for ASCII as well.
_CASES = str.maketrans({"\u0130": "I", "\u212a": "K", **{chr(n): chr(n - 32) for n in range(97, 123)}})


def upper(word: str) -> str:
    """A keyword in capitals, as the builder takes it for one."""
    return word.translate(_CASES)


def read_flags(line: str, start: int) -> tuple[tuple[Flag, ...], int]:
    """The flags of `line` from `start` on, and where its arguments begin. A lone `--` ends the flags.

    Raises ValueError for a flag with other characters than ASCII: the builder reads bytes here, takes some of
    them for spaces, and may end a flag in the middle of a character.
    """
    flags = []
    position = _skip_spaces(line, start)
    while line.startswith("--", position):
        word, end = _flag_word(line, position)
        if not line.isascii() and not line[position:end].isascii():
            raise ValueError(f"a flag may hold ASCII characters only, and {word[:40]!r} has others")
        if word == "--":
            position = _skip_spaces(line, end)
            break
        name, equals, value = word[2:].partition("=")
        flags.append(Flag(name, value if equals else None, position, end))
        position = _skip_spaces(line, end)
    return tuple(flags), position


def quote_flag(value: str) -> str:
    """`value` written so that it reads back as one flag's value."""
    return "".join(f"\\{ch}" if ch in _FLAG_SPACES or ch in "\\'\"" else ch for ch in value)


def _skip_spaces(line: str, position: int) -> int:
    while position < len(line) and line[position] in _FLAG_SPACES:
        position += 1
    return position


def _flag_word(line: str, position: int) -> tuple[str, int]:
    # The escape here is always the backslash, whatever the escape directive says.
    out: list[str] = []
    quote = ""
    while position < len(line):
        ch = line[position]
        if not quote and ch in _FLAG_SPACES:
            break
        position += 1
        if ch == quote:
            quote = ""
        elif not quote and ch in "'\"":
            quote = ch
        elif ch != "\\":
            out.append(ch)
        elif position < len(line):
            out.append(line[position])
            position += 1
    return "".join(out), position


def split_words(text: str, escape: str) -> list[str]:
    """The words of an ARG, ENV or LABEL; quotes and escapes stay in them, for the expansion to remove."""
    if escape not in text and "'" not in text and '"' not in text:
        return _WORD.findall(text)
    words: list[str] = []
    word: list[str] = []
    quote = ""
    position = 0
    while position < len(text):
        ch = text[position]
        position += 1
        if not quote and ch in SPACES:
            if word:
                words.append("".join(word))
                word = []
            continue
        if ch == quote:
            quote = ""
        elif not quote and ch in "'\"":
            quote = ch
        elif ch == escape and quote != "'":
            if position == len(text):
                continue
            word.append(ch)
            ch = text[position]
            position += 1
        word.append(ch)
    if word:
        words.append("".join(word))
    return words


def name_values(text: str, escape: str) -> list[tuple[str, str]]:
    """The pairs of an ENV or LABEL: `name=value …`, or the old form `name the whole rest`.

    Raises ValueError, with what to say about it, where the builder refuses the text.
    """
    words = split_words(text, escape)
    if not words:
        return []
    if "=" not in words[0]:
        name, *rest = BLANKS.split(text, maxsplit=1)
        if not rest:
            raise ValueError(f"{name!r} has no value")
        return [(name, rest[0])]
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} has no `=`")
        pairs.append((name, value))
    return pairs


def json_array(text: str) -> tuple[str, ...] | None:
    """The strings of the JSON form; None if `text` is no JSON array, and so is of the shell form.

    What follows the array is ignored, as the builder does. Raises ValueError for an array that holds
    something other than strings.
    """
    text = text.lstrip(SPACES)
    if not text.startswith("["):
        return None
    try:
        values, _ = json.JSONDecoder(
            parse_constant=_number, parse_int=_number, parse_float=_number
        ).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(value, str) for value in values):
        raise ValueError("a JSON array here may only hold strings")
    return tuple(_SURROGATE.sub("\ufffd", value) for value in values)


def _number(text: str) -> float:
    # To the builder, what no 64 bits hold is no JSON.
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number
