"""A registry on loopback that lies where it is told to."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from strangers import MANIFEST, Stranger

Answer = Callable[["_Handler"], None]


class Registry(ThreadingHTTPServer):
    """A registry on loopback with one image, `library/base:1`; `lies` answer some paths in another way."""

    daemon_threads = True

    def __init__(self, stranger: Stranger, lies: dict[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.manifest, self.blobs = stranger.parts()
        self.lies = lies
        self.sent = 0  # bytes of answers that have no end

    @property
    def base(self) -> str:
        return f"localhost:{self.server_address[1]}/library/base:1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def do_GET(self) -> None:
        kind, _, name = self.path.removeprefix("/v2/library/base/").partition("/")
        lie = self.server.lies.get(kind if kind == "manifests" else name)
        if lie is not None:
            lie(self)
        elif self.path == "/v2/":
            self.give(b"{}", "application/json")
        elif kind == "manifests":
            data = self.server.manifest
            if name.startswith("sha256:"):
                data = self.server.blobs.get(name, b"")
            value = json.loads(data) if len(data) < 8192 else {}
            self.give(data, value.get("mediaType", MANIFEST))
        elif kind == "blobs" and name in self.server.blobs:
            self.give(self.server.blobs[name], "application/octet-stream")
        else:
            self.give(b"{}", "application/json", 404)

    do_HEAD = do_GET

    def give(self, data: bytes, kind: str, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def give_without_end(self) -> None:
        """A body that goes on until the client has had enough."""
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        piece = os.urandom(1 << 20)
        try:
            while self.server.sent < 20 << 30:
                self.wfile.write(piece)
                self.server.sent += len(piece)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(stranger: Stranger, lies: dict[str, Answer] | None = None) -> Iterator[Registry]:
    """Let a registry answer for as long as the context lasts."""
    registry = Registry(stranger, lies or {})
    thread = threading.Thread(target=registry.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.shutdown()
        thread.join()
        registry.server_close()
