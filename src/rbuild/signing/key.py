"""A key that signs: ECDSA on P-256 with SHA-256, which is what cosign makes and Podman verifies."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_public_key,
)

from rbuild.digest import Digest
from rbuild.errors import RbuildError

_CURVE = ec.SECP256R1
_HINT = "make a key with `rbuild keygen` or `cosign generate-key-pair`"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, which never shows itself in text."""

    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key. The one function here that two calls of give two results."""
        return cls(ec.generate_private_key(_CURVE()))

    @classmethod
    def from_pkcs8(cls, data: bytes) -> SigningKey:
        """Read a key as DER (RFC 5958). Raises RbuildError for another kind of key."""
        try:
            key = load_der_private_key(data, password=None)
        except (ValueError, TypeError) as error:
            raise RbuildError("the file holds no private key", hint=_HINT) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, _CURVE):
            raise RbuildError("the private key is not an ECDSA key on the curve P-256", hint=_HINT)
        return cls(key)

    def to_pkcs8(self) -> bytes:
        """The key as DER, not encrypted."""
        return self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def public_pem(self) -> bytes:
        """The public key, as a cosign.pub file has it."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def fingerprint(self) -> Digest:
        """What tells the public key from others."""
        return Digest.of(self.public_pem())

    def sign(self, data: bytes) -> bytes:
        """The signature of `data` in DER; the same for the same data (RFC 6979), so that pushes repeat."""
        return self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def verify(public_pem: bytes, signature: bytes, data: bytes) -> bool:
    """Whether a signature of `data` was made with the private half of this key.

    Raises RbuildError where `public_pem` is no ECDSA key on the curve P-256.
    """
    try:
        key = load_pem_public_key(public_pem)
    except ValueError as error:
        raise RbuildError("the file holds no public key", hint=_HINT) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVE):
        raise RbuildError("the public key is not an ECDSA key on the curve P-256", hint=_HINT)
    try:
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
