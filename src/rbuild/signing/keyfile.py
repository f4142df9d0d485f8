"""cosign.key: a private key under a password, as cosign 2 writes and reads it.

PEM around JSON: a key is derived from the password by scrypt (RFC 7914), and NaCl's secretbox, which is
XSalsa20 and Poly1305, seals the private key with it.
Source: github.com/secure-systems-lab/go-securesystemslib, encrypted.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from rbuild.errors import RbuildError
from rbuild.image.canonicaljson import read_json, typed
from rbuild.signing.key import SigningKey

SALT_SIZE: Final = 32
NONCE_SIZE: Final = SecretBox.NONCE_SIZE
MAX_SIZE: Final = 1 << 16  # bytes of a key file

_KIND = "ENCRYPTED SIGSTORE PRIVATE KEY"
_KINDS = (_KIND, "ENCRYPTED COSIGN PRIVATE KEY")  # the second is cosign 1's
_COLUMNS = 64
_COST, _BLOCK_SIZE, _PARALLEL = 1 << 16, 8, 1  # 64 MiB, a fifth of a second
_COSTS = (1 << 15, _COST)  # older cosigns took the first
_HINT = "make a key with `rbuild keygen` or `cosign generate-key-pair`"


class _Params(msgspec.Struct, frozen=True):
    cost: int = msgspec.field(name="N")
    block_size: int = msgspec.field(name="r")
    parallel: int = msgspec.field(name="p")


class _Kdf(msgspec.Struct, frozen=True):
    name: str
    params: _Params
    salt: bytes


class _Cipher(msgspec.Struct, frozen=True):
    name: str
    nonce: bytes


class _Sealed(msgspec.Struct, frozen=True):
    kdf: _Kdf
    cipher: _Cipher
    ciphertext: bytes


def write_key(key: SigningKey, password: bytes, *, salt: bytes, nonce: bytes) -> bytes:
    """The bytes of a cosign.key. `salt` (SALT_SIZE bytes) and `nonce` (NONCE_SIZE) are random, and fresh."""
    box = SecretBox(_derived(password, salt, _COST))
    sealed = _Sealed(
        kdf=_Kdf(name="scrypt", params=_Params(_COST, _BLOCK_SIZE, _PARALLEL), salt=salt),
        cipher=_Cipher(name="nacl/secretbox", nonce=nonce),
        ciphertext=box.encrypt(key.to_pkcs8(), nonce).ciphertext,
    )
    body = base64.b64encode(msgspec.json.encode(sealed)).decode()
    lines = [body[at : at + _COLUMNS] for at in range(0, len(body), _COLUMNS)]
    return "\n".join([f"-----BEGIN {_KIND}-----", *lines, f"-----END {_KIND}-----", ""]).encode()


def read_key(data: bytes, password: bytes) -> SigningKey:
    """Open a cosign.key. Raises RbuildError for a wrong password, and for what is no such file.

    The work that a file may ask for is bounded: no other parameters of scrypt than cosign's own.
    """
    sealed = _sealed(data)
    params = sealed.kdf.params
    known = (
        sealed.kdf.name == "scrypt"
        and sealed.cipher.name == "nacl/secretbox"
        and params.cost in _COSTS
        and (params.block_size, params.parallel) == (_BLOCK_SIZE, _PARALLEL)
        and len(sealed.cipher.nonce) == NONCE_SIZE
    )
    if not known:
        raise RbuildError("the private key is encrypted in a way that cosign does not use", hint=_HINT)
    try:
        opened = SecretBox(_derived(password, sealed.kdf.salt, params.cost)).decrypt(
            sealed.ciphertext, sealed.cipher.nonce
        )
    except CryptoError:
        raise RbuildError(
            "the private key cannot be opened with this password",
            hint="set COSIGN_PASSWORD to the key's password",
        ) from None
    return SigningKey.from_pkcs8(opened)


def _sealed(data: bytes) -> _Sealed:
    lines = data.strip().split(b"\n") if len(data) <= MAX_SIZE else []
    edges = [line.strip().decode(errors="replace") for line in (*lines[:1], *lines[-1:])]
    if not any(edges == [f"-----BEGIN {kind}-----", f"-----END {kind}-----"] for kind in _KINDS):
        raise RbuildError("not a private key in cosign's format", hint=_HINT)
    try:
        text = base64.b64decode(b"".join(line.strip() for line in lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise RbuildError("not a private key in cosign's format", hint=_HINT) from error
    return typed(read_json(text, "the private key", MAX_SIZE), _Sealed, "the private key")


def _derived(password: bytes, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=SecretBox.KEY_SIZE, n=cost, r=_BLOCK_SIZE, p=_PARALLEL).derive(password)
