"""Images as they lie in files: OCI layouts and Docker's archives. All of it may be a stranger's.

OCI image specification, "Image Layout"; for Docker's archive, moby's image/spec/v1.2.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where, at
from rbuild.image.canonicaljson import read_json
from rbuild.image.config import Config, read_config
from rbuild.image.manifest import OCI_CONFIG, Descriptor, Manifest, canonical_manifest, read_manifest
from rbuild.image.platforms import MAX_LIST, Listed, read_list, tagged, tags
from rbuild.imagefiles import Files

_CHUNK = 1 << 20
_MAX_JSON = 8 << 20
_MAX_LISTED = 1_000
_TAR = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image somewhere: its manifest and configuration as stored, and how a layer is opened.

    `open_layer` takes a layer's number, which counts from 1, and gives its blob at its start, after a look at
    all of its bytes: it raises RbuildError where they are not those of its digest.
    """

    manifest: bytes
    config: bytes
    open_layer: Callable[[int], BinaryIO]


def is_layout(files: Files) -> bool:
    """Whether these are the files of an OCI layout."""
    return files.has("index.json")


def is_docker(files: Files) -> bool:
    """Whether these are the files of an archive of Docker's."""
    return files.has("manifest.json")


# OCI layouts


def read_layout(files: Files, *, tag: str | None, digest: Digest | None, platform: str) -> StoredImage:
    """The image of a layout that has the tag or the digest; without both, the only one.

    Raises RbuildError where there is none, or several; for a list of images for several platforms, with what
    to name instead; and for what is not as the specification has it. Layers are not looked at yet.
    """
    where = Where(file=f"{files.path}/index.json")
    data = _read(files, "index.json", MAX_LIST)
    if digest is None:
        with at(where):
            digest = _only(tagged(read_list(data), tag), files)
    data = _blob(files, digest, _MAX_JSON)
    name = f"oci:{files.path}"
    try:
        manifest = manifest_of(name, data)
    except RbuildError:
        refuse_list(data, name, platform)
        raise
    config = _blob(files, manifest.config.digest, _MAX_JSON)
    config_of(name, config, manifest)
    return StoredImage(manifest=data, config=config, open_layer=partial(_open_blob, files, manifest))


def _only(listed: tuple[Listed, ...], files: Files) -> Digest:
    if len({one.digest for one in listed}) != 1:
        there = tags(listed)
        named = f"name one of them: {', '.join(there)}" if there else ""
        raise RbuildError(
            f"it holds {len(listed)} images",
            hint=named or f"name one by its digest: oci:{files.path}@sha256:…",
        )
    return listed[0].digest


def refuse_list(data: bytes, spelling: str, platform: str) -> None:
    """Raise RbuildError if `data` lists images for platforms: which there are, and how to name that one.

    `spelling` is how the list was named, without tag and digest. Anything else is left to others.
    """
    try:
        listed = read_json(data, "the image index", _MAX_JSON).get("manifests")
    except RbuildError:
        return
    found: dict[str, str] = {}
    for one in _list(listed)[:_MAX_LISTED]:
        about = one.get("platform") if isinstance(one, dict) else None
        if isinstance(about, dict):
            parts = [about.get(key) for key in ("os", "architecture", "variant")]
            found.setdefault("/".join(str(part) for part in parts if part)[:80], str(one.get("digest"))[:80])
    if listed is None:
        return
    digest = found.get(platform) or next(
        (one for name, one in found.items() if name.startswith(f"{platform}/")), None
    )
    hint = "name one of its images by the digest" if found else "name an image"
    raise RbuildError(
        f"{spelling} is a list of images, one for each platform: {', '.join(sorted(found)) or 'none'}",
        hint=f"the one for {platform} is {spelling}@{digest}" if digest else hint,
    )


def manifest_of(name: str, data: bytes) -> Manifest:
    """Read the manifest of the image `name`. Raises RbuildError, with name and digest, as `read_manifest`."""
    with at(Where(file=name, digest=str(Digest.of(data)))):
        return read_manifest(data)


