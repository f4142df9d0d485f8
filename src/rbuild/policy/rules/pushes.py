"""Rules about where images go, and what they are called there."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

from rbuild.policy.facts import PushFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings


class DestinationSettings(Settings, frozen=True, kw_only=True):
    allowed: Annotated[
        tuple[str, ...],
        Meta(description="Patterns of registry/repository that images may go to: quay.io/team/*. None: any."),
    ] = ()


class TagSettings(Settings, frozen=True, kw_only=True):
    allowed: Annotated[
        tuple[str, ...],
        Meta(description="Patterns of tags that an image may get: v[0-9]*, *-rc*. None: any."),
    ] = ()
    fixed: Annotated[
        bool, Meta(description="Whether an image needs a tag that may not move to another image.")
    ] = True


def _destination(facts: PushFacts, settings: DestinationSettings) -> Iterable[Violation]:
    name = facts.repository.name
    if settings.allowed and not any(fnmatchcase(name, pattern) for pattern in settings.allowed):
        yield Violation(
            message=f"images may not go to {name}",
            where=facts.image.lock.files.locate("registry"),
            text=name,
            hint=f"allowed are: {', '.join(settings.allowed)[:300]}",
        )


def _tags(facts: PushFacts, settings: TagSettings) -> Iterable[Violation]:
    locate = facts.image.lock.files.locate
    for tag in facts.tags:
        if settings.allowed and not any(fnmatchcase(tag, pattern) for pattern in settings.allowed):
            hint = f"allowed are: {', '.join(settings.allowed)[:300]}"
            message = f"{tag} is no tag of the project's scheme"
            yield Violation(message=message, where=locate("push", "tags"), text=tag, hint=hint)
    if settings.fixed and facts.tags and set(facts.tags) <= facts.moving:
        tags = ", ".join(facts.tags)[:200]
        message = f"every tag of the image may move to another one: {tags}"
        yield Violation(message=message, where=locate("push", "moving_tags"), text=tags)


def _unsigned(facts: PushFacts, _: Settings) -> Iterable[Violation]:
    if not facts.signed:
        stage = facts.image.lock.files.stage.name
        yield Violation(message=f"{stage} goes to {facts.repository.name} without a signature", text=stage)


RULES = (
    Rule(
        id="RB310",
        name="destination-not-allowed",
        title="An image goes to a registry or repository that is not in the list.",
        level=Level.ERROR,
        why="A mistyped --to publishes what was meant to stay inside. Without a list in the settings the "
        "rule says nothing.",
        example="rbuild push --to docker.io/somebody        # with allowed: [registry.example.org/*]",
        fix="push to a repository of the list, or have the list extended",
        settings=DestinationSettings,
        push=_destination,
    ),
    Rule(
        id="RB317",
        name="tag-scheme",
        title="An image gets a tag that is not of the scheme, or none that stays.",
        level=Level.WARNING,
        why="Who has only `latest` cannot say next week which image that was.",
        example='push: {tags: ["latest"]}        # in rbuild.yaml, with moving_tags: ["latest"]',
        fix='push: {tags: ["{input}", "latest"]}',
        settings=TagSettings,
        push=_tags,
    ),
    Rule(
        id="RB318",
        name="push-unsigned",
        title="An image is pushed without a signature.",
        level=Level.NOTE,
        why="Who pulls it by a tag cannot tell yours from one that somebody else put there.",
        example="rbuild push, without a key",
        fix="rbuild keygen makes a key; sign when you push",
        push=_unsigned,
    ),
)
