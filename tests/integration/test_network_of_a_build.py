"""What a build reads from the network: when it is read again, when a cached layer may stand for it, and what
is said when it cannot be had. The other side is a server of our own, whose pages change when told to.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard
from worlds import Layouts, World, project_file

LOOPBACK = {"RBUILD_ALLOW_LOOPBACK": "1"}


class Site(ThreadingHTTPServer):
    """Pages by path; `asked` are the paths that were asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.2", 0), Page)
        self.pages: dict[str, Any] = {}  # bytes, or what gives them when it is asked
        self.statuses: dict[str, int] = {}  # where it is another one
        self.asked: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.2:{self.server_address[1]}{path}"


class Page(BaseHTTPRequestHandler):
    server: Site  # type: ignore[assignment]

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        data = self.server.pages.get(self.path)
        if callable(data):
            data = data()
        self.send_response(self.server.statuses.get(self.path, 200 if data is not None else 404))
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def world(world: World) -> World:
    world.env.update(LOOPBACK)
    return world


def project(world: World, layouts: Layouts, containerfiles: dict[str, str], **more: Any) -> None:
    """A project with a stage for each Containerfile; `more` are further keys of each stage."""
    bases = layouts.install(world, "busybox", ("localhost/base:1",))
    stages = {
        name: {"containerfile": f"{name}.Containerfile", "context": "context", **more}
        for name in containerfiles
    }
    world.write({f"{name}.Containerfile": text for name, text in containerfiles.items()})
    world.write({"rbuild.yaml": project_file(bases, stages), "context/late.txt": "early\n"})


def read(world: World, stage: str, path: str) -> bytes:
    """A file as the highest layer of the locked image that has it says it."""
    for layer in reversed(world.lock["stages"][stage]["image"]["layers"]):
        blob = world.store / "blobs" / "sha256" / layer["blob"].removeprefix("sha256:")
        with (
            blob.open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            for entry in tar:
                if entry.name == path and (file := tar.extractfile(entry)):
                    return file.read()
    raise AssertionError(f"no layer of {stage} has {path}")


def forget_image(world: World, stage: str) -> None:
    """Remove a stage's image from the store; base, recording and Podman's caches stay."""
    manifest = world.digests()[stage].removeprefix("sha256:")
    (world.store / "blobs" / "sha256" / manifest).unlink()


DRAWS = """\
FROM localhost/base:1
ARG WHO=nobody
RUN busybox wget -q -O /page {page} && busybox cat /proc/sys/kernel/random/uuid > /drawn
COPY late.txt /
"""


def test_a_cached_layer_stands_only_for_what_it_was_made_of(
    world: World, layouts: Layouts, site: Site, tmp_path: Path
) -> None:
    site.pages["/page"] = b"one\n"
    project(world, layouts, {"draws": DRAWS.format(page=site.url("/page"))}, args={"WHO": "me"})
    world.ok("all")
    drawn = {read(world, "draws", "drawn")}
    recording = world.lock["stages"]["draws"]["recording"]
    assert [one["url"] for one in recording["responses"]] == [site.url("/page")]

    world.write({"context/late.txt": "late\n"})
    site.pages["/page"] = b"two\n"
    world.ok("all")
    assert read(world, "draws", "late.txt") == b"late\n"
    assert read(world, "draws", "page") == b"one\n"
    assert {read(world, "draws", "drawn")} == drawn, "an unchanged RUN ran again"
    assert world.lock["stages"]["draws"]["recording"] == recording
    assert site.asked == ["/page"]

    def changed(why: str) -> None:
        now = read(world, "draws", "drawn")
        assert now not in drawn, f"a stale layer was met: {why}"
        drawn.add(now)

    world.ok("lock", "--upgrade")
    changed("the recording was made anew")
    assert read(world, "draws", "page") == b"two\n"
    upgraded = world.lock["stages"]["draws"]

    text = (world.project / "rbuild.yaml").read_text()
    world.write({"rbuild.yaml": text.replace("WHO: me", "WHO: you")})
    world.ok("all")
    changed("a build arg")
    assert read(world, "draws", "page") == b"two\n"

    config = yaml.safe_load((world.project / "rbuild.yaml").read_text())
    world.write(
        {"again/Containerfile": "FROM localhost/base:1\nLABEL other=base\n", "again/context/.keep": ""}
    )
    other = {"containerfile": "again/Containerfile", "context": "again/context"}
    world.write({"rbuild.yaml": yaml.safe_dump({**config, "stages": {**config["stages"], "other": other}})})
    world.ok("build", "other")
    shutil.copytree(world.project / "bases" / "busybox", world.project / "bases" / "other")
    name_image(world.store, world.digests()["other"], world.project / "bases" / "other")
    config["bases"]["localhost/base:1"] = {"oci": "bases/other"}
    world.write({"rbuild.yaml": yaml.safe_dump(config)})
    world.ok("all")
    changed("the base")

    before = world.lock["stages"]["draws"]["epoch"]
    world.ok("lock", "--upgrade", env={"SOURCE_DATE_EPOCH": "1700000000"})
    changed("the epoch")
    assert world.lock["stages"]["draws"]["epoch"] == 1700000000 != before
    assert upgraded["image"] != world.lock["stages"]["draws"]["image"]


def name_image(store: Path, digest: str, layout: Path) -> None:
    """Make an image of the store the one image of a layout."""
    blobs, target = store / "blobs" / "sha256", layout / "blobs" / "sha256"
    data = (blobs / digest.removeprefix("sha256:")).read_bytes()
    manifest = json.loads(data)
    for name in (digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])):
        if not (target / name.removeprefix("sha256:")).exists():
            shutil.copy(blobs / name.removeprefix("sha256:"), target)
    index = json.loads((layout / "index.json").read_text())
    index["manifests"] = [{"mediaType": manifest["mediaType"], "digest": digest, "size": len(data)}]
    (layout / "index.json").write_text(json.dumps(index))


