"""`rbuild pull`, and images that `rbuild all` fetches instead of building them."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from registries import PASSWORD, Registry, registry
from worlds import World, make_world, remove_world

STAGES = ("one", "two")
SHARED = 300_000  # bytes that no compressor makes smaller


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    """Two stages that share a layer, locked and in the store; no test may change them."""
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    world = make_world(folder)
    stages = {name: {"containerfile": f"{name}.Containerfile", "context": "files"} for name in STAGES}
    world.write(
        {
            **{f"{name}.Containerfile": f"FROM scratch\nCOPY shared /\nCOPY {name} /\n" for name in STAGES},
            **{f"files/{name}": f"{name}\n" for name in STAGES},
            "rbuild.yaml": yaml.safe_dump({"project": "demo", "stages": stages}),
        }
    )
    (world.project / "files/shared").write_bytes(os.urandom(SHARED))
    world.ok("all")
    yield world
    remove_world(world)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(built: World) -> Iterator[Registry]:
    """A registry that skopeo brought the images to; no test may change it."""
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    with registry(folder) as running:
        for name in STAGES:
            argv = ["skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
            target = f"docker://{running.host}/team/demo/{name}:latest"
            subprocess.run([*argv, f"oci:{built.store}:demo/{name}", target], env=built.env, check=True)
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def machine(built: World, folder: Path) -> Iterator[World]:
    """A checkout of the project on a machine that has no images at all."""
    world = make_world(folder)
    shutil.rmtree(world.project)
    shutil.copytree(built.project, world.project, ignore=shutil.ignore_patterns(".rbuild"))
    yield world
    remove_world(world)


@contextmanager
def copied(server: Registry, folder: Path) -> Iterator[Registry]:
    """A registry with the same images, which a test may change."""
    shutil.copytree(server.storage, folder / "storage")
    with registry(folder, storage=folder / "storage") as running:
        yield running


def spoil(server: Registry, digest: str) -> None:
    """Change a byte of a blob in a registry's storage."""
    digits = digest.removeprefix("sha256:")
    path = server.storage / "docker/registry/v2/blobs/sha256" / digits[:2] / digits / "data"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def in_podman(world: World, stage: str) -> str:
    argv = ("image", "inspect", "--format", "{{.Digest}}", f"localhost/demo/{stage}:latest")
    return world.podman(*argv).strip()


def blobs(world: World) -> dict[str, int]:
    """All that the images consist of, by digest, with sizes."""
    names = set()
    for stage in world.lock["stages"].values():
        image = stage["image"]
        names |= {image["manifest"], image["config"], *(layer["blob"] for layer in image["layers"])}
    folder = world.store / "blobs" / "sha256"
    return {name: (folder / name.removeprefix("sha256:")).stat().st_size for name in names}


def test_pull_into_an_empty_store(machine: World, built: World, server: Registry) -> None:
    place = f"{server.host}/team"
    found = machine.json("pull", "--from", place)
    assert {one["stage"]: one["digest"] for one in found} == built.digests()
    assert {one["registry"] for one in found} == {place}
    # What the two share was fetched once.
    assert sum(one["blobs"] for one in found) == len(blobs(built))
    assert sum(one["size"] for one in found) == sum(blobs(built).values())
    assert {name: in_podman(machine, name) for name in STAGES} == built.digests()
    assert blobs(machine) == blobs(built)
    assert [one["outcome"] for one in machine.json("all", "--offline", "--locked")] == ["up to date"] * 2

    # A layer is lost, another is damaged: these two are fetched, and nothing else.
    layers = machine.lock["stages"]["one"]["image"]["layers"]
    lost, damaged = (machine.store / "blobs/sha256" / one["blob"].removeprefix("sha256:") for one in layers)
    lost.unlink()
    damaged.chmod(0o644)
    damaged.write_bytes(bytes(len(damaged.read_bytes())))
    done = machine.ok("pull", "one", "--from", place, "--json")
    (again,) = json.loads(done.stdout)
    assert (again["blobs"], again["size"]) == (2, sum(one["size"] for one in layers))
    assert "was damaged in the store" in done.stderr
    assert blobs(machine) == blobs(built)

    (same,) = machine.json("pull", "two", "--from", "localhost:1")  # asks nobody: all is here
    assert (same["registry"], same["blobs"]) == (None, 0)


