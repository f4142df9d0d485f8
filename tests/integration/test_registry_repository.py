"""The registry client against a registry in memory: what it sends, and how it gets over faults."""

from __future__ import annotations

import base64
import email.utils
import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fakeregistry import BASIC, PASSWORD, REFRESH, USER, FakeRegistry
from httpfaults import IMPATIENT, Act, Fault, Handler, resets, says, serving, stalls

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.manifest import OCI_MANIFEST
from rbuild.registry.client import Registry
from rbuild.registry.repository import Repository

DATA = os.urandom(3 << 20)
DIGEST = Digest.of(DATA)
MANIFEST = b'{"schemaVersion":2}'


SOON = replace(IMPATIENT, read=1)  # a registry in this very process is silent only if it is told to be


def client(server: FakeRegistry, name: str = "team/app", env: dict[str, str] | None = None) -> Repository:
    return Registry(server.host, env=env or {}, limits=SOON).repository(name)


def pushed(repository: Repository, data: bytes = DATA) -> int:
    return repository.push_blob(Digest.of(data), len(data), lambda: io.BytesIO(data), lambda _: None)


def pulled(repository: Repository, size: int = len(DATA)) -> bytes:
    found = bytearray()
    repository.pull_blob(DIGEST, size, found.extend)
    return bytes(found)


def with_auth(folder: Path, entry: dict[str, str], host: str) -> dict[str, str]:
    file = folder / "auth.json"
    file.write_text(json.dumps({"auths": {host: entry}}))
    return {"REGISTRY_AUTH_FILE": str(file)}


PAIR = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


# What it sends


def test_a_blob_there_and_back() -> None:
    told: list[int] = []
    with serving(FakeRegistry()) as server:
        repository = client(server)
        assert not repository.has_blob(DIGEST)
        assert repository.push_blob(DIGEST, len(DATA), lambda: io.BytesIO(DATA), told.append) == len(DATA)
        assert repository.has_blob(DIGEST)
        assert pulled(repository) == DATA
        assert server.blobs == {("team/app", str(DIGEST)): DATA}
        assert server.received == len(DATA)
        assert told[-1] == len(DATA)
        assert told == sorted(told)


def test_an_empty_blob() -> None:
    with serving(FakeRegistry()) as server:
        assert pushed(client(server), b"") == 0
        assert client(server).has_blob(Digest.of(b""))


def test_a_blob_is_mounted_from_another_repository_or_not_at_all() -> None:
    with serving(FakeRegistry()) as server:
        server.blobs["team/base", str(DIGEST)] = DATA
        assert client(server).mount(DIGEST, "team/base")
        assert client(server).has_blob(DIGEST)
        assert not client(server).mount(Digest.of(b"other"), "team/base")
        assert server.uploads == {}  # the session that the registry begins instead is ended


def test_manifests_and_tags() -> None:
    with serving(FakeRegistry()) as server:
        repository = client(server)
        assert repository.manifest("latest") is None
        assert repository.has_manifest("latest") is None
        assert list(repository.tags()) == []
        for tag in ("latest", "v1", "v2"):
            repository.put_manifest(tag, MANIFEST, OCI_MANIFEST)
        found = repository.manifest("v1")
        assert found is not None
        assert (found.data, found.media_type, found.digest) == (MANIFEST, OCI_MANIFEST, Digest.of(MANIFEST))
        assert repository.has_manifest("v2") == Digest.of(MANIFEST)
        assert list(repository.tags()) == ["latest", "v1", "v2"]  # three pages
        assert repository.referrers(Digest.of(MANIFEST)) is None


def test_a_manifest_that_is_not_the_digests() -> None:
    with serving(FakeRegistry()) as server:
        server.manifests["team/app", str(DIGEST)] = MANIFEST
        with pytest.raises(RbuildError, match=str(Digest.of(MANIFEST))):
            client(server).manifest(str(DIGEST))


def test_a_digest_that_is_none_of_sha256() -> None:
    def says_sha512(handler: Handler) -> bool:
        handler.answer(200, Docker_Content_Digest=f"sha512:{'5' * 128}")
        return True

    with serving(FakeRegistry(Fault("HEAD", "manifests", says_sha512))) as server:
        with pytest.raises(RbuildError) as caught:
            client(server).has_manifest("latest")
        (problem,) = caught.value.problems
        assert problem.where is not None and problem.where.url == f"{server.host}/team/app"
        assert problem.what.startswith("cannot look for a manifest: ")
        assert "its Docker-Content-Digest is not a sha256 digest: 'sha512:5" in problem.what
        assert problem.hint is not None


def test_an_answer_without_end() -> None:
    with serving(FakeRegistry()) as server:
        server.manifests["team/app", "latest"] = b"x" * (5 << 20)
        with pytest.raises(RbuildError, match="more than"):
            client(server).manifest("latest")


