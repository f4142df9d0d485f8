"""The recorder's memory and speed: one response of 2 GB, and 1,000 of 100 kB, through TLS to curl.

    python benchmarks/recorder.py

The server, the recorder and curl are three processes, the recorder on one core of its own if there are two.
Each measurement is a recorder of its own. Wanted: under 150 MB of memory in each, replay at 150 MB/s or more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from rbuild.sealed.authority import Authority
from rbuild.sealed.exchange import Exchange
from rbuild.sealed.reads import StepReads
from rbuild.sealed.recorder import Recorder
from rbuild.sealed.session import Session
from rbuild.sealed.upstream import Upstream
from rbuild.store import Store

BIG = 2_000_000_000
MANY, SMALL = 1_000, 100_000
BLOCK = os.urandom(1 << 20)


class Handler(BaseHTTPRequestHandler):
    """`/SIZE/NAME` answers SIZE bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = int(self.path.split("/")[1])
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        while size:
            size -= self.wfile.write(BLOCK[:size])

    def log_message(self, *_arguments: object) -> None:
        pass


def serve(authority_file: Path) -> None:
    """Be the server until standard input ends; print the port."""
    authority = Authority()
    authority_file.write_bytes(authority.certificate_pem)
    server = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
    server.daemon_threads = True
    context = authority.context("127.0.0.2")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def measure(folder: Path, port: int, what: str, replay: bool) -> None:
    """Record or replay once, in this process, and print what it took as JSON."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {0})
    if what == "big":
        urls, total = [f"https://127.0.0.2:{port}/{BIG}/big"], BIG
    else:
        urls, total = [f"https://127.0.0.2:{port}/{SMALL}/{n}" for n in range(MANY)], MANY * SMALL
    (folder / "urls").write_text("".join(f'url = "{url}"\noutput = "/dev/null"\n' for url in urls))
    saved = folder / f"{what}.json"
    locked = StepReads.from_bytes(saved.read_bytes()) if replay else StepReads()
    store = Store(folder / "store")
    session = Session(store, Upstream({}, local=True), note=print)
    exchange = Exchange(
        session,
        locked,
        allow_new=not replay,
        allow_fetch=False,
        step=lambda: 1,
        on_refusal=print,
    )
    authority = Authority()
    (folder / "build.pem").write_bytes(authority.certificate_pem)
    listener = socket.create_server(("127.0.0.1", 0))
    env = {
        "PATH": os.environ["PATH"],
        "https_proxy": f"http://127.0.0.1:{listener.getsockname()[1]}",
        "CURL_CA_BUNDLE": str(folder / "build.pem"),
    }
    parallel = ["--parallel", "--parallel-max", "16"] if what == "many" else []
    with Recorder(listener, authority, exchange):
        began, began_cpu = time.monotonic(), time.process_time()
        argv = ["curl", "-sS", "--no-progress-meter", "--fail", *parallel, "-K", str(folder / "urls")]
        subprocess.run(argv, env=env, check=True, preexec_fn=_anywhere)
        seconds, cpu = time.monotonic() - began, time.process_time() - began_cpu
    assert not exchange.failures, exchange.failures
    observed = exchange.observed()[1]
    assert sum(response.size for response in observed.responses) == total
    saved.write_bytes(observed.to_bytes())
    print(json.dumps({"seconds": seconds, "cpu": cpu, "bytes": total, "peak": _peak()}))


def _anywhere() -> None:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


def _peak() -> int:
    """The most memory that this process has had resident, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("no VmHWM in /proc/self/status")


@contextlib.contextmanager
def server(folder: Path) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", folder / "up.pem"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    if arguments.measure:
        folder, port, what, mode = arguments.measure
        measure(Path(folder), int(port), what, mode == "replay")
        return
    print("| what | MB/s | MB per second of one core | peak memory, MB |")
    print("|---|---|---|---|")
    good = True
    names = {"big": "one response of 2 GB", "many": "1,000 responses of 100 kB"}
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as port:
        for what, text in names.items():
            for mode in ("record", "replay"):
                done = subprocess.run(
                    [sys.executable, __file__, "--measure", name, str(port), what, mode],
                    env={**os.environ, "SSL_CERT_FILE": f"{name}/up.pem"},
                    stdout=subprocess.PIPE,
                    check=True,
                )
                took = msgspec.json.decode(done.stdout)
                speed, of_core = (took["bytes"] / took[key] / 1e6 for key in ("seconds", "cpu"))
                peak = took["peak"] / 1e6
                good &= peak < 150 and (mode == "record" or what == "many" or of_core >= 150)
                print(f"| {mode}: {text} | {speed:.0f} | {of_core:.0f} | {peak:.0f} |", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
