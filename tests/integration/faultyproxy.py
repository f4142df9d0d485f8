"""A proxy in front of a registry that fails where a test tells it to."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable

from httpfaults import Act, Fault, Handler, Server

_SINGLE = {"connection", "transfer-encoding", "content-length", "date", "server"}


class FaultyProxy(Server):
    def __init__(self, port: int, *faults: Fault) -> None:
        """`port` is the registry's, on loopback."""
        super().__init__(_Handler, faults)
        self.upstream = port


class _Handler(Handler):
    server: FaultyProxy

    def serve(self) -> None:
        self.forward(self.body())

    def forward(self, data: bytes, change: Callable[[bytes], bytes] = lambda data: data) -> None:
        headers = dict(self.headers.items()) | {"Content-Length": str(len(data))}
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=300)
        with contextlib.closing(upstream):
            upstream.request(self.command, self.path, data, headers)
            answer = upstream.getresponse()
            body = change(answer.read())
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _SINGLE:
                self.send_header(name, value)
        length = str(len(body)) if self.command != "HEAD" else answer.headers.get("Content-Length", "0")
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)


def alters(part: str) -> Act:
    """One bit of the request's or the answer's body changes on the way."""

    def flipped(data: bytes) -> bytes:
        return bytes(byte ^ 1 for byte in data[:1]) + data[1:]

    def act(handler: Handler) -> bool:
        assert isinstance(handler, _Handler)
        if part == "request":
            handler.forward(flipped(handler.body()))
        else:
            handler.forward(handler.body(), flipped)
        return True

    return act


def replaces(data: bytes) -> Act:
    """The answer's body becomes another."""

    def act(handler: Handler) -> bool:
        assert isinstance(handler, _Handler)
        handler.forward(handler.body(), lambda _: data)
        return True

    return act


def truncates() -> Act:
    """The second half of the request's body is lost."""

    def act(handler: Handler) -> bool:
        assert isinstance(handler, _Handler)
        data = handler.body()
        handler.forward(data[: len(data) // 2])
        return True

    return act
