"""The `rbuild` command: reads arguments, calls a verb, prints what it returns."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from rbuild import __version__
from rbuild.console import Screen, print_error, say, say_columns, screen
from rbuild.errors import Exit, RbuildError

if TYPE_CHECKING:
    from rbuild.plan import Change
    from rbuild.verbs.build import StageResult
    from rbuild.verbs.workspace import Workspace

app = typer.Typer(
    name="rbuild",
    help="Container images whose digest is a function of the lockfile: rootless, daemonless, sealed.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _complete_stage(context: typer.Context, incomplete: str) -> list[str]:
    # The shell asks without calling `_main`.
    folder = context.parent.params.get("project") if context.parent else None
    try:
        stages = _workspace(Path(folder) if folder else None).project.stages
    except RbuildError:
        return []
    typed = context.params.get("stages") or ()
    return [name for name in stages if name.startswith(incomplete) and name not in typed]


Stages = Annotated[
    list[str] | None,
    typer.Argument(metavar="[STAGE]…", help="Stages; without any, all.", autocompletion=_complete_stage),
]
OneStage = Annotated[str, typer.Argument(metavar="STAGE", help="A stage.", autocompletion=_complete_stage)]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON, events as lines of JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Warnings, failures and the result only.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", metavar="N", min=1, help="Stages at the same time; without it, one a CPU."),
]
Offline = Annotated[bool, typer.Option("--offline", help="Let not one packet leave this host.")]
Locked = Annotated[bool, typer.Option("--locked", help="Fail (exit 1) if the lock would change.")]

_MOST_CHANGES = 10

_folder = Path()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rbuild {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    project: Annotated[
        Path,
        typer.Option(
            "--project",
            "-C",
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            show_default=False,
            help="Work on the project that FOLDER is in; without it, on the one around you.",
        ),
    ] = Path(),
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    global _folder
    _folder = project
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(Exit.CANNOT_TELL)


# Commands, in the order in which a project meets them


@app.command("all")
def build_all(
    offline: Offline = False,
    locked: Locked = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Build what changed, and lock what came out, for every stage."""
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
    """Build what changed, and lock what came out, for some stages."""
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
    """Bring the lock up to date. What it does not know yet is built for that."""
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
    """Rebuild stages from nothing, and compare with the lock.

    Says identical, same content (the files are the same, the compressed bytes are not) or different.
    """
    from rbuild.compare.model import Verdict
    from rbuild.jsonout import print_json
    from rbuild.verbs.verify import verify as verb

    workspace = _workspace()
    with _guarded(workspace, "verify", quiet=quiet, as_json=as_json) as shown:
        found = verb(
            workspace, _chosen(workspace, stages), offline=offline, jobs=_jobs(jobs), emit=shown.show
        )
    if as_json:
        print_json(found)
    else:
        width = _width(one.stage for one in found)
        for one in found:
            differs = f"  differs in: {', '.join(one.differs)}" if one.differs else ""
            digest = f"  {one.locked}" if one.locked and one.verdict is Verdict.IDENTICAL else ""
            both = f"  locked {one.locked}, built {one.built}" if one.differs else ""
            say(f"{one.stage:{width}}  {one.verdict.value}{digest}{both}{differs}")
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
    """Say what changed since each stage was locked."""
    _status(stages, as_json=as_json, check=False)


@app.command("plan")
def plan(stage: OneStage, as_json: AsJson = False) -> None:
    """Say what building STAGE would do, and why, and change nothing."""
    from rbuild.jsonout import print_json
    from rbuild.verbs.status import plan as verb

    workspace = _workspace()
    found = verb(workspace, _chosen(workspace, [stage])[0])
    if as_json:
        print_json(found)
        return
    say(f"stage {found.stage}: {'build' if found.action == 'build' else 'nothing to do'}")
    _say_changes(found.changes, "  because ")
    target = f", target {found.target}" if found.target else ""
    say(f"  Containerfile  {found.containerfile}{target}")
    say(f"  context        {found.context}, {found.files} file{'s'[: found.files != 1]}")
    for name, value in sorted(found.args.items()):
        say(f"  arg            {name}={value}")
    for base in found.bases:
        say(f"  base           {base.key}  {base.digest or 'to be pinned'}")
    say(f"  epoch          {'the time of the build' if found.epoch is None else found.epoch}")
    say(f"  recording      {found.responses} responses are locked")
    say("  steps")
    for step in found.steps:
        say(f"    {step.line:>4}  {step.text.splitlines()[0][:100]}")


@app.command("images")
def images(stages: Stages = None, as_json: AsJson = False) -> None:
    """List the images: digest, size, when they were built, from what."""
    from rbuild.jsonout import print_json
    from rbuild.verbs.images import images as verb

    workspace = _workspace()
    found = verb(workspace, _chosen(workspace, stages))
    if as_json:
        print_json(found)
        return
    rows = [("STAGE", "REFERENCE", "DIGEST", "SIZE", "BUILT", "FROM")]
    for one in found:
        if one.digest is None:
            rows.append((one.stage, one.reference, "not built yet", "", "", ""))
            continue
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.built)) if one.built else "not here"
        sources = ", ".join(one.bases)
        rows.append((one.stage, one.reference, str(one.digest), f"{one.size / 1e6:.1f} MB", when, sources))
    say_columns(rows)


