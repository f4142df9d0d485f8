"""Signatures and attestations of rbuild, verified by cosign itself and by a policy of skopeo and Podman.

These three are those of Debian 13: Debian 12 has the signatures of sigstore switched off in its own.
"""

from __future__ import annotations

import base64
import io
import json
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from debiantools import debian_programs
from registries import Registry, registry
from worlds import World, make_world, project_file, remove_world, temporary

from rbuild.digest import Digest
from rbuild.image.manifest import OCI_MANIFEST
from rbuild.provenance import PREDICATE_TYPE
from rbuild.reference import Reference
from rbuild.registry.client import Registry as Client
from rbuild.registry.referrers import referrers
from rbuild.signing.cosign import Attachment, signature
from rbuild.signing.key import SigningKey
from rbuild.statement import VERIFICATION_SUMMARY
from rbuild.verbs.keygen import open_key

Fetched = Callable[[str], subprocess.CompletedProcess[str]]
TRUST = Path(__file__).parents[2] / "policies/trust"
KINDS = {"provenance": "slsaprovenance1", "cyclonedx": "cyclonedx", "spdx": "spdxjson"}
PASSWORD = {"COSIGN_PASSWORD": "sesam öffne dich"}


@dataclass(frozen=True)
class Signed:
    """A project with two stages in a registry, the first of which was pushed with a key."""

    world: World
    registry: Registry
    cosign: Path
    keys: Path  # the prefix

    def name(self, stage: str) -> str:
        return f"{self.registry.host}/team/demo/{stage}"

    def at(self, stage: str) -> str:
        return f"{self.name(stage)}@{self.world.digests()[stage]}"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """cosign, which has a home of its own and reaches the registry alone."""
        env = {**self.world.env, **PASSWORD, "HOME": str(self.world.data)}
        return subprocess.run(
            [str(self.cosign), *arguments], env=env, capture_output=True, text=True, timeout=600
        )

    def verify(self, image: str, *, key: Path | None = None) -> subprocess.CompletedProcess[str]:
        public = f"--key={key or self.keys.with_suffix('.pub')}"
        return self.run("verify", public, "--insecure-ignore-tlog", "--allow-http-registry", image)

    def key(self) -> SigningKey:
        return open_key(self.keys.with_suffix(".key"), lambda: PASSWORD["COSIGN_PASSWORD"].encode())

    def copy(self, stage: str, name: str) -> None:
        """Push the image of a stage under any name."""
        target = f"docker://{self.name(name)}"
        argv = ["skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
        subprocess.run(
            [*argv, f"oci:{self.world.store}:demo/{stage}", target], env=self.world.env, check=True
        )

    def upload(self, stage: str, attachment: Attachment) -> None:
        repository = Client(self.registry.host, env=self.world.env).repository(f"team/demo/{stage}")
        for blob in attachment.blobs:
            repository.push_blob(Digest.of(blob), len(blob), partial(io.BytesIO, blob), lambda _: None)
        repository.put_manifest(attachment.tag, attachment.manifest, OCI_MANIFEST)


@pytest.fixture(scope="module")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trixie")
    return debian_programs(folder, ("cosign", "podman", "skopeo"), suite="trixie")


@pytest.fixture(scope="module")
def signed(trixie: dict[str, Path]) -> Iterator[Signed]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    world = make_world(folder)
    stages = {
        name: {"containerfile": f"{name}.Containerfile", "context": "context"} for name in ("one", "two")
    }
    world.write({"rbuild.yaml": project_file({}, stages), "context/file": "content\n"})
    world.write({f"{name}.Containerfile": f"FROM scratch\nCOPY file /{name}\n" for name in stages})
    world.ok("build")
    world.ok("keygen", "--output-key-prefix", str(folder / "team"), env=PASSWORD)
    with registry(folder) as running:
        made = Signed(world, running, trixie["cosign"], folder / "team")
        kinds = [word for kind in KINDS for word in ("--attach", kind)]
        key = ("--sign-key", str(folder / "team.key"))
        world.ok("push", "one", "--to", f"{running.host}/team", "--tag", "1", *kinds, *key, env=PASSWORD)
        world.ok("push", "two", "--to", f"{running.host}/team", "--tag", "1", "--attach", "none")
        yield made
    remove_world(world)
    shutil.rmtree(folder)


def test_cosign_verifies_what_is_signed_and_nothing_else(signed: Signed) -> None:
    done = signed.verify(signed.at("one"))
    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout)
    assert said["critical"]["image"]["docker-manifest-digest"] == signed.world.digests()["one"]
    assert said["critical"]["identity"]["docker-reference"] == signed.name("one")
    assert signed.verify(f"{signed.name('one')}:1").returncode == 0
    unsigned = signed.verify(signed.at("two"))
    assert unsigned.returncode != 0 and "no signatures found" in unsigned.stderr


