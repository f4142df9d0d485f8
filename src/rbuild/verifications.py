"""What was verified: a small file in the store for each image and what it was locked to be made of.

A verification is of one lock of one stage: the image's digest and the input digest. The newest wins.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.files import write_atomically
from rbuild.store import Store

_KIND = "verifications"


class VerificationNote(msgspec.Struct, frozen=True, kw_only=True):
    """One rebuild of a locked stage, and what came of it.

    `input` and `image` are what the lock had, `built` is what came out; `result` is `identical`,
    `same content` or `different`; `time` is UTC, RFC 3339; `rbuild` and `podman` are versions.
    """

    project: str
    stage: str
    input: str
    image: str
    built: str
    result: str
    time: str
    rbuild: str
    podman: str

    @property
    def when(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromisoformat(self.time).astimezone(UTC)


def note_verification(store: Store, verified: VerificationNote) -> None:
    """Keep a verification, in the place of an older one of the same image and inputs."""
    name = f"{Digest.parse(verified.image).hex}-{Digest.parse(verified.input).hex}.json"
    with store.space():
        write_atomically(store.notes(_KIND) / name, msgspec.json.encode(verified) + b"\n")


def verifications(store: Store, image: Digest, input: Digest | None = None) -> tuple[VerificationNote, ...]:
    """The verifications of the image with this manifest digest, the newest first.

    With `input`, only those of a lock with that input digest: one at most, the present lock's. A file that
    cannot be read is no verification.
    """
    pattern = f"{image.hex}-{input.hex if input else '*'}.json"
    found = []
    for path in store.notes(_KIND).glob(pattern):
        try:
            one = msgspec.json.decode(path.read_bytes(), type=VerificationNote)
            of_file = path.stem == f"{Digest.parse(one.image).hex}-{Digest.parse(one.input).hex}"
            if of_file:
                found.append((one.when, one))
        except (OSError, ValueError, msgspec.DecodeError, RbuildError):
            continue
    return tuple(one for _, one in sorted(found, key=lambda pair: pair[0], reverse=True))
