"""A Debian package as the lock names it, and how to read one from what apt says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from rbuild.digest import Digest
from rbuild.errors import RbuildError

# What apt-get(8) --print-uris writes: 'URI' file size hash.
_LINE = re.compile(r"'(?P<url>[^']+)' (?P<file>\S+) (?P<size>[0-9]+) SHA256:(?P<sha256>[0-9a-f]{64})\Z")
# All of these stand for themselves in the path of a URL, so that a URL is the archive, a slash, and the path.
_PATH = re.compile(r"[A-Za-z0-9+~._:-]+(/[A-Za-z0-9+~._:-]+)*\Z")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """One .deb file: what it is, where it lies, and its content. `size` is in bytes."""

    name: str
    version: str  # as dpkg writes it, with the epoch
    architecture: str
    archive: str  # the archive's URL, with no slash at its end
    path: str  # relative to the archive
    sha256: Digest
    size: int

    @property
    def url(self) -> str:
        return f"{self.archive}/{self.path}"


def parse_uris(text: str, archive_urls: Iterable[str]) -> tuple[Package, ...]:
    """The packages in the output of `apt-get install --print-uris`, ordered by name.

    Raises RbuildError for a line that is not one, or that lies in none of `archive_urls`.
    """
    # A snapshot's URL may be another's beginning; the longest one is the right one.
    roots = sorted(set(archive_urls), key=len, reverse=True)
    found = set()
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        parts = match["file"].removesuffix(".deb").split("_") if match else []
        if match is None or len(parts) != 3:
            raise RbuildError(f"apt-get --print-uris wrote a line that is not understood: {line[:200]!r}")
        url = unquote(match["url"])
        root = next((root for root in roots if url.startswith(f"{root}/")), None)
        path = url.removeprefix(f"{root}/")
        if root is None or not _PATH.match(path) or ".." in path.split("/"):
            raise RbuildError(f"apt-get --print-uris names a file outside of the archives: {url[:200]!r}")
        name, version, architecture = (unquote(part) for part in parts)
        found.add(
            Package(
                name=name,
                version=version,
                architecture=architecture,
                archive=root,
                path=path,
                sha256=Digest(match["sha256"]),
                size=int(match["size"]),
            )
        )
    return tuple(sorted(found))
