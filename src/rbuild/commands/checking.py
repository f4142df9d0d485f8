"""Commands that hold images against each other: `rbuild verify`, `rbuild diff`."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from rbuild import textout
from rbuild.commands.app import (
    app,
    check_folder,
    chosen_stages,
    epoch_now,
    folder_in_repository,
    given_folder,
    guarded,
    jobs_of,
    refuse_root,
    workspace_here,
)
from rbuild.commands.keys import opened_key
from rbuild.commands.options import (
    Accept,
    Accepted,
    AsJson,
    Format,
    Insecure,
    Offline,
    OutputFormat,
    Quiet,
    RebuildJobs,
    Report,
    SignKey,
    Stages,
    complete_image,
)
from rbuild.console import print_error, screen
from rbuild.errors import Exit, RbuildError

if TYPE_CHECKING:
    from rbuild.compare.model import Verdict
    from rbuild.htmlreport import StageReport
    from rbuild.verbs.verify import Verification


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
    output_format: Format = OutputFormat.TEXT,
    attest: Annotated[
        bool, typer.Option("--attest", help="Publish what was verified beside the image in its registry.")
    ] = False,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to", metavar="REGISTRY", help="Where the image is, for --attest; without it, the project's."
        ),
    ] = None,
    sign_key: SignKey = None,
    insecure: Insecure = None,
    offline: Offline = False,
    jobs: RebuildJobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild stages from nothing, and compare with the lock.

    Says identical, same content (the files are the same, the compressed bytes are not) or different, and then
    what differs, why, and what to change. Exits with 0, with 1 for what is different, and with 2 where it
    could not tell: a lock that does not fit the files, a build that fails.

    In CI, `--output-format junit` writes JUnit XML for build servers, and `--output-format github` annotates
    the lines of Containerfiles in a pull request.

    The store keeps what was verified. With --attest it is published as well, as a SLSA verification summary;
    --sign-key signs it.
    """
    from rbuild.verbs.verify import verify as verb

    if not attest and (to or sign_key or insecure):
        raise typer.BadParameter("--to, --sign-key and --insecure go with --attest")
    if attest and offline:
        raise typer.BadParameter("--attest asks a registry, so --offline does not go with it")

    wanted = _wanted(output_format, as_json=as_json)
    as_json = wanted is OutputFormat.JSON
    check_folder(report)
    workspace = workspace_here()
    chosen = chosen_stages(workspace, stages)
    attesting = None
    if attest:
        from rbuild.verbs.attest import Attesting
        from rbuild.verbs.attest import check as check_attesting

        attesting = Attesting(
            to=tuple(to or ()),
            insecure=insecure or (),
            key=opened_key(sign_key),
            accepted=_accepted(accept),
        )
        check_attesting(workspace, attesting)
    with guarded(workspace, "verify", quiet=quiet, as_json=as_json) as shown:
        found = verb(
            workspace,
            chosen,
            offline=offline,
            jobs=jobs or jobs_of(None) + 1,
            emit=shown.show,
            now=datetime.now(UTC),
            varied=vary,
        )
        if attesting:
            from rbuild.verbs.attest import attest as publish

            found = publish(workspace, found, attesting)
    if report:
        from rbuild.verifyout import stage_report

        _write_report(report, [stage_report(one) for one in found])
    folder = folder_in_repository(workspace)
    _say_verifications(found, workspace.project.name, folder, wanted, accepted=accept is not None)
    if not as_json:
        for one in found:
            for problems in (one.problems, *(trial.problems for trial in one.trials)):
                if problems:
                    print_error(RbuildError(problems), as_json=False)
    errors = [place.error for one in found for place in one.attested if place.error]
    for error in errors:
        print_error(error, as_json=as_json)
    if errors:
        raise typer.Exit(Exit.CANNOT_TELL)
    _judge({verdict for one in found for verdict in one.verdicts}, accept)


@app.command("rebuild")
def rebuild(
    reference: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="One in a registry: REGISTRY/REPOSITORY@sha256:…, or :TAG."),
    ],
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="FOLDER",
            help="Leave the sources in this new folder.",
            file_okay=False,
        ),
    ] = None,
    accept: Accept = None,
    report: Report = None,
    output_format: Format = OutputFormat.TEXT,
    insecure: Insecure = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nobody but the registry: the sources have to hold all.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild an image from its registry alone, and compare.

    Needs no project: the sources are those that `rbuild push --sources` published beside the image. Every
    byte of them is checked, and the image is built as `rbuild verify` builds, with the same verdicts and exit
    codes. Where the image has secrets, the build gets none. Nothing stays on this host.
    """
    from rbuild.reference import Reference
    from rbuild.verbs.reproduce import Wish, reproduce
    from rbuild.verbs.workspace import open_store

    wanted = _wanted(output_format, as_json=as_json)
    as_json = wanted is OutputFormat.JSON
    check_folder(report)
    check_folder(keep)
    refuse_root()
    wish = Wish(
        reference=Reference.parse(reference), offline=offline, keep=keep, insecure=tuple(insecure or ())
    )
    env = dict(os.environ)
    store, podman = open_store(env)
    with screen(quiet=quiet, as_json=as_json) as shown:
        found = reproduce(wish, store, podman, env, shown.show)
    one = found.verification
    if report:
        from rbuild.verifyout import stage_report

        _write_report(report, [stage_report(one)])
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found)
    else:
        _say_verifications([one], found.reference.name, PurePosixPath(), wanted, accepted=accept is not None)
        if one.problems:
            print_error(RbuildError(one.problems), as_json=False)
    _judge({one.verdict}, accept)


@app.command("diff")
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="An image.", autocompletion=complete_image)],
    b: Annotated[str, typer.Argument(metavar="B", help="An image.", autocompletion=complete_image)],
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

    check_folder(report)
    refuse_root()
    workspace = workspace_here() if project_root(given_folder()) else None
    store, podman = (workspace.store, workspace.podman) if workspace else open_store(dict(os.environ))
    stages = workspace.project.stages if workspace else ()
    operands = [parse_operand(text, stages) for text in (a, b)]
    builds = any(one.transport is Transport.BUILT for one in operands)
    with (
        guarded(workspace, "diff", quiet=quiet, as_json=as_json)
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
            epoch=epoch_now() if builds else 0,
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


def _wanted(output_format: OutputFormat, *, as_json: bool) -> OutputFormat:
    if as_json and output_format not in (OutputFormat.TEXT, OutputFormat.JSON):
        raise typer.BadParameter(f"--json does not go with --output-format {output_format.value}")
    return OutputFormat.JSON if as_json else output_format


def _say_verifications(
    found: Sequence[Verification],
    project: str,
    folder: PurePosixPath,
    wanted: OutputFormat,
    *,
    accepted: bool,
) -> None:
    match wanted:
        case OutputFormat.TEXT:
            from rbuild.verifyout import say_verifications

            say_verifications(found)
        case OutputFormat.JSON:
            from rbuild.jsonout import print_json

            print_json(found)
        case OutputFormat.JUNIT:
            from rbuild.cireport.verifications import junit

            when = datetime.now(UTC)
            print(junit(found, project=project, host=platform.node(), when=when, accepted=accepted), end="")
        case OutputFormat.GITHUB:
            from rbuild.cireport.verifications import github

            print(github(found, folder=folder, accepted=accepted), end="")


def _write_report(path: Path, reports: Sequence[StageReport]) -> None:
    from rbuild.files import write_atomically
    from rbuild.htmlreport import page

    write_atomically(path.absolute(), page(reports).encode(errors="backslashreplace"))


def _judge(verdicts: Collection[Verdict], accept: Accepted | None) -> None:
    """Exit with what verdicts mean: 0 for identical, 2 where one could not tell, else 1."""
    from rbuild.compare.model import Verdict

    if Verdict.UNKNOWN in verdicts:
        raise typer.Exit(Exit.CANNOT_TELL)
    if set(verdicts) - _accepted(accept):
        raise typer.Exit(Exit.FINDING)


def _accepted(accept: Accepted | None) -> frozenset[Verdict]:
    """The verdicts that are good."""
    from rbuild.compare.model import Verdict

    good = {Verdict.IDENTICAL} | ({Verdict.SAME_CONTENT} if accept is Accepted.SAME_CONTENT else set())
    return frozenset(good)
