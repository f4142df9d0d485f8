"""DSSE envelopes around signed statements (github.com/secure-systems-lab/dsse, protocol.md, version 1)."""

from __future__ import annotations

import base64

from rbuild.image.canonicaljson import canonical_json
from rbuild.signing.key import SigningKey


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what is signed, so that the type is signed with the payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def envelope(key: SigningKey, payload_type: str, payload: bytes) -> bytes:
    """The envelope with `payload` and one signature of it, as JSON; without a key id, as cosign's."""
    signature = key.sign(pae(payload_type, payload))
    return canonical_json(
        {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
        }
    )
