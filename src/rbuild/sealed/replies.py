"""Answers to one request, made from the whole response that is known."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import BinaryIO, Protocol

from rbuild.digest import Digest

CHUNK = 256 << 10
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Spooled:
    """The body of a request, aside on the disk."""

    digest: Digest
    file: BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks for. `url` is absolute; `headers` have their names in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Spooled | None = None

    @property
    def accept(self) -> str:
        return self.headers.get("accept", "")


class Body(Protocol):
    """The bytes of a whole response; `size` is None as long as nobody knows it."""

    @property
    def size(self) -> int | None: ...

    def chunks(self, start: int, stop: int | None) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class FileBody:
    """A body that is a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    def chunks(self, start: int, stop: int | None) -> Iterator[bytes]:
        end = self.size if stop is None else stop
        while start < end:
            chunk = os.pread(self._file.fileno(), min(CHUNK, end - start), start)
            if not chunk:
                raise OSError("a blob became shorter while it was read")
            start += len(chunk)
            yield chunk

    def close(self) -> None:
        self._file.close()


class NoBody:
    """The body of an answer to HEAD: nothing, whatever the size of what it is about."""

    def __init__(self, size: int | None) -> None:
        self.size = size

    def chunks(self, start: int, stop: int | None) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        pass


class BytesBody:
    """A body that is made on the spot."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def chunks(self, start: int, stop: int | None) -> Iterator[bytes]:
        if part := self._data[start:stop]:
            yield part

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes to the client: the bytes of `body` from `start` to before `stop`."""

    status: int
    headers: Mapping[str, str]
    body: Body
    start: int = 0
    stop: int | None = None

    def chunks(self) -> Iterator[bytes]:
        return self.body.chunks(self.start, self.stop)


def asks_for_part(request: Request) -> bool:
    """Whether the size of the whole must be known before this can be answered."""
    return request.method == "GET" and "range" in request.headers


def reply(request: Request, status: int, headers: Mapping[str, str], body: Body) -> Reply:
    """Answer from the whole response: with all of it, a part (206, 416), or that nothing changed (304).

    RFC 9110, sections 13 and 14. A request for several parts gets the whole, as a server may do. No entity
    tag is sent: while a response is being recorded its digest is not known yet, and a client must not be
    able to tell a recording from a replay.
    """
    answered = dict(headers)
    if status == 200 and request.method in ("GET", "HEAD"):
        answered["accept-ranges"] = "bytes"
        if _is_unchanged(request.headers, headers):
            return Reply(status=304, headers=answered, body=body, stop=0)
    size = body.size
    if size is None:
        return Reply(status=status, headers=answered, body=body)
    part = _part(request, headers, size) if status == 200 else None
    if part == (0, 0):
        return Reply(status=416, headers={"content-range": f"bytes */{size}"}, body=body, stop=0)
    if part is not None:
        start, stop = part
        answered |= {
            "content-range": f"bytes {start}-{stop - 1}/{size}",
            "content-length": str(stop - start),
        }
        return Reply(status=206, headers=answered, body=body, start=start, stop=stop)
    if status != 204:
        answered["content-length"] = str(size)
    return Reply(status=status, headers=answered, body=body, stop=0 if request.method == "HEAD" else size)


def _is_unchanged(asked: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    since, modified = asked.get("if-modified-since"), headers.get("last-modified")
    if since is None or modified is None or "if-none-match" in asked:
        return False
    try:
        return parsedate_to_datetime(modified) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):
        return False


def _part(request: Request, headers: Mapping[str, str], size: int) -> tuple[int, int] | None:
    """The part that is asked for as (start, stop); None for the whole, (0, 0) for one that is not there."""
    if not asks_for_part(request):
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition != headers.get("last-modified"):
        return None
    found = _RANGE.match(request.headers["range"].replace(" ", ""))
    if not found or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if len(first) > 18 or len(last) > 18:
        return 0, 0
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    return (start, stop) if start < stop else (0, 0)
