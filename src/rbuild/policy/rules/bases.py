"""Rules about what a stage starts from."""

from __future__ import annotations

from collections.abc import Iterable

from rbuild.policy.facts import FileFacts, LockFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.reference import Reference

# Tags that their publishers move as a habit, beside those without a version in them.
_MOVING = frozenset({"latest", "stable", "testing", "edge", "main", "master", "nightly", "current", "lts"})


def _not_locked(facts: LockFacts, _: Settings) -> Iterable[Violation]:
    for use, key in facts.files.uses.items():
        if key not in facts.lock.bases or key not in facts.locked.bases:
            yield Violation(
                message=f"the lock has no digest for {use.image}",
                where=facts.files.at(use.line),
                text=use.text,
            )


def _moving_tag(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for use in facts.uses:
        reference = Reference.parse(use.image)
        base = facts.project.base(reference)
        if base.image is None or base.image.digest is not None:
            continue
        tag = base.image.tag or "latest"
        if tag.lower() in _MOVING:
            yield Violation(
                message=f"{use.image} means another image from one day to the next"
                + ("" if base.image.tag else ": without a tag, it is latest"),
                where=facts.at(use.line),
                text=use.text,
            )


RULES = (
    Rule(
        id="RB101",
        name="base-not-locked",
        title="A base has no digest in the lock.",
        level=Level.ERROR,
        why="A tag is a name that its publisher may give to another image. Without the digest nobody knows "
        "what the image was built on.",
        example="FROM python:3.11-slim        # and no entry under bases in rbuild.lock",
        fix="rbuild lock records the digest; commit rbuild.lock",
        lock=_not_locked,
    ),
    Rule(
        id="RB102",
        name="moving-tag",
        title="A base is named by a tag that moves as a habit, such as latest.",
        level=Level.WARNING,
        why="The lock keeps the digest, but `rbuild lock --upgrade` then takes whatever the tag means on "
        "that day, which may be another major version.",
        example="FROM python",
        fix="name a version: FROM python:3.11-slim",
        files=_moving_tag,
    ),
)
