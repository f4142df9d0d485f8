"""Statements about images, as in-toto has them: who signs one says that its predicate is true of the image.

Source: in-toto attestation framework, "Statement"; SLSA 1.0, "Verification Summary Attestation".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rbuild.digest import Digest
from rbuild.image.canonicaljson import canonical_json, read_json

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
STATEMENT_MEDIA_TYPE: Final = "application/vnd.in-toto+json"
PREDICATE_ANNOTATION: Final = "in-toto.io/predicate-type"

CYCLONEDX: Final = "https://cyclonedx.org/bom"
SPDX: Final = "https://spdx.dev/Document"
VERIFICATION_SUMMARY: Final = "https://slsa.dev/verification_summary/v1"

VERIFIER: Final = "urn:rbuild:verify:v1"
IDENTICAL: Final = "urn:rbuild:policy:rebuild-is-identical:v1"
REPRODUCED: Final = "RBUILD_REPRODUCED"  # of `verifiedLevels`, where SLSA has no word for it
_INPUT: Final = "urn:rbuild:input"
_HOST: Final = "urn:rbuild:host"
_MAX_DOCUMENT = 256 << 20


def statement_about(name: str, image: Digest, predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """A statement on the image with this manifest digest: JSON with sorted keys, and no white space."""
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"digest": {"sha256": image.hex}, "name": name}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def document_statement(name: str, image: Digest, predicate_type: str, document: bytes) -> bytes:
    """A statement whose predicate is a whole document, such as a bill of materials."""
    return statement_about(name, image, predicate_type, read_json(document, "the document", _MAX_DOCUMENT))


def verification_summary(
    name: str,
    image: Digest,
    *,
    resource: str,
    input_digest: Digest,
    passed: bool,
    time: str,
    rbuild: str,
    podman: str,
) -> bytes:
    """That somebody rebuilt an image from nothing, and what came of it.

    `resource` is where the image is, `time` as RFC 3339 has it. A SLSA level is not claimed: that the image
    is a function of its inputs is another property than SLSA's.
    """
    return statement_about(
        name,
        image,
        VERIFICATION_SUMMARY,
        {
            "verifier": {"id": VERIFIER, "version": {"rbuild": rbuild}},
            "timeVerified": time,
            "resourceUri": resource,
            "policy": {"uri": IDENTICAL},
            "verificationResult": "PASSED" if passed else "FAILED",
            "verifiedLevels": [REPRODUCED if passed else "FAILED"],
            "slsaVersion": "1.0",
            # Extension fields have URIs for names.
            _INPUT: {"sha256": input_digest.hex},
            _HOST: {"podman": podman},
        },
    )
