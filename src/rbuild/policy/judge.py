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
from rbuild.policy.policyfile import LONGEST_WAIVER, OwnRule, Policy
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What policies say of waivers of a rule: the most days of one, and whether a comment may be one."""

    longest: int = LONGEST_WAIVER
    comments: bool = True


def terms(asked: Iterable[Ask]) -> dict[str, Terms]:
    """The terms of each rule: the most days that a policy gives; comments if no policy refuses them."""
    found: dict[str, Terms] = {}
    for ask in asked:
        known = found.get(ask.id, Terms(longest=0))
        found[ask.id] = Terms(
            longest=max(known.longest, ask.longest_waiver),
            comments=known.comments and ask.policy.comment_waivers,
        )
    return found


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
    asked: Mapping[str, Mapping[str, Terms]],
    examined: Mapping[str, frozenset[str]],
) -> Excused:
    """Hold waivers against findings.

    `waivers` come with the policy that they stand in (None: a comment). `asked` are the rules that policies
    ask about, for every stage of the project, `examined` those that were looked at: a waiver excuses nothing
    only where all were that it names. `SC…` with a wildcard stands for rules that nobody can list.
    """
    listed = [(waiver, policy) for waiver, policy in waivers]
    used: set[int] = set()
    judged: list[Finding] = []
    about: list[Finding] = []
    for finding in findings:
        excusing: Waiver | None = None
        ended: Waiver | None = None
        allowed = asked.get(finding.stage, {}).get(finding.rule, Terms())
        for at, (waiver, policy) in enumerate(listed):
            if not waiver.covers(finding):
                continue
            used.add(at)
            if policy is None and not allowed.comments:
                said = f"may not waive {finding.rule}"
                about.append(_about(COMMENT_FORBIDDEN, finding.stage, waiver, said))
            elif (waiver.expires - today).days > allowed.longest:
                about.append(_too_long(waiver, policy, today, allowed.longest))
            elif waiver.expires < today:
                ended = waiver
            elif excusing is None:
                excusing = waiver
        judged.append(replace(finding, waiver=excusing, ended=ended if excusing is None else None))
    for at, (waiver, policy) in enumerate(listed):
        if at in used:
            about += _ending(waiver, policy, today)
        else:
            about += _unused(waiver, policy, today, asked, examined)
    return Excused(tuple(judged), tuple(dict.fromkeys(about)))


def _ending(waiver: Waiver, policy: Policy | None, today: date) -> Iterator[Finding]:
    left = (waiver.expires - today).days
    if 0 <= left <= _SOON.days:
        when = "today" if left == 0 else f"in {left} day{'s'[: left != 1]}"
        yield _about(ENDING, waiver.stage, waiver, f"ends {when}, on {waiver.expires}", policy)


def _unused(
    waiver: Waiver,
    policy: Policy | None,
    today: date,
    asked: Mapping[str, Mapping[str, Terms]],
    examined: Mapping[str, frozenset[str]],
) -> Iterator[Finding]:
    """What is to be said of a waiver that covers no finding."""
    named = {
        stage: {rule: one for rule, one in rules.items() if _names(waiver, rule)}
        for stage, rules in asked.items()
        if fnmatchcase(stage, waiver.stage)
    }
    most = max((one.longest for rules in named.values() for one in rules.values()), default=LONGEST_WAIVER)
    if (waiver.expires - today).days > most:
        yield _too_long(waiver, policy, today, most)
    if all(rules.keys() <= examined.get(stage, frozenset()) for stage, rules in named.items()):
        yield _about(IDLE, waiver.stage, waiver, "excuses nothing", policy)


def _names(waiver: Waiver, rule: str) -> bool:
    """Whether a waiver is about a rule, or about one of those that a pattern of ShellCheck's stands for."""
    return fnmatchcase(rule, waiver.rule) or (rule.startswith("SC") and fnmatchcase(waiver.rule, rule))


def _too_long(waiver: Waiver, policy: Policy | None, today: date, most: int) -> Finding:
    left = (waiver.expires - today).days
    return _about(TOO_LONG, waiver.stage, waiver, f"lasts {left} more days; {most} are the most", policy)


def _about(rule: Rule, stage: str, waiver: Waiver, said: str, policy: Policy | None = None) -> Finding:
    return Finding(
        rule=rule.id,
        name=rule.name,
        level=rule.level,
        stage=stage,
        message=f"the waiver of {waiver.rule} by {waiver.owner} {said}",
        where=waiver.where,
        text=waiver.reason,
        hint=rule.fix,
        policy=policy.file if policy else "",
    )
