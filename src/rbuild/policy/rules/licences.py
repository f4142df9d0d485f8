"""The rule about licences of packages, read from the files that package managers leave."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

from rbuild.errors import RbuildError, Where
from rbuild.image.tar import Kind
from rbuild.policy.facts import FileEntry, ImageFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule
from rbuild.policy.sightings import PathSettings, Sight, place
from rbuild.sbom.debian import Distribution, read_status
from rbuild.sbom.npm import read_manifest
from rbuild.sbom.python import read_metadata

_STATUS_MOST = 8 << 20
_FILE_MOST = 1 << 20
_PACKAGES_MOST = 100_000
_METADATA = (".dist-info/METADATA", ".egg-info/PKG-INFO", ".egg-info")
_COPYRIGHT = re.compile(r"usr/share/doc/(?P<name>[a-z0-9][a-z0-9+.-]{0,199})/copyright\Z")
_STATUS = re.compile(r"var/lib/dpkg/status(?:\.d/(?!.*\.md5sums\Z)[^/]+)?\Z", re.DOTALL)
_MANIFEST = re.compile(r"(?:.*/)?node_modules/(?:@[^/]+/)?[^/@]+/package\.json\Z", re.DOTALL)
_COPYRIGHT_FORM = b"copyright-format"
_COPYRIGHT_LICENCE = re.compile(rb"^License:[ \t]*([^\r\n]{1,200})", re.MULTILINE)
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_OPERATORS = frozenset({"and", "or", "with"})
# What Python's classifiers call them.
_IN_WORDS = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (
            r"(?:GNU )?Affero (?:General Public License|GPL)(?: v3)?(?: or later)?(?: \(AGPLv3\+?\))?",
            "AGPL-3.0",
        ),
        (r"GNU (?:Lesser|Library)(?: or Lesser)? General Public License(?: v(\d))?[^,]*", r"LGPL-\1"),
        (r"GNU General Public License(?: v(\d))?[^,]*", r"GPL-\1"),
        (r"Apache (?:Software )?License(?:,? Version)?(?: 2\.0)?", "Apache-2.0"),
        (r"Mozilla Public License 2\.0(?: \(MPL 2\.0\))?", "MPL-2.0"),
        (r"(?:The )?MIT License", "MIT"),
        (r"Python Software Foundation License", "PSF-2.0"),
        (r"ISC License(?: \(ISCL\))?", "ISC"),
        (r"(?:New |Modified |3-Clause )?BSD(?: License)?(?![-\w])", "BSD-3-Clause"),
    )
)


class LicenceSettings(PathSettings, frozen=True, kw_only=True):
    """Of the rule about licences. Names are SPDX's, and may end in a *; upper and lower case are the same."""

    allow: Annotated[
        tuple[str, ...], Meta(description="Licences that are fine; with some named, all others are not.")
    ] = ()
    deny: Annotated[tuple[str, ...], Meta(description="Licences that are not.")] = (
        "AGPL-*",
        "SSPL-*",
        "BUSL-*",
        "CC-BY-NC*",
    )
    unknown: Annotated[
        bool, Meta(description="Whether a package whose files name no licence is a finding, too.")
    ] = False
    packages: Annotated[
        tuple[str, ...],
        Meta(description="Packages that are fine whatever their licence: names and patterns."),
    ] = ()


