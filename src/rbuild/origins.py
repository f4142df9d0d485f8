"""Where fetched images came from, and by which policy they were taken: a small file each, in the store.

An image without such a note was built here.
"""

from __future__ import annotations

import msgspec

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.files import write_atomically
from rbuild.reference import Reference
from rbuild.store import Store

_KIND = "origins"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A repository, and the digest of the policy that took an image from there (None: there was none)."""

    repository: str
    policy: str | None = None

    def reference(self, image: Digest) -> Reference:
        """The image there, by its digest."""
        return Reference.parse(f"{self.repository}@{image}")


def origin_of(store: Store, image: Digest) -> Origin | None:
    """Where the image with this manifest digest came from; None: it was built here, or nobody knows."""
    try:
        return msgspec.json.decode((store.notes(_KIND) / image.hex).read_bytes(), type=Origin)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        raise RbuildError(
            f"the note on where {image} came from cannot be read: {error}",
            hint=f"rm {store.notes(_KIND) / image.hex}, then rbuild pull",
        ) from error


def note_origin(store: Store, image: Digest, origin: Origin) -> None:
    """Keep where an image came from; a note that was there is replaced."""
    with store.space():
        write_atomically(store.notes(_KIND) / image.hex, msgspec.json.encode(origin))


def forget_origin(store: Store, image: Digest) -> None:
    """An image was built here: where else it came from does not matter any more."""
    (store.notes(_KIND) / image.hex).unlink(missing_ok=True)
