"""The one place that starts other programs.

A child gets a clean standard input, its own process group, and a death signal, so that nothing outlives
rbuild: not after Ctrl-C, not after a kill -9. A failing command is shown so that it can be pasted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn

from rbuild.errors import RbuildError

_PR_SET_PDEATHSIG = 1
_LAST_LINES = 20
_LOOK = 0.2  # seconds between two looks at a command that is watched
_LONGEST_LINE = 1 << 16  # bytes; what has no end of line in them is handed on in pieces
_libc = ctypes.CDLL(None, use_errno=True)
_running: set[Process] = set()
_running_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended. Output is decoded as UTF-8, with what is not UTF-8 replaced."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def pasteable(argv: Sequence[str]) -> str:
    """The command as a person would type it."""
    return shlex.join(argv)


def _die_with(parent: int) -> None:
    # A process group of its own keeps the terminal's Ctrl-C from reaching the child before rbuild decides;
    # the death signal ends it should rbuild itself be killed, unless it was before the signal was set.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class Process:
    """A running child; `end` stops it and all that it started in its group."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        merge_stderr: bool = False,
        stdin: bool = False,
        pass_fds: Sequence[int] = (),
        inherit_output: bool = False,
        left_alone: bool = False,
    ) -> None:
        """`left_alone`: `end_all` spares it, since it tidies up, or is ended in a way of its own."""
        self.argv = tuple(argv)
        output = None if inherit_output else subprocess.PIPE
        try:
            self._popen = subprocess.Popen(
                list(argv),
                env=dict(env) if env is not None else None,
                cwd=cwd,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if merge_stderr else output,
                pass_fds=tuple(pass_fds),
                process_group=0,
                # What skopeo and Podman unpack gets its topmost folder under their umask: with 077, no other
                # user than root could enter the container.
                umask=0o022,
                preexec_fn=partial(_die_with, os.getpid()),
            )
        except FileNotFoundError as error:
            raise RbuildError(
                f"{argv[0]}: not installed",
                hint="rbuild doctor names what is missing, and the line that installs it",
            ) from error
        except OSError as error:
            raise RbuildError(f"{argv[0]}: {error.strerror}") from error
        if not left_alone:
            with _running_lock:
                _running.add(self)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    @property
    def stdout(self) -> BinaryIO:
        """What the child prints, as it prints it."""
        assert self._popen.stdout is not None
        return self._popen.stdout  # type: ignore[return-value]

    def finish(self) -> None:
        """Wait for a child whose output was read to its end. Raises RbuildError unless it exits with 0."""
        _, err = self.communicate(None, None)
        completed = Completed(self.argv, self.wait(), "", err.decode(errors="replace"))
        if completed.returncode != 0:
            raise failure(completed)

    def lines(self, on_line: Callable[[str], None]) -> None:
        """Hand every line of standard output to `on_line`, until it ends."""
        assert self._popen.stdout is not None
        for raw in iter(partial(self._popen.stdout.readline, _LONGEST_LINE), b""):
            on_line(raw.decode(errors="replace").rstrip("\r\n"))

    def wait(self) -> int:
        """The exit code; for a child that a signal ended, minus the signal."""
        try:
            return self._popen.wait()
        finally:
            self._forget()

    def communicate(
        self, data: bytes | None, timeout: float | None, watch: Callable[[], None] | None = None
    ) -> tuple[bytes, bytes]:
        while True:
            try:
                out, err = self._popen.communicate(data, _LOOK if watch else timeout)
                break
            except subprocess.TimeoutExpired:
                if watch is None:
                    self.end()
                    raise RbuildError(f"no end within {timeout:g} s: {pasteable(self.argv)}") from None
                watch()
        self._forget()
        return out, err or b""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def end(self, grace: float = 5.0) -> None:
        """Ask the whole group to stop, insist after `grace` seconds, and wait."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace)
                break
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._forget()

    def _forget(self) -> None:
        with _running_lock:
            _running.discard(self)


def end_all() -> None:
    """End every child that still runs; what Ctrl-C does."""
    with _running_lock:
        running = list(_running)
    for process in running:
        process.end()


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout: float | None = None,
    check: bool = True,
    hint: str | None = None,
    left_alone: bool = False,
    watch: Callable[[], None] | None = None,
) -> Completed:
    """Run `argv` to its end.

    With `on_line`, standard output and error arrive there together, line by line, and are also returned as
    `stdout`. `timeout` is in seconds. Raises RbuildError, with the command and its last lines, unless it
    exits with 0 or `check` is off; `hint` goes into that error. `watch`
    (instead of `timeout` and `stdin`) is called several times a second; what it raises ends the command.
    """
    process = Process(
        argv,
        env=env,
        cwd=cwd,
        merge_stderr=on_line is not None,
        stdin=stdin is not None,
        left_alone=left_alone,
    )
    try:
        if on_line is None:
            out, err = process.communicate(stdin, timeout, watch)
            completed = Completed(
                tuple(argv), process.wait(), out.decode(errors="replace"), err.decode(errors="replace")
            )
        else:
            seen: list[str] = []

            def keep(line: str) -> None:
                seen.append(line)
                on_line(line)

            process.lines(keep)
            completed = Completed(tuple(argv), process.wait(), "\n".join(seen), "")
    except BaseException:
        process.end()
        raise
    if check and completed.returncode != 0:
        raise failure(completed, hint=hint)
    return completed


def replace(argv: Sequence[str], *, env: Mapping[str, str]) -> NoReturn:
    """Become another program, which gets the terminal as rbuild had it."""
    try:
        os.execvpe(argv[0], list(argv), dict(env))
    except OSError as error:
        hint = "rbuild doctor names what is missing"
        raise RbuildError(f"{argv[0]}: {error.strerror}", hint=hint) from error


def failure(completed: Completed, *, hint: str | None = None) -> RbuildError:
    """The error for a command that ended badly."""
    said = (completed.stderr.strip() or completed.stdout.strip()).splitlines()[-_LAST_LINES:]
    how = f"exit code {completed.returncode}"
    if completed.returncode < 0:
        how = f"signal {signal.Signals(-completed.returncode).name}"
    output = "".join(f"\n  {line}" for line in said)
    return RbuildError(f"{completed.argv[0]} failed ({how}): {pasteable(completed.argv)}{output}", hint=hint)
