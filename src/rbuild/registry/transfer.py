"""A blob on its way to or from a registry, which may break off and go on.

Sources: OCI distribution specification, "Pushing a blob in chunks", "Pulling blobs"; RFC 9110, "Range
Requests".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Protocol

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.registry.connections import BROKEN, Part, Response, reason
from rbuild.registry.patience import Transient
from rbuild.registry.transport import finish, message

_CHUNK = 1 << 20
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,15})\Z")


class Line(Protocol):
    """What a transfer needs of a repository."""

    @property
    def pushing(self) -> tuple[str, ...]: ...

    def upload_url(self) -> str: ...

    def absolute(self, location: str) -> str: ...

    def send(
        self, method: str, url: str, headers: Mapping[str, str], scopes: tuple[str, ...], data: Any = None
    ) -> Response: ...

    def fetch(self, path: str, headers: Mapping[str, str]) -> Response: ...

    def refused(self, step: str, response: Response) -> RbuildError: ...

    def failed(
        self, step: str, why: str, *, digest: Digest | None = None, hint: str | None = None
    ) -> RbuildError: ...


class Upload:
    """One blob going up. `advance` is called until it does not raise Transient."""

    def __init__(
        self,
        line: Line,
        digest: Digest,
        size: int,
        opened: Callable[[], BinaryIO],
        progress: Callable[[int], None],
    ) -> None:
        self._line = line
        self._digest = digest
        self._size = size
        self._opened = opened
        self._progress = progress
        self._place: str | None = None  # of the session; None: there is none
        self.confirmed = 0  # bytes that the registry is known to have
        self.sent = 0  # bytes that went out, in all tries

    def advance(self) -> None:
        """Go on from what the registry has. Raises Transient, or RbuildError for a refusal."""
        if self._place is None or (self.sent and not self._goes_on()):
            self._begin()
        if self.confirmed < self._size:
            self._send_rest()
        self._finish()

    def _begin(self) -> None:
        response = self._line.send(
            "POST", self._line.upload_url(), {"Content-Length": "0"}, self._line.pushing
        )
        if response.status != 202:
            raise self._line.refused("begin an upload", response)
        finish(response)
        self._moved(response)
        self.confirmed = 0

    def _goes_on(self) -> bool:
        """Ask how far the session is; False: it is gone, or has nothing."""
        response = self._line.send("GET", self._session(), {}, self._line.pushing)
        finish(response)
        if response.status != 204:
            return False
        self._moved(response)
        found = _RANGE.match(response.headers.get("Range", ""))
        reached = int(found[1]) + 1 if found else 0
        # "0-0" is what registries say of one byte, and of none.
        self.confirmed = reached if 1 < reached <= self._size else 0
        return self.confirmed > 0

    def _send_rest(self) -> None:
        start = self.confirmed
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self._size - start),
            "Content-Range": f"{start}-{self._size - 1}",
        }
        with self._opened() as file:
            part = Part(file, start, self._size - start, self._passed)
            try:
                response = self._line.send("PATCH", self._session(), headers, self._line.pushing, part)
            except EOFError as error:
                raise self._line.failed("upload a blob", str(error), digest=self._digest) from error
        if response.status in (404, 416):
            finish(response)
            self._expired()
        if response.status != 202:
            raise self._line.refused("upload a blob", response)
        finish(response)
        self._moved(response)
        self.confirmed = self._size

    def _passed(self, end: int, count: int) -> None:
        self.sent += count
        self._progress(end)

    def _finish(self) -> None:
        place = self._session()
        joint = "&" if "?" in place else "?"
        response = self._line.send(
            "PUT", f"{place}{joint}digest={self._digest}", {"Content-Length": "0"}, self._line.pushing
        )
        if response.status == 404:
            finish(response)
            self._expired()
        if response.status == 400:
            # What has arrived is not what was sent: from the start, and not for ever.
            self._place = None
            raise Transient(f"what arrived is not what was sent: HTTP 400{message(response)}")
        if response.status not in (201, 204):
            raise self._line.refused("finish an upload", response)
        finish(response)

    def _session(self) -> str:
        assert self._place is not None
        return self._place

    def _moved(self, response: Response) -> None:
        """Each answer says where the next request of the session goes."""
        place = response.headers.get("Location")
        if place:
            self._place = self._line.absolute(place)
        elif self._place is None:
            raise self._line.failed("begin an upload", "the registry does not say where to")

    def _expired(self) -> None:
        self._place = None
        self.confirmed = 0
        raise Transient("the upload session is gone")


class Download:
    """One blob coming down. `advance` is called until it does not raise Transient."""

    def __init__(self, line: Line, digest: Digest, size: int, write: Callable[[bytes], object]) -> None:
        self._line = line
        self._digest = digest
        self._size = size
        self._write = write
        self._hash = hashlib.sha256()
        self.taken = 0

    def advance(self) -> None:
        """Go on behind what was written. Raises Transient, or RbuildError for other bytes."""
        headers = {"Range": f"bytes={self.taken}-{self._size - 1}"} if self.taken else {}
        response = self._line.fetch(f"blobs/{self._digest}", headers)
        if response.status not in (200, 206):
            raise self._line.refused("download a blob", response)
        skip = self.taken if response.status == 200 else 0  # a registry that knows no ranges
        try:
            while piece := response.read(_CHUNK):
                part, skip = piece[skip:], max(0, skip - len(piece))
                self._take(part)
        except BROKEN as error:
            raise Transient(reason(error)) from error
        finally:
            response.close()
        if self.taken < self._size:
            raise Transient(f"it ended after {self.taken} of {self._size} bytes")
        found = Digest(self._hash.hexdigest())
        if found != self._digest:
            raise self._line.failed(
                "download a blob",
                f"the registry has other bytes under this digest: {found}",
                digest=self._digest,
                hint="the registry, or something on the way, is broken or forged: tell whoever runs it",
            )

    def _take(self, data: bytes) -> None:
        if self.taken + len(data) > self._size:
            raise self._line.failed(
                "download a blob",
                f"more than the {self._size} bytes that its manifest says",
                digest=self._digest,
            )
        self._write(data)
        self._hash.update(data)
        self.taken += len(data)
