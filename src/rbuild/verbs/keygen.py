"""`rbuild keygen`: a pair of keys that sign images, in cosign's format."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rbuild.errors import RbuildError, Where
from rbuild.files import sync_directory
from rbuild.signing.key import SigningKey
from rbuild.signing.keyfile import MAX_SIZE, NONCE_SIZE, SALT_SIZE, read_key, write_key


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """Where the keys are. The private one is encrypted; the public one is for everyone."""

    private: Path
    public: Path


def keygen(
    prefix: Path, password: Callable[[], bytes], random: Callable[[int], bytes] = os.urandom
) -> KeyPair:
    """Make `prefix`.key, which only its owner reads, and `prefix`.pub.

    `password` is asked for when it is clear that neither file is there. Raises RbuildError where one is: what
    a lost key has signed, nobody can sign again.
    """
    pair = KeyPair(
        private=prefix.with_name(f"{prefix.name}.key"), public=prefix.with_name(f"{prefix.name}.pub")
    )
    for path in (pair.private, pair.public):
        if path.exists() or path.is_symlink():
            raise _there(path)
    key = SigningKey.generate()
    sealed = write_key(key, password(), salt=random(SALT_SIZE), nonce=random(NONCE_SIZE))
    _create(pair.private, sealed, 0o600)
    _create(pair.public, key.public_pem(), 0o644)
    sync_directory(prefix.absolute().parent)
    return pair


def open_key(path: Path, password: Callable[[], bytes]) -> SigningKey:
    """The private key in a file. Raises RbuildError where there is none, or the password is another."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise RbuildError(
            f"the key cannot be read: {error.strerror}",
            where=Where(file=str(path)),
            hint="make one with `rbuild keygen`",
        ) from error
    return read_key(data, password())


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise _there(path) from None
    except OSError as error:
        raise RbuildError(
            f"the key cannot be written: {error.strerror}",
            where=Where(file=str(path)),
            hint="name a folder that you may write to with --output-key-prefix",
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _there(path: Path) -> RbuildError:
    return RbuildError(
        "is there already, and a key is never overwritten",
        where=Where(file=str(path)),
        hint="choose another name with --output-key-prefix",
    )