def attested(signed: Signed, kind: str) -> subprocess.CompletedProcess[str]:
    options = ("--insecure-ignore-tlog", "--allow-http-registry", "--type", kind)
    return signed.run("verify-attestation", f"--key={signed.keys}.pub", *options, signed.at("one"))


@pytest.mark.parametrize("kind", KINDS)
def test_cosign_verifies_what_is_said_of_an_image(signed: Signed, kind: str) -> None:
    done = attested(signed, KINDS[kind])
    assert done.returncode == 0, done.stderr
    statement = json.loads(base64.b64decode(json.loads(done.stdout)["payload"]))
    assert statement["subject"][0]["digest"]["sha256"] == Digest.parse(signed.world.digests()["one"]).hex
    if kind == "provenance":
        assert statement == json.loads(signed.world.ok("provenance", "one").stdout)
    else:
        written = signed.world.ok("sbom", "one", "--format", kind).stdout
        assert statement["predicate"] == json.loads(written)


def test_a_changed_byte_of_what_is_said_is_noticed(signed: Signed) -> None:
    repository = Client(signed.registry.host, env=signed.world.env).repository("team/demo/one")
    tag = f"sha256-{Digest.parse(signed.world.digests()['one']).hex}.att"
    found = repository.manifest(tag)
    assert found is not None
    manifest = json.loads(found.data)
    changed = []
    for layer in manifest["layers"]:
        data = bytearray()
        repository.pull_blob(Digest.parse(layer["digest"]), layer["size"], data.extend)
        envelope = json.loads(data)
        payload = base64.b64decode(envelope["payload"]).replace(b"demo/one", b"demo/onf")
        envelope["payload"] = base64.b64encode(payload).decode()
        blob = json.dumps(envelope).encode()
        changed.append(blob)
        layer |= {"digest": str(Digest.of(blob)), "size": len(blob)}
    for blob in changed:
        repository.push_blob(Digest.of(blob), len(blob), partial(io.BytesIO, blob), lambda _: None)
    repository.put_manifest(tag, json.dumps(manifest).encode(), OCI_MANIFEST)
    for kind in KINDS.values():
        done = attested(signed, kind)
        assert done.returncode != 0 and "accepted signatures do not match" in done.stderr, done.stderr
    repository.put_manifest(tag, found.data, OCI_MANIFEST)
    assert attested(signed, "slsaprovenance1").returncode == 0


def test_cosign_verifies_a_verification(signed: Signed) -> None:
    key = ("--sign-key", f"{signed.keys}.key")
    to = ("--attest", "--to", f"{signed.registry.host}/team")
    for _ in range(2):  # the newer one takes the place of the older one
        (found,) = json.loads(signed.world.ok("verify", "one", *to, *key, "--json", env=PASSWORD).stdout)
        assert found["verdict"] == "identical"
        assert found["attested"] == [{"reference": signed.at("one"), "signed": True, "error": None}]
        done = attested(signed, VERIFICATION_SUMMARY)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        statement = json.loads(base64.b64decode(json.loads(line)["payload"]))
        assert statement["predicate"]["verificationResult"] == "PASSED"
        assert statement["predicate"]["resourceUri"] == f"docker://{signed.at('one')}"
        assert statement["predicate"]["timeVerified"] == found["kept"]["time"]
    assert attested(signed, "cyclonedx").returncode == 0  # what others said stays


def test_another_key_does_not_verify(signed: Signed, tmp_path: Path) -> None:
    signed.world.ok("keygen", "--output-key-prefix", str(tmp_path / "other"), env=PASSWORD)
    done = signed.verify(signed.at("one"), key=tmp_path / "other.pub")
    assert done.returncode != 0 and "invalid signature" in done.stderr


