"""Secrets in text: formats that their makers publish, names that say it, and values that look like chance.

What is found is named by its kind and place: neither a secret nor a part of it is in anything given back.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ahocorasick_rs import BytesAhoCorasick

SECRET_FIX = (
    "keep it out: RUN --mount=type=secret, and secrets in rbuild.yaml; then change it where it is valid"
)

_HIDDEN = "[hidden]"
_START, _END = r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_])"


@dataclass(frozen=True, slots=True)
class _Format:
    """`anchors` are what every text with such a secret has in it: quick to look for."""

    kind: str
    anchors: tuple[bytes, ...]
    pattern: re.Pattern[bytes]


def _format(kind: str, *anchors: str, pattern: str) -> _Format:
    return _Format(kind, tuple(one.encode() for one in anchors), re.compile(pattern.encode()))


# All of them bounded: they are searched in what strangers wrote.
_FORMATS = (
    _format("an AWS access key", "AKIA", "ASIA", pattern=rf"{_START}A[KS]IA[A-Z2-7]{{16}}{_END}"),
    _format(
        "a GitHub token",
        *("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
        pattern=rf"{_START}gh[pousr]_[A-Za-z0-9]{{36,251}}{_END}",
    ),
    _format(
        "a GitHub token",
        "github_pat_",
        pattern=rf"{_START}github_pat_[A-Za-z0-9]{{22}}_[A-Za-z0-9]{{59}}{_END}",
    ),
    _format("a GitLab token", "glpat-", "glrt-", pattern=rf"{_START}gl(?:pat|rt)-[A-Za-z0-9_.-]{{20,300}}"),
    _format(
        "a Slack token",
        "xox",
        pattern=rf"{_START}xox[abeoprs]-(?=[A-Za-z-]{{0,20}}[0-9])[A-Za-z0-9-]{{20,255}}",
    ),
    _format(
        "a Slack webhook",
        "hooks.slack.com/services/T",
        pattern=r"hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,30}",
    ),
    _format("an npm token", "npm_", pattern=rf"{_START}npm_[A-Za-z0-9]{{36}}{_END}"),
    _format("a PyPI token", "pypi-AgE", pattern=rf"{_START}pypi-AgE[A-Za-z0-9_-]{{50,1000}}"),
    _format("a Google API key", "AIza", pattern=rf"{_START}AIza[A-Za-z0-9_-]{{35}}(?![A-Za-z0-9_-])"),
    _format("a Stripe key", "k_live_", pattern=rf"{_START}[rs]k_live_[A-Za-z0-9]{{16,250}}{_END}"),
    _format(
        "an Anthropic key", "sk-ant-", pattern=rf"{_START}sk-ant-[a-z0-9]{{2,20}}-[A-Za-z0-9_-]{{40,300}}"
    ),
    _format(
        "an OpenAI key",
        "T3BlbkFJ",
        pattern=rf"{_START}sk-[A-Za-z0-9_-]{{20,160}}T3BlbkFJ[A-Za-z0-9_-]{{20,160}}",
    ),
    _format("a Hugging Face token", "hf_", pattern=rf"{_START}hf_[A-Za-z0-9]{{34,40}}{_END}"),
    _format("a Docker Hub token", "dckr_pat_", pattern=rf"{_START}dckr_pat_[A-Za-z0-9_-]{{27,60}}"),
    _format("a DigitalOcean token", "dop_v1_", pattern=rf"{_START}dop_v1_[a-f0-9]{{64}}{_END}"),
    _format(
        "a SendGrid key",
        "SG.",
        pattern=rf"{_START}SG\.[A-Za-z0-9_-]{{22}}\.[A-Za-z0-9_-]{{43}}(?![A-Za-z0-9_-])",
    ),
    _format("a Vault token", "hvs.", pattern=rf"{_START}hvs\.[A-Za-z0-9_-]{{24,300}}"),
    _format("an Azure storage key", "AccountKey=", pattern=r"AccountKey=[A-Za-z0-9+/]{86}=="),
    _format(
        "a JSON web token",
        ".eyJ",
        pattern=_START + r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}",
    ),
    _format(
        "a private key",
        "PRIVATE KEY",
        pattern=r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        # What a string in a program, a YAML or a JSON file may have between the lines.
        r"(?:\\[rn]|[\s\"'+,\\|]){1,20}"
        r"(?:[A-Za-z-]{1,40}: [^\r\n]{0,200}(?:\\[rn]|\s){1,8}){0,4}"
        r"[A-Za-z0-9+/]{40}",
    ),
)
_ANCHORS = tuple((anchor, one) for one in _FORMATS for anchor in one.anchors)
_EXAMPLES = (b"EXAMPLE", b"eyJzdWIiOiIxMjM0NTY3ODkw")  # in AWS's manual, and of jwt.io
_FEW = 8  # different characters; with fewer it is a placeholder: ghp_xxxxxxxx

_SECRET_NAME = re.compile(
    r"(?:.*(?:password|passwd)|(?:.*[_.-])?(?:passphrase|pwd|secret|token|credentials?|"
    r"(?:api|access|secret|private|auth|encryption|signing|master|account|license)[_.-]?key))"
    r"(?:[_.-]?(?:value|base64|b64|raw|plain|\d{1,3}))?\Z",
    re.IGNORECASE | re.DOTALL,
)
_SHELL_NAMES = frozenset({"PWD", "OLDPWD"})
_PLACEHOLDER = re.compile(
    r"\s*(?:|[<{\[(].*|.*(?:\$|\{\{|<).*|none|null|nil|undefined|true|false|yes|no|0|1|\*+|x+|\.+|"
    r".{0,20}(?:change[_-]?me|replace[_-]?me|place[_-]?holder|your[_-]|example|dummy|redacted|to[_-]?be[_-]?set"
    r"|not[_-]?set|unset).{0,40}|"
    r"(?:file:)?~?/[^:@]*)\s*\Z",
    re.IGNORECASE | re.DOTALL,
)
_URL_PASSWORD = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/@\"'$<{]{0,100}:(?P<password>[^\s:/@\"'$<{]{3,200})@[A-Za-z0-9\[]"
)
_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{24,400}")
_HASH_NAME = re.compile(
    r"sha\d*|md5|hash|digest|checksum|integrity|commit|revision|fingerprint|gpg|etag|build[_-]?id|uuid|version"
    r"|public|pubkey|nonce|cert",
    re.IGNORECASE,
)
_HEX = re.compile(r"[0-9a-fA-F-]+\Z")
_PAIR = re.compile(
    r"""(?P<name>[A-Za-z_][\w.-]{1,80})(?P<sign>["']?\s{0,4}[=:]\s{0,4}["']?)(?P<value>[^\s"',;]+)"""
)


@dataclass(frozen=True, slots=True)
class Secret:
    """That a text has a secret from `start` to `end`, and of what kind: `a GitHub token`."""

    kind: str
    start: int
    end: int


def known_secrets(data: bytes) -> Iterator[Secret]:
    """Secrets of known formats, each once; placeholders and the examples of manuals are none."""
    met = {at for at, _, _ in _finder().find_matches_as_indexes(data)}
    for one in dict.fromkeys(_ANCHORS[at][1] for at in sorted(met)):
        for match in one.pattern.finditer(data):
            text = match[0]
            if len(set(text[-32:])) > _FEW and not any(example in text for example in _EXAMPLES):
                yield Secret(one.kind, match.start(), match.end())


@cache
def _finder() -> BytesAhoCorasick:
    """Finds all anchors at once, at 2 GB/s; one after the other they would take 25 times as long."""
    from ahocorasick_rs import BytesAhoCorasick, MatchKind  # only where something is looked at

    return BytesAhoCorasick([anchor for anchor, _ in _ANCHORS], matchkind=MatchKind.LeftmostFirst)


def is_secret_name(name: str) -> bool:
    """Whether a variable of that name holds a secret: DB_PASSWORD does, TOKEN_LIMIT does not."""
    return name not in _SHELL_NAMES and _SECRET_NAME.match(name[-200:]) is not None


def is_literal(value: str) -> bool:
    """Whether a value can be the secret itself: no reference to a variable, no path, no placeholder."""
    return _PLACEHOLDER.match(value[:500]) is None


def has_password(value: str) -> bool:
    """Whether there is a URL in it with a password."""
    return any(is_literal(match["password"]) for match in _URL_PASSWORD.finditer(value))


def looks_random(name: str, value: str) -> bool:
    """Whether a variable's value looks like chance, and not like a digest, a path or words."""
    if _HASH_NAME.search(name[:200]):
        return False
    return any(_is_random(match[0]) for match in _TOKEN.finditer(value[:10_000]))


