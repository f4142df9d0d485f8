"""What a signature says, and where signatures are listed: read from strangers."""

from __future__ import annotations

from dataclasses import dataclass

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.canonicaljson import read_json
from rbuild.signing.cosign import SIGNATURE, SIMPLE_SIGNING, read_layers

MAX_CLAIM = 64 << 10  # bytes
_TYPE = "cosign container image signature"
_WHAT = "what is signed"


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as it lies in a registry: what was signed, and the signature in base64."""

    payload: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Claim:
    """That an image of this name has this digest. The name is as it was signed."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Listed:
    """A signature that a manifest lists: the blob that was signed, its size, the signature in base64."""

    payload: Digest
    size: int
    text: str


def listed_signatures(manifest: bytes) -> tuple[Listed, ...]:
    """The signatures that the manifest under `signature_tag` lists; what else it has is left out.

    Raises RbuildError for what is no such manifest.
    """
    return tuple(
        Listed(Digest.parse(layer.digest), layer.size, layer.annotations[SIGNATURE])
        for layer in read_layers(manifest)
        if layer.media_type == SIMPLE_SIGNING and SIGNATURE in layer.annotations
    )


def read_claim(payload: bytes) -> Claim:
    """Read what was signed, as strictly as containers/image does. Raises RbuildError for anything else."""
    said = read_json(payload, _WHAT, MAX_CLAIM)
    critical = _object(said, ("critical", "optional"), "critical")
    if said["optional"] is not None and not isinstance(said["optional"], dict):
        raise RbuildError(f"{_WHAT} has an optional part that is no object")
    image = _object(critical, ("type", "image", "identity"), "image")
    identity = _object(critical, ("type", "image", "identity"), "identity")
    if critical["type"] != _TYPE:
        raise RbuildError(f"{_WHAT} says that it is something else: {str(critical['type'])[:80]!r}")
    return Claim(
        name=_text(identity, "docker-reference"), digest=Digest.parse(_text(image, "docker-manifest-digest"))
    )


def _object(value: dict[str, object], keys: tuple[str, ...], key: str) -> dict[str, object]:
    if set(value) != set(keys):
        raise RbuildError(f"{_WHAT} does not have exactly the keys {', '.join(keys)}")
    found = value[key]
    if not isinstance(found, dict):
        raise RbuildError(f"{_WHAT} has no object {key!r}")
    return found


def _text(value: dict[str, object], key: str) -> str:
    found = value.get(key)
    if set(value) != {key} or not isinstance(found, str):
        raise RbuildError(f"{_WHAT} does not have exactly the key {key!r}, with a text")
    return found
