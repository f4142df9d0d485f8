"""Stages as the project's files are now, held against the lock and the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rbuild.context import Context, listed
from rbuild.digest import Digest
from rbuild.lock import ImageLock, Lock, StageLock
from rbuild.plan import Change, changes
from rbuild.project import PROJECT_FILE
from rbuild.reference import Reference
from rbuild.store import Store
from rbuild.verbs.source import Source, read_sources
from rbuild.verbs.workspace import Workspace, fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A stage as its files are now, held against the lock. No changes: the lock fits."""

    source: Source
    locked: StageLock | None
    changes: tuple[Change, ...]


def assess(workspace: Workspace, lock: Lock | None, stages: Iterable[str]) -> dict[str, Assessment]:
    """What is up to date and what is not, and why. Reads files only; no network, no Podman."""
    return {
        name: assess_one(workspace, lock, source) for name, source in read_sources(workspace, stages).items()
    }


def assess_one(workspace: Workspace, lock: Lock | None, source: Source) -> Assessment:
    """The same of one stage whose files have been read."""
    locked = lock.stages.get(source.stage.name) if lock else None
    if lock is None or locked is None:
        return Assessment(source=source, locked=None, changes=(Change("stage", "not in the lock yet"),))
    redefined: list[Change] = []
    digests: dict[str, Digest] = {}
    for key in source.bases:
        pinned = lock.bases.get(key)
        if pinned is None:
            redefined.append(Change("base", f"{key} is not in the lock yet"))
        elif not fits(workspace.project.base(Reference.parse(key)), pinned):
            redefined.append(Change("base", f"{key} is defined otherwise in {PROJECT_FILE} now"))
        else:
            digests[key] = pinned.digest
    if redefined:
        return Assessment(source=source, locked=locked, changes=tuple(redefined))
    inputs = source.inputs(
        workspace.project.platform, digests, epoch=locked.epoch, form=locked.form, codec=locked.codec
    )
    return Assessment(source=source, locked=locked, changes=changes(inputs, locked, lock))


def detailed(store: Store, assessed: Assessment) -> tuple[Change, ...]:
    """The changes of a stage; one for each file of the context, where the store knows the old listing."""
    found: list[Change] = []
    for change in assessed.changes:
        if change.part != "context" or assessed.locked is None:
            found.append(change)
            continue
        listing = store.cached("contexts", assessed.locked.context.hex)
        files = _changed_files(listing, assessed.source.context) if listing is not None else []
        found += files or [change]
    return tuple(found)


def _changed_files(listing: bytes, context: Context) -> list[Change]:
    before, now = listed(listing), listed(b"".join(context.lines()))
    found = [Change("file", f"{path} is new") for path in sorted(now.keys() - before.keys())]
    found += [Change("file", f"{path} is gone") for path in sorted(before.keys() - now.keys())]
    both = sorted(now.keys() & before.keys())
    return found + [Change("file", f"{path} changed") for path in both if now[path] != before[path]]


def leftovers(workspace: Workspace, lock: Lock | None) -> tuple[Change, ...]:
    """What the lock holds that is of no stage of the project."""
    if lock is None:
        return ()
    found = [
        Change("stage", f"{name} is not in {PROJECT_FILE} any more")
        for name in lock.stages
        if name not in workspace.project.stages
    ]
    if lock.project != workspace.project.name:
        found.append(Change("project", f"{lock.project} → {workspace.project.name}"))
    return tuple(found)


def in_store(workspace: Workspace, image: ImageLock) -> bool:
    """Whether the store has every blob of a locked image, by name and size."""
    store = workspace.store
    return (
        store.has(image.manifest)
        and store.has(image.config)
        and all(store.has(layer.blob, layer.size) for layer in image.layers)
    )