@app.command("run")
def run(stages: Stages = None, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Run stages in the order of their needs.

    Each runs in a container of its locked image, which has no network and writes nothing but its outputs.
    """
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
            say(f"{one.stage}: {output}")


@app.command("shell", context_settings={"allow_interspersed_args": False})
def shell(
    stage: OneStage,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND]…", help="What to run, with its arguments; without it, /bin/sh."),
    ] = None,
) -> None:
    """Open a shell in the locked image of STAGE.

    It has no network, writes nothing but /tmp, and is yourself. `rbuild shell STAGE COMMAND…` runs COMMAND
    instead.
    """
    from rbuild.verbs.run import shell as verb

    workspace = _workspace()
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    argv = command or []
    if argv[:1] == ["--"]:
        del argv[0]
    verb(workspace, _chosen(workspace, [stage])[0], argv, terminal=terminal)


@app.command("doctor")
def doctor(as_json: AsJson = False) -> None:
    """Check this host. Each failed check comes with the line that fixes it."""
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
            say(f"{mark}  {check.name:{width}}  {check.found}")
            if check.fix and check.ok is not True:
                say(f"      {'':{width}}  fix: {check.fix}")
    if any(check.ok is False for check in found):
        raise typer.Exit(Exit.CANNOT_TELL)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of rbuild.yaml, for editors."""
    from rbuild.jsonout import print_json
    from rbuild.schema import schema as verb

    print_json(verb())


# What the commands share


def _workspace(folder: Path | None = None) -> Workspace:
    """The project around `folder`, without it around the one that --project names."""
    from rbuild.verbs.workspace import open_workspace

    if os.geteuid() == 0:
        caller = os.environ.get("SUDO_USER", "root")
        how = "become a user first: useradd -m builder && su - builder"
        if caller != "root":
            how = f"run it as {caller}, without sudo"
        raise RbuildError(f"rbuild needs no root, and does not run as root; {how}")
    return open_workspace(folder or _folder, dict(os.environ))


def _chosen(workspace: Workspace, stages: list[str] | None) -> tuple[str, ...]:
    """The stages named on the command line, in the project's order; all where none is named."""
    graph = workspace.project.graph()
    if not stages:
        return graph.order
    graph.closure(stages)  # raises for what is no stage
    return tuple(name for name in graph.order if name in stages)


def _width(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)


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
    width = _width(one.stage for one in results)
    for one in results:
        say(f"{one.stage:{width}}  {one.outcome:10}  {one.digest or ''}".rstrip())


def _status(stages: list[str] | None, *, as_json: bool, check: bool) -> None:
    from rbuild.verbs.assessment import leftovers
    from rbuild.verbs.status import status as verb
    from rbuild.verbs.workspace import read_lock

    workspace = _workspace()
    found = verb(workspace, _chosen(workspace, stages))
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found)
    else:
        width = _width(one.stage for one in found)
        for one in found:
            missing = "" if one.stored or one.changes else ", but its image is not in the store"
            say(f"{one.stage:{width}}  {'out of date' if one.changes else f'up to date{missing}'}")
            _say_changes(one.changes, f"{'':{width}}    ")
    remains = leftovers(workspace, read_lock(workspace)) if check else ()
    if not as_json:
        _say_changes(remains, "rbuild.lock  ")
    if remains or (check and any(one.changes for one in found)):
        raise RbuildError(
            "rbuild.lock is out of date",
            hint="rbuild lock brings it up to date; commit it with the change",
            exit_code=Exit.FINDING,
        )


def _say_changes(changes: Sequence[Change], lead: str) -> None:
    for change in changes[:_MOST_CHANGES]:
        say(f"{lead}{change}")
    if len(changes) > _MOST_CHANGES:
        say(f"{lead}… and {len(changes) - _MOST_CHANGES} more")


class _Interrupted(BaseException):
    """A signal asks for the end. No KeyboardInterrupt, which Typer would end without a word."""

    def __init__(self, number: int) -> None:
        self.signal = number


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for each in _ENDING:  # what is started now is the tidying up
        signal.signal(each, signal.SIG_IGN)
    raise _Interrupted(number)


def main() -> NoReturn:
    """Run the command line; the one place that exits."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may know fewer characters than a file's name has
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(as_json="--json" in sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        nobody = os.open(os.devnull, os.O_WRONLY)  # else Python itself complains on its way out
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nobody, stream.fileno())
        code = Exit.CANNOT_TELL
    sys.exit(code)


def _run(*, as_json: bool) -> int:
    """Run the command that the arguments name; its exit code. What went wrong is said."""
    try:
        for number in _ENDING:
            signal.signal(number, _interrupt)
        return app(prog_name="rbuild", standalone_mode=False) or Exit.OK
    except RbuildError as error:
        print_error(error, as_json=as_json)
        return error.exit_code
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path} --help" if context else None
        said = error.format_message().rstrip(".")
        print_error(RbuildError(said[:1].lower() + said[1:], hint=hint), as_json=as_json)
        return Exit.CANNOT_TELL
    except _Interrupted as interrupted:
        what = "interrupted; what was done is kept, nothing is half-written"
        print_error(RbuildError(what), as_json=as_json)
        return 128 + interrupted.signal
    except SystemExit as exited:  # typer's: after a completion, and with 1 when nobody reads the output
        return Exit.CANNOT_TELL if exited.code else Exit.OK
    except OSError as error:
        what = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        print_error(RbuildError(what), as_json=as_json)
        return Exit.CANNOT_TELL
    except Exception as error:
        import traceback

        traceback.print_exc()
        print_error(
            RbuildError(f"rbuild itself is wrong here: {error!r}", hint="report it with the lines above"),
            as_json=as_json,
        )
        return Exit.CANNOT_TELL
