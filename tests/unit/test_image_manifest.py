from __future__ import annotations

import json
from typing import Any

import pytest

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.manifest import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    canonical_manifest,
    read_manifest,
)

GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CONFIG = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(b"c"), size=7)
LAYERS = [
    Descriptor(media_type=GZIP, digest=Digest.of(b"1"), size=10),
    Descriptor(media_type="application/vnd.oci.image.layer.v1.tar+zstd", digest=Digest.of(b"2"), size=20),
]


def raw(**changes: Any) -> dict[str, Any]:
    layer = {"mediaType": GZIP, "digest": str(Digest.of(b"1")), "size": 10}
    config = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": str(Digest.of(b"c")),
        "size": 7,
    }
    value = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": config,
        "layers": [layer],
    }
    return value | changes


def test_a_manifest_is_written_and_read() -> None:
    data = canonical_manifest(CONFIG, LAYERS, {"b": "2", "a": "ä"})
    assert (
        data
        == (
            '{"annotations":{"a":"ä","b":"2"},'
            f'"config":{{"digest":"{CONFIG.digest}","mediaType":"{OCI_CONFIG}","size":7}},"layers":['
            f'{{"digest":"{LAYERS[0].digest}","mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":10}},'
            f'{{"digest":"{LAYERS[1].digest}","mediaType":"{LAYERS[1].media_type}","size":20}}],'
            f'"mediaType":"{OCI_MANIFEST}","schemaVersion":2}}'
        ).encode()
    )
    manifest = read_manifest(data)
    assert manifest.config == CONFIG
    assert manifest.layers[1] == LAYERS[1]
    assert manifest.annotations == {"a": "ä", "b": "2"}
    assert canonical_manifest(manifest.config, manifest.layers, manifest.annotations) == data
    assert b"annotations" not in canonical_manifest(CONFIG, LAYERS, {})


def test_dockers_schema_2_is_read() -> None:
    manifest = read_manifest(json.dumps(raw()).encode())
    assert manifest.layers == (LAYERS[0],)
    assert (
        json.loads(canonical_manifest(manifest.config, manifest.layers, {}))["config"]["mediaType"]
        == OCI_CONFIG
    )


def changed(part: str, **changes: Any) -> dict[str, Any]:
    value = raw()
    target = value["layers"][0] if part == "layer" else value[part]
    target.update(changes)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}, "this is an image index"),
        ({"schemaVersion": 2, "manifests": []}, "this is an image index"),
        ({"schemaVersion": 1, "fsLayers": []}, "schema 1"),
        (raw(mediaType="text/plain"), "says that it is something else: 'text/plain'"),
        (raw(mediaType=3), "says that it is something else"),
        (raw(schemaVersion=3), "has the schema version 3"),
        (raw(Layers=[]), "has the key 'Layers', which is spelt 'layers'"),
        (changed("layer", Digest="x"), "has the key 'Digest', which is spelt 'digest'"),
        (changed("layer", size=-1), r"at `\$.layers\[0\].size`"),
        (changed("layer", size=1.5), r"at `\$.layers\[0\].size`"),
        (changed("layer", size="1"), r"at `\$.layers\[0\].size`"),
        (changed("layer", size=1 << 50), r"at `\$.layers\[0\].size`"),
        (changed("layer", digest="sha512:00"), "not a sha256 digest"),
        (changed("layer", digest="sha256:" + "A" * 64), "not a sha256 digest"),
        (
            changed("layer", mediaType="application/x-lzma"),
            "a layer that rbuild cannot read: 'application/x-lzma'",
        ),
        (changed("layer", urls=["https://x"]), "a layer that rbuild cannot read"),
        (
            changed("config", mediaType="application/vnd.cncf.helm.config.v1+json"),
            "this is not a container image",
        ),
        (raw(layers=[raw()["layers"][0]] * 1000), r"at `\$.layers`"),
        (raw(layers={}), r"at `\$.layers`"),
        (raw(config=None), r"at `\$.config`"),
        ({}, "missing required field"),
    ],
)
def test_refuses(value: dict[str, Any], message: str) -> None:
    with pytest.raises(RbuildError, match=message):
        read_manifest(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"layers": [], "layers": []}', "comes twice"),
        (b" " * (5 << 20), "more than 4194304 are refused"),
        (b"{", "is not valid JSON"),
    ],
)
def test_refuses_bytes(data: bytes, message: str) -> None:
    with pytest.raises(RbuildError, match=message):
        read_manifest(data)
