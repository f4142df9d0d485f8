"""`rbuild images`: the locked images, and which of them are here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rbuild.digest import Digest
from rbuild.verbs.build import in_store
from rbuild.verbs.workspace import Workspace, read_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A locked image. `size` is that of its compressed layers, in bytes; `built`, in seconds since 1970, is
    when it came into the store, and None where the store does not have it."""

    stage: str
    reference: str
    digest: Digest
    size: int
    built: float | None
    bases: tuple[str, ...]


def images(workspace: Workspace, stages: Collection[str]) -> tuple[Image, ...]:
    """The images of `stages` that are in the lock."""
    lock = read_lock(workspace)
    found = []
    for name in stages:
        locked = lock.stages.get(name) if lock else None
        if locked is None:
            continue
        stored = in_store(workspace, locked.image)
        path = workspace.store.path(locked.image.manifest)
        found.append(
            Image(
                stage=name,
                reference=workspace.image_name(name),
                digest=locked.image.manifest,
                size=sum(layer.size for layer in locked.image.layers),
                built=path.stat().st_mtime if stored else None,
                bases=locked.bases,
            )
        )
    return tuple(found)
