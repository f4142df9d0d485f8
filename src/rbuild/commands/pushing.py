"""What `rbuild push` does once its arguments are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rbuild.commands.here import chosen_stages
from rbuild.console import print_error, screen

if TYPE_CHECKING:
    from rbuild.verbs.push import Request
    from rbuild.verbs.workspace import Workspace


def push_and_tell(
    workspace: Workspace, stages: list[str] | None, request: Request, *, quiet: bool, as_json: bool
) -> int:
    """Push, and say what came of it; the exit code."""
    from rbuild.verbs.push import push

    with screen(quiet=quiet, as_json=as_json) as shown:
        found = push(workspace, chosen_stages(workspace, stages), request, shown.show)
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found.deliveries)
    else:
        from rbuild.textout import say_deliveries

        say_deliveries(found.deliveries)
    errors = [*found.refused.values(), *(one.error for one in found.deliveries if one.error)]
    for error in errors:
        print_error(error, as_json=as_json)
    return max((error.exit_code for error in errors), default=0)
