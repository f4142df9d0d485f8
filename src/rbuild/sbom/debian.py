"""Debian packages, from dpkg's database: deb-control(5), dpkg(1), and distroless's status.d."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rbuild.sbom.package import Ecosystem, Package, Unreadable, licence_name
from rbuild.sbom.stanzas import stanzas

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{0,199}\Z")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+:~-]{0,199}\Z")
_ARCHITECTURE = re.compile(r"[a-z0-9-]{1,40}\Z")
_MAX_LICENCES = 2_000  # characters of all names
_WORD = re.compile(r"[a-z0-9._-]{1,40}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Whose packages these are: the ID and VERSION_CODENAME of os-release(5)."""

    id: str = "debian"
    codename: str | None = None


def read_distribution(data: bytes) -> Distribution:
    """Read an os-release file; what it does not say in the way that it should is as if it were not there."""
    values = {}
    for line in data.decode(errors="replace").splitlines():
        key, _, value = line.partition("=")
        values[key.strip()] = value.strip().strip("\"'")
    name, codename = values.get("ID", ""), values.get("VERSION_CODENAME", "")
    return Distribution(
        id=name if _WORD.match(name) else "debian", codename=codename if _WORD.match(codename) else None
    )


def read_status(data: bytes, place: str, distribution: Distribution) -> list[Package]:
    """The installed packages that a status file names. Raises Unreadable where it is none.

    A package that was removed but for its configuration is not installed. A file of status.d has no Status.
    """
    found = []
    for stanza in stanzas(data):
        said = dict(stanza)
        if said.get("status", "install ok installed").split()[-1:] != ["installed"]:
            continue
        name, version, architecture = (said.get(key, "") for key in ("package", "version", "architecture"))
        if not _NAME.match(name) or not _VERSION.match(version) or not _ARCHITECTURE.match(architecture):
            raise Unreadable(f"not a package: {name[:80]!r} {version[:80]!r} {architecture[:40]!r}")
        found.append(
            Package(
                ecosystem=Ecosystem.DEBIAN,
                namespace=distribution.id,
                name=name,
                version=version,
                architecture=architecture,
                release=distribution.codename,
                places=(place,),
            )
        )
    return found


def read_licences(data: bytes) -> str | None:
    """The licences that a package's copyright file names, each once; None for a file in prose.

    Format: www.debian.org/doc/packaging-manuals/copyright-format/1.0. Debian's names are not always SPDX's.
    """
    try:
        parts = [dict(stanza) for stanza in stanzas(data)]
    except Unreadable:
        return None
    if not parts or "copyright-format" not in parts[0].get("format", ""):
        return None
    named = {part.get("license", "").partition("\n")[0].strip() for part in parts}
    return licence_name(", ".join(sorted(named - {""})), limit=_MAX_LICENCES)
