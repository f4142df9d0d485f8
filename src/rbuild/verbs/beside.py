"""What is published beside an image: bills of materials and provenance, as artifacts and as attestations."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from rbuild import __version__
from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.artifact import Artifact, Part, artifact
from rbuild.image.canonicaljson import canonical_json
from rbuild.image.manifest import Descriptor
from rbuild.lock import Lock
from rbuild.projectfile import Attach
from rbuild.provenance import PREDICATE_TYPE, statement
from rbuild.statement import (
    CYCLONEDX,
    PREDICATE_ANNOTATION,
    SPDX,
    STATEMENT_MEDIA_TYPE,
    document_statement,
)
from rbuild.verbs.workspace import Workspace

_BILLS = {
    "cyclonedx": ("application/vnd.cyclonedx+json", CYCLONEDX),
    "spdx": ("application/spdx+json", SPDX),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document about an image, of `media_type`; `statement` says it of the image, for who signs it."""

    media_type: str
    data: bytes = field(repr=False)
    predicate_type: str
    statement: Callable[[], bytes] = field(repr=False)

    def artifact(self, subject: Descriptor) -> Artifact:
        """The document as an artifact that refers to the image."""
        said = {PREDICATE_ANNOTATION: self.predicate_type} if self.media_type == STATEMENT_MEDIA_TYPE else {}
        return artifact(subject, self.media_type, [Part.of(self.media_type, self.data)], said)


def documents(
    workspace: Workspace, lock: Lock, stage: str, kinds: Collection[Attach]
) -> tuple[Document, ...]:
    """The documents about the locked image of a stage, which is in the store; a function of the lock.

    A bill of materials is made once, and kept in the store.
    """
    return tuple(_document(workspace, lock, stage, kind) for kind in dict.fromkeys(kinds))


def _document(workspace: Workspace, lock: Lock, stage: str, kind: Attach) -> Document:
    if kind == "provenance":
        said = statement(lock, stage)
        return Document(
            media_type=STATEMENT_MEDIA_TYPE, data=said, predicate_type=PREDICATE_TYPE, statement=lambda: said
        )
    media_type, predicate_type = _BILLS[kind]
    data = _bill(workspace, lock, stage, kind)
    image = lock.stages[stage].image.manifest
    return Document(
        media_type=media_type,
        data=data,
        predicate_type=predicate_type,
        statement=lambda: document_statement(f"{lock.project}/{stage}", image, predicate_type, data),
    )


def _bill(workspace: Workspace, lock: Lock, stage: str, kind: str) -> bytes:
    locked = lock.stages[stage]
    # All that the document is a function of: the image, and by its inputs the bases and the recording.
    parts = [kind, __version__, lock.project, stage, locked.epoch]
    key = Digest.of(canonical_json([*parts, str(locked.image.manifest), str(locked.input)])).hex
    known = workspace.store.cached("bills", key)
    if known is None:
        from rbuild.verbs.sbom import SbomFormat, sbom  # brings the libraries of both formats along

        known = sbom(workspace, stage, SbomFormat(kind)).document
        workspace.store.cache("bills", key, known)
    return known


def chosen_kinds(texts: Collection[str]) -> tuple[Attach, ...]:
    """What a person asked to be attached; `none` is nothing. Raises RbuildError for anything else."""
    known: dict[str, Attach] = {"provenance": "provenance", "cyclonedx": "cyclonedx", "spdx": "spdx"}
    if unknown := [text for text in texts if text not in known and text != "none"]:
        raise RbuildError(
            f"{unknown[0][:80]!r} is nothing that can be attached",
            hint=f"there are {', '.join(known)}, and none",
        )
    return tuple(known[text] for text in texts if text in known)
