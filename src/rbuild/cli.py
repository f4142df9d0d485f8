"""The `rbuild` command: reads arguments, calls a verb, prints what it returns."""

from __future__ import annotations

import glob
import os
import platform
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from rbuild import __version__, textout
from rbuild.console import Screen, print_error, screen
from rbuild.errors import Exit, RbuildError
from rbuild.exiting import run_to_exit

if TYPE_CHECKING:
    from rbuild.compare.model import Verdict
    from rbuild.htmlreport import StageReport
    from rbuild.verbs.verify import Verification
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


def _complete_image(context: typer.Context, incomplete: str) -> list[str]:
    """Stages, as locked and as built now, and files."""
    stages = _complete_stage(context, incomplete.removeprefix("built:"))
    lead = "built:" if incomplete.startswith("built:") else ""
    folder, _, name = incomplete.rpartition("/")
    around = Path(f"{folder}/" if folder or incomplete.startswith("/") else ".")
    files = [] if lead else [str(path) for path in around.glob(f"{glob.escape(name)}*")]
    return [f"{lead}{stage}" for stage in stages] + sorted(files)[:_MOST_COMPLETED]


class OutputFormat(Enum):
    """How the result of `rbuild verify` is written."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"


class BomFormat(Enum):
    """What a bill of materials is written as."""

    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"


class Accepted(Enum):
    """What --accept takes for as good as identical."""

    SAME_CONTENT = "same-content"


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
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="REGISTRY",
        help="Fetch what is locked from here, such as quay.io/team; what it lacks is built.",
    ),
]
Insecure = Annotated[
    list[str] | None,
    typer.Option("--insecure", metavar="REGISTRY", help="Do without a certificate that is trusted there."),
]
Accept = Annotated[
    Accepted | None,
    typer.Option("--accept", help="Exit with 0 too where only the compressed bytes of layers differ."),
]
Report = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", dir_okay=False, help="Write what differs as a page of HTML."),
]

_MOST_COMPLETED = 100  # files
_MOST_WARNINGS = 20

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
    sources: From = None,
    insecure: Insecure = None,
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
    _build(stages, "lock", upgrade=upgrade, images=False, jobs=jobs, quiet=quiet, as_json=as_json)


@app.command("verify")
def verify(
    stages: Stages = None,
    vary: Annotated[
        bool,
        typer.Option(
            "--vary", help="Build again under one changed condition after the other; say which ones matter."
        ),
    ] = False,
    accept: Accept = None,
    report: Report = None,
    output_format: Annotated[
        OutputFormat, typer.Option("--output-format", help="What the result on stdout is written as.")
    ] = OutputFormat.TEXT,
    offline: Offline = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild stages from nothing, and compare with the lock.

    Says identical, same content (the files are the same, the compressed bytes are not) or different, and then
    what differs, why, and what to change. Exits with 0, with 1 for what is different, and with 2 where it
    could not tell: a lock that does not fit the files, a build that fails.

    In CI, `--output-format junit` writes JUnit XML for build servers, and `--output-format github` annotates
    the lines of Containerfiles in a pull request.
    """
    from rbuild.verbs.verify import verify as verb

    if as_json and output_format not in (OutputFormat.TEXT, OutputFormat.JSON):
        raise typer.BadParameter(f"--json does not go with --output-format {output_format.value}")
    wanted = OutputFormat.JSON if as_json else output_format
    as_json = wanted is OutputFormat.JSON
    _check_folder(report)
    workspace = _workspace()
    with _guarded(workspace, "verify", quiet=quiet, as_json=as_json) as shown:
        found = verb(
            workspace,
            _chosen(workspace, stages),
            offline=offline,
            jobs=_jobs(jobs),
            emit=shown.show,
            varied=vary,
        )
    if report:
        from rbuild.verifyout import stage_report

        _write_report(report, [stage_report(one) for one in found])
    _say_verifications(found, workspace, wanted, accepted=accept is not None)
    if not as_json:
        for one in found:
            for problems in (one.problems, *(trial.problems for trial in one.trials)):
                if problems:
                    print_error(RbuildError(problems), as_json=False)
    _judge({verdict for one in found for verdict in one.verdicts}, accept)


