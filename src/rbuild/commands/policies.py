"""Commands about policies: `rbuild check`."""

from __future__ import annotations

import typer

from rbuild.commands.app import app, chosen_stages, effective_time, workspace_here
from rbuild.commands.options import AsJson, EffectiveTime, Quiet, Stages
from rbuild.console import screen
from rbuild.errors import Exit


@app.command("check")
def check(
    stages: Stages = None,
    at: EffectiveTime = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Hold stages against policies; builds nothing.

    Looks at Containerfiles, contexts and rbuild.yaml, at what is locked, and at the images in the store.
    Without files in policies/, every built-in rule is asked with its own level. Exits with 1 for an error
    that no waiver excuses.
    """
    from rbuild.verbs.check import check as verb

    workspace = workspace_here()
    with screen(quiet=quiet, as_json=as_json) as shown:
        found = verb(workspace, chosen_stages(workspace, stages), now=effective_time(at), emit=shown.show)
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found)
    else:
        from rbuild.textout import say_checked

        say_checked(found)
    if found.stops:
        raise typer.Exit(Exit.FINDING)
