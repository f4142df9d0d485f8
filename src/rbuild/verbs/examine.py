"""Stages held against the rules that policies turn on; what an image gave is remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from itertools import islice
from pathlib import Path

import msgspec

from rbuild import __version__, policy
from rbuild.digest import Digest
from rbuild.errors import Exit, Problem, RbuildError
from rbuild.events import Emit, Note
from rbuild.policy.comments import comment_waivers
from rbuild.policy.facts import FileFacts, ImageFacts, LockFacts, PushFacts
from rbuild.policy.foreign import HADOLINT, UNREADABLE
from rbuild.policy.judge import Ask, Excused, Terms, asked_by, excuse, foreign_asks, judge, terms
from rbuild.policy.meta import COMMENT_BROKEN, ENGINE_MISSING
from rbuild.policy.model import Finding, Level, Moment, Violation, Waiver
from rbuild.policy.policyfile import Policy
from rbuild.policy.rule import Settings, Watcher
from rbuild.policy.sightings import of_the_file
from rbuild.policy.watch import OpenLayer, watched
from rbuild.store import Store
from rbuild.verbs.linting import Linter
from rbuild.verbs.policies import own_checks

_CACHE = "checks"
_MOST = 500  # findings of one rule in one stage


@dataclass(slots=True)
class Examined:
    """What was found so far in one stage, and by which rules it was looked at.

    `foreign` are the rules that hadolint named, with its own levels; `unlinted` says what it did not look at,
    where it was asked to, and `unlinted_hint` what to do about that.
    """

    stage: str
    files: FileFacts
    violations: dict[tuple[str, Settings], list[Violation]] = field(default_factory=dict)
    image: Digest | None = None
    foreign: dict[str, Level] = field(default_factory=dict)
    linted: bool = False
    unlinted: str = ""
    unlinted_hint: str = ""


class Examiner:
    """Holds stages against policies. `now` is in UTC."""

    def __init__(self, policies: Sequence[Policy], *, now: datetime, linter: Linter) -> None:
        self.policies = tuple(policies)
        self.now = now
        self._linter = linter
        self._allowed: dict[str, dict[str, Terms]] = {}
        self._by_policy = [(one, asked_by(one)) for one in self.policies]
        self._asks: dict[str, tuple[Ask, ...]] = {}
        self._own = own_checks(self.policies)

    def asked(self, stage: str, *moments: Moment) -> tuple[Ask, ...]:
        """What is asked of a stage at these moments; at any, if none is named."""
        if stage not in self._asks:
            covering = [asked for one, asked in self._by_policy if one.covers(stage)]
            self._asks[stage] = tuple(ask for asked in covering for ask in asked)
        return tuple(ask for ask in self._asks[stage] if not moments or ask.moment in moments)

    def linted(self, stage: str) -> tuple[str, ...]:
        """The rules of hadolint and ShellCheck that are asked for; `SC*` stands for all of the latter."""
        named = [ask.id for ask in self.asked(stage, Moment.FILES) if ask.is_foreign]
        for asking in self.policies:
            patterns = [one.pattern for one in asking.choices if one.pattern.startswith("SC")]
            named += patterns if asking.covers(stage) else ()
        return tuple(dict.fromkeys(named))

    def prepare(self, facts: Iterable[FileFacts]) -> None:
        """Let hadolint look at the Containerfiles of several stages together, which is quicker."""
        self._linter.prepare(one.containerfile for one in facts if self.linted(one.stage.name))

    def files(self, facts: FileFacts) -> Examined:
        """Look at a stage's files."""
        found = Examined(facts.stage.name, facts)
        for ask in self.asked(found.stage, Moment.FILES):
            if ask.rule and ask.rule.files:
                _keep(found, ask, partial(ask.rule.files, facts, ask.settings))
            elif ask.own:
                _keep(found, ask, partial(self._own[ask.key[0]].violations, facts))
        if self.linted(found.stage):
            self._lint(found, facts)
        return found

    def _lint(self, found: Examined, facts: FileFacts) -> None:
        remarks = self._linter.remarks(facts.containerfile)
        if remarks is None:
            found.unlinted, found.unlinted_hint = "hadolint is not installed", ENGINE_MISSING.fix
            if not self._linter.missing:
                found.unlinted = "hadolint came to no end on its Containerfile"
                found.unlinted_hint = "divide long instructions, or write them more simply"
            return
        found.linted = True
        for rule in HADOLINT:
            found.violations[rule, Settings()] = []
        instructions = (*facts.containerfile.global_args, *facts.instructions)
        by_line = {one.line: one.original for one in instructions}
        said: dict[tuple[str, Settings], list[Violation]] = {}
        for remark in remarks:
            text = facts.containerfile.lines[remark.line - 1].strip()
            if remark.line not in by_line and not text.startswith("#"):
                continue  # of a build target that the image does not need
            known = found.foreign.get(remark.code, Level.OFF)
            found.foreign[remark.code] = max(known, remark.level, key=lambda level: level.weight)
            said.setdefault((remark.code, Settings()), []).append(
                Violation(
                    message=remark.message,
                    where=facts.at(remark.line),
                    text=by_line.get(remark.line, text),
                )
            )
            if remark.code == UNREADABLE and UNREADABLE not in self.linted(found.stage):
                found.unlinted = f"hadolint cannot read the instruction on line {remark.line}"
                found.unlinted_hint = f"write it more simply, or let a policy ask about {UNREADABLE}"
        found.violations |= {rule: _some(violations) for rule, violations in said.items()}

    def lock(self, found: Examined, facts: LockFacts) -> None:
        """Look at what is locked, too."""
        for ask in self.asked(found.stage, Moment.LOCK):
            if ask.rule and ask.rule.lock:
                _keep(found, ask, partial(ask.rule.lock, facts, ask.settings))
            elif ask.own:
                _keep(found, ask, partial(self._own[ask.key[0]].violations, facts))

    def image(self, found: Examined, facts: ImageFacts, store: Store) -> None:
        """Look at the image, too: its files in one pass over its layers, or what that gave last time."""
        found.image = facts.digest
        asked = {ask.key: ask for ask in self.asked(found.stage, Moment.IMAGE)}
        if not asked:
            return
        own = {name: self._own[ask.key[0]] for name, ask in asked.items() if ask.own}
        now = self.now if any(check.asks_the_time for check in own.values()) else None
        key = _image_key(facts, asked.values(), now)
        kept = store.cached(_CACHE, key)
        if kept is not None and (known := _decoded(kept)) is not None and len(known) == len(asked):
            found.violations |= dict(zip(asked, known, strict=True))
            return
        watchers: dict[tuple[str, Settings], Watcher] = {}
        for name, ask in asked.items():
            if ask.rule and ask.rule.watch:
                watchers[name] = ask.rule.watch(facts, ask.settings)
            elif ask.rule and ask.rule.image:
                _keep(found, ask, partial(ask.rule.image, facts, ask.settings))
            elif ask.own and own[name].watches:
                watchers[name] = own[name].watcher(facts)
            elif ask.own:
                _keep(found, ask, partial(own[name].violations, facts))
        if watchers:
            watched(_layers(facts, store), tuple(watchers.values()))
            for name, watcher in watchers.items():
                found.violations[name] = _some(watcher.violations())
        ordered = [found.violations.get(name, []) for name in asked]
        store.cache(_CACHE, key, msgspec.msgpack.encode(ordered))

    def push(self, found: Examined, facts: PushFacts) -> None:
        """Look at where an image goes, too."""
        for ask in self.asked(found.stage, Moment.PUSH):
            if ask.rule and ask.rule.push:
                # Each repository has violations of its own.
                found.violations.setdefault(ask.key, []).extend(ask.rule.push(facts, ask.settings))
            elif ask.own:
                found.violations.setdefault(ask.key, []).extend(self._own[ask.key[0]].violations(facts))

    def judged(self, examined: Iterable[Examined]) -> Excused:
        """The findings of all stages, with their waivers, and what is to be said of the waivers."""
        stages = list(examined)
        findings: list[Finding] = []
        always: list[Finding] = []  # no waiver is held against these
        waivers: list[tuple[Waiver, Policy | None]] = [
            (waiver, one) for one in self.policies for waiver in one.waivers
        ]
        by_rule: dict[str, frozenset[str]] = {}
        project = stages[0].files.project.stages if stages else ()
        allowed = {name: self._terms(name) for name in project}
        for one in stages:
            asked = (*self.asked(one.stage), *self._newly_named(one))
            allowed[one.stage] = self._terms(one.stage) | terms(asked)
            always += self._without_engine(one)
            findings += judge(one.stage, asked, one.violations, image=one.image)
            comments = comment_waivers(one.files.containerfile, one.stage)
            waivers += [(waiver, None) for waiver in comments.waivers]
            always += [_broken(one.stage, violation) for violation in comments.broken]
            looked = {ask.id for ask in asked if ask.key in one.violations}
            looked.update(self.linted(one.stage) if one.linted else ())
            by_rule[one.stage] = frozenset(looked)
        excused = excuse(findings, waivers, today=self.now.date(), asked=allowed, examined=by_rule)
        return Excused((*excused.findings, *always), excused.about_waivers)

    def _terms(self, stage: str) -> dict[str, Terms]:
        """Of all that policies ask of a stage; `SC*` stands for what only ShellCheck's output names."""
        if stage not in self._allowed:
            patterns = {
                choice.pattern: Terms(longest=choice.longest_waiver, comments=one.comment_waivers)
                for one in self.policies
                for choice in one.choices
                if choice.pattern.startswith("SC") and one.covers(stage)
            }
            self._allowed[stage] = patterns | terms(self.asked(stage))
        return self._allowed[stage]

    def _newly_named(self, found: Examined) -> list[Ask]:
        """What is asked of the rules that only hadolint's output named: all of ShellCheck's, and new ones."""
        levels = {rule: level for rule, level in found.foreign.items() if rule not in HADOLINT}
        covering = [one for one in self.policies if one.covers(found.stage)]
        return [ask for one in covering for ask in foreign_asks(one, levels)]

    def _without_engine(self, found: Examined) -> list[Finding]:
        needing = [one for one in self.policies if one.needs_hadolint and one.covers(found.stage)]
        if not found.unlinted or not needing:
            return []
        return [
            Finding(
                rule=ENGINE_MISSING.id,
                name=ENGINE_MISSING.name,
                level=ENGINE_MISSING.level,
                stage=found.stage,
                message=f"{found.unlinted}, and {needing[0].file} requires its rules",
                where=found.files.at(None),
                hint=found.unlinted_hint,
                policy=needing[0].file,
            )
        ]


