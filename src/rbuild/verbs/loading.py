"""Locked images on their way from the store into the user's own Podman."""

from __future__ import annotations

from rbuild.image.manifest import OCI_MANIFEST
from rbuild.lock import ImageLock
from rbuild.skopeo import load_image
from rbuild.verbs.workspace import Workspace


def load_locked(workspace: Workspace, stage: str, image: ImageLock) -> None:
    """Put a stage's image, which the store has, into Podman's storage under the stage's name."""
    store = workspace.store
    with store.scratch("load-") as scratch:
        load_image(
            store.read(image.manifest),
            [image.config, *(layer.blob for layer in image.layers)],
            workspace.image_name(stage),
            store=store,
            scratch=scratch,
            podman=workspace.podman,
        )


def name_locked(workspace: Workspace, stage: str, image: ImageLock) -> None:
    """Name a stage's image, which the store has, in the store's own layout."""
    store = workspace.store
    manifest = store.put(store.read(image.manifest))
    store.name_image(f"{workspace.project.name}/{stage}", manifest, OCI_MANIFEST)
