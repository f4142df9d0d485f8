"""Runs as process 1 of a sealed build's namespaces: sets them up, starts the command, ends with rbuild.

    python3 -IS enter.py CONTROL HOSTS RESOLV -- COMMAND [ARGUMENT…]

CONTROL is a unix socket on which rbuild waits. Over it goes a TCP socket that listens on the namespace's
loopback: rbuild accepts on it from outside, so that no bridge has to carry the bytes. When rbuild closes its
end, or is killed, this process ends, and the kernel ends everything in the namespace with it.

A stand-alone script with nothing but the standard library: it must start fast, and under any Python 3.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import sys
from types import FrameType
from typing import NoReturn

PORT = 3128
HOST_NAME = "rbuild"
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_MS_BIND = 0x1000


def bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))


def bind_over(source: str, target: str) -> None:
    """Cover a file of the host, which Podman copies into what a RUN sees, by one that is always the same."""
    target = os.path.realpath(target)
    if not os.path.exists(target):  # noqa: PTH110 - importing pathlib costs as much as all the rest here
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), None, _MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount over {target}")


def hand_over_listener(control: socket.socket) -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", PORT))
    listener.listen(128)
    control.sendmsg(
        [b"L"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]).tobytes())]
    )
    listener.close()


def start(argv: list[str]) -> int:
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        try:
            os.execvp(argv[0], argv)
        except OSError as error:
            print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
            os._exit(127)
    return child


def wait(child: int, control: socket.socket) -> NoReturn:
    """Reap what is orphaned here; end when the child does, or when rbuild hangs up."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)

    def wake(_number: int, _frame: FrameType | None) -> None:
        os.write(write_end, b"x")

    signal.signal(signal.SIGCHLD, wake)
    while True:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                os._exit(127)
            if pid == 0:
                break
            if pid == child:
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        ready, _, _ = select.select([read_end, control.fileno()], [], [])
        if read_end in ready:
            os.read(read_end, 512)
        if control.fileno() in ready:
            if control.recv(1) != b"T":
                os._exit(143)
            os.kill(child, signal.SIGTERM)


def main() -> NoReturn:
    control_path, hosts, resolv, _, *argv = sys.argv[1:]
    control = socket.socket(socket.AF_UNIX)
    control.connect(control_path)
    bring_up_loopback()
    socket.sethostname(HOST_NAME)
    bind_over(hosts, "/etc/hosts")
    bind_over(resolv, "/etc/resolv.conf")
    os.umask(0o022)
    hand_over_listener(control)
    if control.recv(1) != b"G":
        os._exit(143)
    wait(start(argv), control)


if __name__ == "__main__":
    main()
