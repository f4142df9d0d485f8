"""A response on its way into the store, which any number of clients read while it grows."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping

from rbuild.errors import RbuildError
from rbuild.recording import Response
from rbuild.sealed.replies import CHUNK
from rbuild.store import BlobWriter


class Download:
    """One writer, many readers. A reader gets the last bytes only when all of them are in the store:
    so none takes for whole what was not recorded, or not what was expected.

    The writer calls `begin`, `write` and, at last, `finish` or `fail`. Each reader calls `attach` first and
    `close` last.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._begun = False
        self._ended = False
        self._descriptor: int | None = None
        self._readers = 0
        self._visible = 0
        self._written = 0
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.size: int | None = None
        self.error: RbuildError | None = None
        self.response: Response | None = None  # what was recorded, if anything was

    # The writer's side

    def begin(self, status: int, headers: Mapping[str, str], size: int | None, writer: BlobWriter) -> None:
        with self._changed:
            self.status, self.headers, self.size = status, headers, size
            self._descriptor = writer.open()
            self._begun = True
            self._changed.notify_all()

    def grew(self, written: int) -> None:
        """`written` bytes are on the disk now."""
        with self._changed:
            self._visible, self._written = self._written, written
            self._changed.notify_all()

    def finish(self, response: Response | None) -> None:
        """All is there; `response` is what was recorded, if anything was. Does nothing after `fail`."""
        with self._changed:
            if not self._ended:
                self.response = response
                self.size = self._visible = self._written
                self._end()

    def fail(self, error: RbuildError) -> None:
        """The rest will not come. Does nothing after `finish`."""
        with self._changed:
            if not self._ended:
                self.error = error
                self._end()

    def _end(self) -> None:
        self._begun = self._ended = True
        self._close_unread()
        self._changed.notify_all()

    def _close_unread(self) -> None:
        if self._ended and not self._readers and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    # The readers' side

    def attach(self) -> bool:
        """Become a reader; False if it is too late for that."""
        with self._changed:
            if self._ended and self._descriptor is None:
                return False
            self._readers += 1
            return True

    def close(self) -> None:
        with self._changed:
            self._readers -= 1
            self._close_unread()

    def wait_begun(self) -> None:
        """Return when status and headers are known. Raises what became of it instead."""
        with self._changed:
            self._changed.wait_for(lambda: self._begun)
            if self.error is not None:
                raise self.error

    def wait_ended(self, timeout: float | None = None) -> bool:
        """Return whether it has come to its end, one way or the other, within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, timeout)

    def chunks(self, start: int, stop: int | None) -> Iterator[bytes]:
        """The bytes from `start` to before `stop`, or to the end, as they come. Raises its error."""
        while stop is None or start < stop:
            with self._changed:
                while not self._ended and self._visible <= start:
                    self._changed.wait()
                if self.error is not None:
                    raise self.error
                end = self._visible if stop is None else min(stop, self._visible)
                descriptor = self._descriptor
            if start >= end or descriptor is None:
                return
            chunk = os.pread(descriptor, min(CHUNK, end - start), start)
            start += len(chunk)
            yield chunk
