"""Pushing over a bad line: what passes is survived, what does not is told, and no tag is ever broken."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from faultyproxy import FaultyProxy, alters, replaces, truncates
from httpfaults import IMPATIENT, Act, Fault, Handler, resets, says, serving, stalls, trickles
from registries import Registry, registry
from test_push import STAGES, write_project
from worlds import World, make_world, remove_world, temporary

from rbuild.errors import RbuildError
from rbuild.events import silent
from rbuild.registry.patience import Limits
from rbuild.verbs.errand import Delivery
from rbuild.verbs.push import Request as PushRequest
from rbuild.verbs.push import push
from rbuild.verbs.workspace import open_workspace

_OPENER = build_opener(ProxyHandler({}))
_KINDS = ("manifest", "index")
_ACCEPT = {"Accept": ", ".join(f"application/vnd.oci.image.{kind}.v1+json" for kind in _KINDS)}


@contextmanager
def project() -> Iterator[World]:
    """Three stages, built and locked."""
    with temporary() as folder:
        world = make_world(folder)
        try:
            write_project(world)
            world.ok("all")
            yield world
        finally:
            remove_world(world)


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    with project() as world:
        yield world


@pytest.fixture(scope="module")
def server() -> Iterator[Registry]:
    with temporary() as folder, registry(folder) as running:
        yield running


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """A path in the registry for this test alone."""
    return f"t{abs(hash(request.node.name))}"


def pushed(world: World, to: str, limits: Limits = IMPATIENT) -> Delivery:
    """What a push within this process comes to."""
    workspace = open_workspace(world.project, world.env)
    (found,) = push(workspace, STAGES, PushRequest(to=(to,), limits=limits), silent).deliveries
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
            looks = (get(server, f"{name}/manifests/{tag}") or time.sleep(0.1) for _ in range(600))
            data = next(filter(None, looks), None)
            assert data is not None, f"{name}:{tag} leads nowhere"
            check_blobs(server, name, data)
            found.setdefault(stage, {})[tag] = data
    return found


def check_blobs(server: Registry, name: str, data: bytes) -> None:
    """All that a manifest, or a list of them, names is there."""
    manifest = json.loads(data)
    for one in manifest.get("manifests", ()):
        listed = get(server, f"{name}/manifests/{one['digest']}")
        assert listed is not None, f"{name} lists {one['digest']}"
        check_blobs(server, name, listed)
    for blob in (manifest["config"], *manifest["layers"]) if "config" in manifest else ():
        assert get(server, f"{name}/blobs/{blob['digest']}", "HEAD") is not None, name


def there(world: World, server: Registry, path: str, stage: str) -> int:
    """How many blobs of a stage's image its repository has."""
    image = world.lock["stages"][stage]["image"]
    blobs = {image["config"], *(layer["blob"] for layer in image["layers"])}
    return sum(get(server, f"{path}/iris/{stage}/blobs/{blob}", "HEAD") is not None for blob in blobs)


def check_complete(world: World, server: Registry, path: str) -> None:
    for stage, digest in world.digests().items():
        assert server.digest(f"{path}/iris/{stage}", "latest") == digest
    assert set(tags(server, path)) == set(STAGES)


# For faults that last: each try at one that is silent is waited for to the end.
TWO_TRIES = replace(IMPATIENT, tries=2)
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
        (UPLOAD, truncates()),
        (PUT_BLOB, says(404)),
        (PUT_BLOB, resets()),
        (("HEAD", "blobs"), says(503)),
        (("HEAD", "blobs"), trickles),
        (("GET", "manifests/latest"), trickles),
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
        (UPLOAD, truncates(), "what arrived is not what was sent", "try again later"),
        (UPLOAD, says(429, Retry_After="1000"), "HTTP 429", "try again later"),
        (UPLOAD, stalls(after=200_000), "timed out", "try again later"),
        (("HEAD", "blobs"), trickles, "bytes in", "try again later"),
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
        found = pushed(built, f"{proxy.host}/{path}", TWO_TRIES)
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
    assert pushed(built, f"{server.host}/{path}", Limits()).error is None
    check_complete(built, server, path)


class Tokens:
    """Lets only those pass who have a token; all tokens expire with every tenth request."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._good: set[str] = set()
        self._guard = threading.Lock()
        self._passed = 0
        self.expired = 0

    def __call__(self, handler: Handler) -> bool:
        with self._guard:
            if handler.path.startswith("/token"):
                token = f"token-{len(self._given)}"
                self._given.add(token)
                self._good.add(token)
                handler.answer(200, json.dumps({"token": token, "expires_in": 300}).encode())
                return True
            given = handler.headers.get("Authorization", "").removeprefix("Bearer ")
            if given in self._good:
                self._passed += 1
                if self._passed % 10 == 0:
                    self._good.clear()
                return False
            self.expired += given in self._given
        handler.body()
        realm = f'Bearer realm="http://{handler.server.host}/token",service="tests"'
        handler.answer(401, WWW_Authenticate=realm)
        return True


def test_tokens_that_expire_half_way(built: World, server: Registry, path: str) -> None:
    tokens = Tokens()
    with serving(FaultyProxy(server.port, Fault(".*", "", tokens, times=10_000))) as proxy:
        found = pushed(built, f"{proxy.host}/{path}")
    assert found.error is None
    assert tokens.expired > 3
    check_complete(built, server, path)


def test_a_full_disk_on_the_registrys_side(built: World) -> None:
    with temporary() as folder, registry(folder, disk="300k") as small:
        found = pushed(built, f"{small.host}/full")
        assert isinstance(found.error, RbuildError)
        (problem,) = found.error.problems
        assert "no space left on device" in problem.what
        assert problem.where is not None
        assert f"{small.host}/full/iris/" in (problem.where.url or "")
        assert "the registry's disk is full" in (problem.hint or "")
        assert not tags(small, "full")
        small.enlarge("20m")
        assert pushed(built, f"{small.host}/full", Limits()).error is None
        check_complete(built, small, "full")
