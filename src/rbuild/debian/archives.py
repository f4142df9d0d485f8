"""Debian archives: where a suite's packages come from, and how apt is told of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rbuild.errors import RbuildError

DEFAULT_MIRROR = "http://deb.debian.org/debian"
SNAPSHOTS = "http://snapshot.debian.org/archive/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# What only ever moves forward has neither an updates nor a security suite beside it.
_ROLLING = frozenset({"sid", "unstable", "experimental", "rc-buggy"})
_SNAPSHOT = re.compile(r"[0-9]{8}T[0-9]{6}Z\Z")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*\Z")
_COMPONENT = re.compile(r"[a-z][a-z0-9-]*\Z")
_MIRROR = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~+-]+)*/?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One suite of one archive. `url` has no slash at its end; a package's path is relative to it."""

    url: str
    suite: str
    components: tuple[str, ...]
    dated: bool = False  # a snapshot: its Release file is past its Valid-Until, and means to be

    def sources_line(self, keyring: str | None = None) -> str:
        """The line of sources.list(5); with `keyring`, only signatures of its keys count."""
        options = []
        if self.dated:
            options.append("check-valid-until=no")
        if keyring is not None:
            options.append(f"signed-by={keyring}")
        bracket = f"[{' '.join(options)}] " if options else ""
        return f"deb {bracket}{self.url} {self.suite} {' '.join(self.components)}\n"


def archives(
    suite: str,
    *,
    mirror: str = DEFAULT_MIRROR,
    components: Sequence[str] = ("main",),
    snapshot: str | None = None,
) -> tuple[Archive, ...]:
    """The archives of `suite`: itself, its updates, and its security suite, which is beside the mirror.

    With `snapshot` (`20260701T000000Z`) they are those of snapshot.debian.org at that moment, whatever the
    mirror. Raises RbuildError for a suite, mirror, component or snapshot that is not written as one.
    """
    for what, value, pattern in (
        ("suite", suite, _SUITE),
        ("mirror", mirror, _MIRROR),
        *(("component", component, _COMPONENT) for component in components),
    ):
        if not pattern.match(value):
            raise RbuildError(f"not a Debian {what}: {value[:80]!r}")
    if not components:
        raise RbuildError("a Debian base needs at least one component", hint="write components: [main]")
    if snapshot is not None and not _SNAPSHOT.match(snapshot):
        raise RbuildError(
            f"not a snapshot of the Debian archive: {snapshot[:80]!r}", hint="write it as 20260701T000000Z"
        )

    def archive(of: str, name: str) -> Archive:
        url = mirror.rstrip("/") + of if snapshot is None else f"{SNAPSHOTS}{of}/{snapshot}"
        return Archive(url=url, suite=name, components=tuple(components), dated=snapshot is not None)

    if suite in _ROLLING:
        return (archive("", suite),)
    return (
        archive("", suite),
        archive("", f"{suite}-updates"),
        archive("-security", f"{suite}-security"),
    )


def sources_list(of: Sequence[Archive], *, keyring: str | None = None) -> str:
    """The text of a sources.list with one line an archive."""
    return "".join(archive.sources_line(keyring) for archive in of)
