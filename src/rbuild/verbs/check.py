"""`rbuild check`: everything that policies ask for and that can be checked now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from rbuild.events import Emit, Note
from rbuild.lock import Lock
from rbuild.policy.facts import LockFacts
from rbuild.policy.model import Finding, Moment
from rbuild.store import Store
from rbuild.verbs.assessment import Assessment, assess, in_store
from rbuild.verbs.examine import Examined, Examiner
from rbuild.verbs.linting import Linter
from rbuild.verbs.policies import default_policy, load_policies
from rbuild.verbs.policyfacts import file_facts, image_facts, lock_facts, locked_at
from rbuild.verbs.workspace import Workspace, read_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """Rules that could not be checked on a stage, why, and what helps."""

    stage: str
    rules: tuple[str, ...]
    reason: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of a check. `policies` are the files that were asked; none: all rules, with their own levels.

    `findings` are in the order of stage and line, waived ones among them.
    """

    stages: tuple[str, ...]
    policies: tuple[str, ...]
    rules: int  # that were asked about
    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...]

    @property
    def stops(self) -> bool:
        """Whether there is an error that nothing excuses."""
        return any(finding.stops for finding in self.findings)


def check(workspace: Workspace, stages: Collection[str], *, now: datetime, emit: Emit) -> Checked:
    """Hold stages against the project's policies, as far as files, lock and store tell; nothing is built.

    `now` is in UTC. Raises RbuildError for a policy that is wrong, and for files that cannot be read.
    """
    policies = load_policies(workspace)
    linter = Linter.here(workspace.env, workspace.store)
    examiner = Examiner(policies or (default_policy(),), now=now, linter=linter)
    lock = read_lock(workspace)
    changed = locked_at(workspace)
    examined: list[Examined] = []
    unchecked: list[Unchecked] = []
    everything = assess(workspace, lock, stages)
    files = {name: file_facts(workspace, assessed.source, lock) for name, assessed in everything.items()}
    examiner.prepare(files.values())
    for name, assessed in everything.items():
        found = examiner.files(files[name])
        examined.append(found)
        if found.unlinted:
            left = Unchecked(
                stage=name, rules=examiner.linted(name), reason=found.unlinted, hint=found.unlinted_hint
            )
            unchecked.append(left)
        if (facts := _locked(workspace.store, found, assessed, lock, now, changed)) is None:
            unchecked += _unlocked(examiner, name, assessed)
            continue
        examiner.lock(found, facts)
        if not examiner.asked(name, Moment.IMAGE):
            continue
        if in_store(workspace, facts.locked.image):
            emit(Note(stage=name, text="looking at its image"))
            examiner.image(found, image_facts(workspace.store, facts), workspace.store)
        else:
            rules = tuple(dict.fromkeys(ask.id for ask in examiner.asked(name, Moment.IMAGE)))
            hint = f"rbuild build {name}, or rbuild pull {name}"
            unchecked.append(
                Unchecked(stage=name, rules=rules, reason="its image is not in the store", hint=hint)
            )
    excused = examiner.judged(examined)
    order = {name: at for at, name in enumerate(stages)}
    findings = sorted(
        (*excused.findings, *excused.about_waivers),
        key=lambda one: (
            order.get(one.stage, len(order)),
            (one.where.file or "~") if one.where else "~",
            (one.where.line or 0) if one.where else 0,
            one.rule,
        ),
    )
    return Checked(
        stages=tuple(stages),
        policies=tuple(policy.file for policy in policies),
        rules=len({ask.id for name in stages for ask in examiner.asked(name)}),
        findings=tuple(findings),
        unchecked=tuple(unchecked),
    )


def _locked(
    store: Store,
    found: Examined,
    assessed: Assessment,
    lock: Lock | None,
    now: datetime,
    changed: datetime | None,
) -> LockFacts | None:
    """What is locked of a stage, if its lock fits its files."""
    if lock is None or assessed.locked is None or assessed.changes:
        return None
    return lock_facts(store, found.files, lock, assessed.locked, now=now, changed=changed)


def _unlocked(examiner: Examiner, name: str, assessed: Assessment) -> list[Unchecked]:
    rules = tuple(dict.fromkeys(ask.id for ask in examiner.asked(name, Moment.LOCK, Moment.IMAGE)))
    if not rules:
        return []
    reason = "its lock is out of date" if assessed.locked else "it is not locked yet"
    return [Unchecked(stage=name, rules=rules, reason=reason, hint=f"rbuild build {name}")]
