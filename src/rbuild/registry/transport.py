"""One registry's HTTP: certificates, proxies, one request at a time."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from rbuild import __version__
from rbuild.errors import RbuildError, Where
from rbuild.registry.connections import BROKEN, Connections, Part, Response, reason
from rbuild.registry.patience import Limits, Transient

_DOCKER_HUB = "registry-1.docker.io"
_MAX_ERROR = 64 << 10  # bytes that are read of an error's body
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_BROKEN_OFF = re.compile(r"\bEOF\b|UNEXPECTED_EOF|reset by peer")  # the line, not the certificate
_NO_SPACE = re.compile(rb'"Err":28\b|no space left on device')
_NOT_TLS = re.compile("wrong version number|record layer failure|http request", re.IGNORECASE)


class Transport:
    """Sends requests to one registry, and to where it sends its callers. Threads may share it."""

    def __init__(self, host: str, *, insecure: bool, env: Mapping[str, str], limits: Limits) -> None:
        """`insecure`: any certificate will do, or none at all, as on loopback."""
        self.host = host
        self._address = _DOCKER_HUB if host == "docker.io" else host
        self._is_loopback = is_loopback(host)
        self._insecure = insecure
        self._env = env
        self._connections = Connections(limits, self._context, self._proxy)
        self._finding = threading.Lock()
        self._trusting = threading.Lock()
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
        self._connections.close()

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Part | None = None,
    ) -> Response:
        """Send one request; the response's body is not read yet. Redirects are the caller's business.

        Raises Transient if nothing, or a passing failure, comes back; RbuildError for a certificate that is
        not trusted.
        """
        sent = {"User-Agent": f"rbuild/{__version__}", "Accept-Encoding": "identity", **headers}
        try:
            response = self._connections.request(method, url, sent, body)
        except ssl.SSLError as error:
            if _BROKEN_OFF.search(str(error)):
                raise Transient(reason(error)) from error
            raise self._untrusted(error) from error
        except BROKEN as error:
            raise Transient(reason(error)) from error
        if response.status in _PASSING:
            after = _retry_after(response.headers.get("Retry-After"))
            said = f"HTTP {response.status}{message(response)}"
            raise Transient(said, after=after)
        return response

    def _found(self) -> str:
        secure, plain = f"https://{self._address}", f"http://{self._address}"
        if self._is_loopback:
            # In the clear first: it says nothing yet, and to look for TLS takes the host's authorities, which
            # are most of what pushing nothing would cost.
            return plain if self._answers_in_the_clear(plain) else secure
        if not self._insecure:
            return secure
        try:
            finish(self.send("GET", f"{secure}/v2/", {}))
        except RbuildError as error:
            if isinstance(error.__cause__, ssl.SSLError) and _NOT_TLS.search(str(error.__cause__)):
                return plain
            raise
        except Transient as failure:
            if _NOT_TLS.search(failure.reason):
                return plain
            raise
        return secure

    def _answers_in_the_clear(self, plain: str) -> bool:
        try:
            response = self.send("GET", f"{plain}/v2/", {})
        except Transient as failure:
            if isinstance(failure.__cause__, ConnectionRefusedError | TimeoutError | None):
                raise
            return False
        finish(response)
        return response.status != 400  # what servers say that wanted TLS

    def _proxy(self, url: SplitResult) -> str | None:
        if is_loopback(url.netloc):
            return None
        from urllib.request import (  # type: ignore[attr-defined]
            getproxies_environment,
            proxy_bypass_environment,
        )

        proxies: dict[str, str] = getproxies_environment()
        proxy = proxies.get(url.scheme)
        if not proxy or proxy_bypass_environment(url.netloc, proxies):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"

    def _context(self) -> ssl.SSLContext:
        with self._trusting:
            return self._trust

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        context = _trust(self.host, self._env)
        if self._insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _untrusted(self, error: ssl.SSLError) -> RbuildError:
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
    import ipaddress

    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def body(response: Response, limit: int) -> bytes:
    """The rest of an answer, whose connection is then free; one byte more than `limit` if it is longer.

    Raises Transient for an answer that breaks off.
    """
    data = b""
    try:
        while len(data) <= limit and (piece := response.read(limit + 1 - len(data))):
            data += piece
    except BROKEN as error:
        response.close()
        raise Transient(reason(error)) from error
    response.close()
    return data


def finish(response: Response) -> None:
    """Let go of an answer, the rest of which says nothing."""
    with contextlib.suppress(Transient):
        body(response, _MAX_ERROR)


def message(response: Response) -> str:
    """What a registry says of a failure, after a colon and in one line; nothing if it says nothing.

    Source: OCI distribution specification, "Error Codes".
    """
    try:
        data = body(response, _MAX_ERROR)
        errors = json.loads(data)["errors"]
        said = [str(one.get("message") or one.get("code")) for one in errors[:3]]
    except (Transient, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    if _NO_SPACE.search(data):  # "unknown error" is all that docker-registry says of it
        said.append("no space left on device")
    line = "; ".join("".join(char if char.isprintable() else " " for char in one) for one in said)
    return f": {line[:300]}" if line else ""


def _retry_after(value: str | None) -> float | None:
    """Seconds, from RFC 9110's two forms of Retry-After."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    import email.utils
    import time

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
