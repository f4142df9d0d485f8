"""Pushing over a bad line: what passes is survived, what does not is told, and no tag is ever broken."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from faultyproxy import FaultyProxy, alters, replaces
from httpfaults import IMPATIENT, Act, Fault, Handler, resets, says, serving, stalls
from registries import Registry, registry
from test_push import STAGES, write_project
from worlds import World, make_world, remove_world

from rbuild.errors import RbuildError
from rbuild.events import silent
from rbuild.verbs.push import Delivery, push
from rbuild.verbs.push import Request as PushRequest
from rbuild.verbs.workspace import open_workspace

ROUNDS = int(os.environ.get("PUSH_ROUNDS", "8"))
_OPENER = build_opener(ProxyHandler({}))
_ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json"}


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    world = make_world(folder)
    write_project(world)
    world.ok("all")
    yield world
    remove_world(world)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Registry]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    with registry(folder) as running:
        yield running
    shutil.rmtree(folder)


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """A path in the registry for this test alone."""
    return f"t{abs(hash(request.node.name))}"


def pushed(world: World, to: str) -> Delivery:
    """What a push within this process comes to, which has little patience."""
    workspace = open_workspace(world.project, world.env)
    (found,) = push(workspace, STAGES, PushRequest(to=(to,), limits=IMPATIENT), silent)
    return found


def get(server: Registry, path: str, method: str = "GET") -> bytes | None:
    try:
        with _OPENER.open(Request(f"{server.url}/v2/{path}", headers=_ACCEPT, method=method)) as answer:
            data: bytes = answer.read()
            return data
    except HTTPError as error:
        assert error.code == 404
        return None


def tags(server: Registry, path: str) -> dict[str, dict[str, bytes]]:
    """The manifests that tags stand for, by stage; all that these name is there."""
    found: dict[str, dict[str, bytes]] = {}
    for stage in STAGES:
        name = f"{path}/iris/{stage}"
        for tag in json.loads(get(server, f"{name}/tags/list") or b"{}").get("tags") or []:
            # The registry lists a tag a moment before it can be read.
            looks = (get(server, f"{name}/manifests/{tag}") or time.sleep(0.1) for _ in range(20))
            data = next(filter(None, looks), None)
            assert data is not None, f"{name}:{tag} leads nowhere"
            manifest = json.loads(data)
            for blob in (manifest["config"], *manifest["layers"]):
                assert get(server, f"{name}/blobs/{blob['digest']}", "HEAD") is not None, f"{name}:{tag}"
            found.setdefault(stage, {})[tag] = data
    return found


def check_complete(world: World, server: Registry, path: str) -> None:
    for stage, digest in world.digests().items():
        assert server.digest(f"{path}/iris/{stage}", "latest") == digest
    assert set(tags(server, path)) == set(STAGES)


UPLOAD, PUT_BLOB, MANIFEST = ("PATCH", "uploads"), ("PUT", "uploads"), ("PUT", "manifests/latest")


@pytest.mark.parametrize(
    ("where", "act"),
    [
        (UPLOAD, says(429)),
        (UPLOAD, says(429, Retry_After="1")),
        (UPLOAD, says(500)),
        (PUT_BLOB, says(502)),
        (MANIFEST, says(503)),
        (UPLOAD, resets(after=200_000)),
        (("GET", "manifests/latest"), resets()),
        (UPLOAD, stalls(after=200_000)),
        (UPLOAD, says(404)),  # the session has expired
        (UPLOAD, alters("request")),
        (("HEAD", "blobs"), says(503)),
    ],
)
def test_what_passes_is_survived(
    built: World, server: Registry, path: str, where: tuple[str, str], act: Act
) -> None:
    with serving(FaultyProxy(server.port, Fault(*where, act))) as proxy:
        found = pushed(built, f"{proxy.host}/{path}")
        assert found.error is None
        assert proxy.faults[0].seen >= 1
    check_complete(built, server, path)


@pytest.mark.parametrize(
    ("where", "act", "said", "hint"),
    [
        (UPLOAD, says(429), "HTTP 429: so says the test (tried", "try again later"),
        (UPLOAD, says(503), "cannot upload a blob: HTTP 503", "try again later"),
        (UPLOAD, resets(after=200_000), "cannot upload a blob", "try again later"),
        (UPLOAD, alters("request"), "what arrived is not what was sent", "try again later"),
        (PUT_BLOB, says(404), "the upload session is gone", "try again later"),
        (UPLOAD, says(507), "HTTP 507", "disk is full"),
        (MANIFEST, says(500), "cannot store a manifest", "try again later"),
        (("GET", "manifests/latest"), alters("answer"), "under latest", "push again"),
        (("GET", "manifests/latest"), replaces(b"{}"), "under latest", "push again"),
    ],
)
def test_what_does_not_pass_is_told(
    built: World, server: Registry, path: str, where: tuple[str, str], act: Act, said: str, hint: str
) -> None:
    with serving(FaultyProxy(server.port, Fault(*where, act, times=10_000))) as proxy:
        found = pushed(built, f"{proxy.host}/{path}")
        assert isinstance(found.error, RbuildError)
        (problem,) = found.error.problems
        assert said in problem.what
        assert hint in (problem.hint or "")
        assert problem.where is not None
        assert f"{proxy.host}/{path}/iris/" in (problem.where.url or "")
        assert found.images == ()
    tagged = tags(server, path)
    assert not tagged or where[0] in ("GET", "PUT")  # no tag before every blob is there
    # Pushing again finishes the work.
    assert pushed(built, f"{server.host}/{path}").error is None
    check_complete(built, server, path)


def slowly(handler: Handler) -> bool:
    time.sleep(0.02)
    return False


def test_killed_and_interrupted_at_any_moment(built: World, server: Registry) -> None:
    chance = random.Random(1)
    with serving(FaultyProxy(server.port, Fault(".*", "", slowly, times=1_000_000))) as proxy:
        started = time.monotonic()
        built.ok("push", "--to", f"{proxy.host}/whole")
        longest = time.monotonic() - started
        lock = (built.project / "rbuild.lock").read_bytes()
        landed = 0
        for number in range(ROUNDS):
            path = f"killed{number}"
            process = built.start("push", "--to", f"{proxy.host}/{path}")
            time.sleep(chance.uniform(0.3, 1) * longest)
            ending = chance.choice((signal.SIGKILL, signal.SIGINT))
            process.send_signal(ending)
            _, err = process.communicate(timeout=30)
            if process.returncode in (-signal.SIGKILL, 128 + signal.SIGINT):
                landed += 1
                assert ending is signal.SIGKILL or "interrupted" in err
                assert "Traceback" not in err
            tags(server, path)  # none is broken
            assert (built.project / "rbuild.lock").read_bytes() == lock
            assert pushed(built, f"{server.host}/{path}").error is None
            check_complete(built, server, path)
        assert landed >= ROUNDS / 4


def test_faults_at_random(built: World, server: Registry) -> None:
    chance = random.Random(2)
    acts = [
        says(429),
        says(500),
        says(503),
        says(404),
        resets(),
        resets(100_000),
        alters("request"),
        stalls(1),
    ]
    struck = 0
    for number in range(ROUNDS):
        path = f"faults{number}"
        faults = [
            Fault(
                chance.choice(("PATCH", "PUT", "POST")),
                "",
                chance.choice(acts),
                times=chance.randint(1, 6),
                skip=chance.randint(0, 8),
            )
            for _ in range(3)
        ]
        with serving(FaultyProxy(server.port, *faults)) as proxy:
            error = pushed(built, f"{proxy.host}/{path}").error
            struck += any(fault.seen > fault.skip for fault in faults)
            tags(server, path)  # none is broken
            if error is not None:
                assert pushed(built, f"{server.host}/{path}").error is None
        check_complete(built, server, path)
    assert struck >= ROUNDS / 2
