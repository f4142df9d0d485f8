"""Images as strangers make them: any part may be a lie. And what is to be said of each lie."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import zstandard

_OCI = "application/vnd.oci.image."
MANIFEST = f"{_OCI}manifest.v1+json"
INDEX = f"{_OCI}index.v1+json"
LAYER = f"{_OCI}layer.v1.tar"


def digest(data: bytes) -> str:
    """As a descriptor has it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Stranger:
    """An image whose parts can be replaced before it is laid out.

    `layer` is the tar that the configuration claims, `blob` what is stored in its place; None: the same.
    `edit_*` change what is written; `blobs` are added, or replace what has that digest.
    """

    layer: bytes
    blob: bytes | None = None
    media_type: str = LAYER
    edit_config: Callable[[dict[str, Any]], None] = lambda value: None
    edit_manifest: Callable[[dict[str, Any]], None] = lambda value: None
    edit_index: Callable[[dict[str, Any]], None] = lambda value: None
    config_bytes: bytes | None = None
    manifest_bytes: bytes | None = None
    index_bytes: bytes | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)

    def parts(self) -> tuple[bytes, dict[str, bytes]]:
        """The manifest, and every blob by its digest, that one included."""
        blob = self.layer if self.blob is None else self.blob
        value: dict[str, Any] = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(self.layer)]},
            "history": [{"created_by": "made by a stranger"}],
        }
        self.edit_config(value)
        config = self.config_bytes or json.dumps(value).encode()
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(config, f"{_OCI}config.v1+json"),
            "layers": [_descriptor(blob, self.media_type)],
        }
        self.edit_manifest(value)
        manifest = self.manifest_bytes or json.dumps(value).encode()
        return manifest, {digest(one): one for one in (blob, config, manifest)} | self.blobs

    def lay_out(self, folder: Path) -> None:
        """Write an OCI layout."""
        manifest, blobs = self.parts()
        place = folder / "blobs" / "sha256"
        place.mkdir(parents=True)
        for name, data in blobs.items():
            (place / name.removeprefix("sha256:")).write_bytes(data)
        index: dict[str, Any] = {"schemaVersion": 2, "manifests": [_descriptor(manifest, MANIFEST)]}
        self.edit_index(index)
        (folder / "index.json").write_bytes(self.index_bytes or json.dumps(index).encode())
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def name_of(self, part: str) -> str:
        """The digest of a part: layer, blob, config, manifest; anything else is a digest already."""
        manifest, _ = self.parts()
        value = json.loads(manifest) if len(manifest) < 8192 else {}
        match part:
            case "layer" | "blob":
                return str(value["layers"][0]["digest"])
            case "config":
                return str(value["config"]["digest"])
            case "manifest":
                return digest(manifest)
        return part