def test_a_signature_of_one_image_does_not_do_for_another(signed: Signed) -> None:
    made = signature(signed.key(), Reference.parse(signed.at("one")))
    moved = replace(made, tag=f"sha256-{Digest.parse(signed.world.digests()['two']).hex}.sig")
    signed.upload("two", moved)
    done = signed.verify(signed.at("two"))
    assert done.returncode != 0 and "invalid or missing digest" in done.stderr


def test_cosign_uses_the_key_and_rbuild_uses_one_of_cosign(signed: Signed, tmp_path: Path) -> None:
    done = signed.run("public-key", f"--key={signed.keys}.key")
    assert done.stdout == signed.keys.with_suffix(".pub").read_text()
    prefix = tmp_path / "theirs"
    assert signed.run("generate-key-pair", f"--output-key-prefix={prefix}").returncode == 0
    key = open_key(prefix.with_suffix(".key"), lambda: PASSWORD["COSIGN_PASSWORD"].encode())
    assert key.public_pem() == prefix.with_suffix(".pub").read_bytes()
    assert PASSWORD["COSIGN_PASSWORD"] not in done.stderr


@pytest.mark.parametrize("part", ["payload", "signature"])
def test_a_changed_byte_is_noticed(signed: Signed, part: str) -> None:
    made = signature(signed.key(), Reference.parse(signed.at("two")))
    config, payload = made.blobs
    manifest = json.loads(made.manifest)
    (layer,) = manifest["layers"]
    if part == "payload":
        payload = payload.replace(b'"optional":null', b'"optional": {}')
        layer |= {"digest": str(Digest.of(payload)), "size": len(payload)}
    else:
        written = layer["annotations"]["dev.cosignproject.cosign/signature"]
        layer["annotations"]["dev.cosignproject.cosign/signature"] = f"{written[:20]}AA{written[22:]}"
    signed.upload("two", replace(made, manifest=json.dumps(manifest).encode(), blobs=(config, payload)))
    done = signed.verify(signed.at("two"))
    assert done.returncode != 0 and "invalid signature" in done.stderr, done.stderr
    signed.upload("two", made)
    assert signed.verify(signed.at("two")).returncode == 0


