"""The proxy that a sealed build talks to: it accepts connections and serves each in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading

from rbuild.sealed.authority import Authority
from rbuild.sealed.connection import Connection
from rbuild.sealed.exchange import Exchange

_MOST_CONNECTIONS = 256


class Recorder:
    """Serves one build on `listener`, a listening TCP socket, which it owns from now on."""

    def __init__(self, listener: socket.socket, authority: Authority, exchange: Exchange) -> None:
        self._listener = listener
        self._authority = authority
        self._exchange = exchange
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._stopped = False
        self._acceptor = threading.Thread(target=self._accept, name="recorder", daemon=True)

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        """End every connection, and wait until what the build asked for is in the store.

        That can take as long as a download takes. To be quick, close the Session first.
        """
        self._stopped = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept, which close does not
        while self._acceptor.is_alive():
            self._hang_up()  # it may be waiting for a connection to end
            self._acceptor.join(0.05)
        self._listener.close()
        still_open = self._hang_up()
        self._exchange.settle()
        for thread in still_open:
            thread.join()

    def __enter__(self) -> Recorder:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _hang_up(self) -> list[threading.Thread]:
        with self._lock:
            still_open = dict(self._open)
        for connection in still_open.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return list(still_open)

    def _accept(self) -> None:
        while not self._stopped:
            self._free.acquire()
            try:
                client, _ = self._listener.accept()
            except OSError:
                self._free.release()
                return
            thread = threading.Thread(target=self._serve, args=(client,), name="connection", daemon=True)
            with self._lock:
                self._open[thread] = client
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            Connection(client, self._authority, self._exchange).serve()
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)
            client.close()
            self._free.release()
