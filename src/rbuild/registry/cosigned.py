"""Signatures and attestations on their way into a repository, beside those of others."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

from rbuild.digest import Digest
from rbuild.errors import Where, at
from rbuild.image.manifest import OCI_MANIFEST
from rbuild.registry.patience import Transient
from rbuild.registry.repository import Repository
from rbuild.signing.cosign import Attachment


def put_signed(repository: Repository, tag: str, made: Callable[[bytes | None], Attachment]) -> bool:
    """Let the manifest under `tag` be what `made` makes of the one that is there; whether it was another.

    `made` of its own result is that result. Where others write the tag as well it is done again, since there
    is no way to write a tag only if it is what it was. Raises RbuildError.
    """

    def wanted() -> tuple[Attachment, bool]:
        found = repository.manifest(tag)
        with at(Where(url=f"{repository}:{tag}")):
            attachment = made(found.data if found else None)
        return attachment, found is not None and found.data == attachment.manifest

    def once() -> bool:
        attachment, there = wanted()
        if there:
            return False
        for blob in attachment.blobs:
            digest = Digest.of(blob)
            if not repository.has_blob(digest):
                repository.push_blob(digest, len(blob), partial(io.BytesIO, blob), lambda _: None)
        repository.put_manifest(tag, attachment.manifest, OCI_MANIFEST)
        if not wanted()[1]:
            raise Transient(f"others write the tag {tag} as well")
        return True

    return repository.insist("sign", once)