def refusal(findings: Iterable[Finding]) -> RbuildError | None:
    """The error of a stage that may not go on; None if it may."""
    problems = [
        Problem(what=f"{one.title}: {said(one)}", where=one.where, hint=one.hint)
        for one in findings
        if one.stops
    ]
    return RbuildError(problems, exit_code=Exit.FINDING) if problems else None


def warn(findings: Iterable[Finding], emit: Emit) -> None:
    """Say what does not stop a stage."""
    for one in findings:
        if not one.stops and one.waiver is None and one.level.value == "warning":
            place = f"{one.where}: " if one.where and str(one.where) else ""
            emit(Note(stage=one.stage, text=f"{place}{one.title}: {said(one)}", level="warning"))


def said(finding: Finding) -> str:
    """The message, and that a waiver of it has ended."""
    if finding.ended is None:
        return finding.message
    return f"{finding.message} (waived by {finding.ended.owner} until {finding.ended.expires}; that is over)"


def _keep(found: Examined, ask: Ask, examine: Callable[[], Iterable[Violation]]) -> None:
    if ask.key not in found.violations:
        found.violations[ask.key] = _some(examine())


def _some(violations: Iterable[Violation]) -> list[Violation]:
    """So many that a reader has enough, however much a hostile file holds."""
    left = iter(violations)
    kept = list(islice(left, _MOST))
    if more := sum(1 for _ in left):
        message = f"{more} more findings of this rule are left out"
        kept.append(Violation(message=message, where=of_the_file(kept[-1].where)))
    return kept


