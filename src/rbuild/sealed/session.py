"""What one run of rbuild has had from the network: every answer once, whoever asks."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import BinaryIO

import msgspec

from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.recording import Response
from rbuild.sealed.download import Download
from rbuild.sealed.replies import Request
from rbuild.sealed.upstream import Incoming, Unreachable, Upstream
from rbuild.sealed.urls import carries_secret, recorded_url
from rbuild.simpleindex import FILE_HEADERS, MAX_PAGE, Page, file_key, is_simple_page, parse_page
from rbuild.store import CorruptBlob, Store

EMPTY = Digest.of(b"")
_LOOK = 8 << 20  # bytes of a response, after each of which it is asked what is left free

# What a client may rely on; all else tells the day, the server or the client's own visit.
_KEPT = frozenset(
    {
        *("content-disposition", "content-encoding", "content-type", "docker-content-digest"),
        *("docker-distribution-api-version", "last-modified", "link", "location", "www-authenticate"),
    }
)
_NOT_FORWARDED = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "http2-settings"),
        *("if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"),
        *("keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "range", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)


class Answers:
    """Responses by what asks for them."""

    def __init__(self, responses: Iterable[Response] = ()) -> None:
        self._by_request: dict[tuple[str, str, str], dict[str | None, Response]] = {}
        for response in responses:
            self.add(response)

    def add(self, response: Response) -> None:
        """Keep `response`, unless the request has an answer already that does more than ask for a login."""
        url, method, body, _ = response.key
        known = self._by_request.setdefault((url, method, body), {})
        if response.accept not in known or known[response.accept].status == 401:
            known[response.accept] = response

    def find(self, request: Request, url: str) -> Response | None:
        """The answer to `request`, whose recorded URL is `url`; that to a GET answers a HEAD as well."""
        body = request.body.digest.hex if request.body else ""
        known = self._by_request.get((url, request.method, body), {})
        found = known.get(request.accept) or known.get(None)
        if found is None and request.method == "HEAD":
            known = self._by_request.get((url, "GET", body), {})
            found = known.get(request.accept) or known.get(None)
        return found


class Session:
    """Shared by all stages that one run builds, so that they are told the same.

    `note` is told, in a sentence, of what is odd but can be put right.
    """

    def __init__(self, store: Store, upstream: Upstream, *, note: Callable[[str], None]) -> None:
        self.store = store
        self._upstream = upstream
        self._note = note
        self._lock = threading.Lock()
        self._answers = Answers()
        self._under_way: dict[tuple[str, ...], Download] = {}
        self._page_files: set[int] = set()  # hashes of file keys: a large index has many
        self._verified: dict[Digest, tuple[int, int, int]] = {}
        self._closed = False

    def close(self) -> None:
        """Let nothing more come in: what is still coming fails."""
        with self._lock:
            self._closed = True
            coming = list(self._under_way.values())
        for download in coming:
            download.fail(RbuildError("interrupted"))
        self._upstream.close()

    def known(self, request: Request, url: str) -> Response | None:
        """What that request was answered in this run."""
        with self._lock:
            return self._answers.find(request, url)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob whose bytes were checked in this run and not touched since.

        Raises MissingBlob, CorruptBlob.
        """
        with self._lock:
            before = self._verified.get(digest)
        if before is not None:
            with contextlib.suppress(FileNotFoundError):
                known: BinaryIO = self.store.path(digest).open("rb")
                if _stamp(known) == before:
                    return known
                known.close()
        try:
            file = self.store.open(digest)
        except CorruptBlob as error:
            self._note(str(error))
            raise
        with self._lock:
            self._verified[digest] = _stamp(file)
        return file

    def page(self, response: Response) -> Page | None:
        """The page of a package index that a response is, if it is one."""
        content_type = response.headers.get("content-type", "")
        if response.method != "GET" or response.status != 200 or response.size > MAX_PAGE:
            return None
        if "content-encoding" in response.headers or not is_simple_page(response.url, content_type):
            return None
        data = self.store.read(response.sha256, limit=MAX_PAGE)
        return parse_page(response.url, content_type, data)

    def record(self, request: Request, url: str) -> Download:
        """Ask the network, or join whoever asks it for the same; the caller is attached."""
        return self._join(("record", request.method, url, _body_of(request), request.accept), request, None)

    def fetch_again(self, request: Request, expected: Response) -> Download:
        """Bring a recorded response back into the store; the caller is attached."""
        request = dataclasses.replace(request, method=expected.method)
        return self._join(("again", str(expected.sha256), expected.url, expected.method), request, expected)

    def _join(self, key: tuple[str, ...], request: Request, expected: Response | None) -> Download:
        with self._lock:
            self._check_open()
            download = self._under_way.get(key)
            if download is not None and download.attach():
                return download
            download = self._under_way[key] = Download()
            download.attach()
        threading.Thread(
            target=self._run,
            args=(key, download, request, expected),
            name="fetch",
            daemon=True,
        ).start()
        return download

    def _run(
        self, key: tuple[str, ...], download: Download, request: Request, expected: Response | None
    ) -> None:
        try:
            self._receive(download, request, expected)
        except RbuildError as error:
            download.fail(error)
        except Exception as error:
            download.fail(Unreachable(request.url, f"{type(error).__name__}: {error}"))
        finally:
            with self._lock:
                if self._under_way.get(key) is download:
                    del self._under_way[key]

    def _receive(self, download: Download, request: Request, expected: Response | None) -> None:
        file = request.body.file if request.body else None
        incoming = self._upstream.receive(request.method, request.url, _forwarded(request.headers), file)
        try:
            if expected is None:
                self._record(download, request, incoming)
            else:
                self._bring_back(download, incoming, expected)
        finally:
            incoming.close()

    def _record(self, download: Download, request: Request, incoming: Incoming) -> None:
        url = recorded_url(request.url)
        headers = self._kept_headers(request, url, incoming)
        # No client reads the body of these, and few servers send the same one twice.
        empty = _is_bare(incoming.status, request)
        size = 0 if empty or request.method == "HEAD" else incoming.size
        with self.store.writer() as writer:
            download.begin(incoming.status, headers, size, writer)
            if not empty:
                looked = 0
                for chunk in incoming.chunks():
                    writer.write(chunk)
                    download.grew(writer.size)
                    self._check_open()
                    if writer.size - looked >= _LOOK:
                        looked = writer.size
                        self._check_left(url, looked)
            if not _is_recordable(incoming.status, request):
                download.finish(None)
                return
            stored = writer.commit()
        response = Response(
            url=url,
            sha256=stored.digest,
            size=stored.size,
            status=incoming.status,
            method=request.method,
            body=request.body.digest if request.body else None,
            headers=headers,
        )
        page = self.page(response)
        # Indexes say both, as one likes, and do not always say that they do.
        if page is not None or "accept" in _names(incoming.headers.get("vary", "")):
            response = msgspec.structs.replace(response, accept=request.accept)
        with self._lock:
            self._answers.add(response)
            if page is not None:
                # Before anyone can ask for one of its files.
                self._page_files.update(_hash(file.url) for file in page.files)
                self._page_files.update(_hash(f"{file.url}.metadata") for file in page.files)
        download.finish(response)

    def _bring_back(self, download: Download, incoming: Incoming, expected: Response) -> None:
        if incoming.status != expected.status:
            raise Unreachable(expected.url, f"answers {incoming.status} now")
        with self.store.writer() as writer:
            download.begin(expected.status, expected.headers, incoming.size, writer)
            for chunk in incoming.chunks():
                writer.write(chunk)
                download.grew(writer.size)
                self._check_open()
                if writer.size > expected.size:
                    raise Unreachable(expected.url, f"has more than the {expected.size} bytes that it had")
            try:
                stored = writer.commit(expected.sha256)
            except CorruptBlob:
                raise Unreachable(expected.url, f"has other bytes now: {writer.digest}") from None
        download.finish(msgspec.structs.replace(expected, size=stored.size))

    def _kept_headers(self, request: Request, url: str, incoming: Incoming) -> dict[str, str]:
        if request.method == "GET" and incoming.status == 200:
            with self._lock:
                if _hash(url) in self._page_files:
                    return FILE_HEADERS
        kept = {
            name: value for name, value in incoming.headers.items() if name in _KEPT and value.isprintable()
        }
        if request.method == "HEAD" and incoming.size is not None:
            kept["content-length"] = str(incoming.size)
        if _is_bare(incoming.status, request):
            kept.pop("content-type", None)
            kept.pop("content-encoding", None)
        if carries_secret(kept.get("link", "").partition(">")[0].lstrip("< ")):
            del kept["link"]
        return kept

    def _check_left(self, url: str, size: int) -> None:
        """No response, which may be one without an end, takes more than it leaves to all others."""
        left = os.statvfs(self.store.root)
        if size > left.f_bavail * left.f_frsize:
            raise RbuildError(
                f"a response of more than {size // 1_000_000} MB: it would fill the store",
                where=Where(url=url),
                hint="see whether it has an end; free some space, or set RBUILD_STORE to a folder with more",
            )

    def _check_open(self) -> None:
        if self._closed:
            raise RbuildError("interrupted")


def _is_bare(status: int, request: Request) -> bool:
    """Whether it is the headers of a response that count: of a redirect, and where a login is asked for."""
    return 300 <= status < 400 or (status == 401 and _is_recordable(status, request))


def _is_recordable(status: int, request: Request) -> bool:
    """Whether a response says something about the resource, not about who asks, how often, or the day.

    A 401 or 403 counts unless a login was refused: the one asks for a login, and object stores answer the
    other for what is not there.
    """
    if status in (401, 403):
        return "authorization" not in request.headers
    return status < 500 and status not in (407, 408, 425, 429)


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    named = _names(headers.get("connection", ""))
    return {
        name: value for name, value in headers.items() if name not in _NOT_FORWARDED and name not in named
    }


def _names(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


def _body_of(request: Request) -> str:
    return request.body.digest.hex if request.body else ""


def _hash(url: str) -> int:
    return hash(file_key(url))


def _stamp(file: BinaryIO) -> tuple[int, int, int]:
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_mtime_ns, status.st_size
