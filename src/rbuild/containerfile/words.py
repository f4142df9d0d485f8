"""How the builder cuts a logical line into words: flags, ARG and ENV, JSON arrays, here-documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from rbuild.containerfile.model import Flag, Heredoc

# Go's unicode.IsSpace. Python's str.isspace also counts U+001C to U+001F.
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)
BLANKS = re.compile(r"[\t\v\f\r ]+")

# The builder reads flags byte by byte, so that only ASCII spaces end one.
_FLAG_SPACES = "\t\n\v\f\r "

_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]*)\Z")
_BRACE = re.compile(r"\$\{(?:[0-9]+|[@*#?$!-]|[^\W\d]\w*|(?=[+%/]))([}:+\-?#%/])")


def read_flags(line: str, start: int) -> tuple[tuple[Flag, ...], int]:
    """The flags of `line` from `start` on, and where its arguments begin. A lone `--` ends the flags."""
    flags = []
    position = _skip_spaces(line, start)
    while line.startswith("--", position):
        word, end = _flag_word(line, position)
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
        values, _ = json.JSONDecoder(parse_constant=_no_constant, parse_int=float).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(value, str) for value in values):
        raise ValueError("a JSON array here may only hold strings")
    return tuple(value.encode("utf-8", "replace").decode() for value in values)


def _no_constant(name: str) -> float:
    raise ValueError(name)


def heredoc_openings(line: str) -> list[Heredoc]:
    """The here-documents that a logical line announces, without their content."""
    openings = []
    for word in _shell_words(line) if "<<" in line else ():
        match = _HEREDOC.match(word)
        if match:
            name = _unquote(match[2])
            if name:
                openings.append(Heredoc(name, "", expand=name == match[2], chomp=match[1] == "-"))
    return openings


def _shell_words(line: str) -> list[str]:
    """The words of a shell command, quotes kept. Empty if a quote or a `${` stays open: then the builder
    sees no here-document in the line."""
    words: list[str] = []
    word: list[str] = []
    for token in _shell_tokens(line):
        if token is None:
            return []
        if token in SPACES:
            if word:
                words.append("".join(word))
                word = []
        else:
            word.append(token)
    if word:
        words.append("".join(word))
    return words


def _shell_tokens(line: str) -> Iterator[str | None]:
    position = 0
    while position < len(line):
        end: int | None = position + 1
        if line[position] in "'\"":
            end = _quote_end(line, position)
        elif line[position] == "\\":
            end = position + 2
        elif line.startswith("${", position):
            end = _brace_end(line, position)
        if end is None:
            yield None
            return
        yield line[position:end]
        position = end


def _quote_end(line: str, position: int) -> int | None:
    quote = line[position]
    position += 1
    while position < len(line):
        if line[position] == quote:
            return position + 1
        position += 2 if quote == '"' and line[position] == "\\" else 1
    return None


def _brace_end(line: str, position: int) -> int | None:
    match = _BRACE.match(line, position)
    if not match:
        return None
    position = match.end()
    depth = 0 if match[1] == "}" else 1
    while depth and position < len(line):
        ch = line[position]
        if ch in "'\"":
            end = _quote_end(line, position)
            if end is None:
                return None
            position = end
            continue
        if ch == "\\":
            position += 1
        elif ch == "}":
            depth -= 1
        elif line.startswith("${", position):
            depth += 1
            position += 1
        position += 1
    return None if depth else position


def _unquote(text: str) -> str:
    out: list[str] = []
    for token in _shell_tokens(text):
        if token is None:
            return ""
        if token[0] in "'\"":
            token = token[1:-1]
        elif token[0] == "\\":
            token = token[1:]
        out.append(token)
    return "".join(out)