def _broken(stage: str, violation: Violation) -> Finding:
    return Finding(
        rule=COMMENT_BROKEN.id,
        name=COMMENT_BROKEN.name,
        level=COMMENT_BROKEN.level,
        stage=stage,
        message=violation.message,
        where=violation.where,
        text=violation.text,
        hint=violation.hint,
    )


def _layers(facts: ImageFacts, store: Store) -> tuple[OpenLayer, ...]:
    return tuple(
        OpenLayer(facts=layer, media_type=blob.media_type, open=partial(store.open, blob.digest))
        for layer, blob in zip(facts.layers, facts.manifest.layers, strict=True)
    )


def _image_key(facts: ImageFacts, asked: Iterable[Ask], now: datetime | None) -> str:
    """What the violations of an image are a function of."""
    previous = facts.lock.previous
    parts: list[object] = [
        __version__,
        _rules_digest(),
        str(facts.digest),
        str(facts.lock.locked.input),
        str(previous.image.manifest) if previous else "",
        facts.lock.files.containerfile.name,
        "".join(facts.lock.files.containerfile.lines),
        [(one.own, one.instruction.line if one.instruction else 0) for one in facts.layers],
        now,
    ]
    for ask in asked:
        own = ask.own
        said = (own.expression, own.message, own.hint, own.each, facts.lock.files.stage) if own else ()
        parts.append((ask.id, msgspec.to_builtins(ask.settings), said))
    return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()


@cache
def _rules_digest() -> str:
    """Of the rules' own code, so that what an older one found is not believed."""
    total = hashlib.sha256()
    for path in sorted(Path(policy.__path__[0]).rglob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()


def _decoded(data: bytes) -> list[list[Violation]] | None:
    try:
        return msgspec.msgpack.decode(data, type=list[list[Violation]])
    except (msgspec.DecodeError, ValueError):
        return None  # of another rbuild
