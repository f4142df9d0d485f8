"""The signatures of an image, where cosign puts them: an image of their own, under a tag."""

from __future__ import annotations

from functools import partial

from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where, at
from rbuild.registry.repository import Repository
from rbuild.registry.workers import in_parallel
from rbuild.signing.claims import MAX_CLAIM, Listed, Signature, listed_signatures
from rbuild.signing.cosign import signature_tag

_MOST = 50  # signatures of one image


def signatures_of(repository: Repository, image: Digest) -> tuple[Signature, ...]:
    """What signs the image with this manifest digest; nothing is verified.

    Raises RbuildError where the registry does not answer, and for a list of signatures that is none.
    """
    found = repository.manifest(signature_tag(image))
    if found is None:
        return ()
    with at(Where(url=f"{repository}:{signature_tag(image)}")):
        listed = listed_signatures(found.data)
        if len(listed) > _MOST:
            raise RbuildError(f"{len(listed)} signatures; more than {_MOST} are refused")
    fitting = [one for one in listed if 0 < one.size <= MAX_CLAIM]
    return tuple(in_parallel([partial(_fetched, repository, one) for one in fitting]))


def _fetched(repository: Repository, listed: Listed) -> Signature:
    data = bytearray()
    repository.pull_blob(listed.payload, listed.size, data.extend)
    return Signature(bytes(data), listed.text)
