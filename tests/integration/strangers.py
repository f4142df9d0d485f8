"""Images as strangers make them: OCI layouts and a registry in which any part may be a lie."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_OCI = "application/vnd.oci.image."
MANIFEST = f"{_OCI}manifest.v1+json"
INDEX = f"{_OCI}index.v1+json"
LAYER = f"{_OCI}layer.v1.tar"


def digest(data: bytes) -> str:
    """As a descriptor has it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Stranger:
    """An image whose parts can be replaced before it is laid out.

    `layer` is the tar that the configuration claims, `blob` what is stored in its place; None: the same.
    `edit_*` change what is written; `blobs` are added, or replace what has that digest.
    """

    layer: bytes
    blob: bytes | None = None
    media_type: str = LAYER
    edit_config: Callable[[dict[str, Any]], None] = lambda value: None
    edit_manifest: Callable[[dict[str, Any]], None] = lambda value: None
    edit_index: Callable[[dict[str, Any]], None] = lambda value: None
    config_bytes: bytes | None = None
    manifest_bytes: bytes | None = None
    index_bytes: bytes | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)

    def parts(self) -> tuple[bytes, dict[str, bytes]]:
        """The manifest, and every blob by its digest, that one included."""
        blob = self.layer if self.blob is None else self.blob
        value: dict[str, Any] = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(self.layer)]},
            "history": [{"created_by": "made by a stranger"}],
        }
        self.edit_config(value)
        config = self.config_bytes or json.dumps(value).encode()
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(config, f"{_OCI}config.v1+json"),
            "layers": [_descriptor(blob, self.media_type)],
        }
        self.edit_manifest(value)
        manifest = self.manifest_bytes or json.dumps(value).encode()
        return manifest, {digest(one): one for one in (blob, config, manifest)} | self.blobs

    def lay_out(self, folder: Path) -> None:
        """Write an OCI layout."""
        manifest, blobs = self.parts()
        place = folder / "blobs" / "sha256"
        place.mkdir(parents=True)
        for name, data in blobs.items():
            (place / name.removeprefix("sha256:")).write_bytes(data)
        index: dict[str, Any] = {"schemaVersion": 2, "manifests": [_descriptor(manifest, MANIFEST)]}
        self.edit_index(index)
        (folder / "index.json").write_bytes(self.index_bytes or json.dumps(index).encode())
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def _descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


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
