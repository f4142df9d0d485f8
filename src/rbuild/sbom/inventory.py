"""The packages of an image, from the files that package managers leave, after all layers are applied.

All of it may be a stranger's: what is read is bounded, and what cannot be read is a problem of its own, which
does not hide the packages that can.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from rbuild.errors import Problem, RbuildError, Where
from rbuild.image.codec import decompressed
from rbuild.image.index import LayerIndex, Tree
from rbuild.image.tar import Kind, TarReader, shown
from rbuild.sbom.debian import Distribution, read_distribution, read_licences, read_status
from rbuild.sbom.npm import read_manifest
from rbuild.sbom.package import Ecosystem, Package, merged
from rbuild.sbom.python import read_metadata

_MIB = 1 << 20
_MAX_STATUS = 16 * _MIB  # 5,000 packages take 6
_MAX_FILE = 4 * _MIB
_MAX_TOTAL = 128 * _MIB
_MAX_FILES = 200_000
_OS_RELEASE = re.compile(rb"(?:etc|usr/lib)/os-release\Z")
_STATUS = re.compile(rb"var/lib/dpkg/status(?:\.d/(?!.*\.md5sums\Z)[^/]+)?\Z")
_COPYRIGHT = re.compile(rb"usr/share/doc/[^/]+/copyright\Z")
_METADATA = re.compile(rb"(?:.*/)?[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO|egg-info)\Z", re.DOTALL)
_MANIFEST = re.compile(rb"(?:.*/)?node_modules/(?:@[^/]+/)?[^/@]+/package\.json\Z", re.DOTALL)


_READ = (_OS_RELEASE, _STATUS, _COPYRIGHT, _METADATA, _MANIFEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: what it holds, and how its blob, as the registry has it, is opened, at its start."""

    index: LayerIndex
    media_type: str
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The packages, each once, in order; and the files that should describe one and do not."""

    packages: tuple[Package, ...]
    problems: tuple[Problem, ...] = ()


def inventory(layers: Iterable[Layer]) -> Inventory:
    """What is installed in the image that `layers`, from the lowest to the highest, give.

    A layer is opened only when one of the files that are read lies in it. Raises RbuildError for a layer that
    cannot be read, and for more than 128 MiB of such files.
    """
    stack = tuple(layers)
    tree = Tree()
    for layer in stack:
        tree.apply(layer.index)
    wanted = _wanted(tree)
    problems = []
    small = {}
    for path, (sha256, size) in wanted.items():
        limit = _MAX_STATUS if _STATUS.match(path) else _MAX_FILE
        if size > limit:
            problems.append(_problem(path, f"has {size} bytes; rbuild reads {limit}"))
        else:
            small[path] = sha256, size
    contents = _contents(stack, dict(small.values()))
    files = {path: contents[sha256] for path, (sha256, _) in small.items()}
    distribution = _distribution(files)
    packages: list[Package] = []
    for path, data in files.items():
        try:
            packages += _read(path, data, distribution)
        except RbuildError as error:
            problems += (_problem(path, problem.what) for problem in error.problems)
    licensed = (_licensed(package, files) for package in merged(packages))
    return Inventory(packages=tuple(licensed), problems=tuple(problems))


def _wanted(tree: Tree) -> dict[bytes, tuple[bytes, int]]:
    """The sha256 and size of every file that is worth reading."""
    found = {}
    for path in tree.paths():
        node = tree.get(path)
        if node is None or node.kind is not Kind.FILE:
            continue
        if any(pattern.match(path) for pattern in _READ):
            found[path] = node.sha256, node.size
    if len(found) > _MAX_FILES or sum(size for _, size in found.values()) > _MAX_TOTAL:
        raise RbuildError(
            f"the image has {len(found)} files that describe packages; that is more than rbuild reads",
            hint="build it with fewer packages in one image",
        )
    return found


def _contents(layers: tuple[Layer, ...], sizes: dict[bytes, int]) -> dict[bytes, bytes]:
    """The contents with these sha256, read from whichever layer has them."""
    contents = {hashlib.sha256().digest(): b""}
    for layer in reversed(layers):
        missing = sizes.keys() - contents.keys()
        here = {node.sha256 for _, node in layer.index.entries if node.kind is Kind.FILE} & missing
        if not here:
            continue
        lengths = {sizes[sha256] for sha256 in here}
        with layer.open() as file:
            for data in _files(decompressed(file, layer.media_type), lengths):
                sha256 = hashlib.sha256(data).digest()
                if sha256 in here:
                    contents[sha256] = data
    if missing := sizes.keys() - contents.keys():
        raise RbuildError(f"{len(missing)} files are not in the layers that are said to hold them")
    return contents


def _files(file: BinaryIO, lengths: set[int]) -> Iterator[bytes]:
    """The contents of the files of a tar that have one of these lengths."""
    reader = TarReader(file)
    for entry in reader:
        if entry.kind is Kind.FILE and entry.size in lengths:
            yield b"".join(reader.content())


def _distribution(files: dict[bytes, bytes]) -> Distribution:
    for path in sorted(files):
        if _OS_RELEASE.match(path):
            return read_distribution(files[path])
    return Distribution()


def _licensed(package: Package, files: dict[bytes, bytes]) -> Package:
    """A Debian package with the licences that its copyright file names."""
    if package.ecosystem is not Ecosystem.DEBIAN:
        return package
    data = files.get(b"usr/share/doc/%s/copyright" % package.name.encode())
    return replace(package, licence=read_licences(data)) if data else package


def _read(path: bytes, data: bytes, distribution: Distribution) -> list[Package]:
    place = path.decode(errors="backslashreplace")
    if _OS_RELEASE.match(path) or _COPYRIGHT.match(path):
        return []
    if _STATUS.match(path):
        return read_status(data, place, distribution)
    if _METADATA.match(path):
        return [read_metadata(data, place)]
    return [read_manifest(data, place)]


def _problem(path: bytes, what: str) -> Problem:
    return Problem(what=f"not in the bill of materials: {what}", where=Where(file=shown(path)))
