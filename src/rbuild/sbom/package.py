"""The packages of an image as values, and where each came from."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

from rbuild.digest import Digest
from rbuild.errors import RbuildError

MAX_LICENCE = 200  # characters; longer is the licence's text, and not its name


class Ecosystem(enum.Enum):
    """Who installs a package; the value is its type in a package URL (github.com/package-url/purl-spec)."""

    DEBIAN = "deb"
    PYTHON = "pypi"
    NPM = "npm"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Origin:
    """A file that a package was installed from, as the lock pins it. `size` is in bytes."""

    url: str
    sha256: Digest
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package. `licence` is what its own files call the licence, which need not be an SPDX expression.

    `namespace` is an npm scope with its `@`, or who made the distribution that a Debian package is of.
    `places` are the files of the image that say that it is there, without a leading slash. `origins` has
    several items where the lock cannot tell which one of several files was installed.
    """

    ecosystem: Ecosystem
    name: str
    version: str
    namespace: str | None = None
    architecture: str | None = None
    release: str | None = None  # of the distribution: bookworm
    licence: str | None = None
    places: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()

    @property
    def identity(self) -> tuple[str, str, str, str, str]:
        """What tells one package from another, wherever it lies; also the order of a document."""
        return (
            self.ecosystem.value,
            self.namespace or "",
            self.name,
            self.version,
            self.architecture or "",
        )


class Unreadable(RbuildError):
    """A file that should describe a package does not."""


def merged(packages: Iterable[Package]) -> tuple[Package, ...]:
    """Each package once, with all of its places, in the order of `Package.identity`."""
    found: dict[tuple[str, ...], Package] = {}
    for package in packages:
        known = found.get(package.identity)
        if known is None:
            found[package.identity] = package
        else:
            places = tuple(sorted({*known.places, *package.places}))
            found[package.identity] = replace(known, places=places, licence=known.licence or package.licence)
    return tuple(found[identity] for identity in sorted(found))


def licence_name(text: str | None, *, limit: int = MAX_LICENCE) -> str | None:
    """A licence's name, from a field that may have anything in it; None where it says nothing."""
    name = " ".join((text or "").split())
    if not name or len(name) > limit or not name.isprintable() or name.upper() in _SAYS_NOTHING:
        return None
    return name


_SAYS_NOTHING = {"UNKNOWN", "UNLICENSED", "NONE", "NOASSERTION", "LICENSE", "N/A"}
