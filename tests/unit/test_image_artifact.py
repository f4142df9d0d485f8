from __future__ import annotations

import json

import pytest

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.artifact import (
    Part,
    artifact,
    read_artifact,
    read_referrers,
    referrers_index,
    referrers_tag,
)
from rbuild.image.manifest import OCI_MANIFEST, Descriptor

IMAGE = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"image"), size=5)
CYCLONEDX = "application/vnd.cyclonedx+json"
DOCUMENT = Part.of(CYCLONEDX, b"bom")
BOM = artifact(IMAGE, CYCLONEDX, [DOCUMENT], {"made": "by a test"})


def test_an_artifact_names_its_image_and_its_document() -> None:
    assert json.loads(BOM.manifest) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cyclonedx+json",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
        },
        "layers": [
            {"mediaType": "application/vnd.cyclonedx+json", "digest": str(Digest.of(b"bom")), "size": 3}
        ],
        "subject": {"mediaType": OCI_MANIFEST, "digest": str(IMAGE.digest), "size": 5},
        "annotations": {"made": "by a test"},
    }
    assert [part.data for part in BOM.blobs] == [b"{}", b"bom"]
    assert artifact(IMAGE, CYCLONEDX, [DOCUMENT], {"made": "by a test"}) == BOM
    assert "annotations" not in json.loads(artifact(IMAGE, CYCLONEDX, [DOCUMENT]).manifest)


def test_an_artifact_of_many_blobs_has_each_once() -> None:
    stored = Part(media_type="text/plain", digest=Digest.of(b"in the store"), size=12)
    many = artifact(IMAGE, "application/x", [DOCUMENT, stored, DOCUMENT])
    assert [part.digest for part in many.blobs] == [Digest.of(b"{}"), DOCUMENT.digest, stored.digest]
    read = read_artifact(many.manifest, IMAGE.digest, "application/x")
    assert [(part.digest, part.size, part.data) for part in read] == [
        (part.digest, part.size, None) for part in (DOCUMENT, stored, DOCUMENT)
    ]
    with pytest.raises(RbuildError, match="registries take"):
        artifact(IMAGE, "application/x", [stored] * 40_000)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subject": None}, "is about no image"),
        ({"subject": {"digest": str(Digest.of(b"other"))}}, "not about"),
        ({"artifactType": "text/plain"}, "says that it is something else: 'text/plain'"),
        ({"mediaType": "application/vnd.oci.image.index.v1+json"}, "says that it is something else"),
        ({"layers": [{"mediaType": "x", "digest": "sha256:../../x", "size": 1}]}, "not a sha256 digest"),
        ({"layers": [{"mediaType": "x", "digest": str(DOCUMENT.digest), "size": -1}]}, "a blob of -1 bytes"),
        ({"layers": [{"mediaType": "x", "digest": str(DOCUMENT.digest), "size": 1 << 62}]}, "a blob of"),
        ({"layers": {}}, "layers"),
    ],
)
def test_a_manifest_that_is_not_the_artifacts(change: dict[str, object], said: str) -> None:
    manifest = json.dumps({**json.loads(BOM.manifest), **change}).encode()
    with pytest.raises(RbuildError, match=said):
        read_artifact(manifest, IMAGE.digest, CYCLONEDX)


def test_the_list_of_referrers_grows_and_has_each_once() -> None:
    first = referrers_index(None, [BOM])
    other = artifact(IMAGE, "application/spdx+json", [Part.of("application/spdx+json", b"spdx")])
    both = referrers_index(first, [other, BOM])
    assert [one["artifactType"] for one in json.loads(both)["manifests"]] == [
        "application/vnd.cyclonedx+json",
        "application/spdx+json",
    ]
    assert json.loads(both)["manifests"][0] == {
        "mediaType": OCI_MANIFEST,
        "digest": str(BOM.digest),
        "size": len(BOM.manifest),
        "artifactType": "application/vnd.cyclonedx+json",
        "annotations": {"made": "by a test"},
    }
    assert referrers_index(both, [BOM]) == both
    assert referrers_tag(IMAGE.digest) == f"sha256-{IMAGE.digest.hex}"


@pytest.mark.parametrize("existing", [b"", b"{}", BOM.manifest, b'{"manifests": {}}'])
def test_what_is_no_list_of_referrers_is_not_overwritten(existing: bytes) -> None:
    with pytest.raises(RbuildError):
        referrers_index(existing, [BOM])


def test_only_what_can_be_an_artifact_is_read_from_a_list_of_referrers() -> None:
    listed = json.loads(referrers_index(None, [BOM]))
    good = listed["manifests"][0]
    listed["manifests"] = [
        good,
        None,
        "text",
        {},
        {**good, "digest": "sha512:" + "0" * 128},
        {**good, "digest": 5},
        {**good, "size": "5"},
        {**good, "size": 1 << 40},
        {**good, "annotations": {"a": 1}},
        {**good, "annotations": {"a": "x" * 100_000}},
        {**good, "artifactType": "x" * 100_000},
        {**good, "annotations": None, "artifactType": "other"},
    ]
    found = list(read_referrers(json.dumps(listed).encode()))
    assert [(one.artifact_type, one.digest, one.annotations) for one in found] == [
        (CYCLONEDX, BOM.digest, {"made": "by a test"}),
        ("other", BOM.digest, {}),
    ]
