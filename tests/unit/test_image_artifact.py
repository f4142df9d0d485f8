from __future__ import annotations

import json

import pytest

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.artifact import artifact, referrers_index, referrers_tag
from rbuild.image.manifest import OCI_MANIFEST, Descriptor

IMAGE = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"image"), size=5)
BOM = artifact(IMAGE, "application/vnd.cyclonedx+json", b"bom", {"made": "by a test"})


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
    assert BOM.blobs == (b"{}", b"bom")
    assert artifact(IMAGE, "application/vnd.cyclonedx+json", b"bom", {"made": "by a test"}) == BOM
    assert "annotations" not in json.loads(artifact(IMAGE, "text/plain", b"x").manifest)


def test_the_list_of_referrers_grows_and_has_each_once() -> None:
    first = referrers_index(None, BOM)
    other = artifact(IMAGE, "application/spdx+json", b"spdx")
    both = referrers_index(first, other)
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
    assert referrers_index(both, BOM) == both
    assert referrers_tag(IMAGE.digest) == f"sha256-{IMAGE.digest.hex}"


@pytest.mark.parametrize("existing", [b"", b"{}", BOM.manifest, b'{"manifests": {}}'])
def test_what_is_no_list_of_referrers_is_not_overwritten(existing: bytes) -> None:
    with pytest.raises(RbuildError):
        referrers_index(existing, BOM)
