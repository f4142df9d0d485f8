"""`rbuild provenance`: how the image of a stage was made."""

from __future__ import annotations

from rbuild.provenance import statement
from rbuild.verbs.sbom import locked_stage
from rbuild.verbs.workspace import Workspace


def provenance(workspace: Workspace, stage: str) -> bytes:
    """The in-toto statement with the SLSA provenance of a locked stage.

    Reads the lock alone: the image need not be here. Raises RbuildError where the stage is not locked.
    """
    lock, _ = locked_stage(workspace, stage)
    return statement(lock, stage)
