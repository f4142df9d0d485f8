"""Images of strangers on their way into the store.

What an image claims is read, and has to fit together, before any layer is fetched; while layers come, they
are held to the sizes that were claimed. Every error names the blob.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where, at
from rbuild.image.config import Platform, read_config
from rbuild.image.manifest import Descriptor, Manifest, read_manifest
from rbuild.image.platforms import MAX_LIST, Listed, for_platform, is_list, read_list, tagged, tags
from rbuild.imagefiles import Folder
from rbuild.podman import Podman
from rbuild.reference import Reference
from rbuild.skopeo import copy_to_folder, inspect, on_loopback, registry_source
from rbuild.store import Store

_CHUNK = 1 << 20
_LISTS = 2  # a list may list another one, as the index of a layout does
_MANIFEST_HINT = "fetch or build the image again"
_REGISTRY_HINT = (
    "check its name under `bases` in rbuild.yaml, and that its registry can be reached; "
    "`podman login` where it asks for a password"
)

_Read = Callable[[Digest], bytes]


def take_layout(folder: Path, tag: str | None, platform: str, store: Store) -> Digest:
    """Copy an image from an OCI layout into the store; gives the digest of its manifest.

    Without a tag the layout has one image, or one for `platform`. Raises RbuildError for what is missing or
    not what it claims to be; nothing outside of the folder is read.
    """
    files = Folder(folder)
    index = Where(file=f"{folder}/index.json")
    with at(index):
        if not files.has("index.json"):
            raise RbuildError("there is no OCI image layout", hint=f"`skopeo copy … oci:{folder}` makes one")
        with files.open("index.json") as file:
            listed = read_list(_bounded(file, MAX_LIST))
        first = _chosen(listed, tag, Platform.parse(platform))

    def read(digest: Digest) -> bytes:
        with files.open(_blob_name(digest)) as file:
            return _bounded(file, MAX_LIST)

    digest, data = _image(first, Platform.parse(platform), read)
    manifest = _checked(digest, data)
    for part in _parts(manifest):
        with at(Where(digest=str(part.digest))):
            if not store.has(part.digest, part.size):
                with files.open(_blob_name(part.digest)) as blob:
                    _take(blob, part, store)
    _check_config(manifest, store)
    return store.put(data).digest


def take_image(
    reference: Reference,
    platform: str,
    store: Store,
    scratch: Path,
    podman: Podman,
    admit: Callable[[Reference], None],
) -> Digest:
    """Copy an image from its registry into the store; gives the digest of its manifest.

    Of a list of images the one for `platform` is taken. `scratch` is an empty folder for temporary files.
    `podman` says with which environment and policy skopeo works. `admit` is called with the image's own name
    and digest before any layer is fetched; it raises for one that is not to be taken.
    Raises RbuildError when the registry does not answer, has no such image, or sends something else than it
    claims; what it sends beyond that is not kept.
    """
    env = podman.env
    tls = on_loopback(reference)
    flag = ("--tls-verify=false",) if tls else ()

    def read(digest: Digest) -> bytes:
        return inspect(registry_source(reference.at(digest)), *flag, env=env, hint=_REGISTRY_HINT)

    with at(Where(url=str(reference))):
        if reference.digest:
            digest, data = _image(reference.digest, Platform.parse(platform), read)
        else:
            data = inspect(registry_source(reference), *flag, env=env, hint=_REGISTRY_HINT)
            digest, data = _image(Digest.of(data), Platform.parse(platform), read, data)
        manifest = _checked(digest, data)
        admit(Reference(reference.registry, reference.repository, digest=digest))
        target = scratch / "image"
        with at(Where(digest=str(digest))), store.space():
            copy_to_folder(
                registry_source(reference.at(digest)),
                *(("--src-tls-verify=false",) if tls else ()),
                target=target,
                scratch=scratch,
                env=env,
                hint=_REGISTRY_HINT,
                most=sum(part.size for part in _parts(manifest)),
                handed=podman.handed,
            )
        for part in _parts(manifest):
            with at(Where(digest=str(part.digest))), (target / part.digest.hex).open("rb") as blob:
                _take(blob, part, store)
            (target / part.digest.hex).unlink()
        _check_config(manifest, store)
    return store.put(data).digest


def _chosen(listed: tuple[Listed, ...], tag: str | None, platform: Platform) -> Digest:
    """What the index of a layout names."""
    listed = tagged(listed, tag)
    if len(listed) == 1:
        return listed[0].digest
    if not listed:
        raise RbuildError("the layout has no images")
    if tag is None and len({one.tag for one in listed}) > 1:
        raise RbuildError(
            f"the layout has {len(listed)} images", hint=f"choose one with `tag`: {', '.join(tags(listed))}"
        )
    return for_platform(listed, platform).digest


def _image(
    digest: Digest, platform: Platform, read: _Read, data: bytes | None = None
) -> tuple[Digest, bytes]:
    """The manifest that `digest` names, or that the list which it names has for the platform."""
    for _ in range(_LISTS + 1):
        with at(Where(digest=str(digest))):
            data = read(digest) if data is None else data
            if (found := Digest.of(data)) != digest:
                raise RbuildError(f"the manifest has the digest {found}", hint=_MANIFEST_HINT)
            if not is_list(data):
                return digest, data
            digest, data = for_platform(read_list(data), platform).digest, None
    raise RbuildError("a list of images lists another list", where=Where(digest=str(digest)))


def _checked(digest: Digest, data: bytes) -> Manifest:
    with at(Where(digest=str(digest))):
        manifest = read_manifest(data)
        sizes: dict[Digest, int] = {}
        for part in (manifest.config, *manifest.layers):
            if sizes.setdefault(part.digest, part.size) != part.size:
                raise RbuildError(f"the manifest has two sizes for {part.digest}", hint=_MANIFEST_HINT)
        return manifest


def _parts(manifest: Manifest) -> Iterator[Descriptor]:
    """Every blob of an image, each once; the configuration first, since it is small."""
    yield from {part.digest: part for part in (manifest.config, *manifest.layers)}.values()


def _take(blob: BinaryIO, part: Descriptor, store: Store) -> None:
    """Take a blob that has to be `part` into the store."""
    size = os.fstat(blob.fileno()).st_size
    if size != part.size:
        raise RbuildError(f"it has {size} bytes, and the manifest says {part.size}", hint=_MANIFEST_HINT)
    found = hashlib.sha256()
    with store.writer() as writer:
        while chunk := blob.read(_CHUNK):
            found.update(chunk)
            writer.write(chunk)
            if writer.size > part.size:
                break
        if found.hexdigest() != part.digest.hex:
            raise RbuildError(f"its bytes have the digest sha256:{found.hexdigest()}", hint=_MANIFEST_HINT)
        writer.commit()


def _check_config(manifest: Manifest, store: Store) -> None:
    with at(Where(digest=str(manifest.config.digest))):
        config = read_config(store.read(manifest.config.digest))
        if len(config.diff_ids) != len(manifest.layers):
            raise RbuildError(
                f"the configuration has {len(config.diff_ids)} layers, and the manifest "
                f"{len(manifest.layers)}",
                hint=_MANIFEST_HINT,
            )


def _blob_name(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _bounded(file: BinaryIO, limit: int) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise RbuildError(f"more than {limit} bytes are no manifest", hint=_MANIFEST_HINT)
    return data
