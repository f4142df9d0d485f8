"""A server on loopback that fails in the ways that registries and networks do."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from rbuild.registry.patience import Limits

Act = Callable[["Handler"], bool]  # whether the request is dealt with

# As patient as a test can be: what answers has to be let answer, on a loaded machine as well.
IMPATIENT = Limits(tries=4, most_tries=20, connect=30, read=4, backoff=0.01, longest=0.02, longest_asked=2)


@dataclass
class Fault:
    """What befalls the first `times` requests whose method and path match, after `skip` that are spared."""

    method: str  # a regular expression, as is the path
    path: str
    act: Act
    times: int = 1
    skip: int = 0
    seen: int = 0

    def strikes(self, method: str, path: str) -> bool:
        if not re.fullmatch(self.method, method) or not re.search(self.path, path):
            return False
        self.seen += 1
        return self.skip < self.seen <= self.skip + self.times


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext | None = None  # for TLS

    def __init__(self, handler: type[Handler], faults: Sequence[Fault] = ()) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.faults = list(faults)
        self.seen: list[Seen] = []
        self.guard = threading.RLock()

    @property
    def host(self) -> str:
        return f"localhost:{self.server_address[1]}"

    def count(self, method: str, path: str) -> int:
        return sum(one.method == method and bool(re.search(path, one.path)) for one in self.seen)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news here."""


S = TypeVar("S", bound=Server)


class Handler(BaseHTTPRequestHandler):
    """Looks for a fault that strikes; else `serve` answers."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        if self.server.context:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        if self.server.context:
            self.request.close()

    def handle(self) -> None:
        if not self.server.context and self.connection.recv(1, socket.MSG_PEEK) == b"\x16":  # TLS
            self.connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            return
        super().handle()

    def do_GET(self) -> None:
        with self.server.guard:
            self.server.seen.append(Seen(self.command, self.path, dict(self.headers.items())))
            struck = [fault for fault in self.server.faults if fault.strikes(self.command, self.path)]
        if not any(fault.act(self) for fault in struck):
            self.serve()

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET

    def serve(self) -> None:
        raise NotImplementedError

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def reset(self) -> None:
        """End the connection in the rudest way."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


def says(status: int, **headers: str) -> Act:
    """An answer with an error."""

    def act(handler: Handler) -> bool:
        handler.body()
        handler.answer(status, b'{"errors":[{"code":"X","message":"so says the test"}]}', **headers)
        return True

    return act


def resets(after: int = 0) -> Act:
    """The connection ends after so many bytes of the request's body."""

    def act(handler: Handler) -> bool:
        handler.rfile.read(after)
        handler.reset()
        return True

    return act


def stalls(after: int = 0) -> Act:
    """Nothing more happens after so many bytes of the request's body, until the client has had enough."""

    def act(handler: Handler) -> bool:
        handler.rfile.read(after)
        with contextlib.suppress(OSError):
            while handler.connection.recv(1 << 16):
                pass
        handler.reset()
        return True

    return act


def trickles(handler: Handler) -> bool:
    """An answer of which a byte comes now and then, for as long as anybody listens."""
    handler.body()
    with contextlib.suppress(OSError):
        for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nX-Slow: ", itertools.repeat(ord("x"))):
            handler.connection.sendall(bytes([byte]))
            time.sleep(0.05)
    handler.close_connection = True
    return True


@contextmanager
def serving(server: S) -> Iterator[S]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