@app.command("diff")
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="An image.", autocompletion=_complete_image)],
    b: Annotated[str, typer.Argument(metavar="B", help="An image.", autocompletion=_complete_image)],
    full: Annotated[bool, typer.Option("--full", help="Every difference, however many.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Ask diffoscope as well about the files that differ.")
    ] = False,
    report: Report = None,
    accept: Accept = None,
    offline: Offline = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Say how image B differs from image A, and why.

    An image is a stage as it is locked (STAGE), a stage as its files are now, built from nothing
    (built:STAGE), an OCI layout (oci:FOLDER[:TAG]), an archive (oci-archive:FILE, docker-archive:FILE),
    one in a registry (docker://NAME), or one in Podman's storage (containers-storage:NAME).
    """
    from rbuild.jsonout import print_json
    from rbuild.verbs.diff import diff as verb
    from rbuild.verbs.operands import Transport, parse_operand
    from rbuild.verbs.workspace import open_store, project_root

    _check_folder(report)
    _refuse_root()
    workspace = _workspace() if project_root(_folder) else None
    store, podman = (workspace.store, workspace.podman) if workspace else open_store(dict(os.environ))
    stages = workspace.project.stages if workspace else ()
    operands = [parse_operand(text, stages) for text in (a, b)]
    builds = any(one.transport is Transport.BUILT for one in operands)
    with (
        _guarded(workspace, "diff", quiet=quiet, as_json=as_json)
        if workspace and builds
        else screen(quiet=quiet, as_json=as_json)
    ) as shown:
        found = verb(
            workspace,
            *operands,
            store=store,
            podman=podman,
            deep=deep,
            offline=offline,
            epoch=_epoch() if builds else 0,
            emit=shown.show,
        )
    comparison = found.comparison
    if report:
        from rbuild.htmlreport import StageReport

        name = f"{comparison.a.name} → {comparison.b.name}"
        _write_report(report, [StageReport(name=name, verdict=comparison.verdict, comparison=comparison)])
    if as_json:
        print_json(found)
    else:
        textout.say_comparison(comparison, full=full)
        if found.deep:
            textout.say_deep(found.deep)
    _judge({comparison.verdict}, accept)


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
    textout.say_plan(found)


@app.command("images")
def images(stages: Stages = None, as_json: AsJson = False) -> None:
    """List the images: digest, size, time, bases."""
    from rbuild.jsonout import print_json
    from rbuild.verbs.images import images as verb

    workspace = _workspace()
    found = verb(workspace, _chosen(workspace, stages))
    if as_json:
        print_json(found)
        return
    textout.say_images(found)


@app.command("sbom")
def sbom(
    stage: OneStage,
    output_format: Annotated[
        BomFormat, typer.Option("--format", help="CycloneDX 1.6 or SPDX 2.3, as JSON.")
    ] = BomFormat.CYCLONEDX,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Write FILE, not stdout."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what is in the image of STAGE: its SBOM.

    Debian packages, Python distributions and npm packages, by the files in its layers, each with the URL and
    sha256 that the lock has for it. The same lock gives the same bytes.
    """
    from rbuild.events import Note
    from rbuild.files import write_atomically
    from rbuild.verbs.sbom import SbomFormat
    from rbuild.verbs.sbom import sbom as verb

    _check_folder(output)
    workspace = _workspace()
    with screen(quiet=False, as_json=as_json) as shown:
        found = verb(workspace, _chosen(workspace, [stage])[0], SbomFormat(output_format.value))
        problems = found.summary.problems
        for problem in problems[:_MOST_WARNINGS]:
            shown.show(Note(text=str(problem), level="warning"))
        if problems[_MOST_WARNINGS:]:
            shown.show(Note(text=f"and {len(problems) - _MOST_WARNINGS} more like these", level="warning"))
    if output is None:
        sys.stdout.buffer.write(found.document)
        return
    write_atomically(output.absolute(), found.document)
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found.summary)
    else:
        textout.say_sbom(found.summary, output)


@app.command("provenance")
def provenance(stage: OneStage, as_json: AsJson = False) -> None:
    """Print how the locked image of STAGE was made.

    SLSA provenance v1 in an in-toto statement, as JSON: every base, package and download with its sha256. The
    same lock gives the same bytes.
    """
    from rbuild.verbs.provenance import provenance as verb

    workspace = _workspace()
    sys.stdout.buffer.write(verb(workspace, _chosen(workspace, [stage])[0]) + b"\n")


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
    textout.say_outputs(found)


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


