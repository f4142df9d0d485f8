"""Connections to a registry: used again while they are good, held to a pace, files sent by the kernel.

http.client rather than urllib3: pushing nothing is start-up before anything else, and urllib3 alone takes as
long to import as all that is asked then.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urlsplit

from rbuild.errors import RbuildError
from rbuild.registry.patience import Limits

BROKEN = (HTTPException, OSError)
"""What a connection raises that does not work, or is too slow."""

_KEPT = 8  # connections to one address
_BLOCK = 1 << 20
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Part:
    """`size` bytes of a file from `at` on, as a request's body.

    `passed` is told where a piece that went out ends, and its size.
    """

    file: BinaryIO
    at: int
    size: int
    passed: Callable[[int, int], object]


class Headers(Mapping[str, str]):
    """An answer's headers, in whatever case one asks for them."""

    def __init__(self, response: HTTPResponse) -> None:
        self._values: dict[str, str] = {}
        for name, value in response.getheaders():
            key = name.lower()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Response:
    """An answer whose body may still be to come."""

    def __init__(self, raw: HTTPResponse, done: Callable[[bool], None]) -> None:
        self.status = raw.status
        self.headers = Headers(raw)
        self._raw = raw
        self._done = done

    def read(self, size: int) -> bytes:
        """Up to `size` bytes more; none: that was all. Raises one of BROKEN for an answer that breaks off."""
        data = self._raw.read(size)
        if not data and size and self._raw.length:
            raise ConnectionError("it broke off")
        return data

    def close(self) -> None:
        """Let go of the answer: the connection is used again if all of the answer was read."""
        whole = self._raw.isclosed()
        self._raw.close()
        self._done(whole)


class Connections:
    """Connections to any addresses. Threads may share it."""

    def __init__(
        self,
        limits: Limits,
        context: Callable[[], ssl.SSLContext],
        proxy: Callable[[SplitResult], str | None],
    ) -> None:
        """`context` is asked for once TLS is spoken, `proxy` for the URL of what stands before an address."""
        self._limits = limits
        self._context = context
        self._proxy = proxy
        self._idle: dict[tuple[str, str], list[HTTPConnection]] = {}
        self._guard = threading.Lock()
        weakref.finalize(self, _drop, self._idle)

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Part | None
    ) -> Response:
        """Send one request. Raises one of BROKEN, or EOFError for a part that its file does not have."""
        parts = urlsplit(url)
        proxy = self._proxy(parts)
        key = (parts.scheme, parts.netloc)
        connection = self._again(key) or self._new(parts, proxy)
        try:
            path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            if proxy and parts.scheme == "http":
                path, headers = url, {**headers, **_login(proxy)}
            raw = _exchange(connection, method, path, headers, body, self._limits)
        except BaseException:
            connection.close()
            raise
        return Response(raw, lambda whole: self._put_back(key, connection, whole and not raw.will_close))

    def close(self) -> None:
        """Drop the connections that are not in use."""
        with self._guard:
            _drop(self._idle)

    def _again(self, key: tuple[str, str]) -> HTTPConnection | None:
        while True:
            with self._guard:
                waiting = self._idle.get(key)
                if not waiting:
                    return None
                connection = waiting.pop()
            if not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()  # the other side has ended it

    def _put_back(self, key: tuple[str, str], connection: HTTPConnection, good: bool) -> None:
        with self._guard:
            waiting = self._idle.setdefault(key, [])
            if good and len(waiting) < _KEPT:
                waiting.append(connection)
                return
        connection.close()

    def _new(self, parts: SplitResult, proxy: str | None) -> HTTPConnection:
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        through = urlsplit(proxy) if proxy else None
        if through and through.scheme != "http":
            raise RbuildError(
                f"a proxy that is spoken to by {through.scheme} is nothing that rbuild can push through",
                hint="set https_proxy to an http:// address",
            )
        at = (through.hostname or "", through.port or 80) if through else (host, port)
        connection: HTTPConnection
        if parts.scheme == "https":
            context = self._context()
            connection = HTTPSConnection(*at, timeout=self._limits.connect, context=context)
            if proxy:
                connection.set_tunnel(host, port, headers=_login(proxy))
        else:
            connection = HTTPConnection(*at, timeout=self._limits.connect)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        connection.sock.settimeout(self._limits.read)
        connection.sock = _Socket(connection.sock, self._limits)
        return connection


def _drop(idle: dict[tuple[str, str], list[HTTPConnection]]) -> None:
    while idle:
        for connection in idle.popitem()[1]:
            connection.close()


def _exchange(
    connection: HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | Part | None,
    limits: Limits,
) -> HTTPResponse:
    connection.putrequest(method, path, skip_accept_encoding=True)
    length = {"Content-Length": str(len(body))} if isinstance(body, bytes) else {}
    for name, value in {**length, **headers}.items():
        connection.putheader(name, value)
    connection.endheaders(body if isinstance(body, bytes) else None)
    if isinstance(body, Part):
        try:
            _send(connection.sock, body, Pace(limits))  # type: ignore[arg-type]
        except (BrokenPipeError, ConnectionResetError) as error:
            # Who refuses a body need not read it: what it says counts.
            with contextlib.suppress(*BROKEN):
                early = connection.getresponse()
                early.will_close = True
                return early
            raise error
    return connection.getresponse()


def _send(sock: _Socket, part: Part, pace: Pace) -> None:
    at, left = part.at, part.size
    try:
        number = part.file.fileno() if sock.is_plain else None
    except OSError:
        number = None
    part.file.seek(at)
    while left:
        if number is None:
            block = part.file.read(min(_BLOCK, left))
            sock.sendall(block)
            sent = len(block)
        else:
            sent = sock.send_file(number, at, min(_BLOCK, left))
        if not sent:
            raise EOFError("its file is too short")
        at, left = at + sent, left - sent
        pace.passed(sent)
        part.passed(at, sent)


class Pace:
    """Bounds how long somebody is waited for who does send something, now and then."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since: float | None = None
        self._count = 0

    def passed(self, count: int) -> None:
        """Some bytes came or went. Raises TimeoutError if they were too few, for as long as they took."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        self._count += count
        if now - self._since < self._limits.read:
            return
        if self._count < self._limits.least:
            raise TimeoutError(f"no more than {self._count} bytes in {now - self._since:.0f} s")
        self._since, self._count = now, 0


class _Socket:
    """A socket as http.client uses it, what comes in from which is held to a pace."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._sock = sock
        self._limits = limits
        self.is_plain = not isinstance(sock, ssl.SSLSocket)

    def makefile(self, mode: str, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._sock, Pace(self._limits)), 1 << 16)

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)

    def send_file(self, number: int, at: int, count: int) -> int:
        """Let the kernel send up to `count` bytes of a file; gives how many it sent; 0: there are no more."""
        if not select.select([], [self._sock], [], self._limits.read)[1]:
            raise TimeoutError("timed out")
        try:
            return os.sendfile(self._sock.fileno(), number, at, count)
        except BlockingIOError:
            return self.send_file(number, at, count)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


class _Incoming(io.RawIOBase):
    """What comes in on a socket."""

    def __init__(self, sock: socket.socket, pace: Pace) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        self._pace.passed(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def reason(error: BaseException) -> str:
    """What went wrong on the way, in a line."""
    if isinstance(error, IncompleteRead):
        return "it broke off"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text[:300]


def _login(proxy: str) -> dict[str, str]:
    import base64
    from urllib.parse import unquote

    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