# Who one is


@pytest.mark.parametrize("login", ["basic", "bearer"])
def test_logins(login: str, tmp_path: Path) -> None:
    with serving(FakeRegistry(login=login)) as server:  # type: ignore[arg-type]
        repository = client(server, env=with_auth(tmp_path, PAIR, server.host))
        pushed(repository)
        repository.put_manifest("latest", MANIFEST, OCI_MANIFEST)
        assert server.count("GET", "^/token") == (1 if login == "bearer" else 0)


def test_an_identity_token_is_exchanged(tmp_path: Path) -> None:
    with serving(FakeRegistry(login="bearer")) as server:
        repository = client(server, env=with_auth(tmp_path, {"identitytoken": REFRESH}, server.host))
        pushed(repository)
        assert server.count("POST", "^/token") == 1
        assert REFRESH not in "".join(one.path for one in server.seen)


@pytest.mark.parametrize("login", ["basic", "bearer"])
def test_nobody_is_logged_in(login: str, tmp_path: Path) -> None:
    with serving(FakeRegistry(login=login)) as server:  # type: ignore[arg-type]
        for env in ({}, with_auth(tmp_path, {"auth": base64.b64encode(b"ann:wr0ng").decode()}, server.host)):
            with pytest.raises(RbuildError) as caught:
                client(server, env=env).has_blob(DIGEST)
            (problem,) = caught.value.problems
            assert problem.hint == f"podman login {server.host}"
            assert f"{server.host}/team/app" in str(problem)
            assert "wr0ng" not in str(problem)


def test_a_token_that_ends_half_way_is_asked_for_anew(tmp_path: Path) -> None:
    def expire(handler: Handler) -> bool:
        assert isinstance(handler.server, FakeRegistry)
        handler.server.expire_tokens()
        return False

    faults = [Fault("PATCH", "uploads", expire), Fault("PUT", "uploads", expire)]
    with serving(FakeRegistry(*faults, login="bearer")) as server:
        repository = client(server, env=with_auth(tmp_path, PAIR, server.host))
        pushed(repository)
        assert ("team/app", str(DIGEST)) in server.blobs
        assert server.count("GET", "^/token") == 3


def test_credentials_do_not_go_along_to_another_host(tmp_path: Path) -> None:
    with serving(FakeRegistry()) as store, serving(FakeRegistry(login="basic")) as server:
        store.blobs["team/app", str(DIGEST)] = server.blobs["team/app", str(DIGEST)] = DATA
        server.elsewhere = f"http://{store.host}"
        assert pulled(client(server, env=with_auth(tmp_path, PAIR, server.host))) == DATA
        assert [one for one in server.seen if one.headers.get("Authorization") == BASIC]
        assert store.seen
        assert not [one for one in store.seen if "Authorization" in one.headers]


def test_a_login_service_without_tls_gets_no_password(tmp_path: Path) -> None:
    realm = says(401, WWW_Authenticate='Bearer realm="http://192.0.2.1/token",service="x"')
    server = FakeRegistry(Fault("HEAD", "", realm, times=9))
    with serving(server), pytest.raises(RbuildError, match="no https address"):
        client(server, env=with_auth(tmp_path, PAIR, server.host)).has_blob(DIGEST)


# Faults


@pytest.mark.parametrize("act", [says(429), says(500), says(502), says(503), resets(), stalls()])
@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
def test_what_passes_is_tried_again(act: Act, method: str) -> None:
    with serving(FakeRegistry(Fault(method, "blobs", act))) as server:
        repository = client(server)
        repository.has_blob(DIGEST)
        pushed(repository)
        assert server.blobs == {("team/app", str(DIGEST)): DATA}


@pytest.mark.parametrize("act", [says(429), says(503), resets(), stalls()])
def test_what_does_not_pass_ends(act: Act) -> None:
    with serving(FakeRegistry(Fault("PATCH", "blobs", act, times=1000))) as server:
        with pytest.raises(RbuildError) as caught:
            pushed(client(server))
        (problem,) = caught.value.problems
        assert "cannot upload a blob" in problem.what
        assert "tried 4 times" in problem.what
        assert problem.where is not None
        assert (problem.where.url, problem.where.digest) == (f"{server.host}/team/app", str(DIGEST))
        assert problem.hint
        assert server.count("PATCH", "") == IMPATIENT.tries


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_registry_says_how_long_to_wait(form: str) -> None:
    started = time.monotonic()
    after = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
    with serving(FakeRegistry(Fault("HEAD", "blobs", says(429, Retry_After=after)))) as server:
        assert not client(server).has_blob(DIGEST)
        assert time.monotonic() - started >= 0.9


