"""One registry's HTTP: certificates, proxies, one request at a time."""

from __future__ import annotations

import contextlib
import email.utils
import ipaddress
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit, urlunsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning, SSLError
from urllib3.util import Timeout

from rbuild import __version__
from rbuild.errors import RbuildError, Where
from rbuild.registry.patience import Limits, Transient

_DOCKER_HUB = "registry-1.docker.io"
_CONNECTIONS = 8  # to one host that are kept
_MAX_ERROR = 64 << 10  # bytes that are read of an error's body
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_BROKEN_OFF = re.compile(r"\bEOF\b|UNEXPECTED_EOF|reset by peer")  # the line, not the certificate
_NOT_TLS = re.compile("wrong version number|record layer failure|http request", re.IGNORECASE)


class Transport:
    """Sends requests to one registry, and to where it sends its callers. Threads may share it."""

    def __init__(self, host: str, *, insecure: bool, env: Mapping[str, str], limits: Limits) -> None:
        """`insecure`: any certificate will do, or none at all, as on loopback."""
        self.host = host
        self._address = _DOCKER_HUB if host == "docker.io" else host
        self._may_be_plain = insecure or is_loopback(host)
        self._timeout = Timeout(connect=limits.connect, read=limits.read)
        self._proxies = getproxies_environment()
        context = _trust(host, env)
        if insecure:
            urllib3.disable_warnings(InsecureRequestWarning)  # it was asked for
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._options: dict[str, Any] = {"ssl_context": context, "maxsize": _CONNECTIONS, "retries": False}
        self._direct = urllib3.PoolManager(**self._options)
        self._proxied: dict[str, urllib3.ProxyManager] = {}
        self._finding = threading.Lock()
        self._base: str | None = None

    @property
    def base(self) -> str:
        """The registry's URL; whether it speaks TLS is found out once."""
        with self._finding:
            if self._base is None:
                self._base = self._found()
            return self._base

    @property
    def is_plain(self) -> bool:
        return self.base.startswith("http:")

    def absolute(self, location: str) -> str:
        """Where a Location header leads, which may be relative.

        A registry behind a proxy that speaks TLS for it may not know that it does: its own address keeps
        its scheme. Raises RbuildError for an address elsewhere that has no TLS.
        """
        url = urlsplit(urljoin(self.base, location))
        own = urlsplit(self.base)
        if url.netloc == own.netloc:
            return urlunsplit(url._replace(scheme=own.scheme))
        if url.scheme != "https" and not self.is_plain:
            raise RbuildError(
                f"the registry sends to {url.netloc[:200]!r}, without TLS", where=Where(url=self.host)
            )
        return urlunsplit(url)

    def is_own(self, url: str) -> bool:
        """Whether a URL is the registry's own: nothing else gets its credentials."""
        return urlsplit(url)[:2] == urlsplit(self.base)[:2]

    def close(self) -> None:
        """Drop the connections that are not in use."""
        self._direct.clear()
        for manager in list(self._proxied.values()):
            manager.clear()

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | BinaryIO | Iterator[bytes] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request; the response's body is not read yet. Redirects are the caller's business.

        Raises Transient if nothing, or a passing failure, comes back; RbuildError for a certificate that is
        not trusted.
        """
        try:
            response = self._manager(url).request(
                method,
                url,
                headers={"User-Agent": f"rbuild/{__version__}", "Accept-Encoding": "identity", **headers},
                body=body,
                preload_content=False,
                decode_content=False,
                redirect=False,
                timeout=self._timeout,
            )
        except SSLError as error:
            if _BROKEN_OFF.search(str(error)):
                raise Transient(reason(error)) from error
            raise self._untrusted(error) from error
        except (HTTPError, OSError) as error:
            raise Transient(reason(error)) from error
        if response.status in _PASSING:
            after = _retry_after(response.headers.get("Retry-After"))
            said = f"HTTP {response.status}{message(response)}"
            raise Transient(said, after=after)
        return response

    def _found(self) -> str:
        secure = f"https://{self._address}"
        if not self._may_be_plain:
            return secure
        try:
            finish(self.send("GET", f"{secure}/v2/", {}))
        except RbuildError as error:
            if isinstance(error.__cause__, SSLError) and _NOT_TLS.search(str(error.__cause__)):
                return f"http://{self._address}"
            raise
        except Transient as failure:
            if _NOT_TLS.search(failure.reason):
                return f"http://{self._address}"
            raise
        return secure

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme)
        if not proxy or is_loopback(parts.netloc) or proxy_bypass_environment(parts.netloc, self._proxies):
            return self._direct
        return self._proxied.setdefault(proxy, urllib3.ProxyManager(proxy, **self._options))

    def _untrusted(self, error: SSLError) -> RbuildError:
        return RbuildError(
            f"the registry's certificate is not trusted: {reason(error)}",
            where=Where(url=self.host),
            hint=f"put its authority's certificate into ~/.config/containers/certs.d/{self.host}/ca.crt",
        )


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def reason(error: BaseException) -> str:
    """What went wrong on the way, in a line; urllib3 says its connection's address before it."""
    text = str(error).partition(": ")[2] if isinstance(error, HTTPError) else str(error)
    return (text or str(error) or type(error).__name__)[:300]


def body(response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
    """The rest of an answer, whose connection is then free; one byte more than `limit` if it is longer.

    Raises Transient for an answer that breaks off.
    """
    data = b""
    try:
        while len(data) <= limit and (piece := response.read(limit + 1 - len(data))):
            data += piece
    except (HTTPError, OSError) as error:
        response.close()
        raise Transient(reason(error)) from error
    if len(data) > limit:
        response.close()
    response.release_conn()
    return data


def finish(response: urllib3.BaseHTTPResponse) -> None:
    """Let go of an answer, the rest of which says nothing."""
    with contextlib.suppress(Transient):
        body(response, _MAX_ERROR)


def message(response: urllib3.BaseHTTPResponse) -> str:
    """What a registry says of a failure, after a colon and in one line; nothing if it says nothing.

    Source: OCI distribution specification, "Error Codes".
    """
    try:
        errors = json.loads(body(response, _MAX_ERROR))["errors"]
        said = [str(one.get("message") or one.get("code")) for one in errors[:3]]
    except (Transient, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    line = "; ".join("".join(char if char.isprintable() else " " for char in one) for one in said)
    return f": {line[:300]}" if line else ""


def _retry_after(value: str | None) -> float | None:
    """Seconds, from RFC 9110's two forms of Retry-After."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _trust(host: str, env: Mapping[str, str]) -> ssl.SSLContext:
    """The host's trust store, and what containers-certs.d(5) adds for one registry."""
    context = ssl.create_default_context()
    home = Path(env.get("HOME", "/nonexistent"))
    roots = [Path(env.get("XDG_CONFIG_HOME") or home / ".config", "containers"), Path("/etc/containers")]
    for folder in (root / "certs.d" / host for root in [*roots, Path("/etc/docker")]):
        for certificate in sorted(folder.glob("*.crt")) if folder.is_dir() else ():
            try:
                context.load_verify_locations(certificate)
            except (OSError, ssl.SSLError) as error:
                raise RbuildError(
                    f"not a certificate that can be read: {error}", where=Where(file=str(certificate))
                ) from error
    return context
