"""What a person may name an image by, for `rbuild diff`: a stage, a file, a registry's or Podman's name.

    train                        a stage as it is locked; `stage:train` where a file has that name as well
    built:train                  a stage as its files are now, built from nothing
    oci:FOLDER[:TAG]             an OCI layout; oci:FOLDER@sha256:… for one image of several without a tag
    oci-archive:FILE[:TAG]       an OCI layout in a tar, which may be compressed
    docker-archive:FILE[:NAME]   what `docker save` and `podman save` write
    docker://NAME                an image in a registry
    containers-storage:NAME      an image in Podman's storage

The names before the colon are skopeo's, but for `stage:` and `built:`. A word without one is a stage, else a
path, which is looked into, else a name in a registry if it names the registry too. No stage has a colon in
its name, so that none of these is one.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.reference import Reference
from rbuild.suggest import did_you_mean

_STORED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]{0,511}\Z")
_WITH_REGISTRY = re.compile(r"(?:[^/]*[.:][^/]*|localhost)/")
_SPELLINGS = (
    "stage:STAGE, built:STAGE, oci:FOLDER, oci-archive:FILE, docker-archive:FILE, docker://NAME or "
    "containers-storage:NAME"
)


class Transport(enum.Enum):
    """How an image is had; the value is what stands before its name."""

    STAGE = "stage:"
    BUILT = "built:"
    OCI = "oci:"
    OCI_ARCHIVE = "oci-archive:"
    DOCKER_ARCHIVE = "docker-archive:"
    REGISTRY = "docker://"
    STORAGE = "containers-storage:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """One image, as it was named. `name` is a stage, a path, a reference, or a name in Podman's storage.

    `transport` is None for a path that has to be looked into. `tag` and `digest` choose among the images of a
    file; a reference has its own.
    """

    text: str  # as the user wrote it
    transport: Transport | None
    name: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def stage(self) -> str | None:
        """The stage that has to be known for it."""
        return self.name if self.transport in (Transport.STAGE, Transport.BUILT) else None


def parse_operand(text: str, stages: Collection[str]) -> Operand:
    """Read how a person names an image, in a project with these stages.

    Looks at the file system only to tell what a word means. Raises RbuildError for what is nothing: it says
    what was tried, and how to spell each.
    """
    for transport in Transport:
        if text.startswith(transport.value):
            return _named(text, transport, text.removeprefix(transport.value), stages)
    if text in stages:
        return Operand(text=text, transport=Transport.STAGE, name=text)
    if _exists(text) or text.startswith(("/", "./", "../")):
        _check(text)
        return Operand(text=text, transport=None, name=text)
    if _WITH_REGISTRY.match(text):
        return _named(text, Transport.REGISTRY, text, stages)
    near = did_you_mean(text, stages)
    raise RbuildError(
        f"{text[:200]!r} is no stage of this project, no file, and no name with a registry",
        hint=f"{near} Or say what it is: {_SPELLINGS}" if near else f"say what it is: {_SPELLINGS}",
    )


def _named(text: str, transport: Transport, name: str, stages: Collection[str]) -> Operand:
    if not name:
        raise RbuildError(f"nothing is named after {transport.value!r}", hint=f"write {_SPELLINGS}")
    if transport in (Transport.STAGE, Transport.BUILT):
        if name not in stages:
            known = f"the project has {', '.join(stages)}" if stages else "there is no project around here"
            raise RbuildError(f"there is no stage {name[:200]!r}", hint=did_you_mean(name, stages) or known)
        return Operand(text=text, transport=transport, name=name)
    if transport is Transport.REGISTRY:
        return Operand(text=text, transport=transport, name=str(Reference.parse(name)))
    if transport is Transport.STORAGE:
        if not _STORED.match(name):
            raise RbuildError(f"not an image name: {name[:200]!r}", hint="podman images lists them")
        return Operand(text=text, transport=transport, name=name)
    return _file(text, transport, name)


def _file(text: str, transport: Transport, name: str) -> Operand:
    path, tag, digest = name, None, None
    if not _exists(name):
        before, at, hexadecimal = name.rpartition("@sha256:")
        if at:
            path, digest = before, Digest(hexadecimal)
        else:
            before, colon, after = name.partition(":")
            if colon:
                path, tag = before, after
    _check(path)
    return Operand(text=text, transport=transport, name=path, tag=tag or None, digest=digest)


def _check(path: str) -> None:
    if not _exists(path):
        raise RbuildError(f"there is no file or folder {path[:200]!r}", hint="give its path from here")


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except OSError:  # too long, or behind a folder that is not ours
        return False
