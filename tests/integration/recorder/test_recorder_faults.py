"""What goes wrong: servers that break off, stall or lie, a store that rots, clients that ask for too much."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from neighbours import QUICK

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.plain import plain
from rbuild.recording import Recording
from rbuild.sealed.exchange import Kind
from rbuild.sealed.session import Session
from rbuild.sealed.upstream import Patience, Unreachable, Upstream, fetch
from rbuild.store import BlobWriter, Store

DATA = b"".join(b"%07d\n" % number for number in range(100_000))


def test_a_body_that_breaks_off_is_asked_for_again(site, building):
    url = site.in_turn(
        "/file",
        lambda handler: handler.break_off(DATA[:300_000], of=len(DATA)),
        lambda handler: handler.break_off(DATA[:100_000], of=len(DATA)),
        lambda handler: handler.give(DATA),
    )
    with building() as build:
        assert build.curl(url) == DATA
    assert len(site.asked) == 3
    assert build.exchange.recording().responses[0].sha256 == Digest.of(DATA)
    assert not build.exchange.failures


def test_a_body_that_begins_differently_the_second_time_is_no_answer(site, building):
    url = site.in_turn(
        "/file",
        lambda handler: handler.break_off(DATA[:300_000], of=len(DATA)),
        lambda handler: handler.give(DATA[::-1]),
    )
    with building() as build:
        assert build.run("curl", "-sSf", "-o", "/dev/null", url, ok=False).returncode != 0
    (failure,) = build.exchange.failures
    assert failure.kind is Kind.UNREACHABLE and failure.url == url
    assert build.exchange.recording() == Recording()


def test_a_body_that_never_comes_whole_ends_the_connection(site, building, store):
    url = site.in_turn("/file", lambda handler: handler.break_off(DATA[:-1], of=len(DATA)))
    with building() as build:
        assert build.run("curl", "-sSf", "-o", "/dev/null", url, ok=False).returncode != 0
    assert len(site.asked) == QUICK.tries
    assert [failure.url for failure in build.exchange.failures] == [url]
    assert not list(store.tmp.iterdir())


def test_a_client_of_http_1_0_notices_that_a_body_of_unknown_size_broke_off(site, building):
    def broken(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for _ in range(2):
            handler.wfile.write(b"5\r\nhello\r\n")
            handler.wfile.flush()
            time.sleep(0.1)
        handler.close_connection = True

    site.answers["/file"] = broken
    with building() as build:
        assert build.run("curl", "-sSf", "--http1.0", site.url("/file"), ok=False).returncode != 0
    assert [one.kind for one in build.exchange.failures] == [Kind.UNREACHABLE]


def test_an_error_that_passes_is_waited_for(site, building):
    busy = [lambda handler: handler.give(b"busy", status=503, Retry_After="0")] * (QUICK.tries - 1)
    url = site.in_turn("/file", *busy, lambda handler: handler.give(b"there you are"))
    with building() as build:
        assert build.curl(url) == b"there you are"
    assert len(build.exchange.recording().responses) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_an_error_of_the_day_is_passed_on_and_not_recorded(site, building, status):
    url = site.in_turn("/file", lambda handler: handler.give(b"not now", status=status))
    with building() as build:
        build.step = 5
        answered = build.curl("-i", url)
    assert answered.startswith(b"HTTP/1.1 %d" % status) and answered.endswith(b"not now")
    assert len(site.asked) == QUICK.tries
    assert build.exchange.recording() == Recording()
    (gap,) = build.exchange.gaps()
    assert (gap.url, gap.method, gap.why, gap.step) == (url, "GET", f"answered {status}", 5)


def test_what_was_answered_at_last_is_no_gap(site, building):
    """A client's own second try, with or without a login; and what nobody could be asked."""
    wrong = [lambda handler: handler.give(b"not now", status=503)] * QUICK.tries
    url = site.in_turn("/file", *wrong, lambda handler: handler.give(b"there you are"))
    login = site.in_turn("/login", lambda handler: handler.give(b"no", status=403))
    with socket.socket() as deaf, building() as build:
        deaf.bind(("127.0.0.2", 0))  # and nobody listens
        gone = f"http://127.0.0.2:{deaf.getsockname()[1]}/gone"
        assert build.curl(url) == b"not now"
        build.step = 2
        assert build.curl(url) == b"there you are"
        build.curl("-u", "someone:hunter2", login)
        build.curl(gone)
        gaps = {gap.url: gap for gap in build.exchange.gaps()}
        assert set(gaps) == {login, gone}
        assert gaps[login].why == "answered 403" and "no answer (3 tries)" in gaps[gone].why
        build.curl(login)
        assert [gap.url for gap in build.exchange.gaps()] == [gone]


