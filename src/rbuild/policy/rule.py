"""A built-in rule: what it forbids, when it can be checked, how to put it right."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from rbuild.policy.facts import FileEntry, FileFacts, ImageFacts, LockFacts, PushFacts
from rbuild.policy.model import Level, Moment, Violation


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a policy can set of a rule; a rule without settings has just this. Every field has a default."""


class Watcher(Protocol):
    """Looks at the files of an image while its layers are read, once, from the highest to the lowest."""

    def wants(self, entry: FileEntry) -> int:
        """How many bytes of this file's content it needs, from the start; 0 for none."""
        ...

    def see(self, entry: FileEntry, content: bytes) -> None:
        """Every entry, with as much of its content as was wanted (or more, if another rule wants more)."""
        ...

    def violations(self) -> Iterable[Violation]:
        """What was found, at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule. Exactly one of the five functions is set; it says when the rule can be checked.

    `id` is for policies and waivers (RB101), `name` says it in a word (`base-not-pinned`), `title` in a
    sentence. `why`, `example` (of what is found) and `fix` (what to type or change) are for people.
    `level` is what it weighs where a policy does not say.
    """

    id: str
    name: str
    title: str
    level: Level
    why: str
    example: str
    fix: str
    settings: type[Settings] = Settings
    files: Callable[[FileFacts, Any], Iterable[Violation]] | None = None
    lock: Callable[[LockFacts, Any], Iterable[Violation]] | None = None
    image: Callable[[ImageFacts, Any], Iterable[Violation]] | None = None
    watch: Callable[[ImageFacts, Any], Watcher] | None = None
    push: Callable[[PushFacts, Any], Iterable[Violation]] | None = None

    @property
    def moment(self) -> Moment:
        """The earliest time that it can be checked."""
        if self.files:
            return Moment.FILES
        if self.lock:
            return Moment.LOCK
        return Moment.PUSH if self.push else Moment.IMAGE
