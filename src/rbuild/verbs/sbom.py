"""`rbuild sbom`: what is in the image of a stage, as a bill of materials."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from functools import partial

from rbuild import __version__
from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where
from rbuild.image.config import read_config
from rbuild.image.manifest import read_manifest
from rbuild.lock import ImageLock, Lock, StageLock
from rbuild.sbom.inventory import Inventory, Layer, inventory
from rbuild.sbom.origins import with_origins
from rbuild.sbom.package import Package
from rbuild.sbom.subject import Subject
from rbuild.store import Store
from rbuild.verbs.assessment import in_store
from rbuild.verbs.canonicalise import index_of
from rbuild.verbs.workspace import LOCK_FILE, Workspace, read_lock


class SbomFormat(enum.Enum):
    """What a bill of materials is written as."""

    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a bill of materials has. `packages` counts them by the type of their URL (deb, pypi, npm).

    `pinned` is how many of them the lock has a URL and a sha256 for. `problems` are files of the image that
    should describe a package, and do not.
    """

    stage: str
    image: Digest
    format: SbomFormat
    packages: dict[str, int]
    pinned: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sbom:
    """A bill of materials, as the bytes of its document."""

    summary: Summary
    document: bytes


def sbom(workspace: Workspace, stage: str, format: SbomFormat) -> Sbom:
    """What is in the locked image of a stage, by the files in its layers, and where the lock has it from.

    The same lock gives the same bytes. Raises RbuildError where the stage is not locked, or its image is not
    in the store.
    """
    lock, locked = locked_stage(workspace, stage)
    if not in_store(workspace, locked.image):
        raise RbuildError(
            f"the image of stage {stage} is not in the store",
            where=Where(digest=str(locked.image.manifest)),
            hint=f"rbuild build {stage}",
        )
    found = inventory_of(workspace.store, locked.image)
    packages = with_origins(found.packages, locked, lock.bases)
    subject = Subject(
        name=f"{lock.project}/{stage}",
        digest=locked.image.manifest,
        epoch=locked.epoch,
        tool=__version__,
    )
    summary = Summary(
        stage=stage,
        image=locked.image.manifest,
        format=format,
        packages=dict(sorted(Counter(one.ecosystem.value for one in packages).items())),
        pinned=sum(1 for one in packages if one.origins),
        problems=found.problems,
    )
    return Sbom(summary=summary, document=_document(subject, packages, format))


def locked_stage(workspace: Workspace, stage: str) -> tuple[Lock, StageLock]:
    """The lock, and what it has of a stage. Raises RbuildError where it has nothing."""
    lock = read_lock(workspace)
    if lock is None or stage not in lock.stages:
        raise RbuildError(
            f"stage {stage} is not in the lock yet", where=Where(file=LOCK_FILE), hint=f"rbuild build {stage}"
        )
    return lock, lock.stages[stage]


def _document(subject: Subject, packages: tuple[Package, ...], format: SbomFormat) -> bytes:
    # Each library costs other commands a quarter of a second and more.
    if format is SbomFormat.CYCLONEDX:
        from rbuild.sbom.cyclonedxjson import cyclonedx

        return cyclonedx(subject, packages)
    from rbuild.sbom.spdxjson import spdx

    return spdx(subject, packages)


def inventory_of(store: Store, image: ImageLock) -> Inventory:
    """What package managers left in an image of the store."""
    manifest = read_manifest(store.read(image.manifest))
    diff_ids = read_config(store.read(image.config)).diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise RbuildError(
            "the image's configuration and manifest differ in the number of layers",
            where=Where(digest=str(image.manifest)),
        )
    return inventory(
        Layer(
            index=index_of(store, blob, diff_id),
            media_type=blob.media_type,
            open=partial(store.open, blob.digest),
        )
        for blob, diff_id in zip(manifest.layers, diff_ids, strict=True)
    )