READS = """\
FROM localhost/base:1
RUN busybox wget -q -O /page {page}
RUN busybox wget -q -O /other {other} || true
COPY late.txt /
"""


def test_an_older_lock_brings_back_what_it_has_recorded(world: World, layouts: Layouts, site: Site) -> None:
    site.pages |= {"/page": b"one\n", "/other": b"other\n"}
    project(world, layouts, {"reads": READS.format(page=site.url("/page"), other=site.url("/other"))})
    world.ok("all")
    older = (world.project / "rbuild.lock").read_text()
    first = world.digests()
    forget_image(world, "reads")
    site.pages["/page"] = b"two\n"
    world.ok("lock", "--upgrade")
    assert world.digests() != first
    world.write({"rbuild.lock": older})
    world.ok("all", "--offline")
    assert world.digests() == first
    assert read(world, "reads", "page") == b"one\n"
    assert (world.project / "rbuild.lock").read_text() == older
    # A cached build's recording is that of a full one, though only the last step ran.
    full = world.lock["stages"]["reads"]["recording"]
    world.write({"context/late.txt": "late\n"})
    world.ok("all", "--offline")
    assert world.lock["stages"]["reads"]["recording"] == full
    assert len(full["responses"]) == 2


def test_what_was_recorded_and_is_gone_is_named(world: World, layouts: Layouts, site: Site) -> None:
    site.pages |= {"/page": b"one\n", "/other": b"other\n"}
    project(world, layouts, {"reads": READS.format(page=site.url("/page"), other=site.url("/other"))})
    world.ok("all")
    lock = (world.project / "rbuild.lock").read_bytes()
    digests = {one["url"]: one["sha256"] for one in world.lock["stages"]["reads"]["recording"]["responses"]}
    world.forget_images()
    world.forget_store()

    # What is still there under its sha256 is fetched again; what has other bytes now is an error, even
    # where the RUN does not mind.
    site.pages["/other"] = b"changed\n"
    done = world.rbuild("all")
    assert done.returncode == 2
    *_, problem, hint = done.stderr.strip().splitlines()
    for part in ("reads", "reads.Containerfile:3", site.url("/other"), digests[site.url("/other")]):
        assert part in problem, done.stderr
    assert site.url("/page") not in problem
    assert "rbuild lock --upgrade reads" in hint
    assert (world.project / "rbuild.lock").read_bytes() == lock

    world.ok("lock", "--upgrade", "reads")
    assert read(world, "reads", "other") == b"changed\n"


