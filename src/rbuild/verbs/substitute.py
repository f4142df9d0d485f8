"""Locked images out of registries: by digest into the store, every blob compared with the lock."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from rbuild.destination import Destination
from rbuild.digest import Digest
from rbuild.errors import Exit, Problem, RbuildError, Where, at
from rbuild.events import Emit
from rbuild.image.manifest import OCI_MANIFEST, read_manifest
from rbuild.lock import ImageLock
from rbuild.reference import Reference
from rbuild.registry.client import Registry
from rbuild.registry.patience import GaveUp, Limits
from rbuild.store import Blob
from rbuild.verbs.admission import Admission
from rbuild.verbs.fetching import fetch_blobs
from rbuild.verbs.workspace import LOCK_FILE, Workspace

# A build does without a registry that keeps it waiting.
HURRIED: Final = Limits(tries=2, connect=5, read=10, longest=2, longest_asked=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An image that the store has now: the registry with its path that it came from, and how many blobs,
    of how many bytes together, the store did not have."""

    registry: str
    blobs: int
    size: int


@dataclass(frozen=True, slots=True)
class Search:
    """What came of asking registries for an image; the problems are of those that did not give it.

    The exit code is 1 where each of them has the image, and the policy refuses it.
    """

    fetched: Fetched | None
    problems: tuple[Problem, ...]
    exit_code: Exit = Exit.CANNOT_TELL


class Substitutes:
    """Registries that may have what a lock names, in the order in which they are asked.

    Threads may share them; one image is fetched at a time, so that what images share is fetched once.
    """

    def __init__(
        self,
        workspace: Workspace,
        places: Sequence[Destination],
        *,
        insecure: Collection[str],
        limits: Limits,
        emit: Emit,
    ) -> None:
        """`insecure` names registries that need no TLS. Nothing is asked yet."""
        self._workspace = workspace
        self._places = places
        self._insecure = {text.partition("/")[0] for text in insecure}
        self._limits = limits
        self._emit = emit
        self._registries: dict[str, Registry] = {}
        self._silent: dict[str, Problem] = {}  # registries that did not answer are not asked again
        self._fetching = threading.Lock()
        self._admission = Admission(workspace, insecure=insecure, limits=limits)

    def __str__(self) -> str:
        return ", ".join(map(str, self._places))

    def search(self, stage: str, image: ImageLock) -> Search:
        """Fetch what the store lacks of the image of `stage` from the first registry that has it."""
        problems: list[Problem] = []
        codes = set()
        with self._fetching:
            for place in self._places:
                if silent := self._silent.get(place.registry):
                    problems.append(silent)
                    codes.add(Exit.CANNOT_TELL)
                    continue
                try:
                    return Search(self._fetch(place, stage, image), tuple(problems))
                except RbuildError as error:
                    if self._workspace.store.closed:
                        raise
                    problems += error.problems
                    codes.add(error.exit_code)
                    if isinstance(error.__cause__, GaveUp):
                        self._silent[place.registry] = error.problems[0]
        return Search(None, tuple(problems), max(codes, default=Exit.CANNOT_TELL))

    def close(self) -> None:
        """End every wait of every thread."""
        self._admission.close()
        for registry in list(self._registries.values()):
            registry.close()

    def _fetch(self, place: Destination, stage: str, image: ImageLock) -> Fetched:
        store = self._workspace.store
        reference = place.repository(self._workspace.project.name, stage)
        repository = self._registry(place.registry).repository(reference.repository)
        found = repository.manifest(str(image.manifest))
        if found is None:
            raise RbuildError(
                f"does not have the image of stage {stage}",
                where=Where(url=reference.name, digest=str(image.manifest)),
                hint=f"rbuild push {stage} --to {place}, where the image is",
            )
        blobs = _blobs(found.data, stage, image)
        pinned = Reference(reference.registry, reference.repository, digest=image.manifest)
        taken_by = self._admission.admit(pinned, repository=repository)
        missing = fetch_blobs(repository, store, blobs, f"fetching {stage} from {place}", self._emit)
        self._admission.note(pinned, taken_by)  # before the image is whole, so that none is without its note
        if not store.has(image.manifest):
            missing.append(store.put(found.data))  # last: what it names is there
        return Fetched(registry=str(place), blobs=len(missing), size=sum(blob.size for blob in missing))

    def _registry(self, host: str) -> Registry:
        if host not in self._registries:
            self._registries[host] = Registry(
                host, insecure=host in self._insecure, env=self._workspace.env, limits=self._limits
            )
        return self._registries[host]


def _blobs(data: bytes, stage: str, image: ImageLock) -> list[Blob]:
    """The blobs of a manifest, each once. Raises RbuildError where they are not those of the lock."""
    where = Where(file=LOCK_FILE, key=f"stages.{stage}.image", digest=str(image.manifest))
    with at(where):
        manifest = read_manifest(data)
    named = [Blob(layer.digest, layer.size) for layer in manifest.layers]
    locked = [Blob(layer.blob, layer.size) for layer in image.layers]
    hint = "git checkout rbuild.lock, or rbuild lock --upgrade"
    if manifest.media_type != OCI_MANIFEST:
        raise RbuildError(
            f"the manifest of stage {stage} is Docker's, and rbuild locks OCI's", where=where, hint=hint
        )
    if (manifest.config.digest, named) != (image.config, locked):
        raise RbuildError(
            f"the blobs that the lock has for stage {stage} are not those of its manifest",
            where=where,
            hint=hint,
        )
    return list(dict.fromkeys([Blob(manifest.config.digest, manifest.config.size), *named]))


def damaged(workspace: Workspace, image: ImageLock) -> tuple[Digest, ...]:
    """Remove from the store what it has of an image and is not what its name says; gives what that was."""
    parts = dict.fromkeys((image.manifest, image.config, *(layer.blob for layer in image.layers)))
    return tuple(digest for digest in parts if workspace.store.discard_corrupt(digest))