def test_pull_needs_somewhere_to_pull_from_and_something_locked(machine: World, server: Registry) -> None:
    nowhere = machine.rbuild("pull")
    assert nowhere.returncode == 2
    assert "nobody says where from" in nowhere.stderr
    configure(machine, registry=f"{server.host}/team")
    assert f"from {server.host}/team (4 blobs, " in machine.ok("pull", "one").stdout
    assert machine.ok("pull", "one").stdout.endswith("was here\n")
    (machine.project / "rbuild.lock").unlink()
    unlocked = machine.rbuild("pull")
    assert unlocked.returncode == 2
    assert "stage one is not in the lock" in unlocked.stderr


def configure(world: World, **more: Any) -> None:
    path = world.project / "rbuild.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **more}))


def test_pull_refuses_what_is_not_locked(machine: World, server: Registry, folder: Path) -> None:
    with copied(server, folder) as running:
        top = machine.lock["stages"]["one"]["image"]["layers"][-1]["blob"]
        spoil(running, top)
        done = machine.rbuild("pull", "--from", f"{running.host}/team", "--json")
        assert done.returncode == 2
        one, two = json.loads(done.stdout)
        assert (two["registry"], two["error"]) == (f"{running.host}/team", None)
        (problem,) = one["error"]
        assert "other bytes" in problem["what"]
        assert problem["where"]["url"] == f"{running.host}/team/demo/one"
        assert not (machine.store / "blobs/sha256" / top.removeprefix("sha256:")).exists()
        assert "localhost/demo/one" not in machine.podman("images")

        absent = machine.rbuild("pull", "one", "--from", running.host)
        assert absent.returncode == 2
        assert "does not have the image of stage one" in absent.stderr
        assert f"hint: rbuild push one --to {running.host}" in absent.stderr


def test_without_loading_podman_gets_nothing(machine: World, built: World, server: Registry) -> None:
    pulled = machine.json("pull", "--no-load", "--from", f"{server.host}/team")
    assert {one["stage"]: one["digest"] for one in pulled} == built.digests()
    assert "localhost/demo" not in machine.podman("images")
    assert [one["outcome"] for one in machine.json("all", "--no-load")] == ["up to date"] * 2


def test_what_is_locked_is_fetched_instead_of_built(machine: World, built: World, server: Registry) -> None:
    lock = (machine.project / "rbuild.lock").read_bytes()
    place = f"{server.host}/team"
    configure(machine, substitutes=[place])
    done = machine.ok("all", "--json")
    found = json.loads(done.stdout)
    assert {one["stage"]: one["digest"] for one in found} == built.digests()
    assert [(one["outcome"], one["registry"]) for one in found] == [("fetched", place)] * 2
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["outcome"] for event in events if event["event"] == "stage-done"] == [
        f"fetched from {place}"
    ] * 2
    assert not [event for event in events if event["event"] == "step-started"]
    assert {name: in_podman(machine, name) for name in STAGES} == built.digests()
    assert (machine.project / "rbuild.lock").read_bytes() == lock
    assert blobs(machine) == blobs(built)

    # What is damaged is fetched, too, and nothing but that.
    machine.forget_images()
    top = machine.lock["stages"]["one"]["image"]["layers"][-1]
    path = machine.store / "blobs/sha256" / top["blob"].removeprefix("sha256:")
    path.chmod(0o644)
    path.write_bytes(bytes(top["size"]))
    outcomes = {one["stage"]: (one["outcome"], one["registry"]) for one in machine.json("all")}
    assert outcomes == {"one": ("fetched", place), "two": ("loaded", None)}

    # What changed is built; the rest stays.
    machine.write({"two.Containerfile": "FROM scratch\nCOPY two /\n"})
    outcomes = {one["stage"]: (one["outcome"], one["registry"]) for one in machine.json("all")}
    assert outcomes == {"one": ("up to date", None), "two": ("built", None)}


def test_from_comes_before_the_projects_substitutes(machine: World, server: Registry) -> None:
    configure(machine, substitutes=[f"{server.host}/nothing-here"])
    said = machine.ok("build", "one", "--from", f"{server.host}/team").stdout
    assert said.split() == [
        *("one", "fetched", machine.digests()["one"], "from", f"{server.host}/team"),
    ]
    done = machine.ok("build", "two", "--from", f"{server.host}/nor-here", "--from", f"{server.host}/team")
    assert f"from {server.host}/team" in done.stdout
    assert f"{server.host}/nor-here/demo/two" in done.stderr
    assert "nothing-here/demo" not in done.stderr


