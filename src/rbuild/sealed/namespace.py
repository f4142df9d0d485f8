"""A network namespace of one build: only loopback is up, and only rbuild listens there.

A user namespace comes from `podman unshare`, so that Podman finds its own mapping and storage inside; the
network, UTS, mount and process namespaces from `unshare`. It works rootless, without /dev/net/tun, under
every isolation of Podman (which refuses `--network none` under chroot isolation).
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rbuild.errors import RbuildError
from rbuild.files import runtime_scratch
from rbuild.podman import Podman
from rbuild.process import Process, pasteable
from rbuild.sealed import enter

PROXY = f"http://127.0.0.1:{enter.PORT}"
_HOSTS = f"127.0.0.1 localhost {enter.HOST_NAME}\n::1 localhost\n"
# Nothing answers there either: a name can only be resolved by the recorder, as part of a URL.
_RESOLV = "nameserver 127.0.0.1\n"
_START_SECONDS = 60.0
_GRACE_SECONDS = 10.0

# What must not reach a build from the caller: its proxies, its trust store, its clock, its Buildah settings.
_KEPT_OUT = frozenset(
    {"SOURCE_DATE_EPOCH", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    | {"BUILDAH_FORMAT", "BUILDAH_LAYERS", "BUILDAH_HISTORY", "BUILDAH_TIMESTAMP"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"}
)


def environment(caller: Mapping[str, str], authority: Path) -> dict[str, str]:
    """The environment of the sealed Podman, which hands the proxies on to every `RUN`."""
    kept = {name: value for name, value in caller.items() if name.upper() not in _KEPT_OUT}
    kept |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    for name in ("http_proxy", "https_proxy"):
        kept |= {name: PROXY, name.upper(): PROXY}
    kept |= dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1")
    kept["SSL_CERT_FILE"] = str(authority)  # for Podman's own requests: ADD of a URL
    return kept


_running: set[Sealed] = set()


def stop_all() -> None:
    """Stop every sealed command of this process; what Ctrl-C does."""
    for command in list(_running):
        command.stop()


class Sealed:
    """A command that waits in its namespaces, and the socket on which its clients will knock."""

    def __init__(self, process: Process, control: socket.socket, listener: socket.socket) -> None:
        self._process = process
        self._control = control
        self.listener = listener

    def run(self, on_line: Callable[[str], None]) -> int:
        """Let the command start; hand on its output; give its exit code."""
        self._control.send(b"G")
        self._process.lines(on_line)
        return self._process.wait()

    def stop(self) -> None:
        """Ask the command to end; insist after a while."""
        with contextlib.suppress(OSError):
            self._control.send(b"T")
        insist = threading.Timer(_GRACE_SECONDS, self._hang_up)
        insist.daemon = True
        insist.start()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            self._control.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def sealed(
    podman: Sequence[str],
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    through: Sequence[str] = (),
) -> Iterator[Sealed]:
    """Prepare `argv` in namespaces of its own; at the end of the block nothing of it is left running.

    `podman` is the command with its storage options, to which `unshare` is added; `through` are the words of
    a command that starts what comes after them, outside of the namespaces but for the user's.
    Raises RbuildError if the host does not let an ordinary user make such namespaces.
    """
    with contextlib.ExitStack() as stack:
        scratch = runtime_scratch(env.get, Podman(env=env, command=tuple(podman)).remove_tree)
        folder = stack.enter_context(scratch.folder("sealed-"))
        hosts, resolv = folder / "hosts", folder / "resolv.conf"
        hosts.write_text(_HOSTS)
        resolv.write_text(_RESOLV)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.bind(str(folder / "control"))
        waiting.listen(1)
        waiting.settimeout(0.2)
        process = Process(
            [
                *(*podman, "unshare", "--"),
                *through,
                *(
                    "unshare",
                    "--net",
                    "--uts",
                    "--mount",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                    "--",
                ),
                *(
                    sys.executable,
                    "-IS",
                    enter.__file__,
                    str(folder / "control"),
                    str(hosts),
                    str(resolv),
                    "--",
                ),
                *argv,
            ],
            env=env,
            cwd=cwd,
            merge_stderr=True,
            left_alone=True,  # see stop_all
        )
        stack.callback(process.end)
        control = stack.enter_context(_accept(waiting, process))
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if len(descriptors) != 1:
            raise _refused(process)
        listener = stack.enter_context(socket.socket(fileno=descriptors[0]))
        command = Sealed(process, control, listener)
        _running.add(command)
        stack.callback(_running.discard, command)
        yield command


def _accept(waiting: socket.socket, process: Process) -> socket.socket:
    for _ in range(int(_START_SECONDS / 0.2)):
        with contextlib.suppress(TimeoutError):
            connection, _ = waiting.accept()
            connection.settimeout(_START_SECONDS)
            return connection
        if process.ended:
            break
    raise _refused(process)


def _refused(process: Process) -> RbuildError:
    said: list[str] = []
    process.signal(signal.SIGKILL)
    process.lines(said.append)
    detail = "".join(f"\n  {line}" for line in said[-5:])
    return RbuildError(
        f"cannot make the namespaces of a sealed build: {pasteable(process.argv[:4])} …{detail}",
        hint="rbuild doctor says what this host lacks, and the line that fixes it",
    )
