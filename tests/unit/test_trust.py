"""Trust policies: what is read, which scope decides, whose signature will do."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from rbuild.digest import Digest
from rbuild.errors import Exit, RbuildError
from rbuild.origins import origin_of
from rbuild.podman import Podman
from rbuild.project import load_project
from rbuild.reference import Reference
from rbuild.signing.claims import Signature, listed_signatures, read_claim
from rbuild.signing.cosign import signature, simple_signing
from rbuild.signing.key import SigningKey
from rbuild.store import Store
from rbuild.trust.attachments import read_attachments
from rbuild.trust.identity import Identity
from rbuild.trust.judge import Verdict, judge
from rbuild.trust.policy import Key, Policy, Signed, read_policy, scopes
from rbuild.trustfiles import project_trust, user_trust
from rbuild.verbs.admission import Admission
from rbuild.verbs.workspace import Workspace

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
DIGEST = Digest.of(b"image")
IMAGE = Reference("registry.example.org:5000", "team/app", digest=DIGEST)
REPOSITORY = Identity(kind="matchRepository")


def policy(docker: dict[str, Any], default: str = "reject") -> Policy:
    document = {"default": [{"type": default}], "transports": {"docker": docker}}
    return read_policy(json.dumps(document).encode(), "policy.json")


def sigstore(**more: Any) -> dict[str, Any]:
    return {"type": "sigstoreSigned", "keyData": base64.b64encode(KEY.public_pem()).decode(), **more}


def verdict(
    *signatures: Signature, identity: Identity = REPOSITORY, image: Reference = IMAGE
) -> tuple[Verdict, str]:
    wanted = Signed(keys=(Key(data=KEY.public_pem()),), identity=identity)
    found = judge([wanted], image, signatures, lambda key: key.data or b"")
    return found.verdict, found.why


def signed(payload: bytes, key: SigningKey = KEY) -> Signature:
    return Signature(payload, base64.b64encode(key.sign(payload)).decode())


def claim(name: str, digest: Digest = DIGEST, **more: Any) -> bytes:
    said = {
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": str(digest)},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    return json.dumps(said | more).encode()


def test_the_most_specific_scope_decides() -> None:
    assert list(scopes(IMAGE)) == [
        f"registry.example.org:5000/team/app@{DIGEST}",
        "registry.example.org:5000/team/app",
        "registry.example.org:5000/team",
        "registry.example.org:5000",
        "*.example.org",
        "*.org",
        "",
    ]
    accept, reject = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]
    found = policy(
        {"registry.example.org:5000": accept, "registry.example.org:5000/team": reject, "": reject}
    )
    assert found.requirements(IMAGE)[0] == "registry.example.org:5000/team"
    assert policy({"registry.example.org": accept}).requirements(IMAGE)[0] is None  # another port
    assert (
        policy({"registry.example.org:5000/te": accept}).requirements(IMAGE)[0] is None
    )  # no part of a name
    assert policy({"*.example.org": accept, "": reject}).requirements(IMAGE)[0] == "*.example.org"
    assert policy({"": accept}).requirements(IMAGE)[0] == ""


def test_one_requirement_that_refuses_is_enough() -> None:
    accept = {"type": "insecureAcceptAnything"}
    fitting = sigstore(signedIdentity={"type": "matchRepository"})
    good = signed(claim(IMAGE.name))
    for requirements, expected in (
        ([accept], Verdict.ACCEPTED),
        ([accept, fitting], Verdict.ACCEPTED),
        ([accept, {"type": "reject"}], Verdict.REFUSED),
        ([fitting, {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "x"}], Verdict.UNKNOWN),
        ([{**fitting, "pki": {}}], Verdict.UNKNOWN),
        ([{"type": "sigstoreSigned", "fulcio": {}, "rekorPublicKeyPath": "x"}], Verdict.UNKNOWN),
    ):
        found = policy({"": requirements}).requirements(IMAGE)[1]
        assert judge(found, IMAGE, [good], lambda key: key.data or b"").verdict is expected, requirements


def test_whose_signature_will_do() -> None:
    good = signed(claim(IMAGE.name))
    assert verdict(good) == (Verdict.ACCEPTED, "")
    # rbuild's own, as they lie in a registry; among others'.
    made = signature(KEY, IMAGE, existing=signature(OTHER, IMAGE).manifest)
    _, own = listed_signatures(made.manifest)
    assert verdict(signed(b"{}", OTHER), Signature(simple_signing(IMAGE), own.text))[0] is Verdict.ACCEPTED
    for signatures, why in (
        ((), "the image has none"),
        ((signed(claim(IMAGE.name), OTHER),), "its signature is of another key"),
        ((Signature(good.payload + b" ", good.text),), "another key, or not of what it says"),
        ((Signature(good.payload, "not base64!"),), "another key"),
        ((signed(claim(IMAGE.name, Digest.of(b"other"))),), "made for the image sha256:"),
        (
            (signed(claim("registry.example.org:5000/team/other")),),
            "made for registry.example.org:5000/team/other",
        ),
        ((signed(claim(IMAGE.name, more=1)),), "does not have exactly the keys"),
        ((signed(b"{}"),), "does not have exactly the keys"),
    ):
        found, said = verdict(*signatures)
        assert found is Verdict.REFUSED and why in said, said


@pytest.mark.parametrize(
    ("identity", "fitting", "others"),
    [
        (Identity(), ("{name}:1", "{name}@{digest}"), ("{name}", "{name}x:1", "?")),
        (REPOSITORY, ("{name}", "{name}:1"), ("{name}/more", "registry.example.org/team/app")),
        (Identity(kind="matchExact"), ("{name}@{digest}",), ("{name}", "{name}:1")),
        (
            Identity(kind="exactReference", reference="quay.io/a/b:1"),
            ("quay.io/a/b:1",),
            ("quay.io/a/b", "quay.io/a/b:2", "{name}:1"),
        ),
        (
            Identity(kind="exactRepository", reference="quay.io/a/b"),
            ("quay.io/a/b", "quay.io/a/b:2"),
            ("{name}",),
        ),
        (
            Identity(
                kind="remapIdentity", prefix="registry.example.org:5000/team", signed_prefix="quay.io/x"
            ),
            ("quay.io/x/app:1",),
            ("quay.io/x/app", "{name}:1"),
        ),
        (
            Identity(kind="remapIdentity", prefix="registry.example.org:5000/te", signed_prefix="quay.io/x"),
            ("{name}:1",),
            ("quay.io/x/app:1",),
        ),
        (
            Identity(kind="exactRepository", reference="busybox"),
            ("docker.io/library/busybox", "index.docker.io/library/busybox"),
            ("quay.io/library/busybox",),
        ),
    ],
)
def test_what_a_signature_may_call_the_image(
    identity: Identity, fitting: tuple[str, ...], others: tuple[str, ...]
) -> None:
    for names, expected in ((fitting, True), (others, False)):
        for name in names:
            said = name.format(name=IMAGE.name, digest=DIGEST)
            assert identity.fits(IMAGE, said) is expected, said


@pytest.mark.parametrize(
    "payload",
    [
        claim("a/b", optional="text"),
        claim("a/b", optional=[]),
        claim("a/b", critical={}),
        claim("a/b").replace(b"cosign container", b"other"),
        claim("a/b").replace(b"sha256:", b"md5:"),
        claim("a/b").replace(b'"optional"', b'"Optional"'),
        claim("a/b").replace(b'{"critical"', b'{"optional": null, "critical"'),
        b'{"critical": {"identity": [], "image": {}, "type": ""}, "optional": null}',
        b"[" * 100_000,
    ],
)
def test_what_is_signed_is_read_strictly(payload: bytes) -> None:
    with pytest.raises(RbuildError):
        read_claim(payload)
    assert read_claim(claim("a/b", optional={"creator": "x"})).digest == DIGEST


def test_every_mistake_of_a_policy_is_said() -> None:
    text = """{
  "default": [],
  "transport": {},
  "transports": {
    "docker": {
      "docker://quay.io": [{"type": "insecureAcceptAnything", "keyPath": "x"}],
      "quay.io/a": [
        {"type": "sigstoreSigned"},
        {"type": "sigstoreSigned", "keyPath": "a", "keyData": "b"},
        {"type": "sigstoreSigned", "keyData": "?", "signedIdentity": {"type": "matchAll"}},
        {"type": "sigstoreSigned", "keyPaths": [], "signedIdentity":
          {"type": "exactReference", "dockerReference": "quay.io/a"}}
      ]
    },
    "oci": {"": [{"type": "accept"}]}
  }
}"""
    with pytest.raises(RbuildError) as caught:
        read_policy(text.encode(), "policy.json")
    said = [
        (problem.where.line if problem.where else None, problem.what) for problem in caught.value.problems
    ]
    assert said == [
        (3, "is not known here"),
        (2, "is not a list of requirements"),
        (6, "is not known here"),
        (6, "is no scope"),
        (8, "has no key"),
        (9, "has more than one key: keyPath, keyData"),
        (10, "is no type of identity"),
        (10, "is not base64 of a public key"),
        (12, "has neither a tag nor a digest"),
        (11, "is not a list of one to 100"),
        (15, "is no type of requirement: 'accept'"),
    ]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"default": [{"type": "reject"}], "default": []}', '{"default": 1}']
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(RbuildError):
        read_policy(text.encode(), "policy.json")


def test_where_signatures_are_looked_for() -> None:
    files = [
        (
            "a.yaml",
            b"default-docker: {use-sigstore-attachments: true}\ndocker: {quay.io/a: {lookaside: x}}\n",
        ),
        ("b.yaml", b"docker:\n  registry.example.org:5000/team: {use-sigstore-attachments: false}\n"),
    ]
    found = read_attachments(files)
    assert not found.used(IMAGE)
    assert not found.used(Reference("quay.io", "a/b", digest=DIGEST))  # its own scope does not say so
    assert found.used(Reference("quay.io", "c", digest=DIGEST))
    assert not read_attachments([]).used(IMAGE)
    wrong = [
        *files,
        ("c.yaml", b"default-docker: {}\ndocker: {quay.io/a: {use-sigstore-attachments: maybe}}\nx: 1\n"),
    ]
    with pytest.raises(RbuildError) as caught:
        read_attachments(wrong)
    assert len(caught.value.problems) == 4


def test_the_policy_is_handed_on_with_its_keys_in_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    folder = project / "trust"
    (folder / "registries.d").mkdir(parents=True)
    (folder / "registries.d/x.yaml").write_text("docker: {quay.io: {use-sigstore-attachments: true}}\n")
    (folder / "team.pub").write_bytes(KEY.public_pem())
    by_path = {"type": "sigstoreSigned", "keyPath": "team.pub"}
    both = {"type": "sigstoreSigned", "keyPaths": ["team.pub", str(folder / "team.pub")]}
    document = {"default": [{"type": "reject"}], "transports": {"docker": {"quay.io": [by_path, both]}}}
    (folder / "policy.json").write_text(json.dumps(document))
    store = Store(tmp_path / "store")
    trust = project_trust(project, "trust")
    handed = trust.handed(store)
    written = json.loads(handed.policy.read_bytes())
    encoded = base64.b64encode(KEY.public_pem()).decode()
    assert written["transports"]["docker"]["quay.io"] == [
        {"type": "sigstoreSigned", "keyData": encoded},
        {"type": "sigstoreSigned", "keyDatas": [encoded, encoded]},
    ]
    assert written["default"] == [{"type": "reject"}]
    assert list(written["transports"]["oci"]) == [str(store.tmp)]
    assert handed.skopeo() == ["--policy", str(handed.policy), "--registries.d", str(handed.registries)]
    assert handed.registries is not None and len(list(handed.registries.iterdir())) == 1
    assert trust.handed(store) == handed
    # Another key is another policy, to whoever has been let in by the old one.
    (folder / "team.pub").write_bytes(OTHER.public_pem())
    assert project_trust(project, "trust").digest != trust.digest


def test_keys_of_a_project_are_in_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "trust").mkdir(parents=True)
    (tmp_path / "stranger.pub").write_bytes(KEY.public_pem())
    (project / "trust/link.pub").symlink_to(tmp_path / "stranger.pub")
    for path in ("../../stranger.pub", "link.pub", "absent.pub"):
        requirement = {"type": "sigstoreSigned", "keyPath": path}
        (project / "trust/policy.json").write_text(json.dumps({"default": [requirement]}))
        with pytest.raises(RbuildError):
            project_trust(project, "trust")


def test_every_changed_byte_is_noticed() -> None:
    payload = simple_signing(IMAGE)
    written = KEY.sign(payload)
    assert verdict(signed(payload))[0] is Verdict.ACCEPTED
    for data, whole in ((payload, True), (written, False)):
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= 1 << at % 8
            said, text = (bytes(changed), written) if whole else (payload, bytes(changed))
            assert verdict(Signature(said, base64.b64encode(text).decode()))[0] is Verdict.REFUSED, at


def test_a_users_policy_may_know_more_than_rbuild(tmp_path: Path) -> None:
    own = tmp_path / ".config/containers"
    (own / "registries.d").mkdir(parents=True)
    (own / "registries.d/default.yaml").write_text("# nothing\n\n  # is said here\n")
    newer = {"type": "sigstoreSigned", "keyPath": "/nowhere/team.pub", "quantum": True}
    lost = {"type": "sigstoreSigned", "keyPath": "/nowhere/team.pub"}
    document = {
        "default": [{"type": "insecureAcceptAnything"}],
        "transports": {"docker": {"quay.io": [newer], "ghcr.io": [lost]}},
    }
    (own / "policy.json").write_text(json.dumps(document))
    found = user_trust({"HOME": str(tmp_path)})
    assert found is not None and found.asks_nothing(IMAGE)
    elsewhere = Reference("quay.io", "a/b", digest=DIGEST)
    judgement = judge(found.policy.requirements(elsewhere)[1], elsewhere, [], found.public_key)
    assert judgement.verdict is Verdict.UNKNOWN and "quantum" in judgement.why
    signed_there = signed(claim("ghcr.io/a/b"))
    with pytest.raises(RbuildError, match="cannot be read"):
        image = Reference("ghcr.io", "a/b", digest=DIGEST)
        judge(found.policy.requirements(image)[1], image, [signed_there], found.public_key)
    with pytest.raises(RbuildError, match="is not known here"):
        read_policy(json.dumps(document).encode(), "policy.json")


def test_the_users_own_policy(tmp_path: Path) -> None:
    own = tmp_path / ".config/containers"
    own.mkdir(parents=True)
    (own / "policy.json").write_text('{"default": [{"type": "reject"}]}')
    found = user_trust({"HOME": str(tmp_path)})
    assert found is not None and found.file == str(own / "policy.json")
    assert not found.asks_nothing(IMAGE)


def test_a_base_that_came_under_another_name_is_judged_by_its_own(tmp_path: Path) -> None:
    accept, reject = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]
    document = {"default": reject, "transports": {"docker": {"mirror.example": accept}}}
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust/policy.json").write_text(json.dumps(document))
    workspace = Workspace(
        root=tmp_path,
        project=load_project(
            b"project: demo\nstages: {one: {containerfile: c}}\n",
            exists=lambda path: "file" if path == "c" else "directory",
        ),
        store=Store(tmp_path / "store"),
        podman=Podman(env={}),
        env={},
        trust=project_trust(tmp_path, "trust"),
    )
    admission = Admission(workspace)
    mirrored = Reference("mirror.example", "app", digest=DIGEST)
    assert admission.admit_base(mirrored)
    origin = origin_of(workspace.store, DIGEST)
    assert origin is not None and origin.repository == mirrored.name
    with pytest.raises(RbuildError, match="the policy does not take") as caught:
        admission.admit_base(Reference("quay.io", "team/app", digest=DIGEST))
    assert caught.value.exit_code is Exit.FINDING
