"""One client of the recorder: HTTP/1.1 as a proxy is spoken to, in the clear or through CONNECT."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import ssl
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import h11

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.sealed.authority import Authority
from rbuild.sealed.exchange import Exchange, Kind, Refused
from rbuild.sealed.replies import BytesBody, Reply, Request, Spooled

_IDLE = 120.0  # seconds that a client may be silent, or not read
_FIRST_BYTES = 20.0  # seconds in which a tunnel must show what is in it
_RECEIVE = 64 << 10
_MOST_HEADERS = 64 << 10
_MOST_BODY = 256 << 20
_TLS_HANDSHAKE = 0x16
_THROUGH = ("/http://", "/https://")  # a client that knows no proxy has its URLs put behind this one's
_METHODS = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"PROP", b"REPO", b"TRAC")


class _TooLarge(Exception):
    pass


class Connection:
    """Serves one accepted socket until either side is done with it; the caller closes the socket."""

    def __init__(self, client: socket.socket, authority: Authority, exchange: Exchange) -> None:
        self._client = client
        self._authority = authority
        self._exchange = exchange

    def serve(self) -> None:
        # What goes wrong on the line is the client's business: it sees the connection end.
        with contextlib.suppress(OSError, h11.ProtocolError):
            self._client.settimeout(_IDLE)
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._converse(self._client, None)

    def _converse(self, line: socket.socket, origin: str | None) -> None:
        """Answer requests, one after the other; `origin` is what their targets are relative to."""
        protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEADERS)
        while True:
            try:
                event = _next_event(protocol, line)
            except h11.RemoteProtocolError as error:
                _send(protocol, line, _told(error.error_status_hint, str(error)))
                return
            if not isinstance(event, h11.Request):
                return
            if event.method == b"CONNECT" and origin is None:
                self._tunnel(line, event.target.decode("latin-1"))
                return
            self._answer(protocol, line, event, origin)
            if protocol.our_state is not h11.DONE or protocol.their_state is not h11.DONE:
                return
            protocol.start_next_cycle()

    def _answer(
        self, protocol: h11.Connection, line: socket.socket, event: h11.Request, origin: str | None
    ) -> None:
        headers = _joined(event)
        with contextlib.ExitStack() as stack:
            try:
                url = _url(event, origin)
                if headers.get("upgrade", "").lower() == "websocket":
                    self._exchange.refuse(
                        Kind.UNRECORDABLE, url, "a websocket cannot be recorded", status=501
                    )
                body = _spooled(protocol, line, stack, self._exchange.spool)
                request = Request(method=event.method.decode(), url=url, headers=headers, body=body)
                reply = self._exchange.answer(request)
                if event.target.startswith(b"/") and origin is None and "location" in reply.headers:
                    # Where it leads, this client needs to be led through here as well.
                    there = urljoin(url, reply.headers["location"])
                    reply = replace(reply, headers={**reply.headers, "location": f"/{there}"})
            except Refused as refused:
                reply = _told(refused.status, refused.reason)
            except _TooLarge:
                reply = _told(413, f"a request of more than {_MOST_BODY} bytes cannot be recorded")
            except RbuildError as error:
                reply = _told(500, str(error))
            stack.callback(reply.body.close)
            try:
                _send(protocol, line, reply)
            except RbuildError:
                _reset(line)
                raise ConnectionResetError from None

    def _tunnel(self, line: socket.socket, target: str) -> None:
        host, _, port = target.rpartition(":")
        if not host or not port.isdigit():
            line.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        line.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        first = _first_bytes(line)
        if first[:1] == bytes([_TLS_HANDSHAKE]):
            self._terminate(line, host, f"https://{host}:{port}")
        elif first.startswith(_METHODS):
            self._converse(line, f"http://{host}:{port}")
        elif first or not _is_closed(line):
            with contextlib.suppress(Refused):
                self._exchange.refuse(
                    Kind.UNRECORDABLE,
                    target,
                    "a tunnel for something other than HTTP cannot be recorded"
                    + (" (it looks like ssh; use an https URL)" if first.startswith(b"SSH-") else ""),
                )

    def _terminate(self, line: socket.socket, host: str, origin: str) -> None:
        try:
            # A copy of the descriptor: the wrapped socket takes its own over and closes it.
            tls = self._authority.context(host).wrap_socket(line.dup(), server_side=True)
        except (ssl.SSLError, ValueError) as error:
            with contextlib.suppress(Refused):
                self._exchange.refuse(
                    Kind.UNRECORDABLE,
                    origin,
                    f"the client ended the TLS handshake ({getattr(error, 'reason', None) or error}); "
                    "does it trust the build's certificate authority?",
                )
            return
        with tls:
            tls.settimeout(_IDLE)
            self._converse(tls, origin)
            # Only so does an HTTP/1.0 client know that it has everything.
            tls.settimeout(1)
            tls.unwrap()


def _next_event(protocol: h11.Connection, line: socket.socket) -> object:
    while True:
        event = protocol.next_event()
        if event is not h11.NEED_DATA:
            return event
        if protocol.they_are_waiting_for_100_continue:
            _write(protocol, line, h11.InformationalResponse(status_code=100, headers=[]))
        protocol.receive_data(line.recv(_RECEIVE))


def _spooled(
    protocol: h11.Connection, line: socket.socket, stack: contextlib.ExitStack, folder: Path
) -> Spooled | None:
    """Read the request's body into a nameless file; None if it has none."""
    file: BinaryIO | None = None
    hashed = hashlib.sha256()
    size = 0
    while isinstance(event := _next_event(protocol, line), h11.Data):
        if file is None:
            file = stack.enter_context(contextlib.closing(_nameless_file(folder)))
        size += len(event.data)
        if size > _MOST_BODY:
            raise _TooLarge
        hashed.update(event.data)
        file.write(event.data)
    return Spooled(Digest(hashed.hexdigest()), file) if file is not None else None


