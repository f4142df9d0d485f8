"""Commands about policies: `rbuild check`."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from rbuild.commands.app import app, chosen_stages, effective_time, folder_in_repository, workspace_here
from rbuild.commands.options import AsJson, CheckFormat, ChosenCheckFormat, EffectiveTime, Quiet, Stages
from rbuild.console import screen
from rbuild.errors import Exit

if TYPE_CHECKING:
    from rbuild.verbs.check import Checked
    from rbuild.verbs.workspace import Workspace


@app.command("check")
def check(
    stages: Stages = None,
    at: EffectiveTime = None,
    output_format: ChosenCheckFormat = CheckFormat.TEXT,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Hold stages against policies; builds nothing.

    Looks at Containerfiles, contexts and rbuild.yaml, at what is locked, and at the images in the store.
    Without files in policies/, every built-in rule is asked with its own level. Exits with 1 for an error
    that no waiver excuses.

    In CI, `--output-format sarif` writes SARIF 2.1.0 for code scanning, `github` annotates lines in a pull
    request, and `junit` writes JUnit XML for build servers.
    """
    from rbuild.verbs.check import check as verb

    if as_json and output_format not in (CheckFormat.TEXT, CheckFormat.JSON):
        raise typer.BadParameter(f"--json does not go with --output-format {output_format.value}")
    wanted = CheckFormat.JSON if as_json else output_format
    as_json = wanted is CheckFormat.JSON
    workspace = workspace_here()
    with screen(quiet=quiet, as_json=as_json) as shown:
        found = verb(workspace, chosen_stages(workspace, stages), now=effective_time(at), emit=shown.show)
    _say(found, workspace, wanted)
    if found.stops:
        raise typer.Exit(Exit.FINDING)


def _say(found: Checked, workspace: Workspace, wanted: CheckFormat) -> None:
    from rbuild.verbs.excerpt import line_reader

    match wanted:
        case CheckFormat.TEXT:
            from rbuild.findingsout import say_findings

            say_findings(found, line_reader(workspace.root))
        case CheckFormat.JSON:
            from rbuild.jsonout import print_json

            print_json(found)
        case CheckFormat.SARIF:
            from rbuild.jsonout import print_json
            from rbuild.sarif import sarif

            folder = folder_in_repository(workspace)
            print_json(sarif(found, folder=folder, shown=line_reader(workspace.root)))
        case CheckFormat.GITHUB:
            from rbuild.cireport.checks import github

            print(github(found, folder=folder_in_repository(workspace)), end="")
        case CheckFormat.JUNIT:
            from rbuild.cireport.checks import junit

            when, name = datetime.now(UTC), workspace.project.name
            print(junit(found, project=name, host=platform.node(), when=when), end="")
