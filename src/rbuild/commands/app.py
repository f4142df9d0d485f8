"""The application of the command line, and what its commands share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from rbuild import __version__
from rbuild.commands.here import chosen_stages, refuse_root, workspace_at
from rbuild.console import Screen, screen
from rbuild.errors import Exit, RbuildError

if TYPE_CHECKING:
    from rbuild.verbs.workspace import Workspace

__all__ = [
    "app",
    "check_folder",
    "chosen_stages",
    "effective_time",
    "epoch_now",
    "given_folder",
    "guarded",
    "jobs_of",
    "refuse_root",
    "workspace_here",
]

app = typer.Typer(
    name="rbuild",
    help="Container images whose digest is a function of the lockfile: rootless, daemonless, sealed.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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


def workspace_here(folder: Path | None = None) -> Workspace:
    """The project around `folder`, without it around the one that --project names."""
    return workspace_at(folder or _folder)


def jobs_of(jobs: int | None) -> int:
    return jobs or len(os.sched_getaffinity(0))


@contextmanager
def guarded(workspace: Workspace, command: str, *, quiet: bool, as_json: bool) -> Iterator[Screen]:
    """The screen, once this command has the project to itself."""
    from rbuild.events import Note
    from rbuild.verbs.workspace import guarded

    with (
        screen(quiet=quiet, as_json=as_json) as shown,
        guarded(workspace, command, lambda text: shown.show(Note(text=text, level="warning"))),
    ):
        yield shown


def check_folder(path: Path | None) -> None:
    """Refuse a file that could not be written, before all the work for it."""
    if path and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.absolute().parent}")


def effective_time(text: str | None = None) -> datetime:
    """The time by which waivers end, in UTC: what --effective-time says, else now."""
    if text is None:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text[:40]!r} is no time; write 2027-01-31 or 2027-01-31T12:00:00Z"
        ) from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def epoch_now() -> int:
    """The epoch of stages that are locked for the first time: SOURCE_DATE_EPOCH, else now."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return int(time.time())
    if not text.isascii() or not text.isdigit() or int(text) > 0o77777777777:
        raise RbuildError(
            f"SOURCE_DATE_EPOCH is not a number of seconds: {text[:40]!r}", hint="unset SOURCE_DATE_EPOCH"
        )
    return int(text)


def folder_in_repository(workspace: Workspace) -> PurePosixPath:
    """The project's folder in its repository, from which build servers count paths.

    The repository is where GitHub has checked it out, else the nearest folder with a .git.
    """
    folder = workspace.root.resolve()
    given = os.environ.get("GITHUB_WORKSPACE")
    roots = (
        [Path(given).resolve()]
        if given
        else [one for one in (folder, *folder.parents) if (one / ".git").exists()]
    )
    root = next((one for one in roots if folder.is_relative_to(one)), folder)
    return PurePosixPath(folder.relative_to(root))


def given_folder() -> Path:
    """The folder that --project names; without it, the one around you."""
    return _folder