def _nameless_file(folder: Path) -> BinaryIO:
    return tempfile.TemporaryFile(dir=folder)


def _send(protocol: h11.Connection, line: socket.socket, reply: Reply) -> None:
    """Send `reply`. Raises the RbuildError of a body that broke off."""
    headers = [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in reply.headers.items()
    ]
    phrase = http.client.responses.get(reply.status, "")
    head = h11.Response(status_code=reply.status, headers=headers, reason=phrase.encode())
    _write(protocol, line, head)
    for chunk in reply.chunks():
        for piece in protocol.send_with_data_passthrough(h11.Data(data=chunk)) or ():
            line.sendall(piece)
    _write(protocol, line, h11.EndOfMessage())


def _write(protocol: h11.Connection, line: socket.socket, event: h11.Event) -> None:
    if data := protocol.send(event):
        line.sendall(data)


def _told(status: int, reason: str) -> Reply:
    data = f"rbuild: {reason}\n".encode()
    headers = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(data))}
    return Reply(status=status, headers=headers, body=BytesBody(data))


def _url(event: h11.Request, origin: str | None) -> str:
    target = event.target.decode("latin-1")
    if origin is not None and target.startswith("/"):
        return origin + target
    if target.startswith(_THROUGH):
        target = target[1:]
    with contextlib.suppress(ValueError):
        if urlsplit(target).netloc:
            return target
    raise Refused(400, "this is a proxy: the target of a request is a whole URL")


def _joined(event: h11.Request) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    return headers


def _first_bytes(line: socket.socket) -> bytes:
    """What a client sends first, left where it is; nothing if it waits for the server to speak."""
    line.settimeout(_FIRST_BYTES)
    try:
        return line.recv(8, socket.MSG_PEEK)
    except TimeoutError:
        return b""
    finally:
        line.settimeout(_IDLE)


def _is_closed(line: socket.socket) -> bool:
    try:
        return line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False


def _reset(line: socket.socket) -> None:
    """Make the close that follows a reset: else what a client has would look whole to it."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
