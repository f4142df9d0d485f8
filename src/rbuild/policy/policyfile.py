"""`policies/*.yaml`: which rules hold for which stages, how much they weigh, and what is waived."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.policy.catalogue import RULES
from rbuild.policy.foreign import HADOLINT, is_shellcheck
from rbuild.policy.meta import RULES as META
from rbuild.policy.model import Level, Moment, Waiver
from rbuild.policy.rule import Settings
from rbuild.suggest import did_you_mean
from rbuild.yamlfile import Document, Node, Path, Scalar
from rbuild.yamlfile import Mapping as MappingNode
from rbuild.yamltyped import read, read_part

LONGEST_WAIVER: Final = 90  # days, unless the rule allows more

_ALWAYS = frozenset(rule.id for rule in META)
_MIB = 1 << 20
_BUILT_IN = re.compile(r"RB[0-9*]+\Z")
_FOREIGN = re.compile(r"(?:DL|SC)(?:[0-9]{4}|[0-9]*\*)\Z")  # hadolint's and ShellCheck's
_OWN = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")

LevelName = Literal["error", "warning", "note", "off"]
LevelText = Annotated[LevelName, Meta(description="What a finding weighs: an error stops its stage.")]


@dataclass(frozen=True, slots=True)
class Day:
    """A day, as 2027-01-31."""

    date: date

    @classmethod
    def parse(cls, text: str) -> Day:
        """Raises RbuildError for anything but a day of the calendar, written as YYYY-MM-DD."""
        try:
            if len(text) == 10:
                return cls(date.fromisoformat(text))
        except ValueError:
            pass
        raise RbuildError(f"not a day: {text[:40]!r}", hint="write it like 2027-01-31")


class RuleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a policy says of a built-in rule. The settings are the rule's own."""

    level: LevelText | None = None
    longest_waiver: Annotated[
        Annotated[int, Meta(ge=1, le=3650)] | None,
        Meta(description=f"The most days that a waiver of it may still last; without it {LONGEST_WAIVER}."),
    ] = None


class OwnRuleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule of the project's own: a CEL expression that is true of what is allowed."""

    expression: Annotated[
        Annotated[str, Meta(max_length=4096)],
        Meta(description="A CEL expression that is true of what is allowed; see docs/policies.md."),
    ]
    message: Annotated[str, Meta(description="What is wrong. {{ EXPRESSION }} is replaced by its value.")]
    hint: Annotated[str, Meta(description="What to do about it; a template as well.")]
    description: Annotated[str, Meta(description="Why the rule is there.")] = ""
    level: LevelText = "error"
    when: Annotated[
        Literal["files", "lock", "image", "push"],
        Meta(description="When it is checked; what it may look at depends on that."),
    ] = "files"
    each: Annotated[
        Literal["containerfile.instructions", "base", "recording", "image.layers", "image.files"] | None,
        Meta(description="Checked once for each of these, which the expression calls `item`."),
    ] = None
    longest_waiver: Annotated[
        Annotated[int, Meta(ge=1, le=3650)] | None,
        Meta(description=f"The most days that a waiver of it may still last; without it {LONGEST_WAIVER}."),
    ] = None


class WaiverFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Findings that are excused for a while."""

    rule: Annotated[str, Meta(description="The rule's id; may end in * .")]
    reason: Annotated[str, Meta(description="Why it is excused.")]
    owner: Annotated[str, Meta(description="Who answers for it.")]
    expires: Annotated[Day, Meta(description="The last day on which it holds (UTC): 2027-01-31.")]
    stage: Annotated[str, Meta(description="The stage, or a pattern of stages.")] = "*"
    line: Annotated[
        str | None, Meta(description="A part of the line, or of the path, that the finding is about.")
    ] = None
    image: Annotated[
        Digest | None, Meta(description="The digest of the only image whose findings are excused.")
    ] = None


class PolicyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy of rbuild: what its stages have to hold to."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$",
            max_length=63,
            extra={"expected": "a name of lower-case letters and digits, with '-', '_' or '.' between them"},
            description="The policy's name.",
        ),
    ]
    description: Annotated[str, Meta(description="What it is for.")]
    stages: Annotated[tuple[str, ...], Meta(description="The stages that it covers: names and patterns.")] = (
        "*",
    )
    comment_waivers: Annotated[
        bool, Meta(description="Whether a comment in a Containerfile may waive a rule of this policy.")
    ] = True
    hadolint: Annotated[
        Literal["required", "optional"],
        Meta(description="Whether it is a finding that hadolint, whose rules are DL… and SC…, is not here."),
    ] = "optional"
    waivers: Annotated[tuple[WaiverFile, ...], Meta(description="What is excused, by whom, until when.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a policy says of the rules that `pattern` names (RB101, DL*). `level` None: the rule's own."""

    pattern: str
    where: Where
    level: Level | None = None
    settings: Settings | None = None
    longest_waiver: int = LONGEST_WAIVER


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRule:
    """A rule of the project's own, as it is written; `rbuild.policy.expression` makes it one to check.

    `places` says where its expression, message, hint and each stand.
    """

    name: str
    level: Level
    moment: Moment
    each: str | None
    expression: str
    message: str
    hint: str
    description: str
    longest_waiver: int
    where: Where
    places: Mapping[str, Where]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One file of policies/. `file` is its path in the project."""

    name: str
    file: str
    description: str
    stages: tuple[str, ...]
    choices: tuple[Choice, ...]
    own: tuple[OwnRule, ...]
    waivers: tuple[Waiver, ...]
    comment_waivers: bool = True
    needs_hadolint: bool = False

    def covers(self, stage: str) -> bool:
        """Whether it says something of a stage."""
        return any(fnmatchcase(stage, pattern) for pattern in self.stages)

    def choice(self, rule: str) -> Choice | None:
        """What it says of a rule: an exact id before a pattern, a longer pattern before a shorter one."""
        found = [one for one in self.choices if fnmatchcase(rule, one.pattern)]
        return max(found, key=lambda one: (one.pattern == rule, len(one.pattern)), default=None)


def read_policy(data: bytes, file: str, stages: Mapping[str, object] | None = None) -> Policy:
    """The policy that `data`, the bytes of `file`, says. Raises RbuildError with every problem.

    `stages` are those of the project; a policy or waiver for a stage that is none of them is a problem.
    """
    document = Document(data, file=file, max_size=_MIB, max_nodes=50_000)
    rules = _taken(document, "rules")
    for at in range(len(_items(document.node("waivers")))):
        _as_text(document.node("waivers", at, "expires"))
    written = read(document, PolicyFile)
    choices, own = _rules(document, rules)
    if written:
        _check(written, document, own, stages)
    document.finish()
    assert written is not None  # else there was a problem
    return Policy(
        name=written.name,
        file=file,
        description=written.description,
        stages=written.stages,
        choices=choices,
        own=own,
        waivers=tuple(
            Waiver(
                rule=one.rule,
                reason=one.reason,
                owner=one.owner,
                expires=one.expires.date,
                where=document.where("waivers", at),
                stage=one.stage,
                line=one.line,
                image=one.image,
            )
            for at, one in enumerate(written.waivers)
        ),
        comment_waivers=written.comment_waivers,
        needs_hadolint=written.hadolint == "required",
    )


def _taken(document: Document, key: str) -> Node | None:
    """The node of a key whose values have types of their own, taken out of what is read by type."""
    root = document.root
    return root.items.pop(key, None) if isinstance(root, MappingNode) else None


def _items(node: Node | None) -> list[Node]:
    return list(getattr(node, "items", ())) if not isinstance(node, Scalar) else []


def _as_text(node: Node | None) -> None:
    """Take a text as it is written, where YAML would take it for a date, or `off` for false."""
    if isinstance(node, Scalar) and not node.is_null:
        node.plain = False


def _rules(document: Document, node: Node | None) -> tuple[tuple[Choice, ...], tuple[OwnRule, ...]]:
    root = document.root
    if node is None:
        document.problem("is missing", "rules", hint="rules: {RB101: error}")
        return (), ()
    assert isinstance(root, MappingNode)
    root.items["rules"] = node  # for the lines of problems
    if not isinstance(node, MappingNode):
        document.problem("is no mapping from rules to levels", "rules", hint="rules: {RB101: error}")
        return (), ()
    choices: list[Choice] = []
    own: list[OwnRule] = []
    for name, said in node.items.items():
        path = ("rules", name)
        if _BUILT_IN.match(name) or _FOREIGN.match(name):
            _check_known(document, name, path)
            if (choice := _choice(document, name, said, path)) is not None:
                choices.append(choice)
        elif _OWN.match(name):
            if (rule := _own_rule(document, name, said, path)) is not None:
                own.append(rule)
        else:
            document.problem(
                "is neither the id of a rule nor a name for one",
                *path,
                hint=did_you_mean(name, RULES)
                or "rbuild rule --list shows the ids; a rule of your own is called like-this",
            )
    return tuple(choices), tuple(own)


def _check_known(document: Document, name: str, path: Path) -> None:
    if name in _ALWAYS:
        document.problem("is always on, with a level of its own", *path, hint="leave it out")
        return
    known = (*RULES, *HADOLINT)
    if not is_shellcheck(name) and not any(fnmatchcase(rule, name) for rule in known):
        document.problem(
            "there is no such rule", *path, hint=did_you_mean(name, known) or "rbuild rule --list shows all"
        )


def _choice(document: Document, name: str, node: Node, path: Path) -> Choice | None:
    where, settings = document.where(*path), None
    if isinstance(node, Scalar):
        _as_text(node)
        node = MappingNode(node.line, {"level": node})
    if isinstance(node, MappingNode):
        _as_text(node.items.get("level"))
        said = node.items.pop("settings", None)
        if said is not None:
            if name in RULES:
                settings = read_part(document, RULES[name].settings, said, (*path, "settings"))
            else:
                document.problem("has no settings", *path, hint="settings go with the id of one rule")
    read_rule = read_part(document, RuleFile, node, path)
    if read_rule is None:
        return None
    return Choice(
        pattern=name,
        where=where,
        level=Level(read_rule.level) if read_rule.level else None,
        settings=settings,
        longest_waiver=read_rule.longest_waiver or LONGEST_WAIVER,
    )


def _own_rule(document: Document, name: str, node: Node, path: Path) -> OwnRule | None:
    if isinstance(node, MappingNode):
        _as_text(node.items.get("level"))
    written = read_part(document, OwnRuleFile, node, path)
    if written is None:
        return None
    return OwnRule(
        name=name,
        level=Level(written.level),
        moment=Moment(written.when),
        each=written.each,
        expression=written.expression,
        message=written.message,
        hint=written.hint,
        description=written.description,
        longest_waiver=written.longest_waiver or LONGEST_WAIVER,
        where=document.where(*path),
        places={key: document.where(*path, key) for key in ("expression", "message", "hint", "each")},
    )


def _check(
    written: PolicyFile, document: Document, own: tuple[OwnRule, ...], stages: Mapping[str, object] | None
) -> None:
    names = {rule.name for rule in own}
    for at, waiver in enumerate(written.waivers):
        place = ("waivers", at)
        known = waiver.rule in names or is_shellcheck(waiver.rule)
        if waiver.rule in _ALWAYS:
            document.problem(f"{waiver.rule} cannot be waived", *place, "rule", hint="mend what it is about")
        if not known and not any(fnmatchcase(rule, waiver.rule) for rule in (*RULES, *HADOLINT)):
            document.problem(
                f"there is no rule {waiver.rule[:80]!r}",
                *(*place, "rule"),
                hint=did_you_mean(waiver.rule, [*RULES, *HADOLINT, *names]) or "rbuild rule --list shows all",
            )
        for key in ("reason", "owner"):
            if not getattr(waiver, key).strip():
                document.problem("is empty", *place, key)
        if stages is not None and not any(fnmatchcase(stage, waiver.stage) for stage in stages):
            document.problem(
                f"there is no stage {waiver.stage[:80]!r}",
                *(*place, "stage"),
                hint=did_you_mean(waiver.stage, stages) or f"the stages are: {', '.join(stages)}",
            )
    if stages is not None:
        for at, pattern in enumerate(written.stages):
            if not any(fnmatchcase(stage, pattern) for stage in stages):
                document.problem(
                    f"there is no stage {pattern[:80]!r}",
                    *("stages", at),
                    hint=did_you_mean(pattern, stages) or f"the stages are: {', '.join(stages)}",
                )
