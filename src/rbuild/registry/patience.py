"""How often a registry is asked again, and how long rbuild waits in between."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rbuild.errors import RbuildError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds. The pause doubles from `backoff` to `longest`, and up to half of it is chance."""

    tries: int = 6  # in a row that bring nothing further
    most_tries: int = 60
    connect: float = 15
    read: float = 60  # for the next bytes
    least: int = 1 << 16  # bytes in as much time, of whoever sends some now and then
    backoff: float = 0.5
    longest: float = 20
    longest_asked: float = 120  # that a registry may ask for in Retry-After


class Transient(Exception):
    """A step failed in a way that may pass. `after`: the seconds that the registry asked to wait."""

    def __init__(self, reason: str, *, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class GaveUp(Exception):
    """A step failed in passing ways as often as it may."""

    def __init__(self, reason: str, tries: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.tries = tries


class Patience:
    """Tries steps again; `close` ends every wait."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._closed = threading.Event()

    def persist(self, step: Callable[[], T], *, progressed: Callable[[], int] = lambda: 0) -> T:
        """Run `step` until it does not raise Transient; raises GaveUp after the last try.

        The count begins anew when `progressed` is further than ever: a large upload over a bad line may break
        off often, as long as each try brings it on.
        """
        furthest, idle = progressed(), 0
        for tried in itertools.count(1):
            if self.closed:
                raise RbuildError("interrupted")
            try:
                return step()
            except Transient as failure:
                now = progressed()
                furthest, idle = (now, 1) if now > furthest else (furthest, idle + 1)
                spent = idle >= self.limits.tries or tried >= self.limits.most_tries
                if spent or (failure.after or 0) > self.limits.longest_asked:
                    raise GaveUp(failure.reason, tried) from failure
                self._pause(idle, failure.after)
        raise AssertionError("unreachable")

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """No more tries."""
        self._closed.set()

    def _pause(self, idle: int, after: float | None) -> None:
        limits = self.limits
        pause = min(limits.longest, limits.backoff * 2 ** (idle - 1)) * (0.5 + random.random() / 2)
        if self._closed.wait(max(pause, after or 0)):
            raise RbuildError("interrupted")
