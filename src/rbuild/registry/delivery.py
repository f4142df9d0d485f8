"""Blobs on their way to several repositories of one registry, each of them sent once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import BinaryIO

from rbuild.digest import Digest
from rbuild.registry.client import Registry
from rbuild.registry.workers import in_parallel

_MOST_SOURCES = 3  # that are asked to mount one blob from


@dataclass(frozen=True, slots=True, kw_only=True)
class Consignment:
    """A blob of `size` bytes, the repositories that it goes to, and others that may have it already."""

    digest: Digest
    size: int
    repositories: tuple[str, ...]
    sources: tuple[str, ...] = ()


class Means(Enum):
    """How a repository came by a blob."""

    SKIPPED = "skipped"  # it had it
    MOUNTED = "mounted"  # from another repository of the registry
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a repository came by a blob, and the bytes that were sent for it, in all tries."""

    means: Means
    sent: int = 0


Opened = Callable[[Digest, bool], BinaryIO]
Arrivals = Mapping[tuple[str, Digest], Arrival]  # by repository and blob


def deliver(
    registry: Registry,
    consignments: Iterable[Consignment],
    opened: Opened,
    progress: Callable[[int, int], None],
) -> Arrivals:
    """Let every repository have its blobs. Raises RbuildError for the first that cannot be delivered.

    A repository is asked before anything is sent; what another of the registry has is mounted. `opened`
    opens a blob at its start, and is told whether it was opened before. `progress` is told how many bytes
    are there of how many, from any thread.
    """
    wanted = list(consignments)
    asked = [(one, name) for one in wanted for name in one.repositories]
    there = in_parallel([partial(_has, registry, one, name) for one, name in asked])
    arrivals: dict[tuple[str, Digest], Arrival] = {}
    missing: dict[Consignment, list[str]] = {}
    for (one, name), present in zip(asked, there, strict=True):
        if present:
            arrivals[name, one.digest] = Arrival(Means.SKIPPED)
        else:
            missing.setdefault(one, []).append(name)
    told = _Progress(sum(one.size for one in missing), progress)
    largest = sorted(missing, key=lambda one: -one.size)
    tasks = [partial(_bring, registry, one, missing[one], opened, told) for one in largest]
    for found in in_parallel(tasks):
        arrivals.update(found)
    return arrivals


def _has(registry: Registry, blob: Consignment, name: str) -> bool:
    return registry.repository(name).has_blob(blob.digest)


def _bring(
    registry: Registry,
    blob: Consignment,
    missing: list[str],
    opened: Opened,
    told: _Progress,
) -> Arrivals:
    """Bring one blob to those that miss it, one after the other: the first is a source for the rest."""
    sources = [name for name in blob.repositories if name not in missing] + list(blob.sources)
    found: dict[tuple[str, Digest], Arrival] = {}
    for name in missing:
        repository = registry.repository(name)
        if any(repository.mount(blob.digest, source) for source in sources[:_MOST_SOURCES] if source != name):
            found[name, blob.digest] = Arrival(Means.MOUNTED)
        else:
            tries = _Tries(blob.digest, opened)
            sent = repository.push_blob(
                blob.digest,
                blob.size,
                tries.open,
                lambda done: told.reached(blob.digest, done),
            )
            found[name, blob.digest] = Arrival(Means.SENT, sent)
        sources.insert(0, name)
    told.reached(blob.digest, blob.size)
    return found


class _Tries:
    """Opens one blob, again and again."""

    def __init__(self, digest: Digest, opened: Opened) -> None:
        self._digest = digest
        self._opened = opened
        self._again = False

    def open(self) -> BinaryIO:
        again, self._again = self._again, True
        return self._opened(self._digest, again)


class _Progress:
    """Adds up what is there of each blob; tells each hundredth."""

    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        self._total = total
        self._progress = progress
        self._done: dict[Digest, int] = {}
        self._told = -1
        self._lock = threading.Lock()

    def reached(self, digest: Digest, done: int) -> None:
        with self._lock:
            self._done[digest] = max(done, self._done.get(digest, 0))
            all_done = sum(self._done.values())
            hundredth = all_done * 100 // self._total if self._total else 100
            if hundredth > self._told:
                self._told = hundredth
                self._progress(all_done, self._total)
