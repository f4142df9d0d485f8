"""Commands about locked images: what there is, what is in them, running them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rbuild import textout
from rbuild.commands.app import app, check_folder, chosen_stages, effective_time, guarded, workspace_here
from rbuild.commands.options import AsJson, BomFormat, OneStage, Quiet, Stages
from rbuild.console import screen

_MOST_WARNINGS = 20


@app.command("images")
def images(stages: Stages = None, as_json: AsJson = False) -> None:
    """List the images: digest, size, time, bases."""
    from rbuild.jsonout import print_json
    from rbuild.verbs.images import images as verb

    workspace = workspace_here()
    found = verb(workspace, chosen_stages(workspace, stages))
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

    check_folder(output)
    workspace = workspace_here()
    with screen(quiet=False, as_json=as_json) as shown:
        found = verb(workspace, chosen_stages(workspace, [stage])[0], SbomFormat(output_format.value))
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

    workspace = workspace_here()
    sys.stdout.buffer.write(verb(workspace, chosen_stages(workspace, [stage])[0]) + b"\n")


@app.command("run")
def run(stages: Stages = None, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Run stages in the order of their needs.

    Each runs in a container of its locked image, which has no network and writes nothing but its outputs.
    """
    from rbuild.jsonout import print_json
    from rbuild.verbs.run import run_stages

    workspace = workspace_here()
    chosen = chosen_stages(workspace, stages)
    with guarded(workspace, "run", quiet=quiet, as_json=as_json) as shown:
        found = run_stages(workspace, chosen, shown.show, now=effective_time())
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

    workspace = workspace_here()
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    argv = command or []
    if argv[:1] == ["--"]:
        del argv[0]
    verb(workspace, chosen_stages(workspace, [stage])[0], argv, terminal=terminal)
