"""Signatures and attestations as cosign stores them: images of their own, under a tag made of the digest.

Source: github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md and specs/ATTESTATION_SPEC.md.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.canonicaljson import canonical_json, read_json, typed
from rbuild.image.manifest import OCI_CONFIG, OCI_MANIFEST
from rbuild.provenance import PAYLOAD_TYPE
from rbuild.reference import Reference
from rbuild.signing.dsse import envelope
from rbuild.signing.key import SigningKey

SIGNATURE = "dev.cosignproject.cosign/signature"
PREDICATE_TYPE = "predicateType"
SIGNER = "rbuild.signer"  # whose attestation it is; a note for who replaces it, of no weight in verifying
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE_ENVELOPE = "application/vnd.dsse.envelope.v1+json"

_MAX_MANIFEST = 4 << 20
_MAX_LAYERS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What to upload: first the blobs, then the manifest, under the tag, in the repository of the image."""

    tag: str
    manifest: bytes
    blobs: tuple[bytes, ...] = field(repr=False)


class Layer(msgspec.Struct, frozen=True, rename="camel"):
    """A signature or attestation, as the manifest lists it."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    layers: list[Layer]


def signature_tag(digest: Digest) -> str:
    """The tag of the signatures of the image with this manifest digest."""
    return f"sha256-{digest.hex}.sig"


def attestation_tag(digest: Digest) -> str:
    """The tag of the attestations on the image with this manifest digest."""
    return f"sha256-{digest.hex}.att"


def simple_signing(reference: Reference) -> bytes:
    """What a signature signs: that an image of this name has this digest.

    `reference` has a digest; its tag does not count. Raises RbuildError without a digest. Format:
    github.com/containers/image, docs/containers-signature.5.md, with cosign's own type.
    """
    if reference.digest is None:
        raise RbuildError(f"{reference} has no digest, and a signature is of one")
    return canonical_json(
        {
            "critical": {
                "identity": {"docker-reference": reference.name},
                "image": {"docker-manifest-digest": str(reference.digest)},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    )


def signature(key: SigningKey, reference: Reference, *, existing: bytes | None = None) -> Attachment:
    """Sign the image at `reference`, which has a digest.

    `existing` is the manifest that is already under `signature_tag`: the signatures of others stay. Signed
    again with the same key, it is the manifest that was there. Raises RbuildError for a reference without a
    digest, and for a manifest that is none.
    """
    payload = simple_signing(reference)
    assert reference.digest is not None
    layer = _layer(SIMPLE_SIGNING, payload, {SIGNATURE: base64.b64encode(key.sign(payload)).decode()})
    return _attachment(signature_tag(reference.digest), payload, layer, existing)


def attestation(
    key: SigningKey, digest: Digest, statement: bytes, predicate_type: str, *, existing: bytes | None = None
) -> Attachment:
    """Sign an in-toto statement on the image with this manifest digest; `existing` as for `signature`.

    It takes the place of what the same key has signed of that type before.
    """
    signed = envelope(key, PAYLOAD_TYPE, statement)
    said = {SIGNATURE: "", PREDICATE_TYPE: predicate_type, SIGNER: str(key.fingerprint)}
    layer = _layer(DSSE_ENVELOPE, signed, said)
    return _attachment(attestation_tag(digest), signed, layer, existing)


def attestations(
    key: SigningKey,
    digest: Digest,
    statements: Sequence[tuple[str, bytes]],
    *,
    existing: bytes | None = None,
) -> Attachment:
    """Sign several statements on an image, each with its predicate type; there has to be one."""
    blobs: list[bytes] = []
    for predicate_type, statement in statements:
        made = attestation(key, digest, statement, predicate_type, existing=existing)
        existing = made.manifest
        blobs.append(made.blobs[1])
    return replace(made, blobs=(made.blobs[0], *blobs))


def _layer(media_type: str, data: bytes, annotations: dict[str, str]) -> Layer:
    return Layer(media_type, str(Digest.of(data)), len(data), annotations)


def _attachment(tag: str, blob: bytes, layer: Layer, existing: bytes | None) -> Attachment:
    layers = read_layers(existing) if existing is not None else []
    if layer not in layers:
        layers = [one for one in layers if not _replaces(layer, one)]
        layers.append(layer)
    config = _config(layers)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": str(Digest.of(config)), "size": len(config)},
        "layers": msgspec.to_builtins(layers),
    }
    return Attachment(tag=tag, manifest=canonical_json(manifest), blobs=(config, blob))


def _replaces(new: Layer, old: Layer) -> bool:
    """Whether both are attestations of one key, of one type."""
    marks = (PREDICATE_TYPE, SIGNER)
    return SIGNER in new.annotations and all(
        new.annotations.get(name) == old.annotations.get(name) for name in marks
    )


def read_layers(manifest: bytes) -> list[Layer]:
    """What the manifest of signatures or attestations lists. Raises RbuildError for what is none."""
    what = "the manifest of the signatures"
    layers = typed(read_json(manifest, what, _MAX_MANIFEST), _Manifest, what).layers
    if len(layers) > _MAX_LAYERS:
        raise RbuildError(f"{what} has {len(layers)} of them; more than {_MAX_LAYERS} are refused")
    for layer in layers:
        Digest.parse(layer.digest)
    return layers


def _config(layers: Sequence[Layer]) -> bytes:
    """The configuration of an image that never runs, with what readers of images insist on."""
    return canonical_json(
        {
            "architecture": "",
            "config": {},
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )
