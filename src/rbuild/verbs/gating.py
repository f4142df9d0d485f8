"""Whether there are policies to hold a command to; what a project without any does not pay for."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rbuild.events import Emit
from rbuild.verbs.workspace import Workspace, policy_files

if TYPE_CHECKING:
    from rbuild.verbs.gate import Gate


def open_gate(workspace: Workspace, now: datetime | None, emit: Emit) -> Gate | None:
    """The gate of a project with policies; None for one without, and where `now` (UTC) is not given.

    Raises RbuildError for a policy that is wrong.
    """
    if now is None or not policy_files(workspace):
        return None
    from rbuild.verbs.gate import Gate  # brings all rules along

    return Gate(workspace, now=now, emit=emit)