@pytest.mark.parametrize("mode", ["--offline", "--locked"])
def test_an_address_that_is_not_locked(world: World, layouts: Layouts, site: Site, mode: str) -> None:
    site.pages["/page"] = b"page\n"
    text = """\
FROM localhost/base:1
# one draws a new address each time
RUN busybox wget -q -O /page {page}
RUN busybox wget -q -O /new {page}?$(busybox cat /proc/sys/kernel/random/uuid) || true
"""
    project(world, layouts, {"asks": text.format(page=site.url("/page"))})
    site.pages = Everything(site.pages)
    world.ok("all")
    lock = (world.project / "rbuild.lock").read_bytes()
    asked = len(site.asked)
    forget_image(world, "asks")
    world.forget_images()
    done = world.rbuild("all", mode)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    for part in ("stage asks", "asks.Containerfile:4", site.url("/page?"), "rbuild lock asks"):
        assert part in last, done.stderr
    assert len(site.asked) == asked
    assert (world.project / "rbuild.lock").read_bytes() == lock


class Everything(dict[str, Any]):
    """A page for every path."""

    def get(self, path: str, default: Any = None) -> Any:
        return super().get(path, b"page\n")


def test_a_stale_lock_under_locked_fails_before_anything_is_built(
    world: World, layouts: Layouts, site: Site
) -> None:
    site.pages["/page"] = b"page\n"
    project(world, layouts, {"reads": READS.format(page=site.url("/page"), other=site.url("/page"))})
    world.ok("all")
    images = world.podman("images", "--all", "--quiet")
    world.write({"context/late.txt": "late\n"})
    done = world.rbuild("all", "--locked")
    assert done.returncode == 1
    assert "stage reads is out of date (file: late.txt changed)" in done.stderr
    assert world.podman("images", "--all", "--quiet") == images


PRINTS = """\
FROM localhost/base:1
RUN busybox wget -q -O /page {page}
RUN busybox wget -q -O /other {other} && echo 'STEP 4/5: RUN busybox wget -q -O /last {last}' && \\
    busybox wget -q -O /more {more}
RUN busybox wget -q -O /last {last}
COPY late.txt /
"""


def test_no_read_is_lost_though_a_run_prints_what_podman_prints(
    world: World, layouts: Layouts, site: Site
) -> None:
    """The step that comes next, word for word: what was read before would be of no layer."""
    site.pages = Everything()
    urls = {name: site.url(f"/{name}") for name in ("page", "other", "more", "last")}
    world.env["SOURCE_DATE_EPOCH"] = "1700000000"
    project(world, layouts, {"reads": PRINTS.format(**urls)})
    world.ok("all")
    recording = world.lock["stages"]["reads"]["recording"]
    assert {one["url"] for one in recording["responses"]} == set(urls.values())
    first = world.digests()
    # All layers but the last are of the build before, and then of one that nobody doubts.
    for text in ("late\n", "later\n"):
        world.write({"context/late.txt": text})
        world.ok("all")
        assert world.lock["stages"]["reads"]["recording"] == recording
    world.write({"context/late.txt": "early\n"})
    world.ok("all", "--offline")
    assert world.digests() == first
    # Without a lock, nothing else says what the layers have read.
    (world.project / "rbuild.lock").unlink()
    world.ok("all")
    assert world.lock["stages"]["reads"]["recording"] == recording


SOMETIMES = """\
FROM localhost/base:1
RUN busybox wget -q -O /page {page}
RUN --mount=type=secret,id=mode busybox grep -q less /run/secrets/mode || busybox wget -q -O /other {other}
"""


