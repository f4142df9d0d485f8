"""Several requests at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

_AT_A_TIME = 4


def in_parallel(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """The results of `tasks`, four of which run at a time, in their order.

    After one that fails no other begins; its exception is raised when those under way have ended. A caller
    that is interrupted does not wait for them: they end with the process.
    """
    waiting = deque(enumerate(tasks))
    done: dict[int, T] = {}
    failures: list[BaseException] = []

    def work() -> None:
        while not failures:
            try:
                at, task = waiting.popleft()
            except IndexError:
                return
            try:
                done[at] = task()
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_AT_A_TIME, len(tasks)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [done[at] for at in range(len(tasks))]
