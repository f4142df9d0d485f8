"""The `rbuild` command: reads arguments, calls a verb, prints what it returns."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from rbuild import __version__
from rbuild.console import Screen, print_error, screen
from rbuild.errors import Exit, RbuildError

if TYPE_CHECKING:
    from rbuild.verbs.build import StageResult
    from rbuild.verbs.workspace import Workspace

app = typer.Typer(
    name="rbuild",
    help="Container images whose digest is a function of the lockfile: rootless, daemonless, sealed.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _complete_stage(incomplete: str) -> list[str]:
    try:
        stages = _workspace().project.stages
    except RbuildError:
        return []
    return [name for name in stages if name.startswith(incomplete)]


Stages = Annotated[
    list[str] | None,
    typer.Argument(metavar="[STAGE]…", help="Stages; without any, all.", autocompletion=_complete_stage),
]
OneStage = Annotated[str, typer.Argument(metavar="STAGE", autocompletion=_complete_stage)]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON, events as lines of JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Warnings, failures and the result only.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Stages at the same time; without it, the CPUs.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Let not one packet leave this host.")]
Locked = Annotated[bool, typer.Option("--locked", help="Fail (exit 1) if the lock would change.")]

_folder = Path()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rbuild {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    project: Annotated[
        Path, typer.Option("--project", "-C", metavar="FOLDER", help="Work on the project in FOLDER.")
    ] = Path(),
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    global _folder
    _folder = project


# Commands, in the order in which a project meets them


@app.command("all")
def build_all(
    offline: Offline = False,
    locked: Locked = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Bring every stage up to date: build what changed, lock what came out."""
    _build(None, "all", offline=offline, locked=locked, jobs=jobs, quiet=quiet, as_json=as_json)


@app.command("build")
def build_some(
    stages: Stages = None,
    offline: Offline = False,
    locked: Locked = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Bring some stages up to date."""
    _build(stages, "build", offline=offline, locked=locked, jobs=jobs, quiet=quiet, as_json=as_json)


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
    """Bring the lock up to date, which builds what it does not know yet."""
    if check:
        if upgrade:
            raise typer.BadParameter("--check changes nothing, so --upgrade does not go with it")
        _status(stages, as_json=as_json, check=True)
        return
    _build(stages, "lock", upgrade=upgrade, images=False, jobs=jobs, quiet=quiet, as_json=as_json)


@app.command("verify")
def verify(
    stages: Stages = None,
    offline: Offline = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild stages from nothing and compare with the lock: identical, same content or different."""
    from rbuild.jsonout import print_json
    from rbuild.verbs.verify import Verdict
    from rbuild.verbs.verify import verify as verb

    workspace = _workspace()
    with _guarded(workspace, "verify", quiet=quiet, as_json=as_json) as shown:
        found = verb(
            workspace, _chosen(workspace, stages), offline=offline, jobs=_jobs(jobs), emit=shown.show
        )
    if as_json:
        print_json(found)
    else:
        width = max(len(one.stage) for one in found)
        for one in found:
            differs = f"  differs in: {', '.join(one.differs)}" if one.differs else ""
            digest = f"  {one.locked}" if one.locked and one.verdict is Verdict.IDENTICAL else ""
            both = f"  locked {one.locked}, built {one.built}" if one.differs else ""
            typer.echo(f"{one.stage:{width}}  {one.verdict.value}{digest}{both}{differs}")
        for one in found:
            if one.problems:
                print_error(RbuildError(one.problems), as_json=False)
    verdicts = {one.verdict for one in found}
    if Verdict.UNKNOWN in verdicts:
        raise typer.Exit(Exit.CANNOT_TELL)
    if verdicts - {Verdict.IDENTICAL}:
        raise typer.Exit(Exit.FINDING)


@app.command("status")
def status(stages: Stages = None, as_json: AsJson = False) -> None:
    """Say of each stage whether it is up to date, or what changed."""
    _status(stages, as_json=as_json, check=False)


@app.command("plan")
def plan(stage: OneStage, as_json: AsJson = False) -> None:
    """Say what building STAGE would do, and why; nothing is changed."""
    from rbuild.jsonout import print_json
    from rbuild.verbs.status import plan as verb

    workspace = _workspace()
    found = verb(workspace, _chosen(workspace, [stage])[0])
    if as_json:
        print_json(found)
        return
    typer.echo(f"stage {found.stage}: {'build' if found.action == 'build' else 'nothing to do'}")
    for change in found.changes:
        typer.echo(f"  because {change}")
    typer.echo(
        f"  Containerfile  {found.containerfile}" + (f", target {found.target}" if found.target else "")
    )
    typer.echo(f"  context        {found.context}, {found.files} entries")
    for name, value in sorted(found.args.items()):
        typer.echo(f"  arg            {name}={value}")
    for base in found.bases:
        typer.echo(f"  base           {base.key}  {base.digest or 'to be pinned'}")
    epoch = f"{found.epoch}" if found.epoch is not None else "the time of the build"
    typer.echo(f"  epoch          {epoch}")
    typer.echo(f"  recording      {found.responses} responses are locked")
    typer.echo("  steps")
    for step in found.steps:
        typer.echo(f"    {step.line:>4}  {step.text.splitlines()[0][:100]}")


@app.command("images")
def images(stages: Stages = None, as_json: AsJson = False) -> None:
    """List the locked images: reference, digest, size, when they were built and from what."""
    from rbuild.jsonout import print_json
    from rbuild.verbs.images import images as verb

    workspace = _workspace()
    found = verb(workspace, _chosen(workspace, stages))
    if as_json:
        print_json(found)
        return
    rows = [("STAGE", "REFERENCE", "DIGEST", "SIZE", "BUILT", "FROM")]
    for one in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.built)) if one.built else "not here"
        sources = ", ".join(one.bases)
        rows.append((one.stage, one.reference, str(one.digest), f"{one.size / 1e6:.1f} MB", when, sources))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


