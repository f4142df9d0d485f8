from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.canonicaljson import canonical_json
from rbuild.reference import Reference
from rbuild.signing.cosign import attestation, signature, simple_signing
from rbuild.signing.dsse import envelope, pae
from rbuild.signing.key import SigningKey, verify
from rbuild.signing.keyfile import read_key, write_key
from rbuild.verbs.keygen import keygen, open_key

# Made by cosign 2.5.0 with the password "sesam", for this test alone.
COSIGN_KEY = b"""\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJsUnIwdGt0UmlZWXoyaS9tN2pyY3o0ZHpJYTROOVNj
MFVLc1l1bjBFbFNNPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJrOW9VdjVJRFFNYnRHM0xSaS9qemZ5eWR6amdVRzl5eCJ9LCJj
aXBoZXJ0ZXh0IjoiV2t2Y3Axa1NEeHNrQjRVN09vdC9rVnFPQlRUb1ZiUnBwWE5P
Z2RoWnFVMUZya0pEdGRPUTZHd3RDa045WW11N1FqZ01abUVJRUFBTklTZVQyVE02
bk5yUHBkVlQ5ZWNQYUcwMEhWWElZdGV5SlptUjFPbUttZitMbFdhVFhvVHNiR0J5
akVJbGhBcjNvSit3Tm4wSnVFR3ZmeUVkbDI5ZUdqTnpwNHVyR0I1ZzYxUVJkWjcw
QWJWYTkzK3BYTmNlTWxwRXFWdG1yOUN1ZlE9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
"""
COSIGN_PUB = b"""\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEGNzLEAevUusLDsqdUgMrjVPf3xBP
8GNypg8CVUJAgFQLpipmaXzYGWl1pP1EPbNFdSc9pJUoIMz3xYO8caf4AA==
-----END PUBLIC KEY-----
"""
SALT, NONCE = b"s" * 32, b"n" * 24
KEY = read_key(COSIGN_KEY, b"sesam")
DIGEST = Digest.of(b"manifest")
IMAGE = Reference("registry.example:5000", "team/app", "1", DIGEST)


def test_a_key_of_cosign_opens_with_its_password_alone() -> None:
    assert KEY.public_pem() == COSIGN_PUB
    with pytest.raises(RbuildError, match="cannot be opened with this password") as caught:
        read_key(COSIGN_KEY, b"geheim")
    assert "geheim" not in str(caught.value) and "COSIGN_PASSWORD" in str(caught.value)


def test_a_key_survives_its_file() -> None:
    data = write_key(KEY, b"", salt=SALT, nonce=NONCE)
    assert read_key(data, b"").to_pkcs8() == KEY.to_pkcs8()
    assert data.splitlines()[0] == COSIGN_KEY.splitlines()[0]
    assert KEY.to_pkcs8() not in base64.b64decode(b"".join(data.splitlines()[1:-1]))
    assert "PRIVATE" not in repr(KEY) and "object" not in repr(KEY)


def changed(**parts: object) -> bytes:
    """cosign's key file with other parts."""
    inner = json.loads(base64.b64decode(b"".join(COSIGN_KEY.splitlines()[1:-1])))
    inner["kdf"]["params"] |= {key: value for key, value in parts.items() if key in "Nrp"}
    inner["cipher"] |= {key: value for key, value in parts.items() if key in ("name", "nonce")}
    body = base64.b64encode(json.dumps(inner).encode())
    lines = COSIGN_KEY.splitlines()
    return b"\n".join([lines[0], body, lines[-1]])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a private key in cosign's format"),
        (COSIGN_PUB, "not a private key in cosign's format"),
        (b"\n" * 60_000, "not a private key in cosign's format"),
        (COSIGN_KEY * 200, "not a private key in cosign's format"),
        (COSIGN_KEY.replace(b"eyJ", b"ey", 1), "not a private key in cosign's format"),
        (changed(N=1 << 30), "in a way that cosign does not use"),
        (changed(r=1 << 20), "in a way that cosign does not use"),
        (changed(N=-1), "in a way that cosign does not use"),
        (changed(nonce="AAAA"), "in a way that cosign does not use"),
        (changed(name="none"), "in a way that cosign does not use"),
        (changed(nonce=7), "the private key: Expected"),
    ],
)
def test_what_is_no_key_is_refused_before_any_work(data: bytes, why: str) -> None:
    with pytest.raises(RbuildError, match=why):
        read_key(data, b"sesam")


