"""Image manifests: OCI image specification, "Image Manifest", and Docker's schema 2, which is only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.canonicaljson import canonical_json, read_json, typed
from rbuild.image.codec import MEDIA_TYPES

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

_MAX_BYTES = 4 << 20  # what registries take
_MAX_LAYERS = 512
_MAX_BLOB = 1 << 40
_OCI_NAMES = {_DOCKER_CONFIG: OCI_CONFIG} | {
    docker: docker.replace("docker.image.rootfs.diff.tar", "oci.image.layer.v1.tar").replace(".tar.", ".tar+")
    for docker in MEDIA_TYPES
    if "docker" in docker
}


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """A blob, as a manifest names it."""

    media_type: str
    digest: Digest
    size: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest says. Its digest is that of the bytes it was read from, never of these words."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}


class _RawDescriptor(msgspec.Struct, rename="camel"):
    media_type: Annotated[str, msgspec.Meta(max_length=255)]
    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=_MAX_BLOB)]
    urls: list[str] | None = None


class _RawManifest(msgspec.Struct, rename="camel"):
    schema_version: int
    config: _RawDescriptor
    layers: Annotated[list[_RawDescriptor], msgspec.Meta(max_length=_MAX_LAYERS)]
    media_type: str | None = None
    annotations: dict[str, str] | None = None


def canonical_manifest(
    config: Descriptor, layers: Sequence[Descriptor], annotations: Mapping[str, str]
) -> bytes:
    """An OCI image manifest; Docker's media types become OCI's, which mean the same bytes."""
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _written(config),
        "layers": [_written(layer) for layer in layers],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    return canonical_json(manifest)


def read_manifest(data: bytes) -> Manifest:
    """Read the manifest of one image, OCI's or Docker's.

    Raises RbuildError for an index, for anything but an image, and for what could be read in two ways: keys
    that come twice or differ from the specification's in case only (Go reads both).
    """
    what = "the image manifest"
    value = read_json(data, what, _MAX_BYTES)
    named = value.get("mediaType")
    if named in (OCI_INDEX, DOCKER_LIST) or "manifests" in value:
        raise RbuildError(
            "this is an image index, which names one image for each platform, and an image was asked for",
            hint="choose the platform's manifest, or pin the image by its own digest",
        )
    if "fsLayers" in value or value.get("schemaVersion") == 1:
        raise RbuildError(
            "this is a Docker manifest of schema 1, which has no digests of its layers' contents"
        )
    if named not in (None, OCI_MANIFEST, _DOCKER_MANIFEST):
        raise RbuildError(f"{what} says that it is something else: {str(named)[:200]!r}")
    check_case(value, _RawManifest, what)
    for part in (value.get("config"), *_listed(value.get("layers"))):
        if isinstance(part, dict):
            check_case(part, _RawDescriptor, what)
    raw = typed(value, _RawManifest, what)
    if raw.schema_version != 2:
        raise RbuildError(f"{what} has the schema version {raw.schema_version}, not 2")
    if raw.config.media_type not in (OCI_CONFIG, _DOCKER_CONFIG):
        raise RbuildError(
            f"this is not a container image: its config is a {raw.config.media_type!r}",
            hint="name an image; charts, signatures and other artifacts cannot be a base",
        )
    for layer in raw.layers:
        if layer.media_type not in MEDIA_TYPES or layer.urls:
            raise RbuildError(f"{what} has a layer that rbuild cannot read: {layer.media_type!r}")
    return Manifest(
        media_type=named or OCI_MANIFEST,
        config=_descriptor(raw.config),
        layers=tuple(map(_descriptor, raw.layers)),
        annotations=raw.annotations or {},
    )


def _written(descriptor: Descriptor) -> dict[str, Any]:
    return {
        "mediaType": _OCI_NAMES.get(descriptor.media_type, descriptor.media_type),
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }


def _descriptor(raw: _RawDescriptor) -> Descriptor:
    return Descriptor(media_type=raw.media_type, digest=Digest.parse(raw.digest), size=raw.size)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def check_case(value: dict[str, Any], kind: type[msgspec.Struct], what: str) -> None:
    """Raise RbuildError for a key that differs from one of `kind` in case only: Go reads both as one."""
    known = {name.casefold(): name for name in kind.__struct_encode_fields__}
    for name in value:
        if known.get(name.casefold(), name) != name:
            raise RbuildError(f"{what} has the key {name!r}, which is spelt {known[name.casefold()]!r}")