def test_under_locked_what_is_built_is_what_is_locked(world: World, layouts: Layouts, site: Site) -> None:
    """The image is not in the store, and a RUN reads less than is locked: what it goes by is no input."""
    site.pages = Everything()
    text = SOMETIMES.format(page=site.url("/page"), other=site.url("/other"))
    project(world, layouts, {"reads": text}, secrets={"mode": {"env": "MODE"}})
    world.ok("all", env={"MODE": "read more"})
    path = world.project / "rbuild.lock"
    lock, first = path.read_bytes(), world.digests()
    forget_image(world, "reads")
    world.forget_images()
    for command in (("all", "--locked"), ("build", "reads", "--locked", "--no-load")):
        done = world.rbuild(*command, env={"MODE": "read less"})
        assert done.returncode == 1, done.stderr
        error = done.stderr.partition("error: ")[2]
        for part in (
            "rbuild.lock stages.reads: ",
            f"it did not read {site.url('/other')}",
            "hint: rbuild build",
        ):
            assert part in error
        assert site.url("/page") not in error
        assert path.read_bytes() == lock
        assert "localhost/demo/reads" not in world.podman("images")
    world.ok("all", "--locked", env={"MODE": "read more"})
    assert world.digests() == first and path.read_bytes() == lock
    forget_image(world, "reads")
    world.ok("all", env={"MODE": "read less"})  # the layers are cached, and say what they have read
    assert path.read_bytes() == lock


NOT_ANSWERED = """\
FROM localhost/base:1
# answered well, refused, not answered by anyone
RUN busybox wget -q -O /page {page}
RUN busybox wget -q -O /dev/null {refused} || busybox true
RUN busybox wget -q -O /dev/null {broken} || busybox true
"""


def test_a_request_that_no_replay_can_answer_is_warned_of(world: World, layouts: Layouts, site: Site) -> None:
    site.pages["/page"] = b"page\n"
    site.statuses |= {"/refused": 401, "/broken": 500}
    urls = {name: site.url(f"/{name}") for name in ("page", "refused", "broken")}
    project(world, layouts, {"asks": NOT_ANSWERED.format(**urls)})
    done = world.ok("all")
    (warning,) = (line for line in done.stderr.splitlines() if "warning: " in line)
    for part in ("asks.Containerfile:5", urls["broken"], "answered 500", "rbuild verify"):
        assert part in warning, done.stderr
    assert "hint: leave the request out, or rbuild lock --upgrade asks" in done.stderr
    recorded = {
        one["url"]: one.get("status", 200) for one in world.lock["stages"]["asks"]["recording"]["responses"]
    }
    assert recorded == {urls["page"]: 200, urls["refused"]: 401}
    forget_image(world, "asks")
    world.forget_images()
    done = world.rbuild("all", "--offline")
    assert done.returncode == 1
    assert urls["broken"] in done.stderr.strip().splitlines()[-1]
    assert f"{urls['refused']}: GET" not in done.stderr


UPDATES = """\
FROM localhost/base:1
RUN rm -rf /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] {archive} ./' > /etc/apt/sources.list && \\
    apt-get -o APT::Update::Error-Mode=any update
"""


def test_a_package_index_that_has_expired_is_replayed(world: World, layouts: Layouts, site: Site) -> None:
    """Years later the same bytes are no staler than they were for the image that is to come out again."""
    bases = layouts.install(world, "python", ("localhost/base:1",))
    packages = b""
    valid: list[bytes] = []
    ends = 0.0

    def release() -> bytes:
        """One that is valid when it is asked for first, and not for long."""
        nonlocal ends
        if not valid:
            ends = time.time() + 60
            dates = (formatdate(time.time(), usegmt=True), formatdate(ends, usegmt=True))
            sums = f"SHA256:\n {hashlib.sha256(packages).hexdigest()} {len(packages)} Packages\n"
            valid.append("Date: {}\nValid-Until: {}\n{}".format(*dates, sums).encode())
        return valid[0]

    site.pages |= {"/debian/Packages": packages, "/debian/Release": release}
    stages = {"updates": {"containerfile": "Containerfile", "context": "context"}}
    world.write(
        {
            "Containerfile": UPDATES.format(archive=site.url("/debian")),
            "context/.keep": "",
            "rbuild.yaml": project_file(bases, stages),
        }
    )
    world.ok("all")
    time.sleep(max(0, ends + 1 - time.time()))
    (verified,) = world.json("verify")
    assert verified["verdict"] == "identical"
    # To record anew is another matter: who asks for newer packages is told that there are none.
    done = world.rbuild("lock", "--upgrade")
    assert done.returncode != 0
    assert "is expired" in done.stderr or "is not valid" in done.stderr
