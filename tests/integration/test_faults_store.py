"""A store that rots, and a network that goes: noticed, named, and put right where that can be done."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from leftovers import assert_no_containers, assert_store_is_sound, scratch, two_stages
from worlds import Layouts, World, project_file

from rbuild.digest import Digest

BODY = b"".join(b"%07d\n" % number for number in range(50_000))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(time.monotonic())
        self.server.answer(self)

    def whole(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def half(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[: len(BODY) // 2])
        self.close_connection = True

    def refuse(self) -> None:
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


class Site(ThreadingHTTPServer):
    """A server that is not this host's own loopback to a build; `answer` is what it does."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.2", 0), Handler)
        self.asked: list[float] = []
        self.answer: Callable[[Handler], None] = Handler.whole

    @property
    def url(self) -> str:
        return f"http://127.0.0.2:{self.server_address[1]}/file"

    def in_turn(self, *answers: Callable[[Handler], None]) -> None:
        left = list(answers)
        self.answer = lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)

    def handle_error(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def fetching(world: World, layouts: Layouts, site: Site) -> World:
    """A project of one stage, which fetches a file."""
    world.env.update({"RBUILD_ALLOW_LOOPBACK": "1", "SOURCE_DATE_EPOCH": "1700000000"})
    bases = layouts.install(world, "busybox", ("localhost/base:1",))
    world.write(
        {
            "rbuild.yaml": project_file(
                bases, {"one": {"containerfile": "Containerfile", "context": "context"}}
            ),
            "Containerfile": f"FROM localhost/base:1\nRUN busybox wget -q -O /fetched {site.url}\n",
            "context/.keep": "",
        }
    )
    return world


def blob(world: World, digest: str) -> Path:
    return world.store / "blobs" / "sha256" / digest.removeprefix("sha256:")


def rot(path: Path) -> None:
    """Change one byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def forget_image(world: World) -> None:
    """Let a build happen again, from its recording."""
    for digest in world.digests().values():
        blob(world, digest).unlink()
    world.forget_images()


# The store


def test_a_recorded_response_that_rotted_is_fetched_again(fetching: World, site: Site) -> None:
    fetching.ok("all")
    before = fetching.digests()
    response = Digest.of(BODY)
    rot(blob(fetching, str(response)))
    forget_image(fetching)
    offline = fetching.rbuild("all", "--offline")
    assert offline.returncode == 2
    assert str(response) in offline.stderr.partition("error:")[2]
    assert fetching.digests() == before
    site.asked.clear()
    online = fetching.ok("all")
    assert "warning:" in online.stderr and response.hex in online.stderr
    assert len(site.asked) == 1
    assert fetching.digests() == before
    assert_store_is_sound(fetching)


def test_a_recorded_response_that_rotted_and_has_changed_since(fetching: World, site: Site) -> None:
    fetching.ok("all")
    before = fetching.digests()
    rot(blob(fetching, str(Digest.of(BODY))))
    forget_image(fetching)
    site.answer = Handler.half
    done = fetching.rbuild("all")
    error = done.stderr.partition("error:")[2]
    assert done.returncode == 2
    assert site.url in error and str(Digest.of(BODY)) in error and "rbuild lock --upgrade one" in error
    assert fetching.digests() == before


@pytest.mark.parametrize("part", ["manifest", "config", "base layer", "own layer"])
def test_a_part_of_an_image_that_rotted(world: World, layouts: Layouts, part: str) -> None:
    two_stages(world, layouts)
    world.ok("all")
    before, image = world.digests(), world.lock["stages"]["one"]["image"]
    digest = {
        "manifest": image["manifest"],
        "config": image["config"],
        "base layer": image["layers"][0]["blob"],
        "own layer": image["layers"][-1]["blob"],
    }[part]
    rot(blob(world, digest))
    world.forget_images()
    path = world.project / "rbuild.yaml"
    path.write_text(path.read_text().replace("  one:\n", "  one:\n    run: {command: [busybox, 'true']}\n"))
    refused = world.rbuild("run", "one")
    assert refused.returncode == 2
    assert digest in refused.stderr
    done = world.ok("all")
    assert "warning:" in done.stderr and digest in done.stderr
    assert world.digests() == before
    assert_store_is_sound(world)
    world.ok("run", "one")


@pytest.mark.parametrize("harm", ["empty", "cut", "byte", "gone"])
def test_what_can_be_computed_again(fetching: World, harm: str) -> None:
    fetching.ok("all")
    before = fetching.digests()
    for path in [path for path in (fetching.store / "cache").rglob("*") if path.is_file()]:
        if harm == "gone":
            path.unlink()
        elif harm == "byte":
            rot(path)
        else:
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2] if harm == "cut" else b"")
    fetching.ok("status")
    assert fetching.json("all")[0]["outcome"] == "up to date"
    for digest in before.values():
        blob(fetching, digest).unlink()  # Podman's layers stay: its cache is used
    fetching.ok("all")
    assert fetching.digests() == before
    forget_image(fetching)
    fetching.ok("all", "--offline")
    assert fetching.digests() == before


def test_an_index_that_is_torn(world: World, layouts: Layouts) -> None:
    two_stages(world, layouts)
    world.ok("all")
    world.forget_images()
    index = world.store / "index.json"
    index.write_text(index.read_text()[:-10])
    done = world.rbuild("all")
    assert done.returncode == 2
    assert f"{index}: is not the index" in done.stderr and f"hint: rm {index}" in done.stderr
    index.unlink()
    world.ok("all")
    assert_store_is_sound(world)


# The network


def test_a_network_that_recovers(fetching: World, site: Site) -> None:
    site.in_turn(Handler.refuse, Handler.half, Handler.half, Handler.whole)
    fetching.ok("all")
    assert len(site.asked) == 4
    assert_store_is_sound(fetching)


@pytest.mark.parametrize("answer", [Handler.half, Handler.refuse], ids=["half", "refuse"])
def test_a_network_that_does_not(fetching: World, site: Site, answer: Callable[[Handler], None]) -> None:
    site.answer = answer
    done = fetching.rbuild("all")
    error = done.stderr.partition("error:")[2]
    assert done.returncode == 2
    assert site.url in error and "Containerfile:2" in error
    assert "check the network" in error
    assert 3 <= len(site.asked) <= 5
    pauses = [after - before for before, after in itertools.pairwise(site.asked)]
    assert all(later > earlier * 1.1 for earlier, later in itertools.pairwise(pauses)), pauses
    assert not (fetching.project / "rbuild.lock").exists()
    assert scratch(fetching) == []
    assert_store_is_sound(fetching)
    assert_no_containers(fetching)
    site.answer = Handler.whole
    fetching.ok("all")


def test_a_server_that_goes_away_in_the_middle(fetching: World, site: Site) -> None:
    def last(handler: Handler) -> None:
        site.socket.close()
        handler.half()

    site.answer = last
    done = fetching.rbuild("all")
    assert done.returncode == 2
    assert site.url in done.stderr.partition("error:")[2]
    assert_store_is_sound(fetching)