def test_a_signature_is_of_its_data_and_the_same_each_time() -> None:
    signed = KEY.sign(b"data")
    assert signed == KEY.sign(b"data") and signed != SigningKey.generate().sign(b"data")
    assert verify(COSIGN_PUB, signed, b"data")
    assert not verify(COSIGN_PUB, signed, b"date")
    assert not verify(SigningKey.generate().public_pem(), signed, b"data")
    with pytest.raises(RbuildError, match="no public key"):
        verify(COSIGN_KEY, signed, b"data")


def test_simple_signing_says_name_and_digest() -> None:
    assert json.loads(simple_signing(IMAGE)) == {
        "critical": {
            "identity": {"docker-reference": "registry.example:5000/team/app"},
            "image": {"docker-manifest-digest": str(DIGEST)},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    with pytest.raises(RbuildError, match="has no digest"):
        simple_signing(Reference("registry.example", "team/app", "1"))


def test_a_signature_is_an_image_that_names_its_blobs() -> None:
    made = signature(KEY, IMAGE)
    assert made.tag == f"sha256-{DIGEST.hex}.sig"
    manifest = json.loads(made.manifest)
    (layer,) = manifest["layers"]
    config, payload = made.blobs
    assert payload == simple_signing(IMAGE)
    assert (layer["digest"], layer["size"]) == (str(Digest.of(payload)), len(payload))
    assert (manifest["config"]["digest"], manifest["config"]["size"]) == (str(Digest.of(config)), len(config))
    assert json.loads(config)["rootfs"]["diff_ids"] == [layer["digest"]]
    signed = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"])
    assert verify(COSIGN_PUB, signed, payload)


def test_the_signatures_of_others_stay_and_ones_own_is_there_once() -> None:
    first = signature(SigningKey.generate(), IMAGE)
    both = signature(KEY, IMAGE, existing=first.manifest)
    assert len(json.loads(both.manifest)["layers"]) == 2
    assert json.loads(both.manifest)["layers"][0] == json.loads(first.manifest)["layers"][0]
    assert signature(KEY, IMAGE, existing=both.manifest) == both


@pytest.mark.parametrize(
    "existing",
    [
        b"[]",
        b"{}",
        canonical_json({"layers": [{"mediaType": "x", "digest": "md5:1", "size": 1}]}),
        canonical_json({"layers": [{"mediaType": "x", "digest": str(DIGEST), "size": 1}] * 1001}),
    ],
)
def test_signatures_that_are_none_are_refused(existing: bytes) -> None:
    with pytest.raises(RbuildError):
        signature(KEY, IMAGE, existing=existing)


def test_an_envelope_signs_the_type_as_well() -> None:
    # The example of DSSE's protocol.md.
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    made = json.loads(envelope(KEY, "text/plain", b"body"))
    assert base64.b64decode(made["payload"]) == b"body"
    signed = base64.b64decode(made["signatures"][0]["sig"])
    assert verify(COSIGN_PUB, signed, pae("text/plain", b"body"))
    assert not verify(COSIGN_PUB, signed, pae("text/html", b"body"))


def test_an_attestation_carries_its_statement() -> None:
    made = attestation(KEY, DIGEST, b"{}", "https://slsa.dev/provenance/v1")
    assert made.tag == f"sha256-{DIGEST.hex}.att"
    (layer,) = json.loads(made.manifest)["layers"]
    assert layer["annotations"]["predicateType"] == "https://slsa.dev/provenance/v1"
    assert base64.b64decode(json.loads(made.blobs[1])["payload"]) == b"{}"
    assert attestation(KEY, DIGEST, b"{}", "https://slsa.dev/provenance/v1") == made


def test_keys_are_made_for_their_owner_and_never_overwritten(tmp_path: Path) -> None:
    pair = keygen(tmp_path / "team", lambda: b"sesam")
    assert (pair.private, pair.public) == (tmp_path / "team.key", tmp_path / "team.pub")
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    key = open_key(pair.private, lambda: b"sesam")
    assert key.public_pem() == pair.public.read_bytes()
    before = pair.private.read_bytes()
    with pytest.raises(RbuildError, match="never overwritten"):
        keygen(tmp_path / "team", lambda: pytest.fail("asked"))
    assert pair.private.read_bytes() == before
    (tmp_path / "other.pub").symlink_to("nowhere")
    with pytest.raises(RbuildError, match="never overwritten"):
        keygen(tmp_path / "other", lambda: b"")
    assert not (tmp_path / "other.key").exists()


def test_a_key_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(RbuildError, match="cannot be read: No such file"):
        open_key(tmp_path / "cosign.key", lambda: pytest.fail("asked"))
    with pytest.raises(RbuildError, match="cannot be written"):
        keygen(tmp_path / "nowhere" / "cosign", lambda: b"")