@app.command("push")
def push(
    stages: Stages = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="REGISTRY",
            help="Where to, such as quay.io/team; without it, the project's registry.",
        ),
    ] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="T", help="A tag, or a template of one; without it, the project's."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move tags that stand for another image, and are not to move.")
    ] = False,
    insecure: Annotated[
        list[str] | None,
        typer.Option(
            "--insecure", metavar="REGISTRY", help="Do without a certificate that is trusted there."
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Push the images that are locked, byte for byte, to registries.

    What a registry has is not sent again. Tags come last, and are read back and compared with the lock.
    A template may have {stage}, {version} (the project's), {git} (the commit) and {input}.
    """
    from rbuild.verbs.push import Request
    from rbuild.verbs.push import push as verb

    workspace = _workspace()
    request = Request(
        to=tuple(to or ()),
        tags=tuple(tags) if tags else None,
        force=force,
        insecure=tuple(insecure or ()),
    )
    with screen(quiet=quiet, as_json=as_json) as shown:
        found = verb(workspace, _chosen(workspace, stages), request, shown.show)
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found)
    else:
        textout.say_deliveries(found)
    errors = [one.error for one in found if one.error]
    for error in errors:
        print_error(error, as_json=as_json)
    if errors:
        raise typer.Exit(max(error.exit_code for error in errors))


@app.command("pull")
def pull(
    stages: Stages = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="REGISTRY",
            help="Where from, such as quay.io/team; without it, the project's registry and substitutes.",
        ),
    ] = None,
    insecure: Insecure = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fetch locked images instead of building them.

    They come by digest into the store and Podman's storage. Every blob is checked, and only what is not here
    is fetched.
    """
    from rbuild.verbs.pull import pull as verb

    workspace = _workspace()
    with _guarded(workspace, "pull", quiet=quiet, as_json=as_json) as shown:
        found = verb(
            workspace, _chosen(workspace, stages), shown.show, sources=sources or (), insecure=insecure or ()
        )
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found)
    else:
        textout.say_pulled(found)
    errors = [one.error for one in found if one.error]
    for error in errors:
        print_error(error, as_json=as_json)
    if errors:
        raise typer.Exit(max(error.exit_code for error in errors))


@app.command("login")
def login(
    registry: Annotated[str, typer.Argument(metavar="REGISTRY", help="A registry: quay.io, localhost:5000.")],
) -> None:
    """Log in to a registry: hands over to `podman login`."""
    from rbuild.verbs.login import login as verb

    verb(registry, dict(os.environ))


@app.command("keygen")
def keygen(
    prefix: Annotated[
        Path,
        typer.Option("--output-key-prefix", metavar="PREFIX", help="Write PREFIX.key and PREFIX.pub."),
    ] = Path("cosign"),
    as_json: AsJson = False,
) -> None:
    """Make a pair of keys that sign images.

    The private one is encrypted with the password in COSIGN_PASSWORD; without it, you are asked for one.
    cosign reads these keys, and rbuild reads cosign's. A key that is there is never overwritten.
    """
    from rbuild.jsonout import print_json
    from rbuild.verbs.keygen import keygen as verb

    pair = verb(prefix, lambda: _key_password(new=True))
    if as_json:
        print_json(pair)
    else:
        textout.say_keys(pair)


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
        textout.say_checks(found)
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

    _refuse_root()
    return open_workspace(folder or _folder, dict(os.environ))


def _refuse_root() -> None:
    if os.geteuid() == 0:
        caller = os.environ.get("SUDO_USER", "root")
        how = "become a user first: useradd -m builder && su - builder"
        if caller != "root":
            how = f"run it as {caller}, without sudo"
        raise RbuildError(f"rbuild needs no root, and does not run as root; {how}")


def _say_verifications(
    found: Sequence[Verification], workspace: Workspace, wanted: OutputFormat, *, accepted: bool
) -> None:
    match wanted:
        case OutputFormat.TEXT:
            from rbuild.verifyout import say_verifications

            say_verifications(found)
        case OutputFormat.JSON:
            from rbuild.jsonout import print_json

            print_json(found)
        case OutputFormat.JUNIT:
            from rbuild.cireport import junit

            when, name = datetime.now(UTC), workspace.project.name
            print(junit(found, project=name, host=platform.node(), when=when, accepted=accepted), end="")
        case OutputFormat.GITHUB:
            from rbuild.cireport import github

            # Where GitHub has checked the repository out; annotations have paths from there.
            root = Path(os.environ.get("GITHUB_WORKSPACE") or workspace.root)
            folder = workspace.root.resolve()
            inside = folder.relative_to(root.resolve()) if folder.is_relative_to(root.resolve()) else Path()
            print(github(found, folder=PurePosixPath(inside), accepted=accepted), end="")


def _check_folder(path: Path | None) -> None:
    """Refuse a file that could not be written, before all the work for it."""
    if path and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.absolute().parent}")


def _write_report(path: Path, reports: Sequence[StageReport]) -> None:
    from rbuild.files import write_atomically
    from rbuild.htmlreport import page

    write_atomically(path.absolute(), page(reports).encode(errors="backslashreplace"))


def _judge(verdicts: Collection[Verdict], accept: Accepted | None) -> None:
    """Exit with what verdicts mean: 0 for identical, 2 where one could not tell, else 1."""
    from rbuild.compare.model import Verdict

    good = {Verdict.IDENTICAL} | ({Verdict.SAME_CONTENT} if accept is Accepted.SAME_CONTENT else set())
    if Verdict.UNKNOWN in verdicts:
        raise typer.Exit(Exit.CANNOT_TELL)
    if set(verdicts) - good:
        raise typer.Exit(Exit.FINDING)


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
    sources: list[str] | None = None,
    insecure: list[str] | None = None,
    jobs: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from rbuild.destination import Destination
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
        substitutes=tuple(map(Destination.parse, sources or ())),
        insecure=tuple(insecure or ()),
    )
    with _guarded(workspace, command, quiet=quiet, as_json=as_json) as shown:
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


def _key_password(*, new: bool = False) -> bytes:
    """The password of a private key: COSIGN_PASSWORD, which may be empty, else what the user types."""
    given = os.environ.get("COSIGN_PASSWORD")
    if given is not None:
        return os.fsencode(given)
    if not sys.stdin.isatty():
        raise RbuildError(
            "the private key has a password, and there is no terminal to ask for it",
            hint="set COSIGN_PASSWORD",
        )
    prompt = "Password of the private key"
    typed: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=new, err=True)
    return typed.encode()


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


def main() -> NoReturn:
    """Run the command line, and exit."""
    run_to_exit(app)
