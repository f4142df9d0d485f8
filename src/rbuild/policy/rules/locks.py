"""Rules about the lock: how old it is, whether it was verified, and what was turned off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from rbuild.errors import Where
from rbuild.policy.facts import FileFacts, LockFacts, PushFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings

LOCK_FILE = "rbuild.lock"


class AgeSettings(Settings, frozen=True, kw_only=True):
    days: Annotated[
        Annotated[int, Meta(ge=1, le=3650)], Meta(description="How many days old the lock may be.")
    ] = 90


class VerifiedSettings(Settings, frozen=True, kw_only=True):
    days: Annotated[
        Annotated[int, Meta(ge=1, le=3650)] | None,
        Meta(description="How many days ago the verification may be; without it any number."),
    ] = None


def _normaliser_off(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for name, on in facts.stage.normalisers.items():
        if not on:
            yield Violation(
                message=f"the normaliser {name} is turned off for {facts.stage.name}",
                where=facts.locate("stages", facts.stage.name, "normalisers", name),
                text=f"{name}: false",
            )


def _old(facts: LockFacts, settings: AgeSettings) -> Iterable[Violation]:
    if facts.fresh or facts.locked_at is None:
        return
    days = (facts.now - facts.locked_at).days
    if days > settings.days:
        yield Violation(
            message=f"the lock is {days} days old; {settings.days} are the most",
            where=Where(file=LOCK_FILE),
            text=facts.files.stage.name,
        )


def _unverified(facts: LockFacts, settings: VerifiedSettings) -> Iterable[Violation]:
    if not facts.fresh:
        yield from _verdict(facts, settings)


def _pushed_unverified(facts: PushFacts, settings: VerifiedSettings) -> Iterable[Violation]:
    yield from _verdict(facts.image.lock, settings)


def _verdict(facts: LockFacts, settings: VerifiedSettings) -> Iterable[Violation]:
    verified, locked, stage = facts.verified, facts.locked, facts.files.stage.name
    where = Where(file=LOCK_FILE, key=f"stages.{stage}")
    if verified is None or (verified.input, verified.image) != (locked.input, locked.image.manifest):
        message = f"{stage} was not built again from nothing since it was locked"
    elif verified.verdict != "identical":
        message = f"{stage} was built again on {verified.when:%Y-%m-%d}, and was {verified.verdict}"
    elif settings.days is not None and (facts.now - verified.when).days > settings.days:
        message = f"{stage} was verified on {verified.when:%Y-%m-%d}, more than {settings.days} days ago"
    else:
        return
    yield Violation(message=message, where=where, text=stage, hint=f"rbuild verify {stage}")


RULES = (
    Rule(
        id="RB116",
        name="normaliser-off",
        title="A normaliser of the canonical form is turned off.",
        level=Level.WARNING,
        why="Normalisers take out what package managers are known to leave behind: logs, caches, stale "
        "bytecode. Without one, two builds differ wherever that is left.",
        example="normalisers: {bytecode: false}        # in rbuild.yaml",
        fix="take the line out, or waive it with the reason why the stage needs it",
        files=_normaliser_off,
    ),
    Rule(
        id="RB117",
        name="old-lock",
        title="The lock has not changed for longer than is allowed.",
        level=Level.WARNING,
        why="What is locked gets no security updates: the packages are those of the day of recording. The "
        "age is that of the last commit of rbuild.lock or, where it has changes, of the file.",
        example="a lock that was committed 120 days ago",
        fix="rbuild lock --upgrade takes newer packages and bases; commit the lock",
        settings=AgeSettings,
        lock=_old,
    ),
    Rule(
        id="RB118",
        name="not-verified",
        title="A stage has not been verified as it is locked now.",
        level=Level.NOTE,
        why="That its lock leads to its image is a claim until somebody has built it again from nothing.",
        example="a stage that was built and locked, and not built again",
        fix="rbuild verify",
        settings=VerifiedSettings,
        lock=_unverified,
    ),
    Rule(
        id="RB309",
        name="push-not-verified",
        title="An image that was not verified is pushed.",
        level=Level.WARNING,
        why="Others will trust the digest: that it is what its lock says should have been tried before.",
        example="rbuild push, without rbuild verify since the stage was locked",
        fix="rbuild verify",
        settings=VerifiedSettings,
        push=_pushed_unverified,
    ),
)
