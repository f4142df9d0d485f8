"""`rbuild verify`: its verdicts and what they are written as, on a project that is built once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
import zstandard
from worlds import Layouts, World, lock_with_codec, make_world, project_file, remove_world

from rbuild.image.codec import DEFAULT

CONTAINERFILES = {
    "steady": """\
FROM localhost/base:1
COPY . /data/
RUN busybox hostname > /caller; umask >> /caller; busybox env | busybox sort >> /caller; \\
    busybox ls /data >> /caller; busybox date +%Z >> /caller
""",
    "drawn": """\
FROM localhost/base:1
LABEL a=b
# Nobody knows what comes out of this.
RUN busybox cat /proc/sys/kernel/random/uuid > /etc/drawn
""",
    "host": """\
FROM localhost/base:1
RUN busybox nproc > /cpus
RUN busybox date +%Y > /year
RUN --mount=type=secret,id=key busybox test -s /run/secrets/key && \\
    busybox hostname > /caller; umask >> /caller; busybox date +%Z >> /caller
COPY . /data/
""",
}


@pytest.fixture(scope="module")
def built(layouts: Layouts) -> Iterator[World]:
    """A project whose stages are all built."""
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    made = make_world(folder)
    bases = layouts.install(made, "tiny", ("localhost/base:1",))
    stages: dict[str, dict[str, Any]] = {
        name: {"containerfile": f"{name}.Containerfile", "context": "context"} for name in CONTAINERFILES
    }
    stages["host"]["secrets"] = {"key": {"file": "private/key"}}
    made.write({f"{name}.Containerfile": text for name, text in CONTAINERFILES.items()})
    made.write(
        {
            "rbuild.yaml": project_file(bases, stages),
            "private/key": "correct horse battery staple\n",
            "context/a/b.txt": "b\n",
            "context/c.txt": "c\n",
            "context/left-out.txt": "no\n",
            "context/.containerignore": "left-out.txt\n",
        }
    )
    made.ok("all")
    made.ok("status")  # parses the lock that was written, and keeps that
    yield made
    remove_world(made)
    shutil.rmtree(folder)


@pytest.fixture
def copy(built: World, folder: Path) -> World:
    """The built project in a folder of its own, with the same store and storage."""
    project = folder / "project"
    shutil.copytree(built.project, project, copy_function=shutil.copy2)
    return dataclasses.replace(built, project=project)


def kept(world: World) -> dict[str, tuple[int, int]]:
    """Every file of the store but for logs and what was verified: its size and time."""
    own = (world.store / "logs", world.store / "verifications")
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(world.store.rglob("*"))
        if path.is_file() and not any(path.is_relative_to(folder) for folder in own)
    }


def edit_lock(world: World, stage: str, **changes: Any) -> None:
    """Change what the lock has for a stage's image."""
    lock = world.lock
    lock["stages"][stage]["image"].update(changes)
    (world.project / "rbuild.lock").write_text(yaml.safe_dump(lock))


# Verdicts


def test_verdicts_leave_no_trace(copy: World) -> None:
    images, before = copy.podman("images", "--all", "--quiet", "--no-trunc"), kept(copy)
    lock = (copy.project / "rbuild.lock").read_bytes()
    done = copy.rbuild("verify", "steady", "drawn", "--offline", "--quiet")
    assert done.returncode == 1, done.stderr
    steady, drawn, *_ = done.stdout.splitlines()
    assert steady == f"steady  identical  {copy.digests()['steady']}"
    assert re.fullmatch(
        rf"drawn   different  locked {copy.digests()['drawn']}, built sha256:[0-9a-f]{{64}}"
        r"  differs in: config, layer 2",
        drawn,
    )
    assert "drawn.Containerfile:4 RUN busybox cat" in done.stdout
    assert "/etc/drawn" in done.stdout
    assert re.search(r"cause UUID: line 1 holds [0-9a-f-]{36}", done.stdout)
    assert "hint: derive it" in done.stdout
    assert done.stderr == ""
    assert kept(copy) == before
    assert copy.podman("images", "--all", "--quiet", "--no-trunc") == images
    assert (copy.project / "rbuild.lock").read_bytes() == lock
    assert list((copy.store / "tmp").iterdir()) == []
    for stage, result in (("steady", "identical"), ("drawn", "different")):
        image = copy.digests()[stage].removeprefix("sha256:")
        (note,) = (copy.store / "verifications").glob(f"{image}-*.json")
        assert json.loads(note.read_text())["result"] == result


