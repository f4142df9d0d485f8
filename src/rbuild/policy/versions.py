"""Versions of packages, compared as each package manager does, and ranges of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING

from rbuild.errors import RbuildError
from rbuild.sbom.package import Ecosystem
from rbuild.sbom.python import project_name

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

_FORM = re.compile(
    r"(?P<kind>pypi|deb|npm):(?P<name>@?[A-Za-z0-9*?][A-Za-z0-9._+/*?@-]*)(?:\s+(?P<range>\S.*))?\Z"
)
_COMPARATOR = re.compile(
    r"\s*(?P<sign><<|>>|<=|>=|==|!=|=|<|>)?\s*(?P<version>[0-9A-Za-z][0-9A-Za-z.+:~*_-]*)\s*\Z"
)
_DEBIAN_PART = re.compile(r"([^0-9]*)([0-9]*)")
_HINT = 'write "pypi:requests <2.31", "deb:openssl <3.0.11-1", "npm:@scope/name *"'


@dataclass(frozen=True, slots=True)
class Range:
    """Packages of one ecosystem by name (a pattern) and by versions: all comparators have to hold."""

    text: str
    ecosystem: Ecosystem
    name: str
    comparators: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read `pypi:requests >=2,<2.31`. Raises RbuildError for anything else."""
        match = _FORM.match(text.strip())
        if match is None or len(text) > 500:
            raise RbuildError(f"not a package and versions of it: {text[:80]!r}", hint=_HINT)
        ecosystem = Ecosystem(match["kind"])
        comparators = []
        for part in (match["range"] or "*").split(","):
            if part.strip() == "*":
                continue
            said = _COMPARATOR.match(part)
            if said is None or not _readable(ecosystem, said["sign"] or "=", said["version"]):
                raise RbuildError(f"not a range of versions: {part.strip()[:80]!r}", hint=_HINT)
            comparators.append((said["sign"] or "=", said["version"]))
        return cls(text, ecosystem, match["name"], tuple(comparators))

    def covers(self, ecosystem: Ecosystem, name: str, version: str) -> bool:
        """Whether it is about this package; a version that cannot be read is covered by `*` alone."""
        if ecosystem is not self.ecosystem:
            return False
        pattern = self.name
        if ecosystem is Ecosystem.PYTHON:
            name, pattern = project_name(name), re.sub(r"[-_.]+", "-", pattern).lower()
        if not fnmatchcase(name, pattern):
            return False
        return all(_holds(ecosystem, version, sign, limit) for sign, limit in self.comparators)


def _readable(ecosystem: Ecosystem, sign: str, version: str) -> bool:
    if ecosystem is Ecosystem.PYTHON:
        return _specifiers(sign, version) is not None
    if ecosystem is Ecosystem.NPM:
        return version[0].isdigit() and sign not in ("<<", ">>")
    return version[0].isdigit() and "*" not in version


def _holds(ecosystem: Ecosystem, version: str, sign: str, limit: str) -> bool:
    if ecosystem is Ecosystem.PYTHON:
        from packaging.version import InvalidVersion, Version

        specifiers = _specifiers(sign, limit)
        try:
            return specifiers is not None and specifiers.contains(Version(version), prereleases=True)
        except InvalidVersion:
            return False
    if ecosystem is Ecosystem.NPM and sign in ("=", "==", "!=") and (parts := _wild(limit)) is not None:
        same = version.split("-")[0].split(".")[: len(parts)] == parts
        return same is (sign != "!=")
    order = (
        compare_debian(version, limit) if ecosystem is Ecosystem.DEBIAN else compare_semver(version, limit)
    )
    return {
        "<": order < 0,
        "<<": order < 0,
        "<=": order <= 0,
        "=": order == 0,
        "==": order == 0,
        "!=": order != 0,
        ">=": order >= 0,
        ">": order > 0,
        ">>": order > 0,
    }[sign]


@cache
def _specifiers(sign: str, version: str) -> SpecifierSet | None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(f"{'==' if sign == '=' else sign}{version}")
    except InvalidSpecifier:
        return None


def _wild(version: str) -> list[str] | None:
    """`1.2.x` as ["1", "2"]; None for a whole version."""
    parts = version.split(".")
    for at, part in enumerate(parts):
        if part in ("*", "x", "X"):
            return parts[:at]
    return parts if len(parts) < 3 and all(part.isdigit() for part in parts) else None


def compare_debian(one: str, other: str) -> int:
    """-1, 0 or 1: deb-version(7), "Sorting algorithm"."""
    for mine, theirs in zip(_debian_parts(one), _debian_parts(other), strict=True):
        if order := _compare_debian_part(mine, theirs):
            return order
    return 0


def _debian_parts(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "")


def _compare_debian_part(one: str, other: str) -> int:
    for (text, number), (their_text, their_number) in zip_longest(
        _DEBIAN_PART.findall(one), _DEBIAN_PART.findall(other), fillvalue=("", "")
    ):
        for mine, theirs in zip_longest(map(_weight, text), map(_weight, their_text), fillvalue=0):
            if mine != theirs:
                return -1 if mine < theirs else 1
        if order := _sign(_number(number), _number(their_number)):
            return order
    return 0


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def _number(digits: str) -> tuple[int, str]:
    """Digits of any length in their order, without a number of that size."""
    digits = digits.lstrip("0")
    return len(digits), digits


def compare_semver(one: str, other: str) -> int:
    """-1, 0 or 1: semver.org, paragraph 11. A version that is none is below all others."""
    mine, theirs = _semver(one), _semver(other)
    if order := _sign(mine[0], theirs[0]):
        return order
    if not mine[1] or not theirs[1]:
        return bool(theirs[1]) - bool(mine[1]) if mine[1] != theirs[1] else 0
    return _sign(mine[1], theirs[1])


def _semver(version: str) -> tuple[list[tuple[int, str]], list[tuple[int, tuple[int, str], str]]]:
    release, _, before = version.removeprefix("v").partition("+")[0].partition("-")
    numbers = [_number(part) if part.isdigit() else (-1, "") for part in release.split(".")]
    numbers += [_number("0")] * (3 - len(numbers))
    names = [
        (0, _number(part), "") if part.isdigit() else (1, (0, ""), part) for part in before.split(".") if part
    ]
    return numbers, names


def _sign(one: object, other: object) -> int:
    return 0 if one == other else -1 if one < other else 1  # type: ignore[operator]
