"""What `ADD` of a URL reads: a few pages, and a server for them on this host's loopback."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import generated

PAGES: Mapping[str, bytes] = MappingProxyType(
    {"/text.txt": generated.PAGE_TEXT, "/data.tar": generated.plain_tar()}
)
REDIRECTS: Mapping[str, str] = MappingProxyType({"/moved": "/text.txt"})


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        target = REDIRECTS.get(self.path)
        data = PAGES.get(self.path)
        self.send_response(302 if target else 404 if data is None else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_arguments: object) -> None:
        pass


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Serve the pages; gives the URL of the server, without a slash at its end.

    The address is written so that Go, which asks no proxy for a loopback address, does not know it for one.
    """
    server = ThreadingHTTPServer(("127.0.0.2", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.2:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