@pytest.fixture(scope="module")
def policy(signed: Signed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the example policy, for this registry and key."""
    home = tmp_path_factory.mktemp("home")
    own = Path.home() / ".config/containers"
    if own.exists():
        shutil.copytree(own, home / ".config/containers")
    for source in (TRUST / "policy.json", TRUST / "registries.d/team.yaml"):
        target = home / ".config/containers" / source.relative_to(TRUST)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text().replace("registry.example.org", signed.registry.host)
        assert signed.registry.host in text
        target.write_text(text.replace('"team.pub"', f'"{signed.keys}.pub"'))
    return home


@pytest.fixture(scope="module")
def env(signed: Signed, policy: Path) -> dict[str, str]:
    """Of whoever lives by the policy."""
    return {**signed.world.env, "HOME": str(policy), "XDG_CONFIG_HOME": str(policy / ".config")}


@pytest.fixture(scope="module", params=["skopeo", "podman"])
def fetched(
    request: pytest.FixtureRequest, signed: Signed, trixie: dict[str, Path], env: dict[str, str]
) -> Iterator[Fetched]:
    """A client that fetches an image, with the policy for its only configuration."""
    with temporary() as folder:
        other = World(folder, folder / "data", {**env, "XDG_DATA_HOME": str(folder / "data")})
        other.data.mkdir(mode=0o700)

        def run(name: str) -> subprocess.CompletedProcess[str]:
            image = f"{signed.name(name)}:1"
            argv = ["pull", "--quiet", "--tls-verify=false", image]
            if request.param == "skopeo":
                target = f"dir:{folder}/{name}"
                argv = ["copy", "--quiet", "--src-tls-verify=false", f"docker://{image}", target]
            return subprocess.run(
                [str(trixie[request.param]), *argv], env=other.env, capture_output=True, text=True
            )

        yield run
        remove_world(other)


def test_the_policy_takes_what_is_signed(signed: Signed, fetched: Fetched) -> None:
    done = fetched("one")
    assert done.returncode == 0, done.stderr


def test_the_policy_refuses_an_unsigned_image(signed: Signed, fetched: Fetched) -> None:
    signed.copy("two", "three:1")
    done = fetched("three")
    assert done.returncode != 0 and "no signature exists" in done.stderr


def test_the_policy_refuses_an_image_that_another_key_signed(signed: Signed, fetched: Fetched) -> None:
    signed.copy("two", "four:1")
    reference = Reference.parse(f"{signed.name('four')}@{signed.world.digests()['two']}")
    signed.upload("four", signature(SigningKey.generate(), reference))
    done = fetched("four")
    assert done.returncode != 0 and "cryptographic signature verification failed" in done.stderr


def test_the_policy_refuses_an_image_that_was_moved(signed: Signed, fetched: Fetched) -> None:
    """Image two, with its own good signature, in a repository that it was not signed for."""
    signed.copy("two", "five:1")
    signed.upload("five", signature(signed.key(), Reference.parse(signed.at("two"))))
    done = fetched("five")
    assert done.returncode != 0 and "is not accepted" in done.stderr


def test_the_podman_of_this_host_refuses_an_unsigned_image(
    signed: Signed, policy: Path, env: dict[str, str]
) -> None:
    signed.copy("two", "six:1")
    argv = ["podman", "pull", "--quiet", "--tls-verify=false", f"{signed.name('six')}:1"]
    argv += ["--signature-policy", str(policy / ".config/containers/policy.json")]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert done.returncode != 0 and "no signature exists" in done.stderr


def test_a_signed_base_is_taken_where_skopeo_verifies(
    signed: Signed, trixie: dict[str, Path], folder: Path, tmp_path: Path
) -> None:
    """rbuild judges, and then skopeo by the policy that it is handed; Debian 12's own can only refuse."""
    world = make_world(folder)
    shutil.copytree(TRUST, world.project / "trust")
    for name in ("policy.json", "registries.d/team.yaml"):
        path = world.project / "trust" / name
        path.write_text(path.read_text().replace("registry.example.org", signed.registry.host))
    shutil.copy(f"{signed.keys}.pub", world.project / "trust/team.pub")
    stage = {"three": {"containerfile": "Containerfile", "context": "context"}}
    world.write(
        {
            "rbuild.yaml": project_file({}, stage) + "trust: trust\n",
            "Containerfile": f"FROM {signed.name('one')}:1\nCOPY more /\n",
            "context/more": "more\n",
        }
    )
    program = tmp_path / "bin" / "skopeo"
    program.parent.mkdir()
    program.symlink_to(trixie["skopeo"])
    try:
        own = world.rbuild("build")
        if platform.freedesktop_os_release()["VERSION_ID"] == "12":
            assert own.returncode == 2
            assert "this host's skopeo does not verify signatures of sigstore" in own.stderr
            assert "hint: Debian 12 builds skopeo and Podman without them" in own.stderr
        else:
            assert own.returncode == 0, own.stderr
        world.ok("build", env={"PATH": f"{program.parent}:{world.env['PATH']}"})
        assert world.lock["bases"][f"{signed.name('one')}:1"]["digest"] == signed.world.digests()["one"]
    finally:
        remove_world(world)


def test_what_is_attached_refers_to_the_image(signed: Signed) -> None:
    """Debian's registry keeps no list of referrers: theirs is an index under a tag."""
    repository = Client(signed.registry.host, env=signed.world.env).repository("team/demo/one")
    listed = referrers(repository, Digest.parse(signed.world.digests()["one"]))
    kinds = sorted(one.artifact_type for one in listed)
    assert kinds == [
        "application/spdx+json",
        "application/vnd.cyclonedx+json",
        "application/vnd.in-toto+json",
    ]
    (provenance,) = (one for one in listed if one.artifact_type == "application/vnd.in-toto+json")
    assert provenance.annotations["in-toto.io/predicate-type"] == PREDICATE_TYPE
    assert (
        referrers(
            Client(signed.registry.host, env=signed.world.env).repository("team/demo/two"),
            Digest.parse(signed.world.digests()["two"]),
        )
        == ()
    )
