"""The network as the host has it: its trust store, its proxies; with bounded patience."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, SSLError
from urllib3.util import SKIP_HEADER, Timeout

from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.sealed.urls import carries_secret, printable_url, recorded_url
from rbuild.store import Blob, CorruptBlob, Store

CHUNK = 256 << 10
_MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, in seconds, and how often to try; back-off doubles, with jitter, up to `longest`."""

    tries: int = 4
    connect: float = 10
    read: float = 60
    backoff: float = 0.5
    longest: float = 20


class Unreachable(RbuildError):
    """A URL did not answer, or not to the end, however often it was asked."""

    def __init__(self, url: str, why: str) -> None:
        named = printable_url(url)
        super().__init__(why, where=Where(url=named), hint="check the network and the proxy settings")
        self.url = named
        self.why = why


class _LocalAddress(Exception):
    """A build tried to reach what only this host should."""


class Incoming:
    """A response: status, headers (names in lower case), and once, its body, as it was sent.

    A body that breaks off is asked for again from its start; what was handed out already is compared, and
    not handed out twice. So `chunks` gives one whole body, or raises Unreachable.
    """

    def __init__(
        self, url: str, response: urllib3.BaseHTTPResponse, again: Callable[[], Any], patience: Patience
    ) -> None:
        self._url = url
        self._response = response
        self._again = again
        self._patience = patience
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    @property
    def size(self) -> int | None:
        """The size of the body in bytes, where the sender has said it."""
        length = self.headers.get("content-length", "")
        return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None

    def chunks(self) -> Iterator[bytes]:
        given, size = hashlib.sha256(), 0
        for attempt in range(1, self._patience.tries + 1):
            repeated, again = hashlib.sha256(), size
            try:
                while chunk := self._response.read1(CHUNK, decode_content=False):
                    if again:
                        part, chunk = chunk[:again], chunk[again:]
                        repeated.update(part)
                        again -= len(part)
                        if not again and repeated.digest() != given.digest():
                            raise Unreachable(self._url, "broke off, and began differently when asked again")
                    if chunk:
                        given.update(chunk)
                        size += len(chunk)
                        yield chunk
                if again:
                    raise Unreachable(self._url, "broke off, and was shorter when asked again")
                return
            except (HTTPError, OSError) as error:
                if attempt == self._patience.tries:
                    raise Unreachable(self._url, f"broke off {attempt} times: {_reason(error)}") from error
            finally:
                self.close()
            _pause(self._patience, attempt)
            self._response = self._again()
            if self._response.status != self.status:
                status = self._response.status
                self.close()
                raise Unreachable(self._url, f"broke off, and answered {status} when asked again")

    def close(self) -> None:
        self._response.close()
        self._response.release_conn()


class Upstream:
    """Sends requests to the network, through the proxies that the environment names.

    `proxies` is as `urllib.request.getproxies_environment` returns it. Unless `local`, what a build asks for
    must not be an address that only this host can reach: its loopback, or a link-local service.
    """

    def __init__(
        self, proxies: Mapping[str, str], *, patience: Patience | None = None, local: bool = False
    ) -> None:
        self._proxies = dict(proxies)
        self._patience = patience or Patience()
        self._trust = ssl.create_default_context()
        self._direct = urllib3.PoolManager(ssl_context=self._trust, maxsize=8)
        if not local:
            self._direct.pool_classes_by_scheme = {"http": _PublicPool, "https": _PublicTLSPool}
        self._through: dict[str, urllib3.ProxyManager] = {}

    def receive(
        self, method: str, url: str, headers: Mapping[str, str], body: BinaryIO | None = None
    ) -> Incoming:
        """Send a request, again if need be, and return the response as soon as it begins.

        `body` is seekable and is sent whole. A redirect whose target has a secret in it is followed, others
        are returned. A 5xx or 429 that stays is returned as well. Raises Unreachable.
        """

        def ask() -> urllib3.BaseHTTPResponse:
            return self._patiently(method, url, headers, body)

        return Incoming(url, ask(), ask, self._patience)

    def close(self) -> None:
        for manager in (self._direct, *self._through.values()):
            manager.clear()

    def _patiently(
        self, method: str, url: str, headers: Mapping[str, str], body: BinaryIO | None
    ) -> urllib3.BaseHTTPResponse:
        for attempt in range(1, self._patience.tries + 1):
            last = attempt == self._patience.tries
            try:
                response = self._followed(method, url, headers, body)
            except _LocalAddress as error:
                raise Unreachable(url, str(error)) from error
            except (HTTPError, OSError) as error:
                if last or _is_distrust(error):
                    raise Unreachable(url, f"no answer ({attempt} tries): {_reason(error)}") from error
                _pause(self._patience, attempt)
            else:
                if last or not (response.status == 429 or response.status >= 500):
                    return response
                asked = response.headers.get("retry-after", "")
                response.close()
                _pause(self._patience, attempt, asked)
        raise AssertionError("the last try returns or raises")

    def _followed(
        self, method: str, url: str, headers: Mapping[str, str], body: BinaryIO | None
    ) -> urllib3.BaseHTTPResponse:
        for _ in range(_MAX_REDIRECTS):
            response = self._send(method, url, headers, body)
            target = response.headers.get("location")
            if response.status not in _REDIRECTS or target is None:
                return response
            try:
                if not carries_secret(target):
                    return response
                target = urljoin(url, target)
            except ValueError as error:
                response.close()
                raise HTTPError(f"a redirect to what is no URL: {target[:200]!r}") from error
            response.close()
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                private = ("authorization", "cookie")
                headers = {name: value for name, value in headers.items() if name not in private}
            if response.status == 303 or (response.status in (301, 302) and method == "POST"):
                method, body = ("HEAD" if method == "HEAD" else "GET"), None
                headers = {name: value for name, value in headers.items() if name != "content-type"}
            url = target
        raise HTTPError(f"more than {_MAX_REDIRECTS} redirects")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: BinaryIO | None
    ) -> urllib3.BaseHTTPResponse:
        sent: dict[str, Any] = {"user-agent": SKIP_HEADER, **headers, "accept-encoding": "identity"}
        if body is not None:
            sent["content-length"] = str(body.seek(0, 2))
            body.seek(0)
        return self._manager(url).urlopen(
            method,
            url,
            body=body,
            headers=sent,
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
            timeout=Timeout(connect=self._patience.connect, read=self._patience.read),
        )

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if not proxy or proxy_bypass_environment(parts.netloc.rpartition("@")[2], self._proxies):
            return self._direct
        if proxy not in self._through:
            named = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            login = None
            if named.username:
                login = urllib3.make_headers(proxy_basic_auth=f"{named.username}:{named.password or ''}")
            self._through[proxy] = urllib3.ProxyManager(
                named._replace(netloc=named.netloc.rpartition("@")[2]).geturl(),
                proxy_headers=login,
                ssl_context=self._trust,
                proxy_ssl_context=self._trust,
                maxsize=8,
            )
        return self._through[proxy]