def test_a_registry_that_wants_too_long_a_wait() -> None:
    server = FakeRegistry(Fault("HEAD", "blobs", says(429, Retry_After="3600")))
    with serving(server), pytest.raises(RbuildError, match="429"):
        client(server).has_blob(DIGEST)


def test_an_upload_goes_on_where_the_registry_stands() -> None:
    def breaks(handler: Handler) -> bool:
        assert isinstance(handler.server, FakeRegistry)
        handler.take(handler.server.uploads["s0"], 1 << 20)  # type: ignore[attr-defined]
        handler.reset()
        return True

    with serving(FakeRegistry(Fault("PATCH", "uploads", breaks, times=2))) as server:
        pushed(client(server))
        assert server.blobs["team/app", str(DIGEST)] == DATA
        assert server.received == len(DATA)  # nothing arrived twice
        assert server.count("POST", "uploads") == 1


def test_an_upload_session_that_expires() -> None:
    def expires(handler: Handler) -> bool:
        assert isinstance(handler.server, FakeRegistry)
        handler.server.uploads.clear()
        return False

    for method in ("PATCH", "PUT"):
        with serving(FakeRegistry(Fault(method, "uploads", expires))) as server:
            pushed(client(server))
            assert server.blobs == {("team/app", str(DIGEST)): DATA}
            assert server.count("POST", "uploads") == 2


def test_a_session_that_always_expires_ends() -> None:
    server = FakeRegistry(Fault("PUT", "uploads", says(404), times=1000))
    with serving(server), pytest.raises(RbuildError, match="session is gone"):
        pushed(client(server))


def test_an_altered_blob_is_refused_by_the_registry_and_sent_again() -> None:
    def alters(handler: Handler) -> bool:
        assert isinstance(handler.server, FakeRegistry)
        handler.server.uploads["s0"] = bytearray(len(DATA))
        return False

    with serving(FakeRegistry(Fault("PUT", "uploads", alters))) as server:
        pushed(client(server))
        assert server.blobs == {("team/app", str(DIGEST)): DATA}
    server = FakeRegistry(Fault("PUT", "uploads", says(400), times=1000))
    with (
        serving(server),
        pytest.raises(RbuildError, match="what arrived is not what was sent: HTTP 400: so says"),
    ):
        pushed(client(server))


@pytest.mark.parametrize(
    ("status", "hint"), [(403, "podman login"), (405, "read-only"), (413, "this size"), (507, "disk is full")]
)
def test_a_refusal_is_final_and_says_what_to_do(status: int, hint: str) -> None:
    with serving(FakeRegistry(Fault("PATCH", "uploads", says(status), times=1000))) as server:
        with pytest.raises(RbuildError) as caught:
            pushed(client(server))
        assert f"HTTP {status}: so says the test" in caught.value.problems[0].what
        assert hint in (caught.value.problems[0].hint or "")
        assert server.count("PATCH", "") == 1


def _half(handler: Handler) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(DATA)))
    handler.end_headers()
    handler.wfile.write(DATA[: 1 << 20])
    handler.reset()
    return True


@pytest.mark.parametrize("resumes", [True, False])
def test_a_download_goes_on(resumes: bool) -> None:
    with serving(FakeRegistry(Fault("GET", "blobs", _half), resumes=resumes)) as server:
        server.blobs["team/app", str(DIGEST)] = DATA
        assert pulled(client(server)) == DATA


def test_a_blob_with_other_bytes() -> None:
    with serving(FakeRegistry()) as server:
        server.blobs["team/app", str(DIGEST)] = DATA[:-1] + bytes([DATA[-1] ^ 1])
        with pytest.raises(RbuildError, match="other bytes"):
            pulled(client(server))


def test_a_blob_of_another_size() -> None:
    with serving(FakeRegistry()) as server:
        server.blobs["team/app", str(DIGEST)] = DATA + b"more"
        with pytest.raises(RbuildError, match="more than"):
            pulled(client(server))
        server.blobs["team/app", str(DIGEST)] = DATA[:-1]
        with pytest.raises(RbuildError, match="ended after"):
            pulled(client(server))


def test_a_file_that_is_shorter_than_its_size_says() -> None:
    server = FakeRegistry()
    with serving(server), pytest.raises(RbuildError, match="too short"):
        client(server).push_blob(DIGEST, len(DATA), lambda: io.BytesIO(DATA[:100]), lambda _: None)


def test_closing_ends_what_waits() -> None:
    with serving(FakeRegistry()) as server:
        registry = Registry(server.host, env={}, limits=IMPATIENT)
        registry.close()
        with pytest.raises(RbuildError, match="interrupted"):
            registry.repository("team/app").has_blob(DIGEST)
