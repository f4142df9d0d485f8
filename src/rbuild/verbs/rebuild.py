"""Locked stages once more, from nothing, with nothing left of it but what the caller looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rbuild.draft import Draft
from rbuild.events import Emit
from rbuild.lock import Lock
from rbuild.podman_storage import storage_in
from rbuild.sealed.environment import Clock
from rbuild.store import Store
from rbuild.verbs.assessment import Assessment
from rbuild.verbs.build import Options
from rbuild.verbs.layercache import LayerCache
from rbuild.verbs.pipeline import Pipeline, Rebuilt, Site
from rbuild.verbs.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a rebuild is made with. `driver` is Podman's storage driver; without it, the user's.

    With `record`, what is not locked may be read from the network; `epoch` is for stages without a lock.
    """

    workspace: Workspace
    jobs: int
    offline: bool
    driver: str | None = None
    clock: Clock | None = None
    record: bool = False
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rebuild left: by stage, an image or why there is none, and the store that has these images."""

    stages: dict[str, Rebuilt]
    store: Store


def rebuild(
    setting: Setting,
    lock: Lock,
    assessed: Mapping[str, Assessment],
    *,
    folder: Path,
    below: Store,
    emit: Emit,
) -> Outcome:
    """Build stages without any layer cache, in Podman storage of their own. What is not locked, records.

    What comes out is in a store in the new `folder`, on top of the store `below`, for as long as that is
    there; the folder is on the file system of the user's store.
    """
    workspace = setting.workspace
    folder.mkdir()
    draft = Draft(folder / "store", below)
    options = Options(
        epoch=setting.epoch, jobs=setting.jobs, offline=setting.offline, locked=not setting.record
    )
    with storage_in(folder, workspace.podman, driver=setting.driver) as podman:
        layers = LayerCache(draft, workspace.project.name)
        site = Site(podman, draft, layers, setting.clock)
        built = Pipeline(workspace, lock, options, emit).rebuild(assessed, site)
    return Outcome(built, draft)