def fetch(
    url: str,
    *,
    sha256: Digest,
    size: int,
    store: Store,
    upstream: Upstream,
    on_progress: Callable[[int], None] | None = None,
) -> Blob:
    """Bring what `url` has into the store, unless it is there; redirects are followed.

    `on_progress` is told how many bytes have come. Raises Unreachable, or RbuildError if the bytes are not
    those of `sha256` and `size`.
    """
    if store.has(sha256, size):
        return Blob(sha256, size)
    incoming = _final(upstream, url)
    with contextlib.closing(incoming), store.writer() as writer:
        for chunk in incoming.chunks():
            writer.write(chunk)
            if writer.size > size:
                raise RbuildError(f"more than the {size} bytes that are expected", where=Where(url=url))
            if on_progress is not None:
                on_progress(writer.size)
        try:
            return writer.commit(sha256)
        except CorruptBlob:
            found = f"{writer.digest} ({writer.size} bytes)"
            raise RbuildError(
                f"not the bytes that are expected, but {found}", where=Where(url=url, digest=str(sha256))
            ) from None


def _final(upstream: Upstream, url: str) -> Incoming:
    address = url
    for _ in range(_MAX_REDIRECTS):
        incoming = upstream.receive("GET", address, {"user-agent": "rbuild"})
        if incoming.status == 200:
            return incoming
        incoming.close()
        if incoming.status not in _REDIRECTS or "location" not in incoming.headers:
            raise Unreachable(url, f"answered {incoming.status}")
        location = incoming.headers["location"]
        try:
            address = urljoin(address, location)
            recorded_url(address)  # checks it
        except ValueError:
            raise Unreachable(url, f"leads to what is no http or https URL: {location[:200]!r}") from None
    raise Unreachable(url, f"more than {_MAX_REDIRECTS} redirects")


def _pause(patience: Patience, attempt: int, asked: str = "") -> None:
    """Wait before the next try: as long as the server asked for, else twice as long as the last time."""
    seconds = patience.backoff * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
    if asked.isascii() and asked.isdigit():
        seconds = max(seconds, float(asked))
    time.sleep(min(seconds, patience.longest))


def _is_distrust(error: BaseException) -> bool:
    """A certificate that is not trusted will not be trusted in a second either."""
    return isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def _reason(error: BaseException) -> str:
    text = str(error).partition(": ")[2] if isinstance(error, HTTPError) else str(error)
    return f"{type(error).__name__}: {text or error}"[:300]


def _refuse_local(connection: HTTPConnection) -> None:
    if connection.proxy is not None or connection.sock is None:
        return
    address = ipaddress.ip_address(connection.sock.getpeername()[0].partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        connection.close()
        raise _LocalAddress(f"{address} is this host itself, which a build may not reach")


class _PublicConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _refuse_local(self)


class _PublicTLSConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _refuse_local(self)


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicTLSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicTLSConnection
