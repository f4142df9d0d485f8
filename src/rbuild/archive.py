"""What `podman save` streams: an image as Docker archives it, of which only what is new is kept on disk."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.image.canonicaljson import read_json
from rbuild.image.config import Config, read_config
from rbuild.image.tar import Kind, TarReader, refused

_LAYER = re.compile(rb"([0-9a-f]{64})\.tar\Z")
_MAX_JSON = 8 << 20
_MAX_DOCUMENTS = 32 << 20  # bytes of all that are no layers


@dataclass(frozen=True, slots=True)
class RawImage:
    """An image as its builder left it: its configuration, and the files of its layers that were kept."""

    config: Config
    layers: dict[Digest, Path]  # by diff id


def unpack(stream: BinaryIO, folder: Path, *, known: Collection[Digest]) -> RawImage:
    """Read an archive to its end, and write its layers but for those in `known` into `folder`.

    Docker's archive holds uncompressed layers under the names of their diff ids, then the configuration, then
    manifest.json, which names it. Raises RbuildError for anything else.
    """
    layers: dict[Digest, Path] = {}
    documents: dict[str, bytes] = {}
    reader = TarReader(stream)
    left = _MAX_DOCUMENTS
    for entry in reader:
        layer = _LAYER.match(entry.path)
        if entry.kind is not Kind.FILE:
            continue  # links for readers of older archives
        if layer is None:
            left -= len(entry.path) + entry.size
            if entry.size > _MAX_JSON or left < 0:
                raise refused(entry.path, f"podman save gave a document of {entry.size} bytes")
            documents[entry.path.decode(errors="replace")] = b"".join(reader.content())
        elif (digest := Digest(layer[1].decode())) not in known:
            path = layers[digest] = folder / digest.hex
            with path.open("wb") as file:
                for chunk in reader.content():
                    file.write(chunk)
    wrapped = b'{"images":' + documents.get("manifest.json", b"[]") + b"}"
    images = read_json(wrapped, "the archive's manifest", _MAX_JSON)["images"]
    try:
        (image,) = images
        config = documents[image["Config"]]
    except (ValueError, KeyError, TypeError):
        raise RbuildError("podman save did not give one image with a configuration") from None
    found = read_config(config)
    for diff_id in found.diff_ids:
        if diff_id not in layers and diff_id not in known:
            raise RbuildError("podman save left a layer out", where=Where(digest=str(diff_id)))
    return RawImage(found, layers)
