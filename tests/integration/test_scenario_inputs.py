"""What a build reads beside its files: content with a checksum, and caches that one RUN fills for another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pages
import pytest
from generated import PAGE_TEXT
from worlds import Layouts, World, project_file

SUM = hashlib.sha256(PAGE_TEXT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def site(world: World) -> Iterator[str]:
    world.env["RBUILD_ALLOW_LOOPBACK"] = "1"
    with pages.served() as url:
        yield url


def lay_out(world: World, layouts: Layouts, containerfile: str) -> None:
    bases = layouts.install(world, "tiny", ("localhost/base:1",))
    stages = {"one": {"containerfile": "Containerfile", "context": "context"}}
    world.write(
        {
            "rbuild.yaml": project_file(bases, stages),
            "Containerfile": containerfile,
            "context/late.txt": "early\n",
        }
    )


@pytest.mark.parametrize("page", ["text.txt", "moved"])
def test_content_without_its_checksum_reaches_no_run(
    world: World, layouts: Layouts, site: str, page: str
) -> None:
    text = f"FROM localhost/base:1\nADD --checksum=sha256:{{}} {site}/{page} /page\nRUN echo reached\n"
    lay_out(world, layouts, text.format(OTHER))
    refused = world.rbuild("all")
    assert refused.returncode == 2
    assert f"/text.txt: stage one: the content is sha256:{SUM}, and must be sha256:{OTHER}" in refused.stderr
    assert "Containerfile:2" in refused.stderr
    assert "step 3" not in refused.stderr
    world.write({"Containerfile": text.format(SUM)})
    world.ok("all")
    # What is locked, and cached by Podman, is held against a checksum that is changed later.
    world.write({"Containerfile": text.format(OTHER)})
    assert f"must be sha256:{OTHER}" in world.rbuild("all").stderr


@pytest.mark.parametrize(
    "add",
    [
        f"ADD --checksum=sha256:{SUM} late.txt /here",
        f"ADD --checksum=sha256:{SUM} http://192.0.2.1/a http://192.0.2.1/b /here/",
        "ADD --checksum=md5:0 http://192.0.2.1/a /here",
    ],
)
def test_a_checksum_that_cannot_be_checked(world: World, layouts: Layouts, add: str) -> None:
    lay_out(world, layouts, f"FROM localhost/base:1\n{add}\n")
    refused = world.rbuild("all")
    assert refused.returncode == 2
    assert "Containerfile:2: ADD --checksum" in refused.stderr


def test_a_cache_is_filled_by_the_runs_before_and_by_no_other_build(world: World, layouts: Layouts) -> None:
    lay_out(
        world,
        layouts,
        "FROM localhost/base:1\n"
        "RUN --mount=type=cache,target=/cache ls /cache > /first && echo one > /cache/one\n"
        "COPY late.txt /\n"
        "RUN --mount=type=cache,target=/cache ls /cache > /second && echo two > /cache/two\n",
    )
    world.ok("all")
    # The first RUN has not changed; had its layer come from the cache, the second would find nothing.
    world.write({"context/late.txt": "late\n"})
    world.ok("all")
    said = world.podman(
        "run", "--rm", "--network", "none", "localhost/demo/one", "sh", "-c", "cat /first; echo; cat /second"
    )
    assert said == "\none\n"
    (verified,) = world.json("verify")
    assert verified["verdict"] == "identical"
