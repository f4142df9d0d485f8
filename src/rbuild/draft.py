"""A store on top of another one, for what may not be worth keeping."""

from __future__ import annotations

from pathlib import Path

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.store import Store

_MADE_ANEW = frozenset({"layers"})  # canonical forms that are known from before: a draft is to make them


class Draft(Store):
    """Sees all blobs of the store `below`, and writes nothing there but the logs of builds.

    Who removes the folder has left no trace. It has to be on the file system of the store below, whose blobs
    are linked to, not copied.
    """

    def __init__(self, root: Path, below: Store) -> None:
        super().__init__(root)
        self._below = below

    @property
    def closed(self) -> bool:
        return self._below.closed or super().closed

    def is_full(self, said: str) -> bool:
        return self._below.is_full(said)

    def full(self) -> RbuildError:
        return self._below.full()

    def path(self, digest: Digest) -> Path:
        own = super().path(digest)
        return own if own.exists() else self._below.path(digest)

    def cached(self, kind: str, key: str) -> bytes | None:
        own = super().cached(kind, key)
        return own if own is not None or kind in _MADE_ANEW else self._below.cached(kind, key)

    def log_path(self, project: str, stage: str) -> Path:
        return self._below.log_path(project, stage)

    def notes(self, kind: str) -> Path:
        return self._below.notes(kind)
