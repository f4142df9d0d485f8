"""Violations and policies become findings: which level, excused or not, by whom and until when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from fnmatch import fnmatchcase

from rbuild.digest import Digest
from rbuild.policy.catalogue import RULES
from rbuild.policy.foreign import HADOLINT, fix_of, name_of
from rbuild.policy.meta import COMMENT_FORBIDDEN, ENDING, IDLE, TOO_LONG
from rbuild.policy.model import Finding, Level, Moment, Violation, Waiver
from rbuild.policy.policyfile import OwnRule, Policy
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.secrets import masked

_SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A rule that a policy turns on for a stage: ours, the project's own, or (neither) one of hadolint's."""

    policy: Policy
    id: str
    name: str
    level: Level
    fix: str
    moment: Moment
    longest_waiver: int
    rule: Rule | None = None
    settings: Settings = field(default_factory=Settings)
    own: OwnRule | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether hadolint checks it."""
        return self.rule is None and self.own is None

    @property
    def key(self) -> tuple[str, Settings]:
        """What tells one examination from another: asks with the same key have the same violations."""
        return (f"{self.policy.name}/{self.id}" if self.own else self.id), self.settings


def asks(policies: Iterable[Policy], stage: str) -> tuple[Ask, ...]:
    """What the policies that cover a stage ask of it; rules that are off are left out."""
    return tuple(ask for policy in policies if policy.covers(stage) for ask in asked_by(policy))


def asked_by(policy: Policy) -> tuple[Ask, ...]:
    """What a policy asks of the stages that it covers."""
    return (*_asks(policy), *foreign_asks(policy, {rule.id: rule.level for rule in HADOLINT.values()}))


def foreign_asks(policy: Policy, levels: Mapping[str, Level]) -> Iterator[Ask]:
    """What a policy asks of these rules of hadolint and ShellCheck, with the levels that they have there."""
    for rule, usual in levels.items():
        choice = policy.choice(rule)
        if choice is not None and (level := choice.level or usual) is not Level.OFF:
            yield Ask(
                policy=policy,
                id=rule,
                name=name_of(rule),
                level=level,
                fix=fix_of(rule),
                moment=Moment.FILES,
                longest_waiver=choice.longest_waiver,
            )


def _asks(policy: Policy) -> Iterator[Ask]:
    for rule in RULES.values():
        choice = policy.choice(rule.id)
        if choice is None or (level := choice.level or rule.level) is Level.OFF:
            continue
        yield Ask(
            policy=policy,
            id=rule.id,
            name=rule.name,
            level=level,
            fix=rule.fix,
            moment=rule.moment,
            longest_waiver=choice.longest_waiver,
            rule=rule,
            settings=choice.settings or rule.settings(),
        )
    for own in policy.own:
        if own.level is not Level.OFF:
            yield Ask(
                policy=policy,
                id=own.name,
                name=own.name,
                level=own.level,
                fix=own.hint,
                moment=own.moment,
                longest_waiver=own.longest_waiver,
                own=own,
            )


Violations = Mapping[tuple[str, Settings], Sequence[Violation]]


def judge(
    stage: str, asked: Iterable[Ask], violations: Violations, *, image: Digest | None = None
) -> tuple[Finding, ...]:
    """The findings of one stage, before waivers. What no `violations` has an entry for was not examined."""
    found: dict[tuple[object, ...], Finding] = {}
    for ask in asked:
        for one in violations.get(ask.key, ()):
            finding = Finding(
                rule=ask.id,
                name=ask.name,
                level=ask.level,
                stage=stage,
                message=one.message,
                where=one.where,
                text=masked(one.text),  # a command may have a secret in it
                hint=one.hint or ask.fix or None,
                policy=ask.policy.file,
                image=image if ask.moment in (Moment.IMAGE, Moment.PUSH) else None,
            )
            # Two policies may ask for the same rule: the stricter one is said.
            place = (finding.rule, finding.where, finding.message)
            known = found.get(place)
            if known is None or known.level.weight < finding.level.weight:
                found[place] = finding
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Excused:
    """Findings with their waivers, and what is to be said of the waivers themselves."""

    findings: tuple[Finding, ...]
    about_waivers: tuple[Finding, ...]


def excuse(
    findings: Iterable[Finding],
    waivers: Iterable[tuple[Waiver, Policy | None]],
    *,
    today: date,
    longest: Mapping[str, int],
    comments: Mapping[str, bool],
    examined: Mapping[str, frozenset[str]],
) -> Excused:
    """Hold waivers against findings.

    `waivers` come with the policy that they stand in (None: a comment). `longest` are the most days that a
    waiver of a rule may last, `comments` says of a rule whether comments may waive it, `examined` which rules
    were examined for each stage: only of those can be said that a waiver excuses nothing.
    """
    listed = [(waiver, policy) for waiver, policy in waivers]
    used: set[int] = set()
    judged: list[Finding] = []
    about: list[Finding] = []
    for finding in findings:
        excusing: Waiver | None = None
        ended: Waiver | None = None
        for at, (waiver, policy) in enumerate(listed):
            if not waiver.covers(finding):
                continue
            used.add(at)
            if policy is None and not comments.get(finding.rule, True):
                about.append(
                    _about(COMMENT_FORBIDDEN, finding.stage, waiver, f"may not waive {finding.rule}")
                )
            elif waiver.expires < today:
                ended = waiver
            elif excusing is None:
                excusing = waiver
        judged.append(replace(finding, waiver=excusing, ended=ended if excusing is None else None))
    for at, (waiver, policy) in enumerate(listed):
        about += _of_waiver(waiver, policy, at in used, today, longest, examined)
    return Excused(tuple(judged), tuple(dict.fromkeys(about)))


def _of_waiver(
    waiver: Waiver,
    policy: Policy | None,
    used: bool,
    today: date,
    longest: Mapping[str, int],
    examined: Mapping[str, frozenset[str]],
) -> Iterator[Finding]:
    file = policy.file if policy else ""
    stage = waiver.stage
    most = longest.get(waiver.rule, min(longest.values(), default=90))
    left = (waiver.expires - today).days
    if left > most:
        said = f"lasts {left} more days; {most} are the most"
        yield replace(_about(TOO_LONG, stage, waiver, said), policy=file)
    elif 0 <= left <= _SOON.days and used:
        when = "today" if left == 0 else f"in {left} day{'s'[: left != 1]}"
        yield replace(_about(ENDING, stage, waiver, f"ends {when}, on {waiver.expires}"), policy=file)
    if not used and _was_examined(waiver, examined):
        yield replace(_about(IDLE, stage, waiver, "excuses nothing"), policy=file)


def _was_examined(waiver: Waiver, examined: Mapping[str, frozenset[str]]) -> bool:
    """Whether every stage, for which it could excuse something, was examined by a rule that it names."""
    mine = [rules for stage, rules in examined.items() if fnmatchcase(stage, waiver.stage)]
    return bool(mine) and all(any(fnmatchcase(rule, waiver.rule) for rule in rules) for rules in mine)


def _about(rule: Rule, stage: str, waiver: Waiver, said: str) -> Finding:
    return Finding(
        rule=rule.id,
        name=rule.name,
        level=rule.level,
        stage=stage,
        message=f"the waiver of {waiver.rule} by {waiver.owner} {said}",
        where=waiver.where,
        text=waiver.reason,
        hint=rule.fix,
    )
