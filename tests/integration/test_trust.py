"""The trust policy of a project, held by rbuild itself: pulls, substitutes, bases, what is run."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from registries import Registry, registry
from worlds import World, make_world, project_file, remove_world

from rbuild import __version__
from rbuild.digest import Digest
from rbuild.image.artifact import read_artifact
from rbuild.image.manifest import OCI_MANIFEST
from rbuild.registry.client import Registry as Client
from rbuild.registry.referrers import referrers
from rbuild.registry.repository import Repository
from rbuild.registry.signatures import signatures_of
from rbuild.signing.cosign import signature_tag
from rbuild.statement import VERIFICATION_SUMMARY
from rbuild.store import Store
from rbuild.verifications import verifications

PASSWORD = {"COSIGN_PASSWORD": "sesam öffne dich"}
STAGES = {name: {"containerfile": f"{name}.Containerfile", "context": "context"} for name in ("one", "two")}


@dataclass(frozen=True)
class Team:
    """A project whose images are in a registry: signed, unsigned, signed by others, and moved there."""

    world: World
    server: Registry
    keys: Path

    def place(self, kind: str) -> str:
        return f"{self.server.host}/{kind}"

    def repository(self, kind: str, stage: str) -> Repository:
        return Client(self.server.host, env=self.world.env).repository(f"{kind}/demo/{stage}")

    def digest(self, stage: str) -> Digest:
        return Digest.parse(self.world.digests()[stage])

    def move_signatures(self, source: tuple[str, str], target: tuple[str, str]) -> None:
        """Let the signatures of one image stand beside another, as whoever owns a registry can."""
        origin, goal = self.repository(*source), self.repository(*target)
        found = origin.manifest(signature_tag(self.digest(source[1])))
        assert found is not None
        said = json.loads(found.data)
        for part in (said["config"], *said["layers"]):
            data = bytearray()
            origin.pull_blob(Digest.parse(part["digest"]), part["size"], data.extend)
            opened = partial(io.BytesIO, bytes(data))
            goal.push_blob(Digest.parse(part["digest"]), part["size"], opened, lambda _: None)
        goal.put_manifest(signature_tag(self.digest(target[1])), found.data, OCI_MANIFEST)


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    world = make_world(folder)
    world.write({"rbuild.yaml": project_file({}, STAGES), "context/file": "content\n"})
    world.write({f"{name}.Containerfile": f"FROM scratch\nCOPY file /{name}\n" for name in STAGES})
    world.ok("build")
    for name in ("team", "other"):
        world.ok("keygen", "--output-key-prefix", str(folder / name), env=PASSWORD)
    with registry(folder) as server:
        made = Team(world, server, folder)
        key = ("--sign-key", str(folder / "team.key"))
        bare = ("--attach", "none")
        world.ok("push", "--to", made.place("team"), *key, env=PASSWORD)
        world.ok(
            "push",
            *(word for kind in ("unsigned", "moved", "swapped") for word in ("--to", made.place(kind))),
            *bare,
        )
        world.ok(
            "push", "--to", made.place("forged"), "--sign-key", str(folder / "other.key"), *bare, env=PASSWORD
        )
        made.move_signatures(("team", "one"), ("moved", "one"))
        world.ok("push", "one", "--to", made.place("swapped"), *key, *bare, env=PASSWORD)
        made.move_signatures(("swapped", "one"), ("swapped", "two"))
        yield made
    remove_world(world)
    shutil.rmtree(folder)


@pytest.fixture
def machine(team: Team, folder: Path) -> Iterator[World]:
    """A checkout of the project on a machine that has no images."""
    world = make_world(folder)
    shutil.rmtree(world.project)
    shutil.copytree(team.world.project, world.project, ignore=shutil.ignore_patterns(".rbuild"))
    yield world
    remove_world(world)


def trust(team: Team, world: World, /, **scopes: Any) -> None:
    """Give a project a policy: what lies in the registry has to be signed by the team, but for `scopes`."""
    signed = {"type": "sigstoreSigned", "keyPath": "team.pub", "signedIdentity": {"type": "matchRepository"}}
    docker = {team.server.host: [signed]} | {team.place(kind): rules for kind, rules in scopes.items()}
    policy = {"default": [{"type": "reject"}], "transports": {"docker": docker}}
    attachments = {"docker": {team.server.host: {"use-sigstore-attachments": True}}}
    world.write(
        {
            "policies/trust/policy.json": json.dumps(policy, indent=2),
            "policies/trust/registries.d/registry.yaml": yaml.safe_dump(attachments),
            "policies/trust/team.pub": (team.keys / "team.pub").read_text(),
        }
    )
    path = world.project / "rbuild.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "trust": "policies/trust"}))


REFUSED = {
    "unsigned": "the image has none",
    "forged": "its signature is of another key",
    "moved": "it was made for localhost:",
    "swapped": "it was made for the image sha256:",
}


def test_pull_takes_what_the_team_signed_and_nothing_else(team: Team, machine: World) -> None:
    trust(team, machine)
    for kind, why in REFUSED.items():
        stage = "two" if kind == "swapped" else "one"
        done = machine.rbuild("pull", stage, "--from", team.place(kind))
        assert done.returncode == 1, done.stderr
        assert f"the policy does not take {team.place(kind)}/demo/{stage}" in done.stderr
        assert why in done.stderr
        assert "policies/trust/policy.json" in done.stderr
        held = list((machine.store / "blobs/sha256").iterdir())
        assert held == [], "nothing of what is refused is kept"
    done = machine.ok("pull", "--from", team.place("unsigned"), "--from", team.place("team"))
    assert done.stdout.count(f"from {team.place('team')}") == 2
    assert done.stderr.count("the image has none") == 2


def test_all_builds_what_the_policy_refuses(team: Team, machine: World) -> None:
    trust(team, machine)
    found = machine.ok("all", "--from", team.place("forged"), "--json")
    assert {one["stage"]: (one["outcome"], one["digest"]) for one in json.loads(found.stdout)} == {
        name: ("built", digest) for name, digest in team.world.digests().items()
    }
    assert "its signature is of another key" in found.stderr
    machine.forget_images()
    machine.forget_store()
    found = machine.ok("all", "--from", team.place("moved"), "--from", team.place("team"), "--json")
    assert [one["registry"] for one in json.loads(found.stdout)] == [team.place("team")] * 2


def test_run_holds_what_was_fetched_against_the_policy(team: Team, machine: World) -> None:
    machine.ok("pull", "one", "--from", team.place("unsigned"))
    machine.ok("pull", "two", "--from", team.place("team"))
    trust(team, machine)
    for command in (("run", "one"), ("shell", "one"), ("pull", "one", "--from", team.place("team"))):
        refused = machine.rbuild(*command)
        assert refused.returncode == 1, refused.stderr
        assert (
            f"the policy does not take {team.place('unsigned')}/demo/one: it asks for a signature"
            in refused.stderr
        )
    # The other one is signed: it is looked at once, and then needs no registry.
    for _ in range(2):
        ran = machine.rbuild("run", "two")  # there is nothing in it to run
        assert ran.returncode == 2 and "the policy" not in ran.stderr
    note = machine.store / "origins" / team.digest("two").hex
    assert json.loads(note.read_text())["policy"]
    # What is built here needs nobody's word.
    machine.forget_images()
    machine.forget_store()
    machine.ok("build", "one")
    assert "the policy" not in machine.rbuild("run", "one").stderr


def test_a_base_has_to_be_signed(team: Team, machine: World) -> None:
    trust(team, machine, swapped=[{"type": "insecureAcceptAnything"}])
    containerfile = "FROM {}/demo/one:latest\nCOPY file /more\n"
    for kind in ("unsigned", "forged", "moved"):
        machine.write({"two.Containerfile": containerfile.format(team.place(kind))})
        done = machine.rbuild("build", "two")
        assert done.returncode == 1, done.stderr
        assert f"the policy does not take {team.place(kind)}/demo/one" in done.stderr
        assert REFUSED[kind] in done.stderr
    # Here no signature is asked for; then one is, and what is in the store is not enough.
    machine.write({"two.Containerfile": containerfile.format(team.place("swapped"))})
    machine.ok("build", "two")
    trust(team, machine, swapped=[{"type": "reject"}])
    machine.write({"context/file": "changed\n"})
    done = machine.rbuild("build", "two")
    assert done.returncode == 1, done.stderr
    assert "it takes nothing from there (reject)" in done.stderr


def test_what_rbuild_cannot_verify_is_refused(team: Team, machine: World) -> None:
    by_gpg = [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/usr/share/keyrings/x.gpg"}]
    trust(team, machine, team=by_gpg)
    done = machine.rbuild("pull", "one", "--from", team.place("team"))
    assert done.returncode == 2
    assert "it asks for signedBy (GPG), which rbuild does not verify, and so refuses" in done.stderr
    # Where nobody says that signatures lie beside the images, Podman does not look either.
    trust(team, machine)
    shutil.rmtree(machine.project / "policies/trust/registries.d")
    done = machine.rbuild("pull", "one", "--from", team.place("team"))
    assert done.returncode == 1
    assert "use-sigstore-attachments: true" in done.stderr


def test_the_users_own_policy_holds_where_the_project_has_none(
    team: Team, machine: World, folder: Path
) -> None:
    own = folder / "home/.config/containers"
    own.mkdir(parents=True)
    for name in ("containers.conf", "storage.conf"):
        if (theirs := Path.home() / ".config/containers" / name).exists():
            shutil.copy(theirs, own)
    (own / "policy.json").write_text(
        json.dumps(
            {
                "default": [{"type": "insecureAcceptAnything"}],
                "transports": {"docker": {team.server.host: [{"type": "reject"}]}},
            }
        )
    )
    home = {"HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "home/.config")}
    done = machine.rbuild("pull", "one", "--from", team.place("team"), env=home)
    assert done.returncode == 1, done.stderr
    assert str(own / "policy.json") in done.stderr
    assert "it takes nothing from there (reject)" in done.stderr


def test_a_mistake_in_the_policy_is_said_at_once(team: Team, machine: World) -> None:
    trust(
        team,
        machine,
        team=[{"type": "sigstoreSigned", "keyPath": "../../../stranger.pub"}, {"type": "signed"}],
    )
    done = machine.rbuild("status")
    assert done.returncode == 2
    assert "policies/trust/policy.json:" in done.stderr
    assert "is no type of requirement: 'signed'" in done.stderr


def test_signing_again_adds_nothing(team: Team) -> None:
    host, world = team.server.host, team.world

    def standing() -> dict[str, str]:
        repository = team.repository("team", "one")
        return {
            tag: team.server.digest("team/demo/one", tag)
            for tag in repository.tags()
            if tag != signature_tag(team.digest("one")).removesuffix(".sig")
        }

    before = standing()
    assert {tag.rpartition(".")[2] for tag in before} >= {"sig", "att"}
    again = world.ok(
        "push", "--to", f"{host}/team", "--sign-key", str(team.keys / "team.key"), "--json", env=PASSWORD
    )
    assert standing() == before
    assert PASSWORD["COSIGN_PASSWORD"] not in again.stdout + again.stderr
    assert [image["signed"] for image in json.loads(again.stdout)[0]["images"]] == [True, True]
    assert len(signatures_of(team.repository("team", "one"), team.digest("one"))) == 1
    # Another key's signature comes beside it.
    world.ok("push", "one", "--to", f"{host}/both", "--sign-key", str(team.keys / "other.key"), env=PASSWORD)
    world.ok("push", "one", "--to", f"{host}/both", "--sign-key", str(team.keys / "team.key"), env=PASSWORD)
    assert len(signatures_of(team.repository("both", "one"), team.digest("one"))) == 2
    wrong = world.rbuild(
        "push",
        "--to",
        f"{host}/team",
        "--sign-key",
        str(team.keys / "team.key"),
        env={"COSIGN_PASSWORD": "x"},
    )
    assert wrong.returncode == 2
    assert "cannot be opened with this password" in wrong.stderr


def test_verify_keeps_what_it_verified_and_says_it_beside_the_image(team: Team) -> None:
    world, image = team.world, team.digest("one")
    place = team.place("unsigned")
    found = world.json("verify", "one", "--attest", "--to", place)
    (one,) = found
    assert one["attested"] == [{"reference": f"{place}/demo/one@{image}", "signed": False, "error": None}]
    (kept,) = verifications(Store(world.store), image)
    locked = world.lock["stages"]["one"]
    assert (kept.stage, kept.result, kept.image, kept.built) == ("one", "identical", str(image), str(image))
    assert (kept.input, kept.rbuild) == (locked["input"], __version__)
    assert world.podman("--version").split()[-1] == kept.podman
    repository = team.repository("unsigned", "one")
    (listed,) = referrers(repository, image)
    assert listed.annotations["in-toto.io/predicate-type"] == VERIFICATION_SUMMARY
    manifest = repository.manifest(str(listed.digest))
    assert manifest is not None
    (part,) = read_artifact(manifest.data, image, listed.artifact_type)
    data = bytearray()
    repository.pull_blob(part.digest, part.size, data.extend)
    statement = json.loads(data)
    assert statement["subject"] == [{"name": "demo/one", "digest": {"sha256": image.hex}}]
    predicate = statement["predicate"]
    assert predicate["verificationResult"] == "PASSED" and predicate["timeVerified"] == kept.time
    assert predicate["urn:rbuild:input"] == {"sha256": Digest.parse(locked["input"]).hex}

    absent = world.rbuild("verify", "one", "--attest", "--to", team.place("nowhere"))
    assert absent.returncode == 2
    assert "hint: rbuild push one first" in absent.stderr
    alone = world.rbuild("verify", "--to", team.place("team"))
    assert alone.returncode == 2 and "go with --attest" in alone.stderr
    unknown = world.rbuild("push", "--attach", "sbom", "--to", team.place("team"))
    assert unknown.returncode == 2
    assert "'sbom' is nothing that can be attached" in unknown.stderr
