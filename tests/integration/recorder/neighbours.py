"""Who a recorder talks to: a server on 127.0.0.2 that misbehaves when told to, and the clients of a build."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rbuild.sealed.environment import MOUNT, variables, write_mount
from rbuild.sealed.exchange import Exchange
from rbuild.sealed.upstream import Patience

# Quick to try again, and with time for whoever answers on a loaded machine.
QUICK = Patience(tries=3, connect=60, read=60, backoff=0.01, longest=0.1)

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site  # type: ignore[assignment]

    def _any(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        self.body = self.rfile.read(length)
        self.server.asked.append((self.command, self.path, dict(self.headers.items())))
        answer = self.server.answers.get(self.path.partition("?")[0])
        if answer is None:
            self.give(b"nothing here\n", status=404)
        else:
            answer(self)

    do_GET = do_HEAD = do_POST = _any

    def give(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Set-Cookie", "visit=secret-cookie")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def break_off(self, data: bytes, of: int) -> None:
        """Promise `of` bytes, send `data`, and hang up."""
        self.send_response(200)
        self.send_header("Content-Length", str(of))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


class Site(ThreadingHTTPServer):
    """What is on the other side of the recorder: answers by path, and a list of what was asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.2", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.scheme = "http"

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.2:{self.server_address[1]}{path}"

    def serve(self, path: str, data: bytes, **headers: str) -> str:
        """Answer `path` with `data`; returns its URL."""
        self.answers[path] = lambda handler: handler.give(data, **headers)
        return self.url(path)

    def in_turn(self, path: str, *answers: Answer) -> str:
        """Answer `path` with each of these once, then with the last."""
        left = list(answers)
        self.answers[path] = lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)
        return self.url(path)

    def handle_error(self, *_arguments: object) -> None:
        pass


@dataclass
class Build:
    """Stands for one stage's build: clients that know nothing but the recorder."""

    exchange: Exchange
    address: tuple[str, int]
    home: Path
    said: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    step: int = 1

    def trust(self, certificate: bytes) -> None:
        """Lay out what a RUN finds at the mount, as if that were in the home folder."""
        write_mount(self.home / "mount", certificate, replays=False)
        for file in (self.home / "mount").iterdir():
            file.write_text(file.read_text().replace(MOUNT, str(self.home / "mount")))

    @property
    def env(self) -> dict[str, str]:
        proxy = f"http://{self.address[0]}:{self.address[1]}"
        mount = self.home / "mount"
        trust = {name: value.replace(MOUNT, str(mount)) for name, value in variables(0).items()}
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "http_proxy": proxy,
            "https_proxy": proxy,
            "PIP_CONFIG_FILE": os.devnull,
            "NPM_CONFIG_USERCONFIG": os.devnull,
            **trust,
        }

    def run(self, *argv: str | Path, ok: bool = True) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [str(part) for part in argv], env=self.env, cwd=self.home, capture_output=True, timeout=900
        )
        assert not ok or done.returncode == 0, done.stderr.decode() + done.stdout.decode()
        return done

    def curl(self, *arguments: str | Path, ok: bool = True) -> bytes:
        return self.run("curl", "-sS", *arguments, ok=ok).stdout

    def raw(self, data: bytes) -> bytes:
        """Send bytes to the recorder and read until it hangs up.

        It may hang up before it has read all of them: what is sent after that, and the end of it, finds
        no connection any more.
        """
        received = b""
        with socket.create_connection(self.address) as client:
            client.settimeout(300)
            try:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                while part := client.recv(1 << 16):
                    received += part
            except OSError as error:
                if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                    raise
        return received
