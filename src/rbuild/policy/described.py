"""What there is to say of a rule, for people and for reports: of ours, and of other engines'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from rbuild.policy.catalogue import RULES
from rbuild.policy.foreign import HADOLINT, SHELLCHECK, ForeignRule, page_of
from rbuild.policy.model import Level, Moment
from rbuild.policy.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a policy can set of a rule."""

    name: str
    default: object
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A rule, in words. `checked` says when it can be checked; `more` is where more is said."""

    id: str
    name: str
    level: Level
    checked: str
    title: str
    why: str
    example: str
    fix: str
    settings: tuple[Setting, ...] = ()
    more: str | None = None


def described(rule: str) -> Described | None:
    """A rule by its id; None for one that nobody here knows, such as a project's own."""
    if found := RULES.get(rule):
        return _ours(found)
    if known := HADOLINT.get(rule):
        return _theirs(known)
    if SHELLCHECK.match(rule):
        title = "What ShellCheck says of a RUN; hadolint brings it along."
        return _theirs(ForeignRule(id=rule, level=Level.WARNING, title=title))
    return None


def all_described() -> Iterator[Described]:
    """Every rule, by id."""
    for rule in rule_ids():
        yield _ours(RULES[rule]) if rule in RULES else _theirs(HADOLINT[rule])


def rule_ids() -> tuple[str, ...]:
    """The ids of every rule."""
    return tuple(sorted((*RULES, *HADOLINT)))


def _ours(rule: Rule) -> Described:
    return Described(
        id=rule.id,
        name=rule.name,
        level=rule.level,
        checked=rule.moment.said,
        title=rule.title,
        why=rule.why,
        example=rule.example,
        fix=rule.fix,
        settings=settings_of(rule),
    )


def _theirs(rule: ForeignRule) -> Described:
    return Described(
        id=rule.id,
        name=rule.name,
        level=rule.level,
        checked=Moment.FILES.said,
        title=rule.title,
        why=f"The rule is one of {rule.name}'s, which has the reasons on its page.",
        example=rule.title,
        fix=rule.fix,
        more=page_of(rule.id),
    )


def settings_of(rule: Rule) -> tuple[Setting, ...]:
    """The settings of a rule with their defaults."""
    schema = msgspec.json.schema_components([rule.settings])[1][rule.settings.__name__]
    said: Mapping[str, Any] = schema.get("properties", {})
    default = rule.settings()
    return tuple(
        Setting(name=name, default=getattr(default, name), description=said[name].get("description", ""))
        for name in said
    )


def table() -> Iterator[str]:
    """The table of docs/policies.md, in Markdown: our own rules."""
    yield "| id | name | level | checked | what is wrong | fix |"
    yield "|---|---|---|---|---|---|"
    for rule in map(_ours, RULES.values()):
        said = (f"`{rule.id}`", rule.name, rule.level.value, rule.checked, rule.title, _cell(rule.fix))
        yield f"| {' | '.join(said)} |"


def _cell(text: str) -> str:
    """A text, such as a command, in one cell of Markdown."""
    return "`` " + " ".join(text.split()).replace("|", "\\|") + " ``"
