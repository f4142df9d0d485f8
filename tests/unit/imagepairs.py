"""Images for comparisons, made of tars, and short ways to say what was found."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from tarballs import EPOCH, member, tarball

from rbuild.compare.images import Image, compare
from rbuild.compare.model import Comparison, Difference
from rbuild.digest import Digest
from rbuild.image.canonicaljson import canonical_json

Member = tuple[tarfile.TarInfo, bytes]
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def image(
    name: str,
    layers: Sequence[bytes | Sequence[Member]],
    *,
    config: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    annotations: Mapping[str, str] | None = None,
    level: int = 6,
    blobs: Sequence[bytes] | None = None,
    extra: Mapping[str, Any] | None = None,
    **options: Any,
) -> Image:
    """An image of such layers.

    `blobs`, if given, are stored in place of the layers compressed; `extra` are further keys of its
    configuration.
    """
    tars = [each if isinstance(each, bytes) else tarball(each) for each in layers]
    stored = blobs or [gzip.compress(tar, level, mtime=0) for tar in tars]
    document: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar in tars]},
    }
    if history is not None:
        document["history"] = list(history)
    document |= extra or {}
    stored_config = canonical_json(document)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", stored_config),
        "layers": [_descriptor(GZIP, blob) for blob in stored],
    }
    if annotations is not None:
        manifest["annotations"] = dict(annotations)

    def open_layer(number: int) -> BinaryIO:
        return io.BytesIO(stored[number - 1])

    return Image(
        name=name,
        manifest=canonical_json(manifest),
        config=stored_config,
        open_layer=open_layer,
        **options,
    )


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def sealed(one: Image) -> Image:
    """The same image, of which no layer may be opened."""

    def refuse(number: int) -> BinaryIO:
        raise AssertionError(f"layer {number} was opened")

    return replace(one, open_layer=refuse)


def of_files(a: Mapping[str, bytes], b: Mapping[str, bytes], **options: Any) -> Comparison:
    """Two images of one layer each, with these files."""
    one, other = (
        image(name, [[member(path, data, mtime=EPOCH) for path, data in files.items()]])
        for name, files in (("a", a), ("b", b))
    )
    return compare(one, other, **options)


def of_file(name: str, a: bytes, b: bytes) -> Difference:
    """The difference that one file with two contents makes."""
    (found,) = entries(of_files({name: a}, {name: b}))
    return found


def entries(comparison: Comparison) -> tuple[Difference, ...]:
    """The entries that differ, of all layers."""
    return tuple(child for each in layers(comparison) for child in each.children)


def layers(comparison: Comparison) -> tuple[Difference, ...]:
    """The layers that differ."""
    return tuple(each for each in comparison.differences if each.part.value == "layer")


def names(differences: Iterable[Difference]) -> list[str]:
    """`+` for what is added, `-` for what is removed, and the name."""
    sign = {"added": "+", "removed": "-", "changed": ""}
    return [sign[each.change.value] + each.name for each in differences]


def fields(difference: Difference) -> dict[str, tuple[str | None, str | None]]:
    """The fields by name."""
    return {field.name: (field.a, field.b) for field in difference.fields}


def rows(difference: Difference) -> list[tuple[str | None, str | None]]:
    """The rows of the detail that differ."""
    assert difference.detail is not None
    return [(row.a, row.b) for row in difference.detail.rows if row.differs]