def test_json_has_the_comparison(copy: World) -> None:
    done = copy.rbuild("verify", "drawn", "--output-format", "json", "--report", "page.html")
    assert done.returncode == 1, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["verdict"] == found["comparison"]["verdict"] == "different"
    assert found["comparison"]["b"]["digest"] == found["built"] != found["locked"]
    (layer,) = [one for one in found["comparison"]["differences"] if one["part"] == "layer"]
    assert (layer["blame"]["file"], layer["blame"]["line"]) == ("drawn.Containerfile", 4)
    assert [one["cause"]["id"] for one in layer["children"]] == ["uuid"]
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()][-1] == "stage-done"
    page = (copy.project / "page.html").read_text()
    assert "/etc/drawn" in page and found["locked"] in page


def test_junit(copy: World) -> None:
    copy.write({"steady.Containerfile": "FROM localhost/base:1\n"})
    done = copy.rbuild("verify", "drawn", "steady", "--output-format", "junit")
    assert done.returncode == 2
    (suite,) = ElementTree.fromstring(done.stdout)
    counts = [suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["2", "1", "1", "0"]
    failure, error = suite.find("testcase/failure"), suite.find("testcase/error")
    assert failure is not None and failure.text and error is not None and error.text
    assert "drawn.Containerfile:4: /etc/drawn: UUID: line 1 holds" in failure.text
    assert "(containerfile: changed)" in error.text and "hint: rbuild lock steady" in error.text
    assert float(suite.attrib["time"]) > 0


def test_github(copy: World) -> None:
    around = {"GITHUB_WORKSPACE": str(copy.project.parent)}
    done = copy.rbuild("verify", "drawn", "--quiet", "--output-format", "github", env=around)
    assert done.returncode == 1, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(
        "::error file=project/drawn.Containerfile,line=4,title=drawn%3A different::/etc/drawn: UUID: "
    )


# Could not tell


def test_a_lock_that_does_not_fit(copy: World) -> None:
    copy.write({"context/c.txt": "changed\n"})
    done = copy.rbuild("verify", "steady", "--accept", "same-content")
    assert done.returncode == 2
    assert done.stdout == "steady  could not tell\n"
    assert "does not fit the files of stage steady (file: c.txt changed)" in done.stderr
    assert "hint: rbuild lock steady, then rbuild verify steady" in done.stderr
    (line,) = copy.rbuild("verify", "steady", "--output-format", "github").stdout.splitlines()
    assert line.startswith("::error file=rbuild.lock,title=steady%3A could not tell::")


# Same content


OTHER_CODEC = "zstd:3:1.4.9"


def repacked(world: World, stage: str) -> str:
    """Lock an image of the same files as an rbuild with another libzstd does; gives the last layer's blob."""
    blobs = world.store / "blobs" / "sha256"
    lock = world.lock
    image = lock["stages"][stage]["image"]
    manifest = json.loads((blobs / image["manifest"].removeprefix("sha256:")).read_bytes())
    own = image["layers"][-1]
    plain = zstandard.decompress((blobs / own["blob"].removeprefix("sha256:")).read_bytes(), 1 << 26)
    packed = zstandard.compress(plain, level=19)

    def put(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return f"sha256:{digest}"

    own |= {"blob": put(packed), "size": len(packed)}
    manifest["layers"][-1] |= {"digest": own["blob"], "size": own["size"]}
    image["manifest"] = put(json.dumps(manifest).encode())
    lock_with_codec(world, lock, stage, OTHER_CODEC)
    return str(own["blob"])


def test_same_content(copy: World) -> None:
    blob = repacked(copy, "steady")
    lock = (copy.project / "rbuild.lock").read_bytes()
    assert copy.ok("status", "steady").stdout == "steady  up to date\n"
    done = copy.rbuild("verify", "steady", "--quiet")
    assert done.returncode == 1, done.stderr
    assert re.fullmatch(
        r"steady  same content  locked sha256:\w+, built sha256:\w+  differs in: compression of layer 3\n"
        r"note: stage steady: it is locked with the codec zstd:3:1\.4\.9, and this rbuild has libzstd .*\n",
        done.stdout,
    )
    accepted = copy.rbuild("verify", "steady", "--accept", "same-content", "--output-format", "github")
    assert accepted.returncode == 0, accepted.stderr
    assert accepted.stdout.startswith("::notice title=steady%3A same content::")

    # What is there stays as it is; what has to be made again does not get another digest unasked.
    (result,) = copy.json("build", "--locked", "--no-load", "steady")
    assert result["outcome"] == "up to date"
    (copy.store / "blobs" / "sha256" / blob.removeprefix("sha256:")).unlink()
    gone = copy.rbuild("build", "steady")
    assert gone.returncode == 1, gone.stdout + gone.stderr
    said = re.sub(r"\s+", " ", gone.stderr)
    assert f"it is locked with the codec {OTHER_CODEC}, and this rbuild has libzstd" in said
    assert "the content is what is locked, and its layers are compressed otherwise" in said
    assert "rbuild lock --upgrade steady accepts a new image" in said
    assert (copy.project / "rbuild.lock").read_bytes() == lock

    # What changed anyway is locked with the library that wrote it.
    copy.write({"context/c.txt": "changed\n"})
    copy.ok("build", "steady")
    assert copy.lock["stages"]["steady"]["codec"] == str(DEFAULT)
    assert copy.ok("status", "steady").stdout == "steady  up to date\n"
    assert copy.json("verify", "steady")[0]["verdict"] == "identical"


def test_different_without_the_locked_image(copy: World) -> None:
    gone = hashlib.sha256(b"gone").hexdigest()
    layers = copy.lock["stages"]["steady"]["image"]["layers"]
    layers[-1] = {"blob": f"sha256:{gone}", "diff_id": f"sha256:{gone}", "size": 1}
    edit_lock(copy, "steady", layers=layers, manifest=f"sha256:{gone}")
    done = copy.rbuild("verify", "steady", "--quiet")
    assert done.returncode == 1, done.stderr
    assert "differs in: layer 3\n" in done.stdout
    assert "the locked image is not in the store" in done.stdout


# Network


class Site(ThreadingHTTPServer):
    asked = 0


class Page(BaseHTTPRequestHandler):
    server: Site  # type: ignore[assignment]

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"page\n")

    def log_message(self, *_arguments: object) -> None:
        pass


def test_nothing_is_asked_for_what_is_in_the_store(world: World, layouts: Layouts) -> None:
    bases = layouts.install(world, "tiny", ("localhost/base:1",))
    world.env["RBUILD_ALLOW_LOOPBACK"] = "1"
    with Site(("127.0.0.2", 0), Page) as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        url = f"http://127.0.0.2:{site.server_address[1]}/page"
        stage = {"containerfile": "Containerfile", "context": "context"}
        world.write(
            {
                "rbuild.yaml": project_file(bases, {"reader": stage}),
                "Containerfile": f"FROM localhost/base:1\nRUN busybox wget -q -O /page {url}\n",
                "context/.keep": "",
            }
        )
        world.ok("all")
        asked = site.asked
        shutil.rmtree(world.project / "bases/tiny/blobs")  # what is in the store is not looked for again
        (found,) = world.json("verify")
        site.shutdown()
        thread.join()
    assert found["verdict"] == "identical"
    assert site.asked == asked == 1

    page = world.lock["stages"]["reader"]["recording"]["responses"][0]["sha256"]
    (world.store / "blobs" / "sha256" / page.removeprefix("sha256:")).unlink()
    done = world.rbuild("verify", "--offline", "--quiet", "--output-format", "github")
    assert done.returncode == 2
    assert done.stdout.startswith("::error file=Containerfile,line=2,title=reader%3A could not tell::")
    assert url in done.stderr


# Varied conditions


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="needs a second CPU to leave out")
def test_vary_names_the_conditions_that_matter(copy: World) -> None:
    before = kept(copy)
    done = copy.rbuild("verify", "host", "--vary", "--json")
    assert done.returncode == 1, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["verdict"] == "identical"
    trials = {trial["condition"]: trial for trial in found["trials"]}
    assert {name: trial["effect"] for name, trial in trials.items()} == {
        "moment": "no change",
        "clock": "changes the digest",
        "hostname": "no change",
        "cpus": "changes the digest",
        "umask": "no change",
        "path": "no change",
        "order": "no change",
        "jobs": "not varied",
        "environment": "no change",
        "driver": "no change",
        "isolation": "no change",
    }
    assert '{"event":"note","text":"varied: cpus: changes the digest (host)"}' in done.stderr.splitlines()
    assert changed(trials["cpus"]) == (2, "/cpus")
    assert changed(trials["clock"]) == (3, "/year")
    assert kept(copy) == before


def changed(trial: Any) -> tuple[int, str]:
    """The line of the Containerfile and the name of the one entry that differs."""
    (layer,) = [one for one in trial["comparison"]["differences"] if one["part"] == "layer"]
    (entry,) = layer["children"]
    return layer["blame"]["line"], entry["name"]
