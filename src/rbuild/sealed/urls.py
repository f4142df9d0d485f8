"""URLs as a recording has them: one spelling each, and no secret in them."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9._-]+\Z|[0-9a-f:.]+\Z")

# Any of these in the query of a redirect may let whoever reads it in.
_SECRET = frozenset(
    {
        *("access_token", "auth", "awsaccesskeyid", "jwt", "key-pair-id", "se", "sig", "signature", "sp"),
        *("sv", "token", "x-amz-credential", "x-amz-security-token", "x-amz-signature"),
        *("x-goog-credential", "x-goog-signature"),
    }
)
# What the object stores sign URLs with: one of these names makes a URL a signed one …
_SIGNATURES = frozenset({"sig", "signature", "x-amz-signature", "x-goog-signature"})
# … and these, with all of x-amz-* and x-goog-*, are then the signature's and not the object's.
_SIGNED_WITH = frozenset(
    {
        *("awsaccesskeyid", "expires", "googleaccessid", "jwt", "key-pair-id", "policy", "se", "sig"),
        *("signature", "ske", "skoid", "sks", "skt", "sktid", "skv", "sp", "spr", "sr", "st", "sv"),
    }
)


def recorded_url(url: str) -> str:
    """The name of `url` in a recording.

    No fragment, no user, no default port, no signature of an object store; scheme and host in lower case.
    Raises ValueError for what is not an http or https URL with a host.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme not in _PORTS or not _HOST.match(host):
        raise ValueError(f"not an http or https URL: {url[:200]!r}")
    if ":" in host:
        host = f"[{host}]"
    if parts.port is not None and parts.port != _PORTS[parts.scheme]:
        host += f":{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path or "/", _without_signature(parts.query), ""))


def printable_url(url: str) -> str:
    """`url` for a message: as in a recording or, where it is no URL at all, without what may be secret."""
    try:
        return recorded_url(url)
    except ValueError:
        return url.partition("?")[0].rpartition("@")[2][:500]


def carries_secret(url: str) -> bool:
    """Whether `url`, which may be relative, has a user, a signature or a token in it."""
    parts = urlsplit(url)
    return "@" in parts.netloc or not _SECRET.isdisjoint(_names(parts.query))


def _without_signature(query: str) -> str:
    if _SIGNATURES.isdisjoint(_names(query)):
        return query
    kept = []
    for parameter in query.split("&"):
        name = unquote(parameter.partition("=")[0]).lower()
        if name not in _SIGNED_WITH and not name.startswith(("x-amz-", "x-goog-")):
            kept.append(parameter)
    return "&".join(kept)


def _names(query: str) -> set[str]:
    return {name.lower() for name, _ in parse_qsl(query, keep_blank_values=True)}