def is_strong(value: str) -> bool:
    """Whether the value of something that is called a secret can be a real one, and is no word or name."""
    letters, digits = sum(map(str.isalpha, value)), sum(map(str.isdigit, value))
    return len(value) >= 16 and letters >= 2 and digits >= 2 and _entropy(value) >= 3.5


def masked(text: str) -> str:
    """A line as it may be shown: what looks like a secret in it is replaced."""
    data = text.encode("utf-8", "surrogateescape")
    hidden = _HIDDEN.encode()
    for one in sorted(known_secrets(data), key=lambda found: found.start, reverse=True):
        data = data[: one.start] + hidden + data[one.end :]
    text = data.decode("utf-8", "surrogateescape")
    text = _URL_PASSWORD.sub(lambda match: match[0].replace(f":{match['password']}@", f":{_HIDDEN}@"), text)
    text = _PAIR.sub(_masked_pair, text)
    return _TOKEN.sub(lambda match: _HIDDEN if _is_random(match[0]) else match[0], text)


def _masked_pair(match: re.Match[str]) -> str:
    if is_secret_name(match["name"]) and is_literal(match["value"]):
        return f"{match['name']}{match['sign']}{_HIDDEN}"
    return match[0]


def _is_random(token: str) -> bool:
    if _HEX.match(token) or token.startswith(("sha256-", "sha384-", "sha512-", "sha1-")):
        return False
    if token.count("/") > 3 and "+" not in token:
        return False  # a path
    kinds = [sum(map(test, token)) for test in (str.isupper, str.islower, str.isdigit)]
    return min(kinds) >= 3 and _entropy(token) >= 4.0


def _entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
