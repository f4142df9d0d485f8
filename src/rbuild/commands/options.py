"""Arguments and options that several commands have, and what a shell completes them with."""

from __future__ import annotations

import glob
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from rbuild.commands.app import workspace_here
from rbuild.errors import RbuildError

_MOST_COMPLETED = 100  # files


def complete_stage(context: typer.Context, incomplete: str) -> list[str]:
    # The shell asks without calling `_main`.
    folder = context.parent.params.get("project") if context.parent else None
    try:
        stages = workspace_here(Path(folder) if folder else None).project.stages
    except RbuildError:
        return []
    typed = context.params.get("stages") or ()
    return [name for name in stages if name.startswith(incomplete) and name not in typed]


def complete_image(context: typer.Context, incomplete: str) -> list[str]:
    """Stages, as locked and as built now, and files."""
    stages = complete_stage(context, incomplete.removeprefix("built:"))
    lead = "built:" if incomplete.startswith("built:") else ""
    folder, _, name = incomplete.rpartition("/")
    around = Path(f"{folder}/" if folder or incomplete.startswith("/") else ".")
    files = [] if lead else [str(path) for path in around.glob(f"{glob.escape(name)}*")]
    return [f"{lead}{stage}" for stage in stages] + sorted(files)[:_MOST_COMPLETED]


def complete_kind(incomplete: str) -> list[str]:
    """What can be attached to an image."""
    return [one for one in ("provenance", "cyclonedx", "spdx", "none") if one.startswith(incomplete)]


class OutputFormat(Enum):
    """How the result of `rbuild verify` is written."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"


class CheckFormat(Enum):
    """How the result of `rbuild check` is written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"
    JUNIT = "junit"


class BomFormat(Enum):
    """What a bill of materials is written as."""

    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"


class KeptSources(Enum):
    """What is published beside an image to rebuild it from."""

    NONE = "none"
    PAGES = "pages"
    ALL = "all"


class Accepted(Enum):
    """What --accept takes for as good as identical."""

    SAME_CONTENT = "same-content"


Stages = Annotated[
    list[str] | None,
    typer.Argument(metavar="[STAGE]…", help="Stages; without any, all.", autocompletion=complete_stage),
]
OneStage = Annotated[str, typer.Argument(metavar="STAGE", help="A stage.", autocompletion=complete_stage)]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON, events as lines of JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Warnings, failures and the result only.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", metavar="N", min=1, help="Stages at the same time; without it, one a CPU."),
]
RebuildJobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        metavar="N",
        min=1,
        help="Stages at the same time; without it, one more than CPUs: none waits for another's layers.",
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Let not one packet leave this host.")]
NoLoad = Annotated[
    bool, typer.Option("--no-load", help="Leave images in the store: Podman's storage gets none.")
]
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
EffectiveTime = Annotated[
    str | None,
    typer.Option(
        "--effective-time",
        metavar="TIME",
        help="Judge waivers and ages by this time (2027-01-31, 2027-01-31T12:00:00Z), not by the clock.",
    ),
]
SignKey = Annotated[
    Path | None,
    typer.Option(
        "--sign-key", metavar="FILE", dir_okay=False, help="Sign with this key, of rbuild keygen or cosign."
    ),
]
Format = Annotated[
    OutputFormat, typer.Option("--output-format", help="What the result on stdout is written as.")
]
Accept = Annotated[
    Accepted | None,
    typer.Option("--accept", help="Exit with 0 too where only the compressed bytes of layers differ."),
]
ChosenCheckFormat = Annotated[
    CheckFormat, typer.Option("--output-format", help="What the result on stdout is written as.")
]
Report = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", dir_okay=False, help="Write what differs as a page of HTML."),
]
