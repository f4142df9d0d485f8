"""Podman's API, by a service of Podman's own that lives as long as the call.

No daemon: `podman system service` is started on a private socket and ended again. The command line is the
faster way to a single fact; the API is the way to many typed ones in a row.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rbuild.errors import RbuildError
from rbuild.files import scratch_directory
from rbuild.process import Process, pasteable

if TYPE_CHECKING:
    import podman

_START_SECONDS = 120.0  # on a loaded host
_PAUSE_SECONDS = 0.005
_LONGEST_ADDRESS = 107  # sun_path, unix(7)


@contextlib.contextmanager
def podman_api(socket_dir: Path, *, env: Mapping[str, str] | None = None) -> Iterator[podman.PodmanClient]:
    """A client of a Podman service that runs until the block ends.

    `socket_dir` is a folder of the user's own, with a short path (`$XDG_RUNTIME_DIR`): the socket lies in a
    private folder below it. `env` is what Podman sees; this process's own if None. Raises
    RbuildError if Podman is not installed, or its service does not come up.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_directory(socket_dir, "rbuild-api-"))
        except OSError as error:
            raise RbuildError(f"{socket_dir}: {error.strerror}", hint="rbuild doctor") from error
        address = folder / "podman.sock"
        if len(str(address)) > _LONGEST_ADDRESS:
            raise RbuildError(
                f"{address}: too long for the name of a socket",
                hint="set XDG_RUNTIME_DIR to a folder with a short path",
            )
        # --time 0: the service never ends by itself, so that it cannot do so between two questions.
        service = Process(["podman", "system", "service", "--time", "0", f"unix://{address}"], env=env)
        stack.callback(service.end)
        _wait_until_up(service, address)

        from podman import PodmanClient  # 0.4 s; only who asks the API pays

        yield stack.enter_context(PodmanClient(base_url=f"unix://{address}"))


def _wait_until_up(service: Process, address: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(address):
        if service.ended:
            _, said = service.communicate(None, None)
            last = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise RbuildError(f"Podman's service ended: {last}", hint=pasteable(service.argv))
        if time.monotonic() > deadline:
            raise RbuildError(
                f"Podman's service did not answer within {_START_SECONDS:g} s", hint=pasteable(service.argv)
            )
        time.sleep(_PAUSE_SECONDS)


def _answers(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(address))
        except OSError:
            return False
    return True
