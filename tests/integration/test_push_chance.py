"""Pushes that are killed, and pushes over a bad line, by chance: no tag is ever broken.

Ten of each for a seed, which is in the test's name. `make test` takes two seeds; with RBUILD_PUSH_SEEDS=10 it
is a hundred of each, which takes a quarter of an hour.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from faultyproxy import FaultyProxy, alters, truncates
from httpfaults import IMPATIENT, Act, Fault, Handler, resets, says, serving, stalls
from registries import Registry, registry
from test_push_faults import check_complete, project, pushed, tags, there
from worlds import World, temporary

from rbuild.registry.patience import Limits

SEEDS, ROUNDS = range(1, 1 + int(os.environ.get("RBUILD_PUSH_SEEDS", "2"))), 10
# Whether it gets through does not matter here, only what is left.
HURRIED = replace(IMPATIENT, read=0.6)
ACTS: tuple[Act, ...] = (
    *(says(status) for status in (404, 429, 500, 502, 503)),
    *(resets(), resets(100_000), stalls(), alters("request"), truncates()),
)


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    with project() as world:
        yield world


@pytest.fixture(scope="module")
def server() -> Iterator[Registry]:
    with temporary() as folder, registry(folder) as running:
        yield running


def ends_right(world: World, server: Registry, path: str, lock: bytes) -> None:
    """No tag is broken, the lock is as it was, and the next push sends what is missing, and no more."""
    tags(server, path)
    assert (world.project / "rbuild.lock").read_bytes() == lock
    before = {stage: there(world, server, path, stage) for stage in world.digests()}
    found = pushed(world, f"{server.host}/{path}", Limits())
    assert found.error is None
    assert {one.stage: one.skipped for one in found.images} == before
    check_complete(world, server, path)


def slowly(handler: Handler) -> bool:
    time.sleep(0.01)
    return False


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_kills(built: World, server: Registry, seed: int) -> None:
    chance = random.Random(seed)
    lock = (built.project / "rbuild.lock").read_bytes()
    with serving(FaultyProxy(server.port, Fault(".*", "", slowly, times=1_000_000))) as proxy:
        for number in range(ROUNDS):
            path = f"killed{seed}-{number}"
            wanted = chance.randint(1, 45)  # requests before the end; a push has some fifty
            ending = chance.choice((signal.SIGKILL, signal.SIGINT))
            begun = len(proxy.seen)
            process = built.start("push", "--to", f"{proxy.host}/{path}")
            while process.poll() is None and len(proxy.seen) - begun < wanted:
                time.sleep(0.002)
            process.send_signal(ending)
            _, err = process.communicate(timeout=600)
            assert "Traceback" not in err
            assert process.returncode in (0, -signal.SIGKILL, 128 + signal.SIGINT), err
            ends_right(built, server, path, lock)


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_bad_lines(built: World, server: Registry, seed: int) -> None:
    chance = random.Random(1000 + seed)
    lock = (built.project / "rbuild.lock").read_bytes()
    struck = 0
    for number in range(ROUNDS):
        path = f"faults{seed}-{number}"
        faults = [
            Fault(
                chance.choice(("PATCH", "PUT", "POST", "HEAD", "GET")),
                f"/{path}/",
                chance.choice(ACTS),
                times=chance.randint(1, 6),
                skip=chance.randint(0, 6),
            )
            for _ in range(3)
        ]
        with serving(FaultyProxy(server.port, *faults)) as proxy:
            pushed(built, f"{proxy.host}/{path}", HURRIED)
        struck += any(fault.seen > fault.skip for fault in faults)
        ends_right(built, server, path, lock)
    assert struck >= ROUNDS / 2