def _by_login(handler):
    if handler.headers.get("authorization"):
        handler.give(b"secret page")
    else:
        handler.give(b"request 4711 has no login", status=401, WWW_Authenticate='Basic realm="x"')


def test_that_a_login_is_asked_for_is_replayed(site, building, store):
    """A client that then asks elsewhere needs it again; one that logs in gets the page at once."""
    site.answers |= {"/open": _by_login, "/closed": _by_login}
    opened, closed = site.url("/open"), site.url("/closed")
    anyauth = ("-sS", "--anyauth", "-u", "someone:hunter2")
    with building() as first:
        recorded = first.curl("-i", closed)
        assert first.curl(*anyauth, opened) == b"secret page"
        assert first.curl("-u", "someone:hunter2", closed + "?other") == b"secret page"
        assert not first.exchange.gaps()
    assert recorded.startswith(b"HTTP/1.1 401") and b'Basic realm="x"' in recorded and b"4711" not in recorded
    recording = first.exchange.recording()
    assert {(one.url, one.status) for one in recording.responses} == {
        (opened, 200),
        (closed, 401),
        (closed + "?other", 200),
    }
    assert "hunter2" not in str(plain(recording))
    asked = len(site.asked)
    with building(recording) as second:
        assert second.curl("-i", closed) == recorded
        assert second.curl(*anyauth, opened, closed + "?other") == b"secret page" * 2
    assert second.exchange.recording() == recording and not second.exchange.failures
    assert len(site.asked) == asked
    # Who has a login now is not sent away by what was recorded without one.
    with building(recording, new=True) as third:
        assert third.curl("-u", "someone:hunter2", closed) == b"secret page"
    assert closed not in {one.url for one in third.exchange.recording().responses if one.status == 401}


def test_a_download_that_fails_is_of_the_step_that_asked_for_it(site, building):
    began, go_on = threading.Event(), threading.Event()

    def broken(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"half")
        began.set()
        go_on.wait(60)
        handler.close_connection = True

    site.answers["/file"] = broken
    with building() as build, ThreadPoolExecutor(1) as pool:
        build.step = 3
        asked = pool.submit(build.run, "curl", "-sSf", "-o", "/dev/null", site.url("/file"), ok=False)
        assert began.wait(60)
        build.step = 4
        go_on.set()
        assert asked.result().returncode != 0
    assert [(one.kind, one.step) for one in build.exchange.failures] == [(Kind.UNREACHABLE, 3)]


def test_a_forbidden_object_is_recorded_but_a_refused_login_is_not(site, building):
    url = site.in_turn("/missing", lambda handler: handler.give(b"denied", status=403))
    with building() as build:
        build.curl("-u", "someone:hunter2", url)
        assert build.exchange.recording() == Recording()
        build.curl(url)
    assert [one.status for one in build.exchange.recording().responses] == [403]


def test_a_server_that_stalls_or_is_not_there(site, building):
    def stall(handler):
        handler.connection.recv(1)  # until the other side has had enough

    site.answers["/stall"] = stall
    with socket.socket() as deaf, building(patience=Patience(tries=3, read=0.5, backoff=0.01)) as build:
        deaf.bind(("127.0.0.2", 0))  # and nobody listens
        gone = f"http://127.0.0.2:{deaf.getsockname()[1]}/gone"
        answered = build.curl("-i", site.url("/stall"))
        assert answered.startswith(b"HTTP/1.1 502") and site.url("/stall").encode() in answered
        assert gone.encode() in build.curl(gone)
    assert {(one.kind, one.url) for one in build.exchange.failures} == {
        (Kind.UNREACHABLE, site.url("/stall")),
        (Kind.UNREACHABLE, gone),
    }
    assert not Kind.UNREACHABLE.is_fatal


def test_a_lost_blob_is_fetched_again_and_checked(site, building, store):
    url = site.in_turn(
        "/file", *(lambda handler, body=body: handler.give(body) for body in (DATA, DATA, DATA[1:]))
    )
    with building() as first:
        first.curl(url)
    recording = first.exchange.recording()
    digest = recording.responses[0].sha256
    store.discard(digest)
    with building(recording) as offline:
        assert offline.curl("-i", url).startswith(b"HTTP/1.1 502")
    store.discard(digest)
    with building(recording, fetch=True) as second:
        assert second.curl(url) == DATA
    assert second.exchange.recording() == recording and not second.exchange.failures
    assert store.has(digest)
    store.discard(digest)
    with building(recording, fetch=True) as third:
        assert third.run("curl", "-sSf", "-o", "/dev/null", url, ok=False).returncode != 0
        assert third.curl("-i", url).startswith(b"HTTP/1.1 502"), "a second time nobody is asked"
    assert len(site.asked) == 3
    for build in (offline, third):
        failure = build.exchange.failures[0]
        assert (failure.kind, failure.url, failure.digest) == (Kind.UNAVAILABLE, url, digest)
        assert failure.kind.is_fatal and "rbuild lock --upgrade" in (failure.hint or "")
    assert not store.has(digest)


