"""Getting past a registry's 401: Basic, and tokens of its authorization service.

Sources: distribution specification, "Authorization"; Docker's "Token Authentication Specification" and
"OAuth 2.0 Token".
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from rbuild.errors import RbuildError, Where
from rbuild.registry.credentials import Credentials
from rbuild.registry.patience import Patience
from rbuild.registry.transport import Transport, body, finish, message

_MAX_TOKEN = 1 << 20
_LIFETIME = 60  # seconds, where the service does not say it
_EARLY = 10  # seconds before its end that a token is not used any more
_PARAMETER = re.compile(r'([a-zA-Z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_CLIENT = "rbuild"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry asks for: the scheme in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, header: str) -> Challenge:
        scheme, _, rest = header.strip().partition(" ")
        found = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(rest[:4096])}
        return cls(scheme.lower(), found)


@dataclass(slots=True)
class _Token:
    header: str
    until: float


class Authorizer:
    """Answers the challenges of one registry; tokens are kept by what they allow, while they last."""

    def __init__(
        self, transport: Transport, patience: Patience, credentials: Callable[[str], Credentials | None]
    ) -> None:
        """`credentials` gives those for a repository."""
        self._transport = transport
        self._patience = patience
        self._credentials = credentials
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._lock = threading.Lock()

    def header(self, scopes: tuple[str, ...]) -> str | None:
        """The value of the Authorization header for requests within `scopes`; None: none was asked for."""
        with self._lock:
            token = self._tokens.get(scopes)
            if token is not None and time.monotonic() < token.until:
                return token.header
            return self._obtain(self._challenge, scopes) if self._challenge else None

    def challenged(self, header: str | None, scopes: tuple[str, ...], refused: str | None) -> str | None:
        """Answer a 401 to a request that had the header `refused`; None: there is nothing to answer with.

        Raises RbuildError for a challenge that rbuild does not know or does not trust with credentials.
        """
        if header is None:
            return None
        with self._lock:
            self._challenge = Challenge.parse(header)
            known = self._tokens.get(scopes)
            if known is not None and known.header != refused:
                return known.header  # another thread was faster
            self._tokens.pop(scopes, None)
            return self._obtain(self._challenge, scopes)

    def _obtain(self, challenge: Challenge, scopes: tuple[str, ...]) -> str | None:
        repository = scopes[0].split(":")[1] if scopes else ""
        credentials = self._credentials(repository)
        if challenge.scheme == "basic":
            if credentials is None or not credentials.username:
                return None
            self._tokens[scopes] = _Token(_basic(credentials), float("inf"))
        elif challenge.scheme == "bearer":
            answer = self._patience.persist(lambda: self._ask(challenge, scopes, credentials))
            if answer is None:
                return None
            token = answer.get("token") or answer.get("access_token")
            if not isinstance(token, str) or not token.isascii() or not token.isprintable():
                raise self._error("its authorization service did not give a token")
            lasts = answer.get("expires_in")
            seconds = lasts if isinstance(lasts, int) and lasts > 0 else _LIFETIME
            self._tokens[scopes] = _Token(f"Bearer {token}", time.monotonic() + max(seconds - _EARLY, 1))
        else:
            raise self._error(
                f"it asks for a kind of login that rbuild does not know: {challenge.scheme[:40]!r}"
            )
        return self._tokens[scopes].header

    def _ask(
        self, challenge: Challenge, scopes: tuple[str, ...], credentials: Credentials | None
    ) -> dict[str, Any] | None:
        realm = challenge.parameters.get("realm", "")
        self._check(realm)
        asked = [("service", challenge.parameters.get("service", "")), *(("scope", one) for one in scopes)]
        if credentials and credentials.identity_token:
            form = urlencode(
                [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", credentials.identity_token),
                    ("client_id", _CLIENT),
                    asked[0],
                    ("scope", " ".join(scopes)),
                ]
            )
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._transport.send("POST", realm, headers, form.encode())
        else:
            headers = {"Authorization": _basic(credentials)} if credentials else {}
            joint = "&" if urlsplit(realm).query else "?"
            response = self._transport.send("GET", f"{realm}{joint}{urlencode(asked)}", headers)
        if response.status in (400, 401, 403, 404, 405):
            finish(response)
            return None
        if response.status != 200:
            raise self._error(f"its authorization service answered HTTP {response.status}{message(response)}")
        data = body(response, _MAX_TOKEN)
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._error("its authorization service did not answer with JSON")
        return answer

    def _check(self, realm: str) -> None:
        """Credentials go where the registry says, but never in the clear to anywhere else than it itself."""
        parts = urlsplit(realm)
        own = urlsplit(self._transport.base)
        secure = parts.scheme == "https" and parts.hostname
        same = (parts.scheme, parts.hostname) == (own.scheme, own.hostname)
        if not (secure or same):
            raise self._error(f"it wants credentials sent to {realm[:200]!r}, which is no https address")

    def _error(self, what: str) -> RbuildError:
        host = self._transport.host
        return RbuildError(f"cannot log in to {host}: {what}", where=Where(url=host))


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
