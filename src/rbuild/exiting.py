"""A command line on its way to an exit code: signals, errors of all kinds, a reader that went away."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from types import FrameType
from typing import NoReturn

from rbuild.console import print_error
from rbuild.errors import Exit, RbuildError


class _Interrupted(BaseException):
    """A signal asks for the end. No KeyboardInterrupt, which Typer would end without a word."""

    def __init__(self, number: int) -> None:
        self.signal = number


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for each in _ENDING:  # what is started now is the tidying up
        signal.signal(each, signal.SIG_IGN)
    raise _Interrupted(number)


def run_to_exit(command: Callable[[], int]) -> NoReturn:
    """Run a command, which gives its exit code; the one place that exits."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may know fewer characters than a file's name has
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(command, as_json=_wants_json(sys.argv[1:]))
        sys.stdout.flush()
    except BrokenPipeError:
        nobody = os.open(os.devnull, os.O_WRONLY)  # else Python itself complains on its way out
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nobody, stream.fileno())
        code = Exit.CANNOT_TELL
    sys.exit(code)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether errors are to be JSON: known before the arguments are read, which may be wrong."""
    pairs = itertools.pairwise(arguments)
    return (
        not {"--json", "--output-format=json"}.isdisjoint(arguments) or ("--output-format", "json") in pairs
    )


def _run(command: Callable[[], int], *, as_json: bool) -> int:
    """Run the command; its exit code. What went wrong is said."""
    try:
        for number in _ENDING:
            signal.signal(number, _interrupt)
        return command()
    except RbuildError as error:
        print_error(error, as_json=as_json)
        return error.exit_code
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