def test_a_recorded_file_that_is_gone_is_unavailable(site, building, store):
    url = site.serve("/file", DATA)
    with building() as first:
        first.curl(url)
    recording = first.exchange.recording()
    store.discard(recording.responses[0].sha256)
    del site.answers["/file"]
    with building(recording, fetch=True) as second:
        assert second.curl("-i", url).startswith(b"HTTP/1.1 502")
    assert [one.kind for one in second.exchange.failures] == [Kind.UNAVAILABLE]
    assert "404" in second.exchange.failures[0].reason


@pytest.mark.parametrize("fetch", [True, False])
def test_a_blob_that_rotted_is_named_then_fetched_again_or_refused(site, building, store, fetch):
    url = site.serve("/file", DATA)
    with building() as first:
        first.curl(url)
    recording = first.exchange.recording()
    path = store.path(recording.responses[0].sha256)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"?")
    with building(recording, fetch=fetch) as second:
        answered = second.curl("-i", url)
    assert any(str(path) in note for note in second.notes)
    assert answered.endswith(DATA) == fetch
    assert [one.kind for one in second.exchange.failures] == ([] if fetch else [Kind.UNAVAILABLE])
    assert (Digest.of(path.read_bytes()) == recording.responses[0].sha256) == fetch


def test_a_blob_that_changes_after_it_was_checked_is_checked_again(site, building, store):
    url = site.serve("/file", DATA)
    with building() as first:
        first.curl(url)
    recording = first.exchange.recording()
    path = store.path(recording.responses[0].sha256)
    with building(recording) as second:
        assert second.curl(url) == DATA
        path.chmod(0o644)
        path.write_bytes(DATA[:-1] + b"!")
        assert second.curl("-i", url).startswith(b"HTTP/1.1 502")


def test_a_full_store_is_named(site, building, monkeypatch):
    def full(writer: BlobWriter, data: bytes) -> int:
        raise RbuildError("no space left in the store")

    monkeypatch.setattr(BlobWriter, "write", full)
    with building() as build:
        build.run("curl", "-sS", site.serve("/file", DATA), ok=False)
    (failure,) = build.exchange.failures
    assert failure.kind is Kind.STORE and "no space left" in failure.reason and failure.kind.is_fatal


def test_redirects_are_recorded_unless_they_carry_a_secret(site, building, store):
    site.serve("/final", b"the object")
    open_url = site.in_turn(
        "/open", lambda handler: handler.give(b"moved 12:00", status=302, Location="/final")
    )
    signed = "/final?X-Amz-Signature=swordfish&X-Amz-Expires=60&name=x"
    closed_url = site.in_turn("/closed", lambda handler: handler.give(b"", status=307, Location=signed))
    with building() as first:
        assert first.curl("-L", open_url) == b"the object"
        assert first.curl(closed_url) == b"the object", "no redirect reaches the client"
        assert first.curl(site.url(signed)) == b"the object"
    recording = first.exchange.recording()
    assert "swordfish" not in str(plain(recording))
    assert [(one.url, one.status, one.size) for one in recording.responses] == [
        (closed_url, 200, 10),
        (site.url("/final"), 200, 10),
        (site.url("/final?name=x"), 200, 10),
        (open_url, 302, 0),
    ]
    with building(recording) as second:
        assert second.curl("-L", open_url, closed_url) == b"the object" * 2
        other = site.url(signed.replace("swordfish", "another"))
        assert second.curl(other) == b"the object"


def test_a_login_reaches_the_server_but_neither_the_lock_nor_a_message(site, building):
    def locked_door(handler):
        if "authorization" in handler.headers:
            handler.give(b"inside")
        else:
            handler.give(b"who are you", status=401, WWW_Authenticate="Basic")

    site.answers["/private"] = locked_door
    url = site.url("/private")
    with building() as first:
        assert first.curl("--anyauth", "-u", "someone:hunter2", url) == b"inside"
        first.curl(site.url("/gone").replace("//", "//someone:hunter2@"))
    recording = first.exchange.recording()
    assert "hunter2" not in str(plain(recording)) and "c29tZW9uZTpodW50ZXIy" not in str(plain(recording))
    with building(recording) as second:
        assert second.curl("--anyauth", "-u", "someone:hunter2", url) == b"inside"
        second.curl(site.url("/other?token=1").replace("//", "//someone:hunter2@"))
    assert "hunter2" not in str(second.exchange.failures) + str(second.said)


