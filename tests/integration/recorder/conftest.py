"""A recorder between real clients and a server of our own on 127.0.0.2, which misbehaves when told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from neighbours import QUICK, Build, Site

from rbuild.recording import Recording
from rbuild.sealed.authority import Authority
from rbuild.sealed.exchange import Exchange
from rbuild.sealed.recorder import Recorder
from rbuild.sealed.session import Session
from rbuild.sealed.upstream import Patience, Upstream
from rbuild.store import Store


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def building(store: Store, tmp_path: Path):  # type: ignore[no-untyped-def]
    """A context manager that gives a Build; `locked` is None for a first one, which may record."""

    @contextlib.contextmanager
    def start(
        locked: Recording | None = None,
        *,
        fetch: bool = False,
        new: bool | None = None,
        session: Session | None = None,
        patience: Patience = QUICK,
        local: bool = True,
        into: Store = store,
    ) -> Iterator[Build]:
        home = tmp_path / f"home{len(list(tmp_path.glob('home*')))}"
        home.mkdir()
        said: list[str] = []
        notes: list[str] = []
        own = session is None
        session = session or Session(into, Upstream({}, patience=patience, local=local), note=notes.append)
        recording = locked is None if new is None else new
        exchange = Exchange(
            session,
            locked or Recording(),
            allow_new=recording,
            allow_fetch=fetch or recording,
            step=lambda: build.step,
            on_refusal=said.append,
        )
        authority = Authority()
        listener = socket.create_server(("127.0.0.1", 0))
        build = Build(exchange, listener.getsockname(), home, said, notes)
        build.trust(authority.certificate_pem)
        with Recorder(listener, authority, exchange):
            yield build
        if own:
            session.close()

    return start
