"""No space left: in the store, or in Podman's storage. Each is a small file system of its own in turn."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from worlds import RBUILD, Layouts, World, project_file

SMALL_DISK = Path(__file__).with_name("small_disk.py")
# After the command: what is left where things are written, and of containers.
AFTER = 'echo "exit $?"; ls -A "$0/tmp"; podman ps --all --external --quiet; ls -A'


@dataclass
class Outcome:
    code: int
    left: list[str]
    said: str


def on_small_disk(world: World, folder: Path, size: str) -> Outcome:
    """Run `rbuild all` with no more than `size` below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    runtime = world.data / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    argv = ["podman", "unshare", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv += [sys.executable, str(SMALL_DISK), str(folder), size, str(os.getuid()), str(os.getgid()), "--"]
    script = f"{' '.join(RBUILD)} all; {AFTER}"
    done = subprocess.run(
        [*argv, "sh", "-c", script, str(world.store)],
        cwd=world.project,
        env={**world.env, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert "exit " in done.stdout, done.stderr
    said, _, left = done.stdout.partition("exit ")
    code, *names = left.split()
    return Outcome(int(code), names, said + done.stderr)


@pytest.fixture
def large(world: World, layouts: Layouts) -> World:
    """A project whose image has 10 MB that cannot be compressed on top of its base's 28 MB."""
    bases = layouts.install(world, "tiny", ("localhost/base:1",))
    world.write(
        {
            "rbuild.yaml": project_file(
                bases, {"one": {"containerfile": "Containerfile", "context": "context"}}
            ),
            "Containerfile": "FROM localhost/base:1\nCOPY large /\nRUN busybox cp /large /copy\n",
        }
    )
    (world.project / "context").mkdir()
    (world.project / "context" / "large").write_bytes(os.urandom(10_000_000))
    return world


FILES = {".rbuild", "Containerfile", "bases", "context", "rbuild.yaml"}


# At the base, at the context, at what Podman commits, at the canonical layer.
@pytest.mark.parametrize("size", ["20m", "34m", "48m", "62m", "76m"])
def test_no_space_in_the_store(large: World, size: str) -> None:
    outcome = on_small_disk(large, large.store, size)
    assert outcome.code == 2, outcome.said
    place = rf"{re.escape(str(large.store))}( sha256:[0-9a-f]+)?"  # and the blob, where it is known
    assert re.search(f"error: {place}: no space left in the store", outcome.said)
    assert "RBUILD_STORE" in outcome.said
    assert set(outcome.left) == FILES


# At the base, at COPY, at RUN.
@pytest.mark.parametrize("size", ["10m", "76m", "90m"])
def test_no_space_in_podmans_storage(large: World, size: str) -> None:
    storage = large.data / "containers"
    outcome = on_small_disk(large, storage, size)
    assert outcome.code == 2, outcome.said
    assert f"error: {storage}/storage: no space left in Podman's storage" in outcome.said
    assert "podman system df" in outcome.said
    assert set(outcome.left) == FILES


def test_a_run_that_fills_podmans_storage(large: World) -> None:
    """Where it is, what became of it and all that it said is told, as of any other RUN; and what is full."""
    large.write(
        {"Containerfile": "FROM localhost/base:1\nRUN busybox dd if=/dev/zero of=/full bs=1M || exit 7\n"}
    )
    storage = large.data / "containers"
    outcome = on_small_disk(large, storage, "200m")
    assert outcome.code == 2, outcome.said
    assert "No space left on device" in outcome.said
    assert re.search(r"error: Containerfile:2: stage one: `RUN .*` failed with exit code 7", outcome.said)
    assert f"the whole output: {large.store}/logs/demo/one.log" in outcome.said
    assert f"error: {storage}/storage: no space left in Podman's storage" in outcome.said
    assert "podman system df" in outcome.said
    assert set(outcome.left) == FILES


def test_a_run_that_fills_a_file_system_of_its_own(world: World, layouts: Layouts) -> None:
    bases = layouts.install(world, "tiny", ("localhost/base:1",))
    world.write(
        {
            "rbuild.yaml": project_file(
                bases, {"one": {"containerfile": "Containerfile", "context": "context"}}
            ),
            "Containerfile": "FROM localhost/base:1\nRUN --mount=type=tmpfs,target=/own,tmpfs-size=1m \\\n"
            "    busybox dd if=/dev/zero of=/own/full bs=1M count=3 || exit 7\n",
            "context/.keep": "",
        }
    )
    done = world.rbuild("all")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert re.search(r"error: Containerfile:2: stage one: `RUN .*` failed with exit code 7", done.stderr)
    assert f"the whole output: {world.store}/logs/demo/one.log" in done.stderr
    assert "Podman's storage" not in done.stderr and "in the store" not in done.stderr


class _Endless(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):  # whoever has enough goes away
            while True:
                self.wfile.write(bytes(1 << 16))

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_response_without_an_end(large: World) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endless)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        url = f"http://localhost:{server.server_address[1]}/endless"
        large.write({"Containerfile": f"FROM localhost/base:1\nRUN busybox wget -q -O /dev/null {url}\n"})
        large.env["RBUILD_ALLOW_LOOPBACK"] = "1"
        outcome = on_small_disk(large, large.store, "150m")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert outcome.code == 2, outcome.said
    assert re.search(rf"{re.escape(url)}: a response of more than \d+ MB", outcome.said), outcome.said
    assert "see whether it has an end" in outcome.said
    assert set(outcome.left) == FILES


def test_with_enough_space_it_is_built(large: World) -> None:
    outcome = on_small_disk(large, large.store, "400m")
    assert outcome.code == 0, outcome.said
    assert set(outcome.left) == FILES | {"rbuild.lock"}
