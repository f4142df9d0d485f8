"""One registry's HTTP: TLS where there is some, Retry-After, and answers of any size."""

from __future__ import annotations

import email.utils
import socket
import threading
import time
from pathlib import Path

import pytest
from fakeregistry import FakeRegistry
from httpfaults import IMPATIENT, Fault, says, serving

from rbuild.errors import RbuildError
from rbuild.registry.patience import GaveUp, Limits, Patience, Transient
from rbuild.registry.transport import Transport, _retry_after, body, finish, is_loopback
from rbuild.registry.workers import in_parallel
from rbuild.sealed.authority import Authority


def transport(host: str, *, insecure: bool = False, env: dict[str, str] | None = None) -> Transport:
    return Transport(host, insecure=insecure, env=env or {}, limits=IMPATIENT)


def ask(found: Transport) -> None:
    """One request, by TLS."""
    assert found.base.startswith("https:")
    finish(found.send("GET", f"{found.base}/v2/", {}))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.9:5000", True),
        ("[::1]:5000", True),
        ("registry.localhost", True),
        ("quay.io", False),
        ("10.0.0.1:5000", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_what_is_this_host(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_another_host_is_never_spoken_to_in_the_clear() -> None:
    assert transport("registry.example.org:5000").base == "https://registry.example.org:5000"
    assert transport("docker.io").base == "https://registry-1.docker.io"


def test_a_registry_on_this_host_may_do_without_tls() -> None:
    with serving(FakeRegistry()) as server:
        assert transport(server.host).base == f"http://{server.host}"


def test_an_authority_that_nobody_knows(tmp_path: Path) -> None:
    authority = Authority()
    with serving(FakeRegistry()) as server:
        server.context = authority.context("localhost")
        with pytest.raises(RbuildError, match="not trusted") as caught:
            ask(transport(server.host))
        assert f"certs.d/{server.host}/ca.crt" in (caught.value.problems[0].hint or "")
        ask(transport(server.host, insecure=True))
        folder = tmp_path / "containers" / "certs.d" / server.host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.certificate_pem)
        ask(transport(server.host, env={"XDG_CONFIG_HOME": str(tmp_path)}))


def test_where_a_location_leads() -> None:
    found = transport("registry.example.org")
    assert found.absolute("/v2/x") == "https://registry.example.org/v2/x"
    # A registry behind a proxy may not know that it is spoken to by TLS.
    assert found.absolute("http://registry.example.org/v2/x?a=b") == "https://registry.example.org/v2/x?a=b"
    assert found.absolute("https://cdn.example.org/x") == "https://cdn.example.org/x"
    assert not found.is_own("https://cdn.example.org/x")
    with pytest.raises(RbuildError, match="without TLS") as caught:
        found.absolute("http://cdn.example.org/x?signature=s3cret")
    assert "s3cret" not in str(caught.value)


def test_retry_after_in_both_forms() -> None:
    assert _retry_after(None) is None
    assert _retry_after("7") == 7
    assert _retry_after("soon") is None
    asked = int(time.time()) + 3600
    later = _retry_after(email.utils.formatdate(asked, usegmt=True))
    assert later is not None
    assert asked - time.time() <= later <= 3600
    assert _retry_after(email.utils.formatdate(time.time() - 30, usegmt=True)) == 0


def test_answers_are_read_up_to_a_limit() -> None:
    with serving(FakeRegistry(Fault("GET", "^/big", says(200), times=9))) as server:
        found = transport(server.host)
        assert len(body(found.send("GET", f"{found.base}/big", {}), 10)) == 11
        finish(found.send("GET", f"{found.base}/big", {}))


def test_patience_ends_for_one_who_gets_nowhere() -> None:
    tries = 0

    def step() -> None:
        nonlocal tries
        tries += 1
        raise Transient("no")

    with pytest.raises(GaveUp) as caught:
        Patience(IMPATIENT).persist(step)
    assert (caught.value.tries, tries) == (IMPATIENT.tries, IMPATIENT.tries)
    tries = 0
    with pytest.raises(GaveUp):  # it gets on and on, and never comes to an end
        Patience(IMPATIENT).persist(step, progressed=lambda: tries)
    assert tries == IMPATIENT.most_tries
    tries = 0
    with pytest.raises(GaveUp):  # it goes back and forth
        Patience(IMPATIENT).persist(step, progressed=lambda: tries % 2)
    assert tries <= IMPATIENT.tries + 1


def test_closing_ends_a_wait() -> None:
    patience = Patience(Limits(longest_asked=100_000))

    def step() -> None:
        threading.Timer(0.1, patience.close).start()
        raise Transient("tomorrow", after=86_400)

    with pytest.raises(RbuildError, match="interrupted"):
        patience.persist(step)


def test_four_at_a_time() -> None:
    running, most, guard = 0, 0, threading.Lock()
    together = threading.Barrier(4)  # breaks where fewer than four come

    def task() -> int:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        together.wait(300)
        with guard:
            running -= 1
        return running

    assert len(in_parallel([task] * 12)) == 12
    assert most == 4
    assert in_parallel([]) == []


def test_after_one_that_fails_no_other_begins() -> None:
    begun: list[int] = []
    first: list[threading.Thread] = []
    together = threading.Barrier(4)

    def task(number: int) -> None:
        begun.append(number)
        if number < 4:
            first.append(threading.current_thread()) if number == 0 else None
            together.wait(300)
        if number == 0:
            raise RbuildError("no")
        first[0].join(300)  # ends when its failure is known

    with pytest.raises(RbuildError, match="no"):
        in_parallel([lambda number=number: task(number) for number in range(50)])  # type: ignore[misc]
    assert sorted(begun) == [0, 1, 2, 3]


def test_nobody_listens() -> None:
    with socket.socket() as deaf:  # the port is taken, and nobody listens
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(Transient, match="refused"):
            _ = transport(f"127.0.0.1:{deaf.getsockname()[1]}").base