def config_of(name: str, data: bytes, manifest: Manifest) -> Config:
    """Read the configuration of the image `name`, which has this manifest.

    Raises RbuildError, with the image's name and the digest, as `read_config` does, and unless the two speak
    of the same number of layers.
    """
    with at(Where(file=name, digest=str(manifest.config.digest))):
        config = read_config(data)
        if len(manifest.layers) != len(config.diff_ids):
            raise RbuildError(
                f"the configuration has {len(config.diff_ids)} layers, and the manifest "
                f"{len(manifest.layers)}",
                hint="fetch or build the image again",
            )
        return config


def _open_blob(files: Files, manifest: Manifest, number: int) -> BinaryIO:
    return _checked(files, _blob_name(manifest.layers[number - 1].digest), manifest.layers[number - 1])


def _checked(files: Files, name: str, descriptor: Descriptor) -> BinaryIO:
    """Open a file whose bytes are those of the descriptor."""
    file = files.open(name)
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size != descriptor.size:
            raise _broken(
                files, name, descriptor.digest, f"has {size} bytes, and the manifest says {descriptor.size}"
            )
        check_digest(file, descriptor.digest, f"{files.path}/{name}")
    except BaseException:
        file.close()
        raise
    return file


def check_digest(file: BinaryIO, digest: Digest, name: str) -> None:
    """Read all of `file`, and go back to its start. Raises RbuildError for bytes of another digest."""
    found = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        found.update(chunk)
    file.seek(0)
    if found.hexdigest() != digest.hex:
        raise RbuildError(
            "does not hold the bytes of its digest",
            where=Where(file=name, digest=str(digest)),
            hint="fetch or build the image again",
        )


def _blob_name(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _blob(files: Files, digest: Digest, limit: int) -> bytes:
    name = _blob_name(digest)
    data = _read(files, name, limit)
    if Digest.of(data) != digest:
        raise _broken(files, name, digest, "does not hold the bytes of its digest")
    return data


def _read(files: Files, name: str, limit: int = _MAX_JSON) -> bytes:
    with files.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise RbuildError(f"has more than {limit} bytes", where=Where(file=f"{files.path}/{name}"))
    return data


def _broken(files: Files, name: str, digest: Digest, what: str) -> RbuildError:
    return RbuildError(
        what,
        where=Where(file=f"{files.path}/{name}", digest=str(digest)),
        hint="fetch or build the image again",
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


# Docker's archives


def read_docker(files: Files, *, tag: str | None) -> StoredImage:
    """The image of an archive of Docker's that has the name `tag`; without one, the only one.

    Such an archive has no manifest. The one given is made up: it names the layers as the archive has them,
    uncompressed. Raises RbuildError as `read_layout`.
    """
    where = Where(file=f"{files.path}/manifest.json")
    wrapped = b'{"images":' + _read(files, "manifest.json") + b"}"
    listed = read_json(wrapped, "the archive's manifest", _MAX_JSON + 16).get("images")
    images = [one for one in _list(listed) if isinstance(one, dict)]
    if tag is not None:
        images = [one for one in images if tag in _list(one.get("RepoTags"))]
    if len(images) != 1:
        named = f" of the name {tag[:200]!r}" if tag is not None else ""
        raise RbuildError(
            f"it holds {len(images)} images{named}",
            where=where,
            hint=f"name one: docker-archive:{files.path}:NAME",
        )
    names = [str(name) for name in _list(images[0].get("Layers"))]
    data = _read(files, named := str(images[0].get("Config")))
    with at(Where(file=f"{files.path}/{named[:200]}")):
        config = read_config(data)
    if len(names) != len(config.diff_ids):
        raise RbuildError(
            f"it names {len(names)} layers, and the configuration {len(config.diff_ids)}", where=where
        )
    layers = []
    for name, diff_id in zip(names, config.diff_ids, strict=True):
        with files.open(name) as file:
            size = file.seek(0, os.SEEK_END)
        layers.append(Descriptor(media_type=_TAR, digest=diff_id, size=size))
    described = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(data), size=len(data))

    def open_layer(number: int) -> BinaryIO:
        diff_id, name = config.diff_ids[number - 1], names[number - 1]
        file = files.open(name)
        try:
            check_digest(file, diff_id, f"{files.path}/{name}")
        except BaseException:
            file.close()
            raise
        return file

    return StoredImage(manifest=canonical_manifest(described, layers, {}), config=data, open_layer=open_layer)
