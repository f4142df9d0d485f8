"""Other programs on what rbuild pushed, and rbuild on what they pushed.

Podman of Debian 12, 13 and sid, skopeo, crane, oras and curl; registries that are open, have users over TLS,
or are read-only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from debiantools import debian_programs
from registries import PASSWORD, USER, Registry, registry
from worlds import Layouts, World, make_world, remove_world, temporary

STAGES = ("prepare", "train", "infer")
PODMANS = {"bookworm": "podman version 4.", "trixie": "podman version 5.4.", "sid": "podman version 5."}


@pytest.fixture(scope="module")
def built(layouts: Layouts) -> Iterator[World]:
    """Three stages upon a base with a shell, locked and in the store."""
    with temporary() as folder:
        world = make_world(folder)
        try:
            bases = layouts.install(world, "tiny", ("localhost/base:1",))
            stages = {name: {"containerfile": f"{name}.Containerfile", "context": name} for name in STAGES}
            for name in STAGES:
                text = f"FROM localhost/base:1\nCOPY file /file\nENV STAGE={name}\n"
                world.write({f"{name}.Containerfile": text, f"{name}/file": f"of {name}\n"})
            project = {"project": "iris", "bases": bases, "stages": stages}
            world.write({"rbuild.yaml": yaml.safe_dump(project)})
            world.ok("all")
            yield world
        finally:
            remove_world(world)


@dataclass(frozen=True)
class Setup:
    """A registry with all stages in it, and how its clients get in."""

    name: str
    server: Registry
    folder: Path
    env: dict[str, str]

    def image(self, stage: str) -> str:
        return f"{self.server.host}/team/iris/{stage}"

    @property
    def url(self) -> str:
        return self.server.url

    def run(self, *argv: str | Path) -> bytes:
        done = subprocess.run(argv, env=self.env, capture_output=True, timeout=300)
        assert done.returncode == 0, f"{argv}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout


@pytest.fixture(scope="module", params=["open", "users over TLS", "read-only"])
def setup(request: pytest.FixtureRequest, built: World) -> Iterator[Setup]:
    users = request.param == "users over TLS"
    with temporary() as folder, ExitStack() as running:
        server = running.enter_context(registry(folder, users=users))
        env = dict(built.env)
        if users:
            env |= server.log_in(folder)
            # crane and oras read Docker's file.
            shutil.copy(folder / "auth.json", folder / "config.json")
            env["DOCKER_CONFIG"] = str(folder)
        built.ok("push", "--to", f"{server.host}/team", "--tag", "latest", env=env)
        if request.param == "read-only":
            server = running.enter_context(registry(folder, read_only=True, storage=server.storage))
            refused = built.rbuild("push", "--to", f"{server.host}/other")
            assert refused.returncode == 2
            assert f"{server.host}/other/iris/" in refused.stderr
            assert "cannot begin an upload" in refused.stderr or "cannot mount a blob" in refused.stderr
            assert "hint: the registry is read-only" in refused.stderr
        yield Setup(request.param, server, folder, env)


@pytest.fixture(scope="module")
def sid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sid")
    return debian_programs(folder, ("crane", "oras", "podman"), suite="sid")


@pytest.fixture(scope="module")
def podmans(sid: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    trixie = debian_programs(tmp_path_factory.mktemp("trixie"), ("podman",), suite="trixie")
    return {"bookworm": "podman", "trixie": str(trixie["podman"]), "sid": str(sid["podman"])}


def _certificates(setup: Setup, option: str, otherwise: str) -> list[str]:
    if setup.server.authority is None:
        return [otherwise]
    folder = setup.folder / "certificates"
    folder.mkdir(exist_ok=True)
    shutil.copy(setup.server.authority, folder / "ca.crt")
    return [option.format(folder)]


def by_skopeo(setup: Setup, stage: str, sid: dict[str, Path]) -> str:
    argv = ["skopeo", "inspect", *_certificates(setup, "--cert-dir={}", "--tls-verify=false"), "--raw"]
    return sha256(setup.run(*argv, f"docker://{setup.image(stage)}:latest"))


def by_crane(setup: Setup, stage: str, sid: dict[str, Path]) -> str:
    layout = setup.folder / f"crane-{stage}"
    setup.run(sid["crane"], "pull", "--format", "oci", f"{setup.image(stage)}:latest", layout)
    return layout_digest(layout)


def by_oras(setup: Setup, stage: str, sid: dict[str, Path]) -> str:
    layout = setup.folder / f"oras-{stage}"
    option = _certificates(setup, "--from-ca-file={}/ca.crt", "--from-plain-http")
    if setup.server.authority:
        option.append("--from-plain-http=false")  # which it takes localhost for
    setup.run(sid["oras"], "copy", *option, "--to-oci-layout", f"{setup.image(stage)}:latest", f"{layout}:1")
    return layout_digest(layout)


def layout_digest(layout: Path) -> str:
    """The digest of the one image in a layout, all of which is what its digests say."""
    (listed,) = json.loads((layout / "index.json").read_text())["manifests"]
    digest: str = listed["digest"]
    manifest = json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())
    for one in (digest, *(blob["digest"] for blob in (manifest["config"], *manifest["layers"]))):
        assert sha256((layout / "blobs" / one.replace(":", "/")).read_bytes()) == one
    return digest


def by_curl(setup: Setup, stage: str, sid: dict[str, Path]) -> str:
    argv = ["curl", "-sSf", "--noproxy", "*", "-H", "Accept: application/vnd.oci.image.manifest.v1+json"]
    if setup.server.authority:
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        argv += ["--cacert", str(setup.server.authority), "-H", f"Authorization: Basic {pair}"]
    base = f"{setup.url}/v2/team/iris/{stage}"
    manifest = setup.run(*argv, f"{base}/manifests/latest")
    for blob in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
        assert sha256(setup.run(*argv, f"{base}/blobs/{blob['digest']}")) == blob["digest"]
    return sha256(manifest)


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("client", [by_skopeo, by_crane, by_oras, by_curl])
def test_every_client_reads_the_locked_digest(
    setup: Setup, built: World, sid: dict[str, Path], client: Callable[[Setup, str, dict[str, Path]], str]
) -> None:
    assert {stage: client(setup, stage, sid) for stage in STAGES} == built.digests()


@pytest.mark.parametrize("suite", PODMANS)
def test_every_podman_pulls_and_runs_it(
    setup: Setup, built: World, podmans: dict[str, str], folder: Path, suite: str
) -> None:
    podman = podmans[suite]
    data = folder / "data"
    data.mkdir(mode=0o700)
    other = World(built.project, data, {**setup.env, "XDG_DATA_HOME": str(data)})
    theirs = Setup(setup.name, setup.server, setup.folder, other.env)
    try:
        assert theirs.run(podman, "--version").decode().startswith(PODMANS[suite])
        option = _certificates(setup, "--cert-dir={}", "--tls-verify=false")
        for stage, digest in built.digests().items():
            image = f"{setup.image(stage)}:latest"
            theirs.run(podman, "pull", "--quiet", *option, image)
            said = theirs.run(podman, "image", "inspect", "--format", "{{.Digest}}", image)
            assert said.decode().strip() == digest
        argv = [podman, "run", "--rm", "--pull=never", "--network=none", f"{setup.image('train')}:latest"]
        assert theirs.run(*argv, "busybox", "cat", "/file") == b"of train\n"
    finally:
        remove_world(other)


def test_what_skopeo_pushed_is_pulled_and_the_same(built: World, folder: Path) -> None:
    with registry(folder) as server:
        for stage in STAGES:
            argv = ["skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
            target = f"docker://{server.host}/theirs/iris/{stage}:1"
            subprocess.run([*argv, f"oci:{built.store}:iris/{stage}", target], env=built.env, check=True)
            same = built.ok("diff", stage, target, "--json")
            assert json.loads(same.stdout)["comparison"]["verdict"] == "identical"
        data = folder / "data"
        data.mkdir(mode=0o700)
        other = World(built.project, data, {**built.env, "XDG_DATA_HOME": str(data)})
        try:
            other.ok("pull", "--from", f"{server.host}/theirs")
            for stage, digest in built.digests().items():
                name = digest.removeprefix("sha256:")
                assert sha256((other.store / "blobs" / "sha256" / name).read_bytes()) == digest
                shown = other.podman("image", "inspect", "--format", "{{.Digest}}", f"localhost/iris/{stage}")
                assert shown.strip() == digest
        finally:
            remove_world(other)


@pytest.mark.parametrize("suite", PODMANS)
def test_what_podman_pushed_has_the_same_content_and_another_digest(
    built: World, podmans: dict[str, str], folder: Path, suite: str
) -> None:
    with registry(folder) as server:
        data = folder / "data"
        data.mkdir(mode=0o700)
        other = World(built.project, data, {**built.env, "XDG_DATA_HOME": str(data)})
        try:
            podman = [podmans[suite]]
            source = f"oci:{built.store}:iris/train"
            pulled = subprocess.run(
                [*podman, "pull", "--quiet", source],
                env=other.env,
                check=True,
                capture_output=True,
                text=True,
            )
            # Recompressed with gzip, which is another blob of the same layer.
            target = f"{server.host}/theirs/iris/train:1"
            argv = [*podman, "push", "--quiet", "--tls-verify=false", "--compression-format=gzip"]
            argv += [*(["--force-compression"] if suite != "bookworm" else []), pulled.stdout.strip()]
            subprocess.run([*argv, target], env=other.env, check=True)
            differing = built.rbuild("diff", "train", f"docker://{target}", "--json")
            assert differing.returncode == 1, differing.stderr
            assert json.loads(differing.stdout)["comparison"]["verdict"] == "same content"
            # Nobody takes it for what is locked.
            gone = other.rbuild("pull", "train", "--from", f"{server.host}/theirs")
            assert gone.returncode == 2
            assert f"{server.host}/theirs/iris/train" in gone.stderr
        finally:
            remove_world(other)
