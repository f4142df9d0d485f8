"""What `rbuild rule` and `rbuild policy init` say to people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from rbuild.console import say, say_columns, say_spans
from rbuild.policy.described import Described
from rbuild.verbs.policyinit import PolicyFileWritten

_WIDTH: Final = 100
_BOLD, _DIM = "1", "2"


def say_rule(rule: Described) -> None:
    """All that there is to say of a rule."""
    say_spans((f"{rule.id} {rule.name}", _BOLD), (f"  {rule.level.value}; checked {rule.checked}", ""))
    _say_text(rule.title)
    say("")
    _say_text(rule.why)
    if rule.example != rule.title:  # others' rules say no more than that
        _say_part("Found", rule.example)
    _say_part("Fix", rule.fix)
    if rule.settings:
        say("")
        say_spans(("Settings", _BOLD))
        for one in rule.settings:
            _say_text(f"{one.name}: {one.description}", "  ")
            say_spans((f"    without it: {_value(one.default)}", _DIM))
    if rule.more and rule.more not in rule.fix:
        say("")
        say(rule.more)


def say_rules(rules: Iterable[Described]) -> None:
    """A row for each rule."""
    rows = [("ID", "NAME", "LEVEL", "CHECKED", "WHAT IS WRONG")]
    rows += [(one.id, one.name, one.level.value, one.checked, one.title) for one in rules]
    say_columns(rows)


def say_policy_files(written: Sequence[PolicyFileWritten]) -> None:
    """Which files are new, and which are as they were."""
    for one in written:
        say(f"{one.file}  {'kept as it is' if one.kept else 'written'}")


def _say_part(title: str, text: str) -> None:
    say("")
    say_spans((title, _BOLD))
    for line in text.splitlines():
        say(f"  {line}")


def _say_text(text: str, indent: str = "") -> None:
    for line in textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent):
        say(line)


def _value(value: object) -> str:
    """A default as a policy would write it."""
    match value:
        case None:
            return "not set"
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {_value(one)}' for key, one in value.items())}}}"
        case "":
            return '""'
    return str(value)
