"""Where a command works, and on what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rbuild.errors import RbuildError

if TYPE_CHECKING:
    from rbuild.verbs.workspace import Workspace


def workspace_at(folder: Path) -> Workspace:
    """The project around a folder, for whoever is not root."""
    from rbuild.verbs.workspace import open_workspace

    refuse_root()
    return open_workspace(folder, dict(os.environ))


def refuse_root() -> None:
    if os.geteuid() == 0:
        caller = os.environ.get("SUDO_USER", "root")
        how = "become a user first: useradd -m builder && su - builder"
        if caller != "root":
            how = f"run it as {caller}, without sudo"
        raise RbuildError(f"rbuild needs no root, and does not run as root; {how}")


def chosen_stages(workspace: Workspace, stages: list[str] | None) -> tuple[str, ...]:
    """The stages named on the command line, in the project's order; all where none is named."""
    graph = workspace.project.graph()
    if not stages:
        return graph.order
    graph.closure(stages)  # raises for what is no stage
    return tuple(name for name in graph.order if name in stages)