def outcome(world: World, *arguments: str) -> tuple[str, str | None, str]:
    """What `rbuild build one` did, from where, and what it said."""
    done = world.ok("build", "one", *arguments, "--json")
    (found,) = json.loads(done.stdout)
    assert found["digest"] == world.digests()["one"]
    return found["outcome"], found["registry"], done.stderr


def test_a_registry_with_other_bytes_is_named_and_the_stage_built(
    machine: World, built: World, server: Registry, folder: Path
) -> None:
    with copied(server, folder) as running:
        spoil(running, machine.lock["stages"]["one"]["image"]["layers"][-1]["blob"])
        came, source, said = outcome(machine, "--from", f"{running.host}/team")
        assert (came, source) == ("built", None)
        assert "other bytes under this digest" in said
        assert f"{running.host}/team/demo/one" in said

        # One that is honest is asked next.
        machine.forget_images()
        machine.forget_store()
        arguments = ("--from", f"{running.host}/team", "--from", f"{server.host}/team")
        came, source, said = outcome(machine, *arguments)
        assert (came, source) == ("fetched", f"{server.host}/team")
        assert "other bytes under this digest" in said

        # Nor is an altered manifest taken for the one that is locked.
        machine.forget_images()
        machine.forget_store()
        spoil(running, machine.digests()["one"])
        came, source, said = outcome(machine, "--from", f"{running.host}/team")
        assert (came, source) == ("built", None)
        assert f"{running.host}/team/demo/one" in said
    assert machine.digests() == built.digests()


class Ear:
    """A port that hears whether anybody calls, and hangs up."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"localhost:{self._server.getsockname()[1]}"
        self.calls = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            self._server.accept()[0].close()
            self.calls += 1


def test_a_registry_that_does_not_answer_is_done_without(machine: World) -> None:
    ear = Ear()
    configure(machine, substitutes=[ear.host])
    assert outcome(machine, "--offline")[0] == "built"
    assert ear.calls == 0

    machine.forget_images()
    machine.forget_store()
    done = machine.ok("all", "--jobs", "1", "--json")
    assert [one["outcome"] for one in json.loads(done.stdout)] == ["built", "built"]
    assert re.search(rf"{re.escape(ear.host)}/demo/(one|two)", done.stderr), done.stderr
    assert 0 < ear.calls <= 4  # not once more for each stage

    wrong = machine.rbuild("all", "--from", "not a registry")
    assert wrong.returncode == 2
    assert "not a registry" in wrong.stderr


def test_a_registry_that_asks_who_one_is(machine: World, built: World, folder: Path) -> None:
    with registry(folder, users=True) as closed:
        known = closed.log_in(folder)
        stranger = {"SSL_CERT_FILE": known["SSL_CERT_FILE"]}
        built.ok("push", "one", "--to", closed.host, env=known)

        refused = machine.rbuild("pull", "one", "--from", closed.host, env=stranger)
        assert refused.returncode == 2
        assert f"hint: podman login {closed.host}" in refused.stderr
        untrusted = machine.rbuild("pull", "one", "--from", closed.host)
        assert untrusted.returncode == 2
        assert "certificate is not trusted" in untrusted.stderr

        done = machine.ok("pull", "one", "--from", closed.host, env=known)
        assert f"from {closed.host} (4 blobs, " in done.stdout
        assert PASSWORD not in done.stdout + done.stderr + refused.stderr
        assert in_podman(machine, "one") == built.digests()["one"]

        machine.forget_store()
        careless = ("build", "one", "--from", closed.host, "--insecure", closed.host, "--json")
        auth = {"REGISTRY_AUTH_FILE": known["REGISTRY_AUTH_FILE"]}
        (found,) = json.loads(machine.ok(*careless, env=auth).stdout)
        assert (found["outcome"], found["registry"]) == ("fetched", closed.host)


def test_a_stage_compared_with_what_others_pushed(machine: World, server: Registry) -> None:
    machine.ok("pull", "one", "--from", f"{server.host}/team")
    found = machine.json("diff", "one", f"docker://{server.host}/team/demo/one:latest")
    assert found["comparison"]["verdict"] == "identical"
    target = f"{server.host}/by-podman/one:latest"
    machine.podman("push", "--quiet", "--tls-verify=false", "localhost/demo/one:latest", target)
    done = machine.rbuild("diff", "one", f"docker://{target}", "--accept", "same-content", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["comparison"]["verdict"] in ("identical", "same content")
    other = machine.rbuild("diff", "one", f"docker://{server.host}/team/demo/two:latest", "--json")
    assert other.returncode == 1
