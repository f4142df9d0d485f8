"""Files that everyone knows, by their paths and by the instruction that made them.

Each rule takes the evidence, and gives what showed its cause as a sentence, or None.
"""

from __future__ import annotations

import re

from rbuild.compare.causes.tokens import common_start
from rbuild.compare.causes.wording import quoted, values
from rbuild.compare.evidence import Evidence
from rbuild.compare.model import Change

_GIT = re.compile(rb"(?:.*/)?\.git(?:/.*)?", re.DOTALL)
_LEFTOVERS = re.compile(
    rb"var/log/(?:apt|dnf|yum|zypp|pacman|installer|unattended-upgrades)(?:/.+|\.log|\.rpm\.log|\.librepo\.log)?"
    rb"|var/log/(?:dpkg|alternatives|bootstrap|fontconfig|hawkey|apk)\.log"
    rb"|var/cache/(?:apt|apk|dnf|yum|zypp|pacman|libdnf5?)/.+"
    rb"|var/cache/(?:ldconfig/aux-cache|debconf/[^/]+-old|man/.+|fontconfig/.+)"
    rb"|var/lib/(?:apt/lists/.+|apt/extended_states|dpkg/[^/]+-old|dnf/history\.[^/]+)"
    rb"|(?:.*/)?\.cache/(?:pip|uv|pypoetry|pnpm|yarn|go-build|composer|node-gyp)(?:/.*)?"
    rb"|(?:.*/)?\.npm/(?:_cacache|_logs)(?:/.*)?|(?:.*/)?\.npm/_update-notifier-last-checked"
    rb"|(?:.*/)?\.cargo/(?:registry/(?:cache|index)/.*|\.package-cache.*|\.global-cache)"
    rb"|(?:.*/)?(?:conda|miniconda3?|micromamba)/pkgs/(?:cache/.*|urls(?:\.txt)?)",
    re.DOTALL,
)
_MACHINE_ID = re.compile(rb"etc/machine-id|var/lib/dbus/machine-id")
_IDENTITY = re.compile(rb"(?:[0-9a-f]{32})?\n?|uninitialized\n?")
_SSH_HOST_KEY = re.compile(
    rb"etc/(?:ssh/ssh_host_[a-z0-9]+_key(?:\.pub)?|dropbear/dropbear_[a-z0-9]+_host_key)"
)
# A file of the context was not made by the build.
_COPIED = re.compile(r"(?:.*#\(nop\)\s+)?(?:COPY|ADD)\b", re.IGNORECASE)


def git_metadata(evidence: Evidence) -> str | None:
    """Whatever lies in a .git folder."""
    return "it lies in a .git folder" if _GIT.fullmatch(evidence.path) else None


def package_leftovers(evidence: Evidence) -> str | None:
    """Logs and caches of package managers."""
    if _LEFTOVERS.fullmatch(evidence.path) is None:
        return None
    kind = "log" if evidence.path.startswith(b"var/log/") or b"/_logs" in evidence.path else "cache"
    return f"/{quoted(evidence.path)} is a package manager's {kind}"


def machine_id(evidence: Evidence) -> str | None:
    """The identity of a machine."""
    if not _MACHINE_ID.fullmatch(evidence.path):
        return None
    if not (_IDENTITY.fullmatch(evidence.a) and _IDENTITY.fullmatch(evidence.b)):
        return None
    return f"the identity is {values(evidence.a.strip(), evidence.b.strip())}"


def ssh_host_keys(evidence: Evidence) -> str | None:
    """The keys of an SSH server."""
    if not _SSH_HOST_KEY.fullmatch(evidence.path) or _COPIED.match(evidence.instruction):
        return None
    return f"/{quoted(evidence.path)} is a host key"


_BEGIN = re.compile(rb"-----BEGIN ((?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY|DH PARAMETERS)-----")


def generated_key(evidence: Evidence) -> str | None:
    """A private key in PEM, but for one that was copied from the context."""
    if evidence.change is not Change.CHANGED or _COPIED.match(evidence.instruction):
        return None
    a, b = evidence.a, evidence.b
    common = a[: common_start(a, b)]
    begin = common.rfind(b"-----BEGIN ")
    match = _BEGIN.match(common, begin) if begin >= 0 else None
    if match is None or b"-----END " in common[begin:]:
        return None
    return f"the bytes that differ are within a {match[1].decode().lower()}"


_URL = r"[a-z]{3,5}://[^\s'\"|;>]{1,2000}"
_ADDED_URL = re.compile(rf"(?:.*#\(nop\)\s+)?ADD\s+(?:--(?!checksum)\S+\s+)*\[?\s*\"?({_URL})", re.IGNORECASE)
# Podman's history says "file:" or "dir:" before the hash of what is no download.
_DOWNLOADED = re.compile(r".{0,40}#\(nop\)\s+ADD [0-9a-f]{64} in ")
_FETCHED = re.compile(rf"\b(?:curl|wget)\b[^|;&]{{0,2000}}?({_URL})")


def unlocked_network(evidence: Evidence) -> str | None:
    """An answer of the network, by the recording or by the instruction that fetched it."""
    facts = evidence.facts
    url_a, url_b = facts.responses_a.get(evidence.sha256_a), facts.responses_b.get(evidence.sha256_b)
    if url_a and url_a == url_b and evidence.sha256_a != evidence.sha256_b:
        return f"it is the answer of {quoted(url_a.encode(), 200)}"
    if evidence.format in ("metadata", "entry", "config") or evidence.members:
        return None
    if _DOWNLOADED.match(evidence.instruction):
        return "the ADD that made it took it from a URL"
    added = _ADDED_URL.match(evidence.instruction)
    if added:
        return f"it is the answer of {quoted(added[1].encode(), 200)}"
    for command in re.split(r"&&|;|\n", evidence.instruction[:20_000]):
        fetched = _FETCHED.search(command)
        if fetched and _writes(command, evidence.path):
            return f"it is the answer of {quoted(fetched[1].encode(), 200)}"
    return None


def _writes(command: str, path: bytes) -> bool:
    """Whether a command line of curl or wget names the file that it writes; a pipe makes another content."""
    name = re.escape("/" + path.decode("utf-8", "replace"))
    option = rf"(?:-[a-zA-Z]{{0,8}}[oO]\s{{0,4}}|--output[ =]|--output-document[ =]|>\s{{0,4}}){name}(?:\s|$)"
    return "|" not in command and re.search(option, command) is not None
