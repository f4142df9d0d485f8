"""Lists of images for several platforms: OCI image specification, "Image Index"; Docker's manifest lists."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.canonicaljson import read_json, typed
from rbuild.image.config import Platform
from rbuild.image.manifest import DOCKER_LIST, OCI_INDEX, check_case

MAX_LIST = 4 << 20
"""Bytes that a list may have: what registries take."""

_MAX_IMAGES = 1_000
_REF_NAME = "org.opencontainers.image.ref.name"


class ListedPlatform(msgspec.Struct, frozen=True):
    """What a list says that an image runs on."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a list, or one list of a layout's index."""

    digest: Digest
    size: int
    platform: ListedPlatform | None = None
    tag: str | None = None


class _RawListed(msgspec.Struct, rename="camel"):
    digest: str
    size: Annotated[int, msgspec.Meta(ge=0)]
    platform: ListedPlatform | None = None
    annotations: dict[str, str] | None = None


class _RawList(msgspec.Struct, rename="camel"):
    schema_version: int
    manifests: Annotated[list[_RawListed], msgspec.Meta(max_length=_MAX_IMAGES)]


def is_list(data: bytes) -> bool:
    """Whether a manifest is a list of others, by what it says of itself. Raises RbuildError for no JSON."""
    value = read_json(data, "the manifest", MAX_LIST)
    return value.get("mediaType") in (OCI_INDEX, DOCKER_LIST) or "manifests" in value


def read_list(data: bytes) -> tuple[Listed, ...]:
    """Read a list, in its order.

    Raises RbuildError for anything else, and for what could be read in two ways, as `read_manifest`.
    """
    what = "the image index"
    value = read_json(data, what, MAX_LIST)
    check_case(value, _RawList, what)
    listed: Any = value.get("manifests")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            check_case(one, _RawListed, what)
    raw = typed(value, _RawList, what)
    if raw.schema_version != 2:
        raise RbuildError(f"{what} has the schema version {raw.schema_version}, not 2")
    return tuple(
        Listed(
            digest=Digest.parse(one.digest),
            size=one.size,
            platform=one.platform,
            tag=(one.annotations or {}).get(_REF_NAME),
        )
        for one in raw.manifests
    )


def tagged(listed: tuple[Listed, ...], tag: str | None) -> tuple[Listed, ...]:
    """The images of a layout's index that a tag stands for; without one, all.

    Raises RbuildError, which names the tags that there are.
    """
    if tag is None:
        return listed
    found = tuple(one for one in listed if one.tag == tag)
    if not found:
        there = tags(listed)
        hint = f"it has {', '.join(there)}" if there else "none of its images has a tag: leave it out"
        raise RbuildError(f"there is no image with the tag {tag[:200]!r}", hint=hint)
    return found


def tags(listed: tuple[Listed, ...]) -> list[str]:
    """The tags of a layout's index, the first few of them."""
    return sorted({one.tag[:100] for one in listed if one.tag})[:10]


def for_platform(listed: tuple[Listed, ...], platform: Platform) -> Listed:
    """The image for a platform: of several the first, one without a variant where none is asked for.

    Raises RbuildError, which names the platforms that there are.
    """
    fits = [
        one
        for one in listed
        if one.platform is not None
        and (one.platform.os, one.platform.architecture) == (platform.os, platform.architecture)
        and platform.variant in (None, one.platform.variant)
    ]
    if not fits:
        others = sorted({str(one.platform) for one in listed if one.platform is not None})
        raise RbuildError(
            f"there is no image for {platform} among the {len(listed)} that it lists",
            hint=f"set `platform` in rbuild.yaml to one of {', '.join(others[:10])}" if others else None,
        )
    return min(fits, key=lambda one: bool(one.platform and one.platform.variant and not platform.variant))
