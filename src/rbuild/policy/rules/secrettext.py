"""The rule about secrets in a Containerfile and in the project's build arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

from msgspec import Meta

from rbuild.containerfile.model import Instruction
from rbuild.containerfile.words import name_values, split_words
from rbuild.errors import Where
from rbuild.policy.facts import FileFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.secrets import (
    SECRET_FIX,
    has_password,
    is_literal,
    is_secret_name,
    known_secrets,
    looks_random,
)
from rbuild.project import PROJECT_FILE


class SecretSettings(Settings, frozen=True, kw_only=True):
    """Of the rule about secrets in a Containerfile."""

    names: Annotated[
        tuple[str, ...], Meta(description="Variables that are no secrets, whatever they are called.")
    ] = ()


def _in_instructions(facts: FileFacts, settings: SecretSettings) -> Iterable[Violation]:
    for instruction in (*facts.containerfile.global_args, *facts.instructions):
        lines = set()
        for line, kind in _known(facts, instruction):
            lines.add(line)
            said = f"{instruction.keyword} holds {kind}"
            yield Violation(message=said, where=facts.at(line), text=said)
        for variable, value, line in _values(instruction.trigger or instruction, facts.containerfile.escape):
            if line in lines or variable in settings.names or not (what := _kind(variable, value)):
                continue
            said = f"{instruction.keyword} {variable}"
            yield Violation(message=f"{said} {what}", where=facts.at(line), text=said)
    for name, value in facts.stage.args.items():
        if name not in settings.names and (what := _kind(name, value)):
            place = Where(file=PROJECT_FILE, key=f"stages.{facts.stage.name}.args.{name}")
            yield Violation(message=f"the build argument {name} {what}", where=place, text=f"ARG {name}")


def _kind(name: str, value: str) -> str | None:
    for one in known_secrets(value.encode("utf-8", "surrogateescape")):
        return f"holds {one.kind}"
    if not is_literal(value):
        return None
    if is_secret_name(name):
        return "has a value, and by its name that is a secret"
    if has_password(value):
        return "has a URL with a password in it"
    if looks_random(name, value):
        return "has a value that looks like a secret: it is as good as random"
    return None


def _known(facts: FileFacts, instruction: Instruction) -> Iterator[tuple[int, str]]:
    """Known formats anywhere in an instruction, here-documents included, each with its line."""
    lines = facts.containerfile.lines[instruction.line - 1 : instruction.end_line]
    data = "".join(lines).encode("utf-8", "surrogateescape")
    for one in known_secrets(data):
        yield instruction.line + data.count(b"\n", 0, one.start), one.kind


def _values(instruction: Instruction, escape: str) -> Iterator[tuple[str, str, int]]:
    """The variables that an instruction sets, with the line of each."""
    pairs: list[tuple[str, str]] = []
    if instruction.keyword in ("ENV", "LABEL"):
        try:
            pairs = name_values(instruction.arguments, escape)
        except ValueError:
            return  # the build says what is wrong with it
    elif instruction.keyword == "ARG":
        words = [word.partition("=") for word in split_words(instruction.arguments, escape)]
        pairs = [(name, value) for name, equals, value in words if equals]
    at = instruction.arguments_start
    for written, value in pairs:
        name = written.strip("\"'")
        found = instruction.original.find(written, at)
        at = found + len(written) if found >= 0 else at
        spans = instruction.spans(max(found, 0), max(found, 0) + 1) if found >= 0 else ()
        yield name, value.strip("\"'"), spans[0].line if spans else instruction.line


RULES = (
    Rule(
        id="RB213",
        name="secret-in-containerfile",
        title="A secret stands in the Containerfile, or in the project's build arguments.",
        level=Level.ERROR,
        why="ENV, ARG and LABEL are in the image's configuration or history, for whoever can pull it; and "
        "the Containerfile is in version control.",
        example="ENV DB_PASSWORD=…",
        fix=SECRET_FIX,
        settings=SecretSettings,
        files=_in_instructions,
    ),
)
