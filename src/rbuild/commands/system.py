"""Commands about this host, and about rbuild itself."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from rbuild import textout
from rbuild.commands.app import app, workspace_here
from rbuild.commands.options import AsJson
from rbuild.errors import Exit, RbuildError


@app.command("doctor")
def doctor(as_json: AsJson = False) -> None:
    """Check this host. Each failed check comes with the line that fixes it."""
    from rbuild.jsonout import print_json
    from rbuild.store import store_root
    from rbuild.verbs.doctor import doctor as verb

    try:
        debian_bases = any(base.debian for base in workspace_here().project.bases.values())
    except RbuildError:
        debian_bases = True  # no project here, or one with mistakes: look at everything
    found = verb(os.environ, store_root(os.environ.get), debian_bases=debian_bases)
    if as_json:
        print_json(found)
    else:
        textout.say_checks(found)
    if any(check.ok is False for check in found):
        raise typer.Exit(Exit.CANNOT_TELL)


@app.command("schema")
def schema(
    policy: Annotated[
        bool, typer.Option("--policy", help="That of policies/*.yaml, with every rule.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the JSON Schema of rbuild.yaml, for editors.

    It is JSON with --json and without.
    """
    from rbuild.jsonout import print_json

    if policy:
        from rbuild.policy.schema import policy_schema

        print_json(policy_schema())
        return
    from rbuild.schema import schema as verb

    print_json(verb())