def test_what_cannot_be_recorded_is_refused_with_a_reason(site, building):
    host = site.url("")[len("http://") :]
    with building() as build:
        socket_request = (
            f"GET http://{host}/ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert build.raw(socket_request.encode()).startswith(b"HTTP/1.1 501")
        with socket.create_connection(build.address) as client:
            client.sendall(b"CONNECT github.com:22 HTTP/1.1\r\nHost: github.com:22\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(100) == b""
        assert build.raw(b"GET ftp://example.org/x HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 501")
    assert [one.kind for one in build.exchange.failures] == [Kind.UNRECORDABLE] * 3
    assert "websocket" in build.said[0] and "ssh" in build.said[1] and "github.com:22" in build.said[1]
    assert "http and https" in build.said[2]
    assert not site.asked


def test_nonsense_is_answered_as_such(building):
    with building() as build:
        assert build.raw(b"GET /direct HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400")
        assert build.raw(b"\x00\x01\x02 what\r\n\r\n").startswith(b"HTTP/1.1 400")
        endless = b"GET http://x/ HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000
        assert build.raw(endless)[:12] in (b"HTTP/1.1 431", b"")
        assert build.raw(b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 ")


def test_a_build_may_not_reach_the_host_itself(site, building):
    url = site.serve("/admin", b"the host's own")
    with building(local=False) as build:
        answered = build.curl("-i", url)
    assert answered.startswith(b"HTTP/1.1 502") and b"this host itself" in answered
    assert not site.asked


def test_a_proxy_of_the_host_is_used_unless_the_host_is_excepted(site, building, store):
    url = site.serve("/file", b"through a proxy")
    with building() as proxy:
        address = f"http://{proxy.address[0]}:{proxy.address[1]}"
        for excepted, requests in (("", 1), ("127.0.0.2", 0)):
            upstream = Upstream({"http": address, "no": excepted}, patience=QUICK, local=True)
            session = Session(Store(store.root.with_name(f"other{requests}")), upstream, note=print)
            before = len(proxy.exchange.recording().responses)
            with building(session=session) as build:
                assert build.curl(url) == b"through a proxy"
            session.close()
            proxy.exchange.settle()
            assert len(proxy.exchange.recording().responses) == 1
            if requests:
                assert before == 0
    assert len(site.asked) == 2


def test_an_interrupted_run_does_not_wait_for_the_network(site, building, store):
    def endless(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.connection.recv(1)

    site.answers["/endless"] = endless
    session = Session(store, Upstream({}, local=True), note=print)
    with building(session=session) as build:
        client = subprocess.Popen(
            ["curl", "-sS", site.url("/endless")], env=build.env, stderr=subprocess.PIPE
        )
        while not site.asked:
            time.sleep(0.01)
        time.sleep(0.2)
        began = time.monotonic()
        session.close()
    assert time.monotonic() - began < 45, "as long as a read may take"
    assert client.wait(300) != 0
    client.communicate()
    assert build.exchange.recording() == Recording()


def test_a_recorder_ends_though_every_place_is_taken(building, monkeypatch):
    monkeypatch.setattr("rbuild.sealed.recorder._MOST_CONNECTIONS", 2)
    with contextlib.ExitStack() as stack, building() as build:
        for _ in range(4):
            stack.enter_context(socket.create_connection(build.address))
        time.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 60


def test_a_header_that_may_not_be_sent_on_is_left_out(site, building):
    url = site.serve("/file", b"body", Content_Disposition="a\x01b", Content_Type="text/x")
    with building() as build:
        assert build.curl(url) == b"body"
    assert build.exchange.recording().responses[0].headers == {"content-type": "text/x"}


def test_fetch_brings_a_file_or_an_error(site, store):
    moved = site.in_turn("/old", lambda handler: handler.give(b"", status=301, Location="/pool/a.deb"))
    url = site.in_turn(
        "/pool/a.deb",
        lambda handler: handler.break_off(DATA[:200], of=len(DATA)),
        lambda handler: handler.give(DATA),
    )
    upstream = Upstream({}, patience=QUICK, local=True)
    told: list[int] = []
    wanted = {"sha256": Digest.of(DATA), "size": len(DATA), "store": store, "upstream": upstream}
    assert fetch(moved, **wanted, on_progress=told.append).size == len(DATA)
    assert told == sorted(told) and told[-1] == len(DATA)
    asked = len(site.asked)
    assert fetch(url, **wanted).digest == Digest.of(DATA)
    assert len(site.asked) == asked, "what the store has is not fetched"
    store.discard(Digest.of(DATA))
    with pytest.raises(Unreachable, match="404"):
        fetch(site.url("/none"), **wanted)
    with pytest.raises(RbuildError, match="not the bytes"):
        fetch(url, **wanted | {"sha256": Digest.of(b"x")})
    with pytest.raises(RbuildError, match="more than the 10 bytes"):
        fetch(url, **wanted | {"size": 10})
    assert not list(store.blobs.iterdir()) and not list(store.tmp.iterdir())
    upstream.close()
