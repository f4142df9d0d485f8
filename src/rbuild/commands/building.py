"""Commands that build, and that say what there is to be built."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rbuild import textout
from rbuild.commands.app import (
    app,
    chosen_stages,
    effective_time,
    epoch_now,
    guarded,
    jobs_of,
    workspace_here,
)
from rbuild.commands.options import (
    AsJson,
    From,
    Insecure,
    Jobs,
    Locked,
    NoLoad,
    Offline,
    OneStage,
    Quiet,
    Stages,
)
from rbuild.console import print_error
from rbuild.errors import Exit, RbuildError


@app.command("all")
def build_all(
    offline: Offline = False,
    locked: Locked = False,
    sources: From = None,
    insecure: Insecure = None,
    no_load: NoLoad = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Build what changed, and lock what came out, for every stage."""
    _build(
        None,
        "all",
        offline=offline,
        locked=locked,
        sources=sources,
        insecure=insecure,
        goal="store" if no_load else "podman",
        jobs=jobs,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("build")
def build_some(
    stages: Stages = None,
    offline: Offline = False,
    locked: Locked = False,
    sources: From = None,
    insecure: Insecure = None,
    no_load: NoLoad = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Build what changed, and lock what came out, for some stages."""
    _build(
        stages,
        "build",
        offline=offline,
        locked=locked,
        sources=sources,
        insecure=insecure,
        goal="store" if no_load else "podman",
        jobs=jobs,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("lock")
def lock(
    stages: Stages = None,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Forget what was recorded, and record it anew.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say (exit 1) whether the lock is out of date.")
    ] = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Bring the lock up to date. What it does not know yet is built for that."""
    if check:
        if upgrade:
            raise typer.BadParameter("--check changes nothing, so --upgrade does not go with it")
        _status(stages, as_json=as_json, check=True)
        return
    _build(stages, "lock", upgrade=upgrade, goal="lock", jobs=jobs, quiet=quiet, as_json=as_json)


@app.command("status")
def status(stages: Stages = None, as_json: AsJson = False) -> None:
    """Say what changed since each stage was locked."""
    _status(stages, as_json=as_json, check=False)


@app.command("plan")
def plan(stage: OneStage, as_json: AsJson = False) -> None:
    """Say what building STAGE would do, and why, and change nothing."""
    from rbuild.jsonout import print_json
    from rbuild.verbs.status import plan as verb

    workspace = workspace_here()
    found = verb(workspace, chosen_stages(workspace, [stage])[0])
    if as_json:
        print_json(found)
        return
    textout.say_plan(found)


def _build(
    stages: list[str] | None,
    command: str,
    *,
    offline: bool = False,
    locked: bool = False,
    upgrade: bool = False,
    goal: Literal["lock", "store", "podman"] = "podman",
    sources: list[str] | None = None,
    insecure: list[str] | None = None,
    jobs: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from rbuild.destination import Destination
    from rbuild.verbs.build import Goal, Options, build

    workspace = workspace_here()
    chosen = chosen_stages(workspace, stages)
    options = Options(
        epoch=epoch_now(),
        jobs=jobs_of(jobs),
        offline=offline,
        locked=locked,
        upgrade=frozenset(chosen if upgrade else ()),
        goal=Goal(goal),
        substitutes=tuple(map(Destination.parse, sources or ())),
        insecure=tuple(insecure or ()),
        now=effective_time(),
    )
    with guarded(workspace, command, quiet=quiet, as_json=as_json) as shown:
        results = build(workspace, chosen, options, shown.show)
    if as_json:
        from rbuild.jsonout import print_json

        print_json(results)
    else:
        textout.say_results(results)
    errors = [one.error for one in results if one.error]
    for error in errors:
        print_error(error, as_json=as_json)
    if errors:
        raise typer.Exit(max(error.exit_code for error in errors))


def _status(stages: list[str] | None, *, as_json: bool, check: bool) -> None:
    from rbuild.verbs.assessment import leftovers
    from rbuild.verbs.status import status as verb
    from rbuild.verbs.workspace import read_lock

    workspace = workspace_here()
    found = verb(workspace, chosen_stages(workspace, stages))
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found)
    else:
        textout.say_status(found)
    remains = leftovers(workspace, read_lock(workspace)) if check else ()
    if not as_json:
        textout.say_changes(remains, "rbuild.lock  ")
    if remains or (check and any(one.changes for one in found)):
        raise RbuildError(
            "rbuild.lock is out of date",
            hint="rbuild lock brings it up to date; commit it with the change",
            exit_code=Exit.FINDING,
        )
