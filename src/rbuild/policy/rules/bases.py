"""Rules about what a stage starts from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

from rbuild.policy.facts import FileFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.reference import Reference

# Tags that their publishers move as a habit, from one major version to the next.
_MOVING = frozenset(
    {
        "latest",
        "stable",
        "oldstable",
        "testing",
        "unstable",
        "sid",
        "edge",
        "main",
        "master",
        "nightly",
        "dev",
    }
    | {"devel", "rolling", "current", "lts", "slim", "alpine"}
)
_VERSION = re.compile(r"(?:\A|-)v?[0-9]+(?:\.[0-9]+)*")


class TagSettings(Settings, frozen=True, kw_only=True):
    numbers: Annotated[
        Annotated[int, Meta(ge=0, le=4)],
        Meta(description="How many numbers a tag's version needs: 2 wants python:3.11. 0: it may have none."),
    ] = 0
    moving: Annotated[tuple[str, ...], Meta(description="Further tags that move, or patterns of them.")] = ()


def _not_locked(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for use, key in facts.uses.items():
        if facts.locked is not None and key not in facts.locked:
            yield Violation(
                message=f"the lock has no digest for {use.image}", where=facts.at(use.line), text=use.text
            )


def _moving_tag(facts: FileFacts, settings: TagSettings) -> Iterable[Violation]:
    for use in facts.uses:
        reference = Reference.parse(use.image)
        base = facts.project.base(reference)
        if base.image is None or base.image.digest is not None:
            continue
        tag = (base.image.tag or "latest").lower()
        written = use.image.rpartition("/")[2]
        habit = tag.partition("-")[0] in _MOVING or any(fnmatchcase(tag, one) for one in settings.moving)
        if habit:
            message = f"{use.image} means another image from one day to the next"
            message += "" if ":" in written else ": without a tag, it is latest"
        elif _numbers(tag) < settings.numbers:
            message = f"the tag {tag} names fewer than {settings.numbers} numbers of a version"
        else:
            continue
        yield Violation(message=message, where=facts.at(use.line), text=use.text)


def _numbers(tag: str) -> int:
    """How many numbers the version in a tag has: 2 in 3.11-slim, 0 in bookworm."""
    match = _VERSION.search(tag)
    return match[0].count(".") + 1 if match else 0


RULES = (
    Rule(
        id="RB101",
        name="base-not-locked",
        title="A base has no digest in the lock.",
        level=Level.ERROR,
        why="A tag is a name that its publisher may give to another image. Without the digest nobody knows "
        "what the image was built on. A build pins what it uses; this is about a lock that was not committed "
        "with the Containerfile, and about a project that has a lock.",
        example="FROM python:3.11-slim        # and no entry under bases in rbuild.lock",
        fix="rbuild lock records the digest; commit rbuild.lock",
        files=_not_locked,
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
        settings=TagSettings,
        files=_moving_tag,
    ),
)