class _Licences(Sight):
    """Reads each package's licence as its file comes by; Debian's packages have theirs in another file."""

    reads = True
    own_only = False
    settings: LicenceSettings

    def __init__(self, facts: ImageFacts, settings: LicenceSettings) -> None:
        super().__init__(facts, settings)
        self._deny = _any_of(settings.deny)
        self._allow = _any_of(settings.allow) if settings.allow else None
        self._refused: list[tuple[FileEntry, str, str]] = []
        self._known = 0
        self._debian: dict[str, str] = {}  # the version of each package that is installed
        self._copyrights: dict[str, tuple[FileEntry, str | None]] = {}

    def wants(self, entry: FileEntry) -> int:
        if not _describes(entry.path) or not entry.visible or entry.kind is not Kind.FILE:
            return 0
        most = _STATUS_MOST if entry.path.startswith("var/") else _FILE_MOST
        return most if entry.size <= most else 0

    def see(self, entry: FileEntry, content: bytes) -> None:
        if not content or not self.wants(entry) or self._known > _PACKAGES_MOST:
            return
        self._known += 1
        path = entry.path
        try:
            if match := _COPYRIGHT.match(path):
                self._copyrights[match["name"]] = entry, _debian_licence(content)
            elif path.startswith("var/"):
                for package in read_status(content, path, Distribution()):
                    self._debian[package.name] = package.version
            else:
                read = read_metadata if path.endswith(_METADATA) else read_manifest
                package = read(content, path)
                name = f"{package.namespace}/{package.name}" if package.namespace else package.name
                said = f"the {package.ecosystem.value} package {name} {package.version}"
                self._judge(entry, package.name, said, package.licence)
        except RbuildError:
            return  # `rbuild sbom` says what cannot be read

    def violations(self) -> Iterable[Violation]:
        for name, version in self._debian.items():
            if name in self._copyrights:
                entry, licence = self._copyrights[name]
                self._judge(entry, name, f"the deb package {name} {version}", licence)
        for entry, said, why in sorted(self._refused, key=lambda one: one[1]):
            self.say_of(entry, f"{said} {why}", said.removeprefix("the "), self._place(entry))
        self._refused = []
        return super().violations()

    def _place(self, entry: FileEntry) -> Where:
        return place(self.facts, entry.layer, entry.instruction) if entry.own else self.from_line

    def _judge(self, entry: FileEntry, name: str, said: str, licence: str | None) -> None:
        if any(fnmatchcase(name, pattern) for pattern in self.settings.packages):
            return
        if licence is None:
            if self.settings.unknown:
                self._refused.append((entry, said, "names no licence"))
            return
        for choices in licences(licence):
            if all(any(map(self._deny, choice)) for choice in choices):
                self._refused.append((entry, said, f"is under {licence[:80]}, which is not allowed"))
                return
            if self._allow and not any(all(map(self._allow, choice)) for choice in choices):
                self._refused.append(
                    (entry, said, f"is under {licence[:80]}, which is not one of those allowed")
                )
                return


def _describes(path: str) -> bool:
    """Whether a file describes a package."""
    if path.endswith(_METADATA):
        return True
    if path.endswith("/copyright"):
        return _COPYRIGHT.match(path) is not None
    if path.endswith("/package.json"):
        return _MANIFEST.match(path) is not None
    return path.startswith("var/lib/dpkg/status") and _STATUS.match(path) is not None


def _debian_licence(data: bytes) -> str | None:
    """The names in a copyright file; see sbom.debian.read_licences, which reads more and takes longer."""
    if _COPYRIGHT_FORM not in data[:2000]:
        return None
    names = {match[1].strip().decode(errors="replace") for match in _COPYRIGHT_LICENCE.finditer(data)}
    return ", ".join(sorted(names)) or None


def licences(said: str) -> Iterator[list[frozenset[str]]]:
    """The parts of what a package says, for each the choices, for each choice the licences that hold at once.

    Debian's lists of names have commas between parts; SPDX expressions are one part. Parentheses are taken as
    if they were not there.
    """
    said = said[:2000]
    for pattern, name in _IN_WORDS:
        said = pattern.sub(name, said)
    for part in said.split(","):
        choices = []
        for choice in re.split(r"\s+or\s+", part, flags=re.IGNORECASE):
            names = {name for name in _LICENCE.findall(choice) if name.casefold() not in _OPERATORS}
            if names:
                choices.append(frozenset(names))
        if choices:
            yield choices


class _any_of:
    """Whether a licence's name fits one of some patterns."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(pattern.casefold() for pattern in patterns)
        self._known: dict[str, bool] = {}

    def __call__(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            small = name.casefold()
            known = any(fnmatchcase(small, pattern) for pattern in self._patterns)
            if len(self._known) < 10_000:
                self._known[name] = known
        return known


RULES = (
    Rule(
        id="RB311",
        name="licence-not-allowed",
        title="A package in the image is under a licence that is not allowed.",
        level=Level.ERROR,
        why="Whoever hands the image on has to keep to it. Names are those that packages give themselves: in "
        "the metadata of Python's and npm's, and in Debian's copyright files.",
        example="a Python package whose metadata say AGPL-3.0-only",
        fix="take another package, or say that this one is fine: settings: {packages: [NAME]}",
        settings=LicenceSettings,
        watch=_Licences,
    ),
)
