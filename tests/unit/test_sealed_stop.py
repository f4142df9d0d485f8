"""A sealed command is asked to end, and hung up on if it does not."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from rbuild.process import Process
from rbuild.sealed import namespace
from rbuild.sealed.namespace import Sealed


@pytest.fixture
def ends() -> Iterator[tuple[Sealed, socket.socket, socket.socket]]:
    """A command that waits, rbuild's end of its control socket, and the command's own."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(60)
    process = Process([sys.executable, "-c", "import time; time.sleep(600)"])
    with ours, theirs, socket.socket() as listener:
        yield Sealed(process, ours, listener), ours, theirs
    process.end()


def insisting() -> list[threading.Timer]:
    return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_a_command_that_does_not_end_is_hung_up_on(
    ends: tuple[Sealed, socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace, "_GRACE_SECONDS", 0.05)
    command, _, theirs = ends
    command.stop()
    assert theirs.recv(1) == b"T"
    assert theirs.recv(1) == b""


def test_a_command_that_ended_in_time_leaves_nothing_to_say(
    ends: tuple[Sealed, socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """rbuild itself may still be tidying up when the time is over."""
    monkeypatch.setattr(namespace, "_GRACE_SECONDS", 0.05)
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    command, ours, _ = ends
    ours.close()
    command.stop()
    for timer in insisting():
        timer.join(60)
    assert insisting() == []
    assert failed == []
