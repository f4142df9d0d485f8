"""Where the packages of an image came from: what the lock says of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from rbuild.lock import BaseLock, StageLock
from rbuild.sbom.package import Ecosystem, Origin, Package
from rbuild.sbom.python import project_name

_SDIST = re.compile(r"(?P<name>.+)-(?P<version>[0-9][^-]*)\.(?:tar\.gz|tar\.bz2|tgz|zip)\Z")
_TARBALL = re.compile(r"/(?P<name>(?:@[^/]+/)?[^/@]+)/-/[^/]*?-(?P<version>[0-9]+\.[0-9][^/]*)\.tgz\Z")

_Key = tuple[str, ...]


def with_origins(
    packages: Iterable[Package], stage: StageLock, bases: Mapping[str, BaseLock]
) -> tuple[Package, ...]:
    """`packages`, each with the files that the lock has under its name and version.

    `stage` is the stage whose image it is, `bases` all bases of the lock. A package of a base that was pinned
    by its digest alone, and one that the project brought itself, has none.
    """
    known: dict[_Key, set[Origin]] = defaultdict(set)
    for key, origin in _locked(stage, bases):
        known[key].add(origin)
    return tuple(replace(one, origins=tuple(sorted(known.get(_key(one), ())))) for one in packages)


def _key(package: Package) -> _Key:
    if package.ecosystem is Ecosystem.DEBIAN:
        return _debian(package.name, package.version, package.architecture or "")
    name = f"{package.namespace}/{package.name}" if package.namespace else package.name
    return package.ecosystem.value, name, _version(package.version)


def _debian(name: str, version: str, architecture: str) -> _Key:
    # The epoch of a version is not in the name of its file.
    return Ecosystem.DEBIAN.value, name, version.partition(":")[2] or version, architecture


def _version(text: str) -> str:
    return text.replace("_", "-").lower()


def _locked(stage: StageLock, bases: Mapping[str, BaseLock]) -> Iterator[tuple[_Key, Origin]]:
    for name in stage.bases:
        debian = bases[name].debian
        for one in debian.packages if debian else ():
            assert debian is not None
            url = f"{one.archive or debian.mirror}/{one.path}"
            yield (
                _debian(one.name, one.version, one.architecture),
                Origin(url=url, sha256=one.sha256, size=one.size),
            )
    for index in stage.recording.indexes:
        for file in index.files:
            if key := _python(file.name):
                yield key, Origin(url=file.url, sha256=file.sha256, size=file.size)
    for response in stage.recording.responses:
        if response.status == 200 and response.method == "GET" and (key := _of_url(response.url)):
            yield key, Origin(url=response.url, sha256=response.sha256, size=response.size)


def package_of(url: str) -> tuple[Ecosystem, str, str] | None:
    """The ecosystem, name and version of the package that a file is of, by the file's name or URL.

    The epoch of a Debian version is not in it.
    """
    key = _of_url(url)
    return (Ecosystem(key[0]), key[1], unquote(key[2])) if key else None


def _of_url(url: str) -> _Key | None:
    path = unquote(urlsplit(url).path)
    file = path.rpartition("/")[2]
    if file.endswith(".deb"):
        parts = file.removesuffix(".deb").split("_")
        return _debian(*parts) if len(parts) == 3 else None
    if match := _TARBALL.search(path):
        return Ecosystem.NPM.value, match["name"], _version(match["version"])
    return _python(file)


def _python(file: str) -> _Key | None:
    """The distribution that a wheel or an sdist is of, by its name (PEP 427, PEP 625)."""
    if file.endswith(".whl"):
        parts = file.removesuffix(".whl").split("-")
        return _project(parts[0], parts[1]) if len(parts) in (5, 6) else None
    match = _SDIST.match(file)
    return _project(match["name"], match["version"]) if match else None


def _project(name: str, version: str) -> _Key:
    return Ecosystem.PYTHON.value, project_name(name), _version(version)
