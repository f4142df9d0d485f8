"""`rbuild push` into Debian's docker-registry: open, with users over TLS, read-only."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from registries import PASSWORD, Registry, registry
from worlds import World, make_world, remove_world

STAGES = ("prepare", "train", "infer")
SHARED = 700_000  # bytes that no compressor makes smaller


def write_project(world: World, **more: Any) -> None:
    stages = {name: {"containerfile": f"{name}.Containerfile", "context": "files"} for name in STAGES}
    files = {f"{name}.Containerfile": f"FROM scratch\nCOPY shared /\nCOPY {name} /\n" for name in STAGES}
    world.write(
        {
            **files,
            **{f"files/{name}": f"{name}\n" for name in STAGES},
            ".gitignore": "/.rbuild/\n",
            "rbuild.yaml": yaml.safe_dump({"project": "iris", "version": "1.2", "stages": stages, **more}),
        }
    )
    (world.project / "files/shared").write_bytes(os.urandom(SHARED))


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    """Three stages that share their large layer, locked and in the store; no test may change them."""
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    world = make_world(folder)
    write_project(world)
    world.ok("all")
    yield world
    remove_world(world)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def copy(built: World, folder: Path) -> World:
    """A copy of the project that a test may change, with the same store."""
    shutil.copytree(built.project, folder / "project")
    return World(folder / "project", built.data, built.env)


def pushed(world: World, *arguments: str, env: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """The images of a push to one registry that succeeds."""
    (found,) = json.loads(world.ok("push", *arguments, "--json", env=env).stdout)
    assert found["error"] is None
    images: list[dict[str, Any]] = found["images"]
    return images


def layers(world: World) -> dict[str, int]:
    """The sizes of all blobs of the project's images."""
    sizes = {}
    for stage in world.lock["stages"].values():
        for layer in stage["image"]["layers"]:
            sizes[layer["blob"]] = layer["size"]
        config = stage["image"]["config"]
        path = world.store / "blobs" / "sha256" / config.removeprefix("sha256:")
        sizes[config] = path.stat().st_size
    return sizes


@pytest.mark.parametrize("users", [False, True])
def test_every_stage_arrives_byte_for_byte_and_only_once(built: World, folder: Path, users: bool) -> None:
    with registry(folder, users=users) as server:
        env = server.log_in(folder) if users else {}
        first = pushed(built, "--to", f"{server.host}/team", env=env)
        assert {one["stage"]: one["reference"].rpartition("@")[2] for one in first} == built.digests()
        # Each distinct blob was sent once, and mounted where it was wanted again.
        assert sum(one["bytes_sent"] for one in first) == sum(layers(built).values())
        assert sum(one["sent"] for one in first) == len(layers(built))
        assert sum(one["mounted"] for one in first) == sum(
            len(stage["image"]["layers"]) + 1 for stage in built.lock["stages"].values()
        ) - len(layers(built))

        again = pushed(built, "--to", f"{server.host}/team", env=env)
        assert [(one["bytes_sent"], one["sent"], one["mounted"]) for one in again] == [(0, 0, 0)] * 3

        for stage, digest in built.digests().items():
            for tag in (built.lock["stages"][stage]["input"].removeprefix("sha256:")[:12], "latest"):
                assert server.digest(f"team/iris/{stage}", tag) == digest
            assert skopeo_digest(server, f"team/iris/{stage}", built, env, folder) == digest
        read = podman_pull(server, "team/iris/train", built, env, folder)
        assert read == built.digests()["train"]

        with registry(folder, read_only=True, storage=server.storage) as closed:
            same = pushed(built, "--to", f"{closed.host}/team")
            assert sum(one["bytes_sent"] for one in same) == 0
            refused = built.rbuild("push", "--to", f"{closed.host}/other")
            assert refused.returncode == 2
            assert f"{closed.host}/other/iris/" in refused.stderr
            assert "hint: the registry is read-only" in refused.stderr


def _tool_env(world: World, env: dict[str, str], folder: Path) -> dict[str, str]:
    return {**world.env, **{name: value for name, value in env.items() if name == "REGISTRY_AUTH_FILE"}}


def _cert_dir(server: Registry, folder: Path) -> list[str]:
    if server.authority is None:
        return ["--tls-verify=false"]
    certificates = folder / "certificates"
    certificates.mkdir(exist_ok=True)
    shutil.copy(server.authority, certificates / "ca.crt")
    return [f"--cert-dir={certificates}"]


