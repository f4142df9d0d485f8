"""The authority of a build: strict clients trust it, for every kind of host, and for nothing else."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest

from rbuild.sealed.authority import Authority


def shake_hands(authority: Authority, answer_for: str, ask_for: str, trusted: bytes) -> ssl.SSLObject:
    """A TLS handshake over a pair of sockets, with a client as strict as they get; the client's side."""
    ours, theirs = socket.socketpair()
    context = ssl.create_default_context(cadata=trusted.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2", "http/1.1"])

    def serve() -> None:
        with ours, contextlib.suppress(OSError):
            authority.context(answer_for).wrap_socket(ours, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with theirs, context.wrap_socket(theirs, server_hostname=ask_for) as client:
            assert client.selected_alpn_protocol() == "http/1.1"
            return client
    finally:
        thread.join()


@pytest.mark.parametrize("host", ["pypi.org", "127.0.0.2", "::1", "a" * 60 + ".example.org", "PyPI.org"])
def test_a_strict_client_trusts_it(host: str) -> None:
    authority = Authority()
    shake_hands(authority, host, host, authority.certificate_pem)


def test_the_name_that_the_client_asks_for_counts() -> None:
    authority = Authority()
    shake_hands(authority, "10.0.0.1", "pypi.org", authority.certificate_pem)


def test_another_build_does_not_trust_it() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(Authority(), "pypi.org", "pypi.org", Authority().certificate_pem)


def test_a_host_has_one_certificate() -> None:
    authority = Authority()
    assert authority.context("pypi.org") is authority.context("PYPI.ORG")


@pytest.mark.parametrize("host", ["", "bücher.example"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ValueError):
        Authority().context(host)
