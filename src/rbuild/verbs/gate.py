"""Policies on the way of a stage: what they forbid is not built, not locked, not pushed, not run."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from rbuild.errors import RbuildError, Where
from rbuild.events import Emit
from rbuild.lock import Lock, StageLock
from rbuild.policy.facts import ImageFacts, LockFacts, PushFacts
from rbuild.policy.model import Finding
from rbuild.reference import Reference
from rbuild.store import Store
from rbuild.verbs.assessment import assess_one, in_store
from rbuild.verbs.examine import Examined, Examiner, refusal, warn
from rbuild.verbs.linting import Linter
from rbuild.verbs.policies import load_policies
from rbuild.verbs.policyfacts import file_facts, image_facts, layers_of_base, lock_facts, locked_at
from rbuild.verbs.source import Source
from rbuild.verbs.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Destined:
    """A repository that an image goes to, the tags that it gets there, and those of them that may move."""

    repository: Reference
    tags: tuple[str, ...]
    moving: frozenset[str]
    signed: bool = False


class Gate:
    """Holds the stages of one command to the project's policies. Threads may share it.

    Each method raises RbuildError (exit code 1) with the errors that nothing excuses, and says the warnings.
    So does making it, for a policy that is wrong (exit code 2). `now` is in UTC.
    """

    def __init__(self, workspace: Workspace, *, now: datetime, emit: Emit) -> None:
        self._workspace = workspace
        self._examiner = Examiner(
            load_policies(workspace), now=now, linter=Linter.here(workspace.env, workspace.store)
        )
        self._emit = emit
        self._lock = threading.Lock()  # one at a time: nobody is told the same thing twice
        self._locked_at: datetime | None = None
        self._said: set[Finding] = set()

    def files(self, source: Source) -> None:
        """Before anything is fetched: the Containerfile, the context and rbuild.yaml."""
        self._judge(self._examiner.files(file_facts(self._workspace, source)))

    def replayed(self, source: Source, lock: Lock, locked: StageLock) -> None:
        """Before a stage is built that is locked as it is: the same, and what is locked of it."""
        found = self._examiner.files(file_facts(self._workspace, source, lock))
        self._examiner.lock(found, self._lock_facts(found, lock, locked, fresh=True))
        self._judge(found)

    def built(
        self, source: Source, lock: Lock, locked: StageLock, *, previous: StageLock | None, store: Store
    ) -> None:
        """Before it is locked as good: what went in, and the image that came out."""
        found = self._examiner.files(file_facts(self._workspace, source, lock))
        facts = lock_facts(
            store, found.files, lock, locked, now=self._examiner.now, changed=None, previous=previous
        )
        self._examiner.lock(found, facts)
        self._examiner.image(found, image_facts(store, facts), store)
        self._judge(found)

    def locked(self, source: Source, lock: Lock, locked: StageLock) -> None:
        """Before a locked image is run or named in Podman's storage: what it was made of, and the image.

        Of a stage whose files have changed since, only the lock and the image are looked at.
        """
        self._judge(self._examine(source, lock, locked)[0])

    def pushed(self, source: Source, lock: Lock, locked: StageLock, destined: Iterable[Destined]) -> None:
        """Before a locked image goes to registries: the same, and where it goes under which tags."""
        found, facts = self._examine(source, lock, locked)
        for one in destined:
            push = PushFacts(
                image=facts,
                repository=one.repository,
                tags=one.tags,
                moving=one.moving,
                signed=one.signed,
            )
            self._examiner.push(found, push)
        self._judge(found)

    def _examine(self, source: Source, lock: Lock, locked: StageLock) -> tuple[Examined, ImageFacts]:
        store, name = self._workspace.store, source.stage.name
        if not in_store(self._workspace, locked.image):
            raise RbuildError(
                f"the image of stage {name} is not in the store, and policies ask about it",
                where=Where(digest=str(locked.image.manifest)),
                hint=f"rbuild build {name}, or rbuild pull {name}",
            )
        if not assess_one(self._workspace, lock, source).changes:
            found = self._examiner.files(file_facts(self._workspace, source, lock))
            facts = self._lock_facts(found, lock, locked)
            image = image_facts(store, facts)
        else:
            found = Examined(name, file_facts(self._workspace, source))
            facts = self._lock_facts(found, lock, locked)
            # Where nobody knows which layers are the base's, all are looked at as if the build had made them.
            image = image_facts(store, facts, below=layers_of_base(store, lock, locked) or 0)
        self._examiner.lock(found, facts)
        self._examiner.image(found, image, store)
        return found, image

    def _lock_facts(
        self, found: Examined, lock: Lock, locked: StageLock, *, fresh: bool = False
    ) -> LockFacts:
        return lock_facts(
            self._workspace.store,
            found.files,
            lock,
            locked,
            now=self._examiner.now,
            changed=None if fresh else self._when(),
        )

    def _when(self) -> datetime | None:
        """When the lock last changed; git is asked once."""
        with self._lock:
            self._locked_at = self._locked_at or locked_at(self._workspace)
            return self._locked_at

    def _judge(self, found: Examined) -> None:
        excused = self._examiner.judged([found])
        mine = [one for one in excused.about_waivers if fnmatchcase(found.stage, one.stage)]
        findings = [*excused.findings, *mine]
        with self._lock:
            new = [one for one in findings if one not in self._said]
            self._said.update(new)
        warn(new, self._emit)
        if error := refusal(findings):
            raise error