@app.command("run")
def run(stages: Stages = None, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Run stages in the order of their needs, each in a container of its locked image."""
    from rbuild.jsonout import print_json
    from rbuild.verbs.run import run_stages

    workspace = _workspace()
    with _guarded(workspace, "run", quiet=quiet, as_json=as_json) as shown:
        found = run_stages(workspace, _chosen(workspace, stages), shown.show)
    if as_json:
        print_json(found)
        return
    for one in found:
        for output in one.outputs:
            typer.echo(f"{one.stage}: {output}")


@app.command("shell", context_settings={"ignore_unknown_options": True})
def shell(
    stage: OneStage,
    command: Annotated[list[str] | None, typer.Argument(help="What to run; without it, /bin/sh.")] = None,
) -> None:
    """Open a shell in the locked image of STAGE, without network, as yourself."""
    from rbuild.verbs.run import shell as verb

    workspace = _workspace()
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    verb(workspace, _chosen(workspace, [stage])[0], command or [], terminal=terminal)


@app.command("doctor")
def doctor(as_json: AsJson = False) -> None:
    """Check this host for what rbuild needs; each failed check comes with the line that fixes it."""
    from rbuild.jsonout import print_json
    from rbuild.store import store_root
    from rbuild.verbs.doctor import doctor as verb

    try:
        debian_bases = any(base.debian for base in _workspace().project.bases.values())
    except RbuildError:
        debian_bases = True  # no project here, or one with mistakes: look at everything
    found = verb(os.environ, store_root(os.environ.get), debian_bases=debian_bases)
    if as_json:
        print_json(found)
    else:
        width = max(len(check.name) for check in found)
        for check in found:
            mark = {True: "ok  ", False: "FAIL", None: "warn"}[check.ok]
            typer.echo(f"{mark}  {check.name:{width}}  {check.found}")
            if check.fix and check.ok is not True:
                typer.echo(f"      {'':{width}}  fix: {check.fix}")
    if any(check.ok is False for check in found):
        raise typer.Exit(Exit.CANNOT_TELL)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of rbuild.yaml, for editors."""
    from rbuild.jsonout import print_json
    from rbuild.schema import schema as verb

    print_json(verb())


# What the commands share


def _workspace() -> Workspace:
    from rbuild.verbs.workspace import open_workspace

    return open_workspace(_folder, dict(os.environ))


def _chosen(workspace: Workspace, stages: list[str] | None) -> tuple[str, ...]:
    """The stages named on the command line, in the project's order; all where none is named."""
    graph = workspace.project.graph()
    if not stages:
        return graph.order
    graph.closure(stages)  # raises for what is no stage
    return tuple(name for name in graph.order if name in stages)


def _jobs(jobs: int | None) -> int:
    return jobs or len(os.sched_getaffinity(0))


@contextmanager
def _guarded(workspace: Workspace, command: str, *, quiet: bool, as_json: bool) -> Iterator[Screen]:
    """The screen, once this command has the project to itself."""
    from rbuild.events import Note
    from rbuild.verbs.workspace import guarded

    with (
        screen(quiet=quiet, as_json=as_json) as shown,
        guarded(workspace, command, lambda text: shown.show(Note(text=text, level="warning"))),
    ):
        yield shown


def _build(
    stages: list[str] | None,
    command: str,
    *,
    offline: bool = False,
    locked: bool = False,
    upgrade: bool = False,
    images: bool = True,
    jobs: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from rbuild.verbs.build import Options, build

    workspace = _workspace()
    chosen = _chosen(workspace, stages)
    options = Options(
        epoch=_epoch(),
        jobs=_jobs(jobs),
        offline=offline,
        locked=locked,
        upgrade=frozenset(chosen if upgrade else ()),
        images=images,
    )
    with _guarded(workspace, command, quiet=quiet, as_json=as_json) as shown:
        results = build(workspace, chosen, options, shown.show)
    if as_json:
        from rbuild.jsonout import print_json

        print_json(results)
    else:
        _print_results(results)
    errors = [one.error for one in results if one.error]
    for error in errors:
        print_error(error, as_json=as_json)
    if errors:
        raise typer.Exit(max(error.exit_code for error in errors))


def _epoch() -> int:
    """The epoch of stages that are locked for the first time: SOURCE_DATE_EPOCH, else now."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return int(time.time())
    if not text.isascii() or not text.isdigit() or int(text) > 0o77777777777:
        raise RbuildError(
            f"SOURCE_DATE_EPOCH is not a number of seconds: {text[:40]!r}", hint="unset SOURCE_DATE_EPOCH"
        )
    return int(text)


def _print_results(results: tuple[StageResult, ...]) -> None:
    width = max(len(one.stage) for one in results)
    for one in results:
        typer.echo(f"{one.stage:{width}}  {one.outcome:10}  {one.digest or ''}".rstrip())


def _status(stages: list[str] | None, *, as_json: bool, check: bool) -> None:
    from rbuild.verbs.status import status as verb

    workspace = _workspace()
    found = verb(workspace, _chosen(workspace, stages))
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found)
    else:
        width = max(len(one.stage) for one in found)
        for one in found:
            missing = "" if one.stored or one.changes else ", but its image is not in the store"
            said = f"up to date{missing}" if one.up_to_date else "out of date"
            typer.echo(f"{one.stage:{width}}  {said}")
            for change in one.changes:
                typer.echo(f"{'':{width}}    {change}")
    if check and not all(one.up_to_date for one in found):
        raise typer.Exit(Exit.FINDING)


_AS_ROOT = frozenset({"doctor", "schema", "--version", "--help", "-h"})


def main() -> NoReturn:
    """Run the command line; the one place that exits."""
    arguments: list[Any] = sys.argv[1:]
    as_json = "--json" in arguments
    try:
        if os.geteuid() == 0 and arguments and not _AS_ROOT & set(arguments) and not _completing():
            raise RbuildError(
                "rbuild builds without root, and does not run as root",
                hint="run it as an ordinary user: useradd -m builder && su - builder",
            )
        app(prog_name="rbuild", standalone_mode=True)
    except RbuildError as error:
        print_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; what was done is kept, nothing is half-written", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(Exit.CANNOT_TELL)
    sys.exit(Exit.OK)


def _completing() -> bool:
    return any(name.startswith("_RBUILD_COMPLETE") for name in os.environ)
