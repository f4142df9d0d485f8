"""`rbuild images`: the images of the stages, and which of them are here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rbuild.digest import Digest
from rbuild.verbs.assessment import in_store
from rbuild.verbs.workspace import Workspace, read_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image of a stage. `digest` is None where the stage was never built. `size`, in bytes, is that of
    the compressed layers. `built`, in seconds since 1970, is when the image came into the store, None where
    it is not there."""

    stage: str
    reference: str
    digest: Digest | None = None
    size: int = 0
    built: float | None = None
    bases: tuple[str, ...] = ()


def images(workspace: Workspace, stages: Collection[str]) -> tuple[Image, ...]:
    """The images of `stages`, as the lock has them."""
    lock = read_lock(workspace)
    found = []
    for name in stages:
        locked = lock.stages.get(name) if lock else None
        if locked is None:
            found.append(Image(stage=name, reference=workspace.image_name(name)))
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
