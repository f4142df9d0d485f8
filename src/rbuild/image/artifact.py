"""What is published beside an image: OCI artifacts that refer to it.

OCI image specification 1.1, "Guidelines for Artifact Usage"; distribution specification 1.1, "Referrers Tag
Schema", for registries that do not list referrers themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.canonicaljson import canonical_json, read_json
from rbuild.image.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor

_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
_MAX_INDEX = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What to upload into the image's repository: first the blobs, then the manifest, under its digest."""

    artifact_type: str
    annotations: Mapping[str, str]
    manifest: bytes
    blobs: tuple[bytes, ...] = field(repr=False)

    @property
    def digest(self) -> Digest:
        """What names it."""
        return Digest.of(self.manifest)


def artifact(
    subject: Descriptor, media_type: str, data: bytes, annotations: Mapping[str, str] | None = None
) -> Artifact:
    """An artifact of one document about the image whose manifest is `subject`.

    `media_type` is the document's, and the artifact's type. The same arguments give the same bytes.
    """
    said = dict(annotations or {})
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": media_type,
        "config": _descriptor(_EMPTY_TYPE, _EMPTY),
        "layers": [_descriptor(media_type, data)],
        "subject": {
            "mediaType": subject.media_type,
            "digest": str(subject.digest),
            "size": subject.size,
        },
    }
    if said:
        manifest["annotations"] = said
    return Artifact(
        artifact_type=media_type,
        annotations=said,
        manifest=canonical_json(manifest),
        blobs=(_EMPTY, data),
    )


def referrers_tag(subject: Digest) -> str:
    """The tag of the index of what refers to an image, where the registry keeps no such list."""
    return f"sha256-{subject.hex}"


def referrers_index(existing: bytes | None, added: Artifact) -> bytes:
    """The index under `referrers_tag` with one artifact more; the same bytes if it is in there.

    `existing` is the index that is there. Raises RbuildError where that is no image index.
    """
    listed: list[Any] = []
    if existing is not None:
        index = read_json(existing, "the list of referrers", _MAX_INDEX)
        listed = index.get("manifests")  # type: ignore[assignment]
        if index.get("mediaType") != OCI_INDEX or not isinstance(listed, list):
            raise RbuildError(
                "the tag for the list of referrers stands for something else",
                hint="delete that tag in the registry, then push again",
            )
        if any(isinstance(one, dict) and one.get("digest") == str(added.digest) for one in listed):
            return existing
    descriptor = {**_descriptor(OCI_MANIFEST, added.manifest), "artifactType": added.artifact_type}
    if added.annotations:
        descriptor["annotations"] = dict(added.annotations)
    return canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*listed, descriptor]})


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}
