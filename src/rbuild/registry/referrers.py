"""What refers to an image in its repository: artifacts that are attached, and listed.

A registry that knows `subject` lists them itself, and says so in its answers; for any other they are listed
in an index under a tag. Source: OCI distribution specification 1.1, "Pushing Manifests with Subject",
"Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

from collections.abc import Sequence

from rbuild.digest import Digest
from rbuild.image.artifact import (
    Artifact,
    Referrer,
    read_referrers,
    referrers_index,
    referrers_tag,
)
from rbuild.image.manifest import OCI_INDEX, OCI_MANIFEST
from rbuild.registry.patience import Transient
from rbuild.registry.repository import Repository

_MOST = 10_000  # referrers of one image that are looked at


def attach(
    repository: Repository, subject: Digest, artifacts: Sequence[Artifact], *, missing: Sequence[Artifact]
) -> bool:
    """Let `artifacts` refer to `subject`; what is there stays. All their blobs are in the repository.

    `missing` are those whose manifests are not there. Whether a list had to be written that others may write
    at the same time: then it is worth asking again, a little later. Raises RbuildError, also if others write
    it all the time.
    """
    answers = [repository.put_manifest(str(one.digest), one.manifest, OCI_MANIFEST) for one in missing]
    if missing and all("OCI-Subject" in headers for headers in answers):
        return False
    if not artifacts or (not missing and repository.referrers(subject) is not None):
        return False
    return repository.insist("list referrers", lambda: _enlist(repository, referrers_tag(subject), artifacts))


def _enlist(repository: Repository, tag: str, artifacts: Sequence[Artifact]) -> bool:
    """List artifacts under a tag, and whether that was new; Transient, if somebody else wrote it meanwhile.

    There is no way to write a tag only if it is what it was. So the list is read again: where two write
    at once, one of them finds that its own entries are gone.
    """

    def with_all() -> tuple[bytes, bool]:
        found = repository.manifest(tag)
        index = referrers_index(found.data if found else None, artifacts)
        return index, found is not None and found.data == index

    index, complete = with_all()
    if complete:
        return False
    repository.put_manifest(tag, index, OCI_INDEX)
    if not with_all()[1]:
        raise Transient(f"others write the tag {tag} as well")
    return True


def referrers(
    repository: Repository, subject: Digest, artifact_type: str | None = None
) -> tuple[Referrer, ...]:
    """The artifacts that a registry says refer to `subject`, each once, in its order; of one type, or all.

    Raises RbuildError for a list that is none, or that does not end.
    """
    pages = repository.referrers(subject)
    if pages is None:
        found = repository.manifest(referrers_tag(subject))
        pages = [found.data] if found else []
    listed: dict[Digest, Referrer] = {}
    for page in pages:
        for one in read_referrers(page):
            if artifact_type in (None, one.artifact_type):
                listed.setdefault(one.digest, one)
        if len(listed) > _MOST:
            raise repository.failed("list referrers", f"there are more than {_MOST}", digest=subject)
    return tuple(listed.values())
