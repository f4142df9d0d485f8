"""What each instruction allows: the mistakes that the builder would refuse, said before it starts."""

from __future__ import annotations

from difflib import get_close_matches

from rbuild.containerfile.words import BLANKS, json_array, name_values, split_words

_JSON_FORMS = frozenset({"ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"})
_MAY_BE_EMPTY = frozenset({"CMD", "ENTRYPOINT"})
_OTHERS = frozenset(
    {
        "ARG",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "STOPSIGNAL",
        "USER",
        "WORKDIR",
    }
)
KEYWORDS = _JSON_FORMS | _OTHERS
HEREDOC_KEYWORDS = frozenset({"ADD", "COPY", "RUN"})

Mistake = tuple[str, str | None]  # what, hint


def json_form(keyword: str, arguments: str) -> tuple[str, ...] | None:
    """The strings of the JSON form; None for the shell form. Raises ValueError as `json_array`."""
    if keyword == "HEALTHCHECK":
        _, *rest = BLANKS.split(arguments, maxsplit=1)
        return json_array(rest[0]) if rest else None
    return json_array(arguments) if keyword in _JSON_FORMS else None


def unknown_keyword(keyword: str) -> Mistake | None:
    """What is wrong with a keyword that no instruction has, with the nearest one that has."""
    if keyword in KEYWORDS:
        return None
    if not keyword:
        return "a continuation without an instruction", "remove the last `\\`"
    close = get_close_matches(keyword[:40], KEYWORDS, n=1)
    hint = (
        f"did you mean {close[0]}?" if close else "a line that belongs to the one before needs a `\\` there"
    )
    return f"unknown instruction {keyword[:40]}", hint


def wrong_arguments(
    keyword: str, arguments: str, exec_form: tuple[str, ...] | None, escape: str
) -> Mistake | None:
    """What is wrong with the arguments of an instruction; FROM and ONBUILD are checked by the parser."""
    if not arguments:
        return None if keyword in _MAY_BE_EMPTY else (f"{keyword} without an argument", None)
    match keyword:
        case "ADD" | "COPY":
            words = exec_form if exec_form is not None else BLANKS.split(arguments)
            if len(words) < 2:
                return f"{keyword} needs a source and a destination", f"{keyword} SOURCE… DESTINATION"
        case "ENV" | "LABEL":
            try:
                name_values(arguments, escape)
            except ValueError as error:
                return f"{keyword}: {error}", f"{keyword} name=value, with quotes around a value with spaces"
        case "ARG":
            for word in split_words(arguments, escape):
                if not word.partition("=")[0]:
                    return f"ARG: {word!r} has no name", "ARG name=value"
        case "SHELL":
            if not exec_form:
                return "SHELL needs the JSON form", 'SHELL ["/bin/bash", "-c"]'
        case "HEALTHCHECK":
            kind = BLANKS.split(arguments, maxsplit=1)[0].upper()
            if kind not in ("CMD", "NONE"):
                return f"HEALTHCHECK {kind[:40]}: only CMD and NONE are known", "HEALTHCHECK CMD COMMAND"
    return None


def from_words(arguments: str) -> tuple[str, str | None]:
    """`image [AS name]` as (image, name); raises ValueError, with what to say, for any other form."""
    words = BLANKS.split(arguments)
    if words == [""]:
        raise ValueError("FROM without an image")
    if len(words) == 1:
        return words[0], None
    if len(words) != 3 or words[1].upper() != "AS":
        raise ValueError("FROM takes an image and, if it is to have a name, AS and the name")
    if "$" in words[2]:
        raise ValueError(f"the name of a build target cannot hold a variable: {words[2][:80]}")
    return words[0], words[2]
