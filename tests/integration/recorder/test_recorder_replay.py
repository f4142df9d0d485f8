"""What was recorded is replayed: the same bytes, the same headers, with nothing else reachable."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from neighbours import QUICK

from rbuild.plain import plain
from rbuild.recording import Recording
from rbuild.sealed.authority import Authority
from rbuild.sealed.exchange import Kind
from rbuild.sealed.reads import StepReads, recording_of
from rbuild.sealed.session import Session
from rbuild.sealed.upstream import Patience, Upstream

MODIFIED = "Mon, 01 Jun 2026 10:00:00 GMT"


def test_a_replay_looks_like_the_recording(site, building):
    url = site.serve("/file", b"hello\n", Last_Modified=MODIFIED, Content_Type="text/x-odd", ETag='"up"')
    with building() as first:
        recorded = first.curl("-i", url)
        head = first.curl("-I", url)
    recording = first.exchange.recording()
    with building(recording) as second:
        assert second.curl("-i", url) == recorded
        assert second.curl("-I", url) == head
    assert second.exchange.recording() == recording
    assert not second.exchange.failures
    assert len(site.asked) == 1
    (response,) = recording.responses
    assert response.headers == {"content-type": "text/x-odd", "last-modified": MODIFIED}
    assert b"secret-cookie" not in recorded and b"Date" not in recorded and b"hello" in recorded


def test_tls_in_a_tunnel_and_http_in_a_tunnel(site, building, tmp_path, monkeypatch):
    plain_url = site.serve("/plain", b"in the clear")
    with building() as build:
        assert build.curl("--proxytunnel", plain_url) == b"in the clear"
    authority = Authority()
    (tmp_path / "host-trusts.pem").write_bytes(authority.certificate_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "host-trusts.pem"))
    site.socket = authority.context("127.0.0.2").wrap_socket(site.socket, server_side=True)
    site.scheme = "https"
    url = site.serve("/secure", b"in private" * 100_000)
    with building() as first:
        assert first.curl("--tlsv1.2", url, url) == b"in private" * 200_000
    with building(first.exchange.recording()) as second:
        assert second.curl(url) == b"in private" * 100_000
    assert second.exchange.recording().responses[0].url == url


def test_a_client_without_a_proxy_asks_through_a_path(site, building):
    """What Podman 5.4 is given for `ADD URL`, and where a redirect of that leads."""
    site.serve("/there/file", b"arrived")
    url = site.in_turn("/here", lambda handler: handler.give(b"", 302, Location="/there/file"))
    with building() as first:
        through = f"http://{first.address[0]}:{first.address[1]}"
        assert first.curl("--noproxy", "*", "--path-as-is", "-L", f"{through}/{url}") == b"arrived"
    recording = first.exchange.recording()
    assert {response.url for response in recording.responses} == {url, url.replace("here", "there/file")}
    with building(recording) as second:
        assert second.curl("-L", url) == b"arrived"


def test_a_client_that_does_not_trust_the_authority_is_told_apart(site, building):
    site.scheme = "https"
    with building() as build:
        build.run("curl", "-sS", "--cacert", "/etc/hostname", site.url("/x"), ok=False)
        other = build.home / "other.pem"
        other.write_bytes(Authority().certificate_pem)
        assert build.run("curl", "-sS", "--cacert", other, site.url("/x"), ok=False).returncode == 60
    assert any("authority" in line and "127.0.0.2" in line for line in build.said)


def test_what_is_not_locked_is_refused_with_its_url(site, building):
    url = site.serve("/new", b"never seen")
    with building(Recording()) as build:
        build.step = 7
        answered = build.curl("-i", url, url)
    assert answered.startswith(b"HTTP/1.1 403") and b"not in the lock" in answered
    (failure,) = build.exchange.failures
    assert (failure.kind, failure.url, failure.step) == (Kind.NOT_LOCKED, url, 7)
    assert failure.kind.is_fatal and failure.hint
    assert build.said == [f"{url}: {failure.reason}"]
    assert not site.asked


def test_head_is_recorded_as_head_and_answered_from_a_get(site, building):
    alone = site.serve("/alone", b"x" * 1234)
    both = site.serve("/both", b"y" * 99)
    with building() as first:
        assert b"content-length: 1234" in first.curl("-I", alone).lower()
        first.curl(both)
        assert b"content-length: 99" in first.curl("-I", both).lower()
    recording = first.exchange.recording()
    assert [(one.method, one.size) for one in recording.responses] == [("HEAD", 0), ("GET", 99)]
    with building(recording) as second:
        assert b"content-length: 1234" in second.curl("-I", alone).lower()
        assert b"content-length: 99" in second.curl("-I", both).lower()
        assert b"403" in second.curl("-i", alone), "a HEAD says nothing about the bytes"
    assert [command for command, _, _ in site.asked] == ["HEAD", "GET"]


def test_posts_are_told_apart_by_their_bodies(site, building):
    site.answers["/rpc"] = lambda handler: handler.give(b"got " + handler.body[-5:])
    url = site.url("/rpc")
    large = b"x" * 3_000_000
    with building() as first:
        for name, data in (("one", b"first"), ("two", b"other"), ("large", large + b"thing")):
            (first.home / name).write_bytes(data)
        post = ("-X", "POST", "-H", "Content-Type: text/plain")
        assert first.curl(*post, "--data-binary", "@one", url) == b"got first"
        assert (
            first.curl(*post, "-H", "Transfer-Encoding: chunked", "--data-binary", "@two", url)
            == b"got other"
        )
        assert first.curl(*post, "-H", "Expect: 100-continue", "--data-binary", "@large", url) == b"got thing"
    recording = first.exchange.recording()
    assert len({one.body for one in recording.responses}) == 3
    with building(recording) as second:
        assert second.curl(*post, "-d", "other", url) == b"got other"
        assert second.curl(*post, "--data-binary", f"@{first.home}/large", url) == b"got thing"
        assert b"not in the lock" in second.curl(*post, "-d", "fresh", url)


def test_an_answer_that_varies_by_accept_is_kept_per_accept(site, building):
    def both(handler):
        data = b"{}" if "json" in handler.headers["accept"] else b"<p>"
        handler.give(data, Vary="Accept-Encoding, Accept")

    site.answers["/varies"] = both
    url = site.url("/varies")
    same = site.serve("/same", b"one for all")
    with building() as first:
        for accept in ("text/html", "application/json"):
            first.curl("-H", f"Accept: {accept}", url, same)
    recording = first.exchange.recording()
    assert [(one.accept, one.size) for one in recording.responses] == [
        (None, 11),
        ("application/json", 2),
        ("text/html", 3),
    ]
    with building(recording) as second:
        assert second.curl("-H", "Accept: application/json", url) == b"{}"
        assert second.curl("-H", "Accept: text/html", url) == b"<p>"


def test_encoded_bodies_and_errors_stay_as_they_are(site, building):
    packed = gzip.compress(b"text " * 1000, mtime=0)
    url = site.serve("/packed", packed, Content_Encoding="gzip")
    gone = site.url("/by-hash/none")
    with building() as first:
        assert first.curl("--compressed", url) == b"text " * 1000
        assert first.curl("-i", gone).startswith(b"HTTP/1.1 404")
    assert site.asked[0][2]["accept-encoding"] == "identity"
    with building(first.exchange.recording()) as second:
        assert second.curl(url) == packed
        answered = second.curl("-i", gone)
    assert answered.startswith(b"HTTP/1.1 404") and answered.endswith(b"nothing here\n")


def test_chunked_and_unsized_bodies(site, building):
    def chunked(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in (b"a" * 70_000, b"b" * 10, b""):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    site.answers["/chunked"] = chunked
    url = site.url("/chunked")
    with building() as first:
        assert first.curl("-r", "69998-70001", url) == b"aabb"
        assert first.curl(url) == b"a" * 70_000 + b"b" * 10
        assert first.curl("--http1.0", url) == b"a" * 70_000 + b"b" * 10
    assert len(site.asked) == 1
    with building() as again:
        assert again.curl(url) == b"a" * 70_000 + b"b" * 10
    assert again.exchange.recording() == first.exchange.recording()


@pytest.mark.parametrize("known", [False, True])
def test_ranges_and_conditions_are_answered_from_the_whole(site, building, known):
    data = bytes(range(256)) * 4000
    url = site.serve("/big", data, Last_Modified=MODIFIED)
    with building() as build:
        if known:
            build.curl(url)
        assert build.curl("-r", "500-1499", url) == data[500:1500]
        assert build.curl("-r", "-7", url) == data[-7:]
        part = build.curl("-i", "-r", "1023999-", url)
        assert part.startswith(b"HTTP/1.1 206") and b"bytes 1023999-1023999/1024000" in part
        assert b"HTTP/1.1 416" in build.curl("-i", "-r", "1024000-", url)
        assert b"HTTP/1.1 304" in build.curl("-i", "-H", f"If-Modified-Since: {MODIFIED}", url)
        assert b"HTTP/1.1 200" in build.curl(
            "-i", "-H", 'If-None-Match: "x"', "-o", "/dev/null", "-D", "-", url
        )
        stale = ("-r", "0-1", "-H", "If-Range: Mon, 01 Jun 2020 10:00:00 GMT")
        assert build.curl(*stale, url) == data
        assert build.curl("-r", "0-1", "-H", f"If-Range: {MODIFIED}", url) == data[:2]
    assert len(site.asked) == 1
    assert not {"range", "if-modified-since"} & {name.lower() for name in site.asked[0][2]}
    (response,) = build.exchange.recording().responses
    assert response.size == len(data)


def test_a_range_is_served_while_the_rest_is_still_coming(site, building):
    go_on = threading.Event()

    def slow(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "2000000")
        handler.end_headers()
        handler.wfile.write(b"a" * 1_500_000)
        go_on.wait(300)
        handler.wfile.write(b"b" * 500_000)

    site.answers["/slow"] = slow
    with building() as build:
        assert build.curl("-r", "0-9", site.url("/slow")) == b"a" * 10
        go_on.set()
        assert build.curl("-r", "-5", site.url("/slow")) == b"b" * 5
    assert len(site.asked) == 1


def test_a_body_of_unknown_size_reaches_the_client_while_it_comes(site, building):
    go_on = threading.Event()

    def slow(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in (b"early", b"middle"):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            time.sleep(0.1)
        assert go_on.wait(300)
        handler.wfile.write(b"4\r\nlate\r\n0\r\n\r\n")

    site.answers["/slow"] = slow
    host = site.url("")[len("http://") :]
    patience = Patience(read=300)
    with building(patience=patience) as build, socket.create_connection(build.address) as client:
        client.settimeout(300)
        client.sendall(f"GET http://{host}/slow HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        received = b""
        while b"early" not in received:
            received += client.recv(1000)
        assert b"late" not in received
        go_on.set()
        while not received.endswith(b"0\r\n\r\n"):
            received += client.recv(1000)
    (response,) = build.exchange.recording().responses
    assert response.size == len(b"earlymiddlelate")


def test_requests_one_after_another_on_one_connection(site, building):
    host = site.url("")[len("http://") :]
    site.serve("/a", b"first")
    site.serve("/b", b"second")
    ask = "".join(f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n" for path in ("/a", "/b", "/a"))
    with building() as build:
        answered = build.raw(ask.encode())
    assert answered.count(b"HTTP/1.1 200") == 3
    assert answered.index(b"first") < answered.index(b"second") < answered.rindex(b"first")


def test_a_client_that_goes_away_does_not_spoil_the_recording(site, building):
    def slow(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        for _ in range(10):
            handler.wfile.write(b"z" * 100_000)
            time.sleep(0.03)

    site.answers["/slow"] = slow
    with building() as build:
        host = site.url("")[len("http://") :]
        with socket.create_connection(build.address) as client:
            client.sendall(f"GET http://{host}/slow HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert client.recv(100)
    (response,) = build.exchange.recording().responses
    assert response.size == 1_000_000


def test_clients_that_ask_for_the_same_at_once_share_one_request(site, building):
    def slow(handler):
        time.sleep(0.2)
        handler.give(b"v" * 300_000)

    site.answers["/shared"] = slow
    with building() as build, ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(build.curl, [site.url("/shared")] * 8))
    assert bodies == [b"v" * 300_000] * 8
    assert len(site.asked) == 1


def test_stages_of_one_run_are_told_the_same_and_a_lock_comes_first(site, building, store):
    site.in_turn("/page", *(lambda handler, text=text: handler.give(text) for text in (b"old", b"new")))
    url = site.url("/page")
    with building() as before:
        assert before.curl(url) == b"old"
    session = Session(store, Upstream({}, patience=QUICK, local=True), note=print)
    with building(session=session) as one, building(session=session) as two:
        assert one.curl(url) == b"new"
        assert two.curl(url) == b"new"
        with building(before.exchange.recording(), session=session, new=True) as locked:
            assert locked.curl(url) == b"old"
    session.close()
    assert one.exchange.recording() == two.exchange.recording() != before.exchange.recording()
    assert len(site.asked) == 2


def test_the_reads_of_each_step_are_kept_apart_and_survive_as_bytes(site, building):
    a, b = site.serve("/a", b"a"), site.serve("/b", b"b")
    with building() as build:
        for build.step, urls in ((1, (a,)), (3, (a, b))):
            build.curl(*urls)
    observed = build.exchange.observed()
    assert [one.url for one in observed[1].responses] == [a]
    assert [one.url for one in observed[3].responses] == [a, b]
    kept = [StepReads.from_bytes(one.to_bytes()) for one in observed.values()]
    assert recording_of(kept) == build.exchange.recording() == build.exchange.recording([3])
    assert build.exchange.recording([1]) != build.exchange.recording()
    json.dumps(plain(build.exchange.recording()))
    with pytest.raises(msgspec.MsgspecError):
        StepReads.from_bytes(b'{"responses": [{"url": "ftp://x"}]}')