def _descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def tar(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "", **pax: str) -> bytes:
    """An archive; every member is of that kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.pax_headers, info.size = kind, link, pax, len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


GOOD = tar(("bin/tool", b"#!/bin/sh\n"))


def claims(size: int, data: bytes = b"") -> bytes:
    """An archive whose one file, `huge`, says that it has so many bytes."""
    info = tarfile.TarInfo("huge")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + data


def sparse() -> bytes:
    info = tarfile.TarInfo("sparse")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def of_a_bomb(compression: str) -> Stranger:
    """A file of zeros that is as long as 3 GiB, in three megabytes, or fewer."""
    head, zeros = claims(100 << 30), bytes(64 << 20)
    if compression == "gzip":
        blob = gzip.compress(head) + gzip.compress(zeros) * 48
    else:
        packer = zstandard.ZstdCompressor()
        blob = packer.compress(head) + packer.compress(zeros) * 48
    return Stranger(GOOD, blob, f"{LAYER}+{compression}")


def of_a_million_entries() -> Stranger:
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    # The two numbers add up to nines, so that all headers have one checksum.
    info = tarfile.TarInfo("00000009999999")
    tail = info.tobuf(tarfile.USTAR_FORMAT)[14:]
    parts = []
    for start in range(0, 1_000_001, 10_000):
        some = range(start, min(start + 10_000, 1_000_001))
        parts.append(packer.compress(b"".join(b"%07d%07d" % (n, 9_999_999 - n) + tail for n in some)))
    return Stranger(GOOD, b"".join([*parts, packer.compress(bytes(1024)), packer.flush()]), f"{LAYER}+zstd")


def of_layer(data: bytes) -> Callable[[], Stranger]:
    return lambda: Stranger(data)


def edited(**edits: Any) -> Callable[[], Stranger]:
    return lambda: Stranger(GOOD, **edits)


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def edit(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return edit


def deep() -> bytes:
    """JSON in JSON, 10,000 times."""
    return b'{"a":' * 10_000 + b"1" + b"}" * 10_000


def twice(data: bytes) -> bytes:
    """A manifest with a key that comes twice."""
    return data.replace(b'{"', b'{"schemaVersion": 1, "', 1)


def list_of(*platforms: str) -> bytes:
    """A list of images, for Linux on these."""
    value = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": digest(b"nothing"),
                "size": 7,
                "platform": {"os": "linux", "architecture": one},
            }
            for one in platforms
        ],
    }
    return json.dumps(value).encode()


# What the stranger makes, which blob (a part of the image, or a digest) the message names, and what it says.
CASES: dict[str, tuple[Callable[[], Stranger], str, str]] = {
    "dots": (of_layer(tar(("a/../../out", b"x"))), "layer", r"layer entry /a/\.\./\.\./out: .*\.\."),
    "link": (
        of_layer(tar(("in", b""), kind=tarfile.LNKTYPE, link="../../out")),
        "layer",
        r"layer entry /in: .*\.\.",
    ),
    "through a link": (
        of_layer(tar(("d", b""), kind=tarfile.SYMTYPE, link="/tmp")[:512] + tar(("d/out", b"x"))),
        "layer",
        "layer entry /d/out: it lies below an entry .* symlink",
    ),
    "whiteout": (of_layer(tar((".wh...", b""))), "layer", r"layer entry /\.wh\.\.\.: .* names nothing"),
    "no file": (
        of_layer(tar(("a", b""), kind=tarfile.LNKTYPE, link="a")),
        "layer",
        "layer entry /a: .* hard link to itself",
    ),
    "a million": (of_a_million_entries, "blob", r"layer entry /1000000\d+: .* more entries"),
    "sparse": (of_layer(sparse()), "layer", "layer entry /sparse: it is a GNU sparse file"),
    "sparse pax": (
        of_layer(tar(("sparse", b""), **{"GNU.sparse.realsize": str(100 << 30)})),
        "layer",
        "layer entry /sparse: it is a GNU sparse file",
    ),
    "claim": (of_layer(claims(100 << 30, bytes(4096))), "layer", "layer entry /huge: .* past the end"),
    "truncated": (of_layer(tar(("a", b"x" * 2000))[:1024]), "layer", "layer entry /a: .* past the end"),
    "trailing": (of_layer(GOOD + b"more" * 128), "layer", "layer entry /bin/tool: .* data after its end"),
    "gzip bomb": (lambda: of_a_bomb("gzip"), "blob", "layer entry /huge: .*refused as a bomb"),
    "zstd bomb": (lambda: of_a_bomb("zstd"), "blob", "layer entry /huge: .*refused as a bomb"),
    "cut gzip": (lambda: Stranger(GOOD, gzip.compress(GOOD)[:-9], f"{LAYER}+gzip"), "blob", "not valid gzip"),
    "after gzip": (
        lambda: Stranger(GOOD, gzip.compress(GOOD) + b"more", f"{LAYER}+gzip"),
        "blob",
        "not valid gzip",
    ),
    "window": (
        lambda: Stranger(GOOD, b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(16), f"{LAYER}+zstd"),
        "blob",
        "not valid zstd",
    ),
    "other tar": (lambda: Stranger(GOOD, tar(("other", b""))), "blob", "configuration says"),
    "size": (
        edited(edit_manifest=_set("layers", 0, "size", to=len(GOOD) + 1)),
        "layer",
        f"{len(GOOD)} bytes, and the manifest says {len(GOOD) + 1}",
    ),
    "digest": (
        lambda: Stranger(GOOD + b"\0" * 512, blobs={digest(GOOD + b"\0" * 512): b"x" * 10_752}),
        "layer",
        "its bytes have the digest sha256:",
    ),
    "manifest's digest": (
        lambda: _with_other_manifest(Stranger(GOOD)),
        "manifest",
        "the manifest has the digest",
    ),
    "two sizes": (
        edited(
            edit_manifest=lambda value: value["layers"].append(value["layers"][0] | {"size": 1}),
        ),
        "manifest",
        "two sizes",
    ),
    "huge size": (
        edited(edit_manifest=_set("layers", 0, "size", to=1 << 62)),
        "manifest",
        r"layers\[0\].size",
    ),
    "no blob": (
        edited(edit_manifest=_set("layers", 0, "digest", to=digest(b"gone"))),
        digest(b"gone"),
        "No such file",
    ),
    "layers": (
        edited(edit_config=_set("rootfs", "diff_ids", to=[])),
        "config",
        "has 0 layers|the configuration 0",
    ),
    "media type": (
        edited(media_type="application/x-rar"),
        "manifest",
        "has a layer that rbuild cannot read: 'application/x-rar'",
    ),
    "artifact": (
        edited(edit_manifest=_set("config", "mediaType", to="application/x-chart")),
        "manifest",
        "not a container image",
    ),
    "deep manifest": (edited(manifest_bytes=deep()), "manifest", "nested too deeply"),
    "deep config": (edited(config_bytes=deep()), "config", "nested too deeply"),
    "deep index": (edited(index_bytes=deep()), "", r"index\.json.*nested too deeply"),
    "key twice": (
        lambda: _with_manifest(Stranger(GOOD), twice),
        "manifest",
        "the key 'schemaVersion' comes twice",
    ),
    "key twice in the config": (
        edited(config_bytes=b'{"os": "linux", "os": "linux"}'),
        "config",
        "the key 'os' comes twice",
    ),
    "digits": (edited(manifest_bytes=b'{"schemaVersion": ' + b"2" * 10_000 + b"}"), "manifest", "not valid"),
    "list": (edited(manifest_bytes=list_of("arm64", "s390x")), "manifest", "no image for linux/amd64"),
    "list of a list": (
        lambda: _with_lists(Stranger(GOOD)),
        "",
        "lists another list|the manifest has the digest",
    ),
    "no manifests": (edited(edit_index=_set("manifests", to=[])), "", r"index\.json.*no images"),
    "a million manifests": (
        edited(edit_index=lambda value: value.update(manifests=value["manifests"] * 20_000)),
        "",
        r"index\.json.*(more than|length)",
    ),
}


def _with_manifest(stranger: Stranger, change: Callable[[bytes], bytes]) -> Stranger:
    return replace(stranger, manifest_bytes=change(stranger.parts()[0]))


def _with_other_manifest(stranger: Stranger) -> Stranger:
    name = digest(stranger.parts()[0])
    return replace(stranger, blobs={name: stranger.parts()[0] + b" "})


def _with_lists(stranger: Stranger) -> Stranger:
    """A list whose only image is a list, and so on."""
    data, blobs = list_of("amd64"), {}
    for _ in range(4):
        blobs[digest(data)] = data
        value = json.loads(list_of("amd64"))
        value["manifests"][0] |= {"digest": digest(data), "size": len(data)}
        data = json.dumps(value).encode()
    return replace(stranger, manifest_bytes=data, blobs=blobs)