def skopeo_digest(server: Registry, name: str, world: World, env: dict[str, str], folder: Path) -> str:
    argv = ["skopeo", "inspect", *_cert_dir(server, folder), "--format", "{{.Digest}}"]
    said = subprocess.run(
        [*argv, f"docker://{server.host}/{name}:latest"],
        env=_tool_env(world, env, folder),
        check=True,
        capture_output=True,
        text=True,
    )
    return said.stdout.strip()


def podman_pull(server: Registry, name: str, world: World, env: dict[str, str], folder: Path) -> str:
    image = f"{server.host}/{name}:latest"
    environ = _tool_env(world, env, folder)
    subprocess.run(["podman", "pull", "--quiet", *_cert_dir(server, folder), image], env=environ, check=True)
    argv = ["podman", "image", "inspect", "--format", "{{.Digest}}", image]
    said = subprocess.run(argv, env=environ, check=True, capture_output=True, text=True)
    return said.stdout.strip()


def test_certificates_are_found_where_containers_have_them(built: World, folder: Path) -> None:
    with registry(folder, users=True) as server:
        env = server.log_in(folder)
        assert server.authority is not None
        untrusted = built.rbuild(
            "push", "--to", server.host, env={"REGISTRY_AUTH_FILE": env["REGISTRY_AUTH_FILE"]}
        )
        assert untrusted.returncode == 2
        assert f"certs.d/{server.host}" in untrusted.stderr
        own = folder / "config" / "containers" / "certs.d" / server.host
        own.mkdir(parents=True)
        shutil.copy(server.authority, own / "ca.crt")
        trusting = {
            "REGISTRY_AUTH_FILE": env["REGISTRY_AUTH_FILE"],
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        assert len(pushed(built, "train", "--to", server.host, env=trusting)) == 1
        careless = {"REGISTRY_AUTH_FILE": env["REGISTRY_AUTH_FILE"]}
        arguments = ("train", "--to", server.host, "--insecure", server.host)
        assert len(pushed(built, *arguments, env=careless)) == 1


def test_secrets_are_nowhere(built: World, folder: Path) -> None:
    with registry(folder, users=True) as server:
        env = server.log_in(folder)
        done = built.ok("push", "--to", server.host, "--json", env=env)
        said = done.stdout + done.stderr
        wrong = folder / "wrong.json"
        wrong.write_text(Path(env["REGISTRY_AUTH_FILE"]).read_text().replace("YW5uOmNv", "YW5uOmNw"))
        refused = built.rbuild("push", "--to", server.host, env={**env, "REGISTRY_AUTH_FILE": str(wrong)})
        assert refused.returncode == 2
        assert f"hint: podman login {server.host}" in refused.stderr
        said += refused.stdout + refused.stderr
        for secret in (PASSWORD, PASSWORD.replace("co", "cp", 1), "YW5uOmN"):
            assert secret not in said


def test_several_registries_at_once(built: World, folder: Path) -> None:
    with registry(folder) as one, registry(folder) as other, registry(folder, read_only=True) as closed:
        places = [closed.host, one.host, f"{other.host}/x", f"{other.host}/y"]
        done = built.rbuild("push", "train", *(word for place in places for word in ("--to", place)))
        assert done.returncode == 2
        assert f"{closed.host}/iris/train" in done.stderr
        assert closed.host not in done.stdout
        digest = built.digests()["train"]
        for place in places[1:]:
            assert f"{place}/iris/train@{digest}" in done.stdout
        # Within one registry, what one path got was mounted into the other.
        assert "mounted" in done.stdout


def test_tags(copy: World, folder: Path) -> None:
    with registry(folder) as server:
        to = ("train", "--to", server.host)
        pushed(copy, *to, "--tag", "v{version}", "--tag", "latest", "--tag", "{stage}-{version}")
        first = copy.digests()["train"]
        assert server.digest("iris/train", "v1.2") == server.digest("iris/train", "train-1.2") == first
        copy.write({"files/train": "other\n"})
        copy.ok("all")
        second = copy.digests()["train"]
        assert second != first

        refused = copy.rbuild("push", *to, "--tag", "v{version}", "--tag", "latest")
        assert refused.returncode == 1
        assert "the tag v1.2 stands for another image" in refused.stderr
        assert "--force" in refused.stderr
        assert server.digest("iris/train", "latest") == first  # nothing was sent

        pushed(copy, *to, "--tag", "latest")
        assert (server.digest("iris/train", "latest"), server.digest("iris/train", "v1.2")) == (second, first)
        pushed(copy, *to, "--tag", "v{version}", "--force")
        assert server.digest("iris/train", "v1.2") == second
        assert server.digest("iris/train", first) == first


def test_the_commit_is_a_tag_of_a_clean_checkout(copy: World, folder: Path) -> None:
    def git(*arguments: str) -> str:
        argv = ["git", "-c", "user.name=ann", "-c", "user.email=ann@example.org", *arguments]
        done = subprocess.run(
            argv, cwd=copy.project, env=copy.env, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    with registry(folder) as server:
        arguments = ("push", "train", "--to", server.host, "--tag", "{git}")
        assert "git has none here" in copy.rbuild(*arguments).stderr
        git("init", "--quiet")
        git("add", "--all")
        git("commit", "--quiet", "--message", "all")
        copy.ok(*arguments)
        assert server.digest("iris/train", git("rev-parse", "HEAD")) == copy.digests()["train"]
        copy.write({"notes": "not committed\n"})
        dirty = copy.rbuild(*arguments)
        assert dirty.returncode == 2
        assert "not all is as it was committed: notes" in dirty.stderr


class Ear:
    """A port that hears whether anybody calls."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"localhost:{self._server.getsockname()[1]}"
        self.calls = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self._server.accept()[0].close()
            except OSError:
                return
            self.calls += 1


def test_refused_before_the_first_request(copy: World, folder: Path) -> None:
    ear = Ear()

    def refused(*arguments: str, code: int = 2) -> str:
        done = copy.rbuild("push", *arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        return done.stderr

    assert "hint: write docker.io/USER" in refused("--to", ear.host, "--to", "docker.io/ann/deeper")
    assert "nobody says where to" in refused()
    assert "nothing is pushed there" in refused("--to", ear.host, "--insecure", "quay.io")
    assert "{stages}" in refused("--to", ear.host, "--tag", "{stages}")
    copy.write({"files/train": "other\n"})
    assert "train changed" in refused("--to", ear.host, code=1)
    copy.write({"files/train": "train\n"})
    private = folder / "store"
    shutil.copytree(copy.store, private)
    layer = copy.lock["stages"]["train"]["image"]["layers"][0]["blob"].removeprefix("sha256:")
    (private / "blobs" / "sha256" / layer).unlink()
    done = copy.rbuild("push", "--to", ear.host, env={"RBUILD_STORE": str(private)})
    assert done.returncode == 2
    assert "is not in the store" in done.stderr
    assert "hint: rbuild build train" in done.stderr
    assert ear.calls == 0


def test_a_store_with_other_bytes(built: World, folder: Path) -> None:
    private = folder / "store"
    shutil.copytree(built.store, private)
    layer = built.lock["stages"]["train"]["image"]["layers"][0]["blob"].removeprefix("sha256:")
    path = private / "blobs" / "sha256" / layer
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with registry(folder) as server:
        done = built.rbuild("push", "train", "--to", server.host, env={"RBUILD_STORE": str(private)})
        assert done.returncode == 2
        assert "does not hold the bytes of its digest" in done.stderr
        with pytest.raises(HTTPError):
            server.digest("iris/train", "latest")


def test_a_base_of_the_same_registry_is_mounted_from_there(built: World, folder: Path) -> None:
    with registry(folder) as server:
        pushed(built, "train", "--to", f"{server.host}/bases")
        world = make_world(folder)
        try:
            base = f"{server.host}/bases/iris/train:latest"
            world.write(
                {
                    "rbuild.yaml": yaml.safe_dump(
                        {
                            "project": "upon",
                            "registry": server.host,
                            "stages": {"one": {"containerfile": "Containerfile", "context": "files"}},
                        }
                    ),
                    "Containerfile": f"FROM {base}\nCOPY file /\n",
                    "files/file": "more\n",
                }
            )
            world.ok("all")
            (image,) = pushed(world)
            assert image["mounted"] == 2
            assert image["sent"] == 2  # the layer on top, and the config
            assert image["bytes_sent"] < SHARED / 10
        finally:
            remove_world(world)


def test_login_is_podmans(built: World, folder: Path) -> None:
    tools = folder / "tools"
    tools.mkdir()
    (tools / "podman").write_text('#!/bin/sh\necho "$@"\n')
    (tools / "podman").chmod(0o755)
    env = {"PATH": f"{tools}:{built.env['PATH']}"}
    assert built.ok("login", "quay.io", env=env).stdout == "login -- quay.io\n"
    assert (
        built.ok("login", "localhost:5000", env=env).stdout == "login --tls-verify=false -- localhost:5000\n"
    )
