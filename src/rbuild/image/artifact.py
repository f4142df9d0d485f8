"""What is published beside an image: OCI artifacts that refer to it.

OCI image specification 1.1, "Guidelines for Artifact Usage"; distribution specification 1.1, "Referrers Tag
Schema", for registries that do not list referrers themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.canonicaljson import canonical_json, read_json, typed
from rbuild.image.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor

_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_MAX_BYTES = 4 << 20  # of a manifest, as registries take it
_MAX_BLOB = 1 << 40
_MAX_TEXT = 4_096  # of a type or an annotation


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A blob of an artifact: `data`, the file at `path`, or a blob of the store where there is neither."""

    media_type: str
    digest: Digest
    size: int
    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, media_type: str, data: bytes, annotations: Mapping[str, str] | None = None) -> Part:
        """A part that is in memory."""
        return cls(
            media_type=media_type,
            digest=Digest.of(data),
            size=len(data),
            data=data,
            annotations=annotations or {},
        )


_EMPTY = Part.of(_EMPTY_TYPE, b"{}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What to upload into the image's repository: first the blobs, then the manifest, under its digest."""

    artifact_type: str
    annotations: Mapping[str, str]
    manifest: bytes = field(repr=False)
    parts: tuple[Part, ...] = field(repr=False)

    @property
    def digest(self) -> Digest:
        """What names it."""
        return Digest.of(self.manifest)

    @property
    def blobs(self) -> tuple[Part, ...]:
        """What its manifest names, each once."""
        return tuple({part.digest: part for part in (_EMPTY, *self.parts)}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """An artifact as a registry lists it; only its manifest can tell whether that is true."""

    artifact_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str]


def artifact(
    subject: Descriptor,
    artifact_type: str,
    parts: Sequence[Part],
    annotations: Mapping[str, str] | None = None,
) -> Artifact:
    """An artifact about the image whose manifest is `subject`. The same arguments give the same bytes.

    Raises RbuildError if its manifest is larger than what registries take.
    """
    said = dict(annotations or {})
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": _descriptor(_EMPTY),
        "layers": [_descriptor(part) for part in parts or (_EMPTY,)],
        "subject": {
            "mediaType": subject.media_type,
            "digest": str(subject.digest),
            "size": subject.size,
        },
    }
    if said:
        manifest["annotations"] = said
    data = canonical_json(manifest)
    if len(data) > _MAX_BYTES:
        raise RbuildError(
            f"the manifest of {artifact_type} with {len(parts)} blobs has {len(data)} bytes; "
            f"registries take {_MAX_BYTES}"
        )
    return Artifact(artifact_type=artifact_type, annotations=said, manifest=data, parts=tuple(parts))


class _RawPart(msgspec.Struct, rename="camel"):
    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}


class _RawSubject(msgspec.Struct):
    digest: str


class _RawArtifact(msgspec.Struct, rename="camel"):
    schema_version: int
    media_type: str
    layers: list[_RawPart]
    artifact_type: str = ""
    subject: _RawSubject | None = None
    annotations: dict[str, str] = {}


def read_artifact(data: bytes, subject: Digest, artifact_type: str) -> tuple[Part, ...]:
    """The parts, none of them in memory, of the manifest of an artifact, as a stranger wrote it.

    Raises RbuildError unless it is an artifact of that type about the image whose manifest is `subject`.
    """
    what = f"the manifest of {artifact_type}"
    raw = typed(read_json(data, what, _MAX_BYTES), _RawArtifact, what)
    if (raw.schema_version, raw.media_type, raw.artifact_type) != (2, OCI_MANIFEST, artifact_type):
        raise RbuildError(f"{what} says that it is something else: {raw.artifact_type[:200]!r}")
    if raw.subject is None or raw.subject.digest != str(subject):
        said = repr(raw.subject.digest[:80]) if raw.subject else "no image"
        raise RbuildError(f"{what} is about {said}, not about {subject}")
    parts = []
    for part in raw.layers:
        if not 0 <= part.size <= _MAX_BLOB:
            raise RbuildError(f"{what} has a blob of {part.size} bytes")
        parts.append(
            Part(
                media_type=part.media_type,
                digest=Digest.parse(part.digest),
                size=part.size,
                annotations=part.annotations,
            )
        )
    return tuple(parts)


def referrers_tag(subject: Digest) -> str:
    """The tag of the index of what refers to an image, where the registry keeps no such list."""
    return f"sha256-{subject.hex}"


def referrers_index(existing: bytes | None, added: Sequence[Artifact]) -> bytes:
    """The index under `referrers_tag` with artifacts added; the same bytes if they are all in there.

    `existing` is the index that is there. Raises RbuildError where that is no image index.
    """
    listed: list[Any] = [] if existing is None else _listed(existing)
    there = {one["digest"] for one in listed if isinstance(one, dict) and isinstance(one.get("digest"), str)}
    missing = [one for one in added if str(one.digest) not in there]
    if existing is not None and not missing:
        return existing
    manifests = [*listed, *map(_entry, missing)]
    return canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})


def read_referrers(index: bytes) -> Iterator[Referrer]:
    """What an index says that refers to an image. What cannot be an artifact of ours is passed over."""
    for one in _listed(index):
        if not isinstance(one, dict):
            continue
        kind, digest, size = one.get("artifactType", ""), one.get("digest"), one.get("size")
        annotations = one.get("annotations") or {}
        if not isinstance(kind, str) or len(kind) > _MAX_TEXT or not isinstance(digest, str):
            continue
        if not isinstance(size, int) or not 0 < size <= _MAX_BYTES or not isinstance(annotations, dict):
            continue
        texts = [text for pair in annotations.items() for text in pair]
        if not all(isinstance(text, str) and len(text) <= _MAX_TEXT for text in texts):
            continue
        try:
            known = Digest.parse(digest)
        except RbuildError:
            continue  # by an algorithm that nobody here uses
        yield Referrer(artifact_type=kind, digest=known, size=size, annotations=annotations)


def _listed(index: bytes) -> list[Any]:
    read = read_json(index, "the list of referrers", _MAX_BYTES)
    listed = read.get("manifests")
    if read.get("mediaType", OCI_INDEX) != OCI_INDEX or not isinstance(listed, list):
        raise RbuildError(
            "the tag for the list of referrers stands for something else",
            hint="delete that tag in the registry, then push again",
        )
    return listed


def _entry(one: Artifact) -> dict[str, Any]:
    manifest = _descriptor(Part.of(OCI_MANIFEST, one.manifest, one.annotations))
    return {**manifest, "artifactType": one.artifact_type}


def _descriptor(part: Part) -> dict[str, Any]:
    said = {"mediaType": part.media_type, "digest": str(part.digest), "size": part.size}
    return {**said, "annotations": dict(part.annotations)} if part.annotations else said
