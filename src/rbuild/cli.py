"""The `rbuild` command."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn

from rbuild.commands.quick import plain_push
from rbuild.errors import Exit, RbuildError
from rbuild.exiting import run_to_exit


def main() -> NoReturn:
    """Run the command line, and exit."""
    gc.set_threshold(100_000)  # a tenth of a short command's time: what start-up makes is no garbage
    push = plain_push(sys.argv[1:])
    run_to_exit(push.run if push else _typed)


def _typed() -> int:
    """Run what the arguments name, as Typer reads them."""
    import typer

    from rbuild.commands.every import app

    try:
        return app(prog_name="rbuild", standalone_mode=False) or Exit.OK
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path} --help" if context else None
        said = error.format_message().rstrip(".")
        raise RbuildError(said[:1].lower() + said[1:], hint=hint) from error
