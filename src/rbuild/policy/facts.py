"""What rules look at: values that the verbs gather, before, while and after a stage is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rbuild.containerfile.expand import ImageUse
from rbuild.containerfile.model import Containerfile, Instruction
from rbuild.digest import Digest
from rbuild.errors import Where
from rbuild.image.config import Config
from rbuild.image.manifest import Manifest
from rbuild.image.tar import Kind
from rbuild.lock import Lock, StageLock
from rbuild.project import PROJECT_FILE, Project, Stage
from rbuild.reference import Reference
from rbuild.sbom.package import Package

MAX_READ = 1 << 20  # bytes of one file of a context


def _in_project(*path: str) -> Where:
    return Where(file=PROJECT_FILE, key=".".join(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """A stage as its files are now.

    `targets` are the indexes of the build targets that its image needs, ascending. `uses` maps every
    reference to an image to the key of its base. `context` are the paths that COPY and ADD may read, in byte
    order; `ignore_file` is the .containerignore (or .dockerignore) that applies, None where there is none.
    `read` gives a file of the context, up to MAX_READ bytes; None: there is no such file, or it has more.
    `locked` are the keys of the bases that the lock pins; None: a build is about to pin them, or nobody asks.
    `signed` says whether the trust policy asks for an image's signature; None: there is no such policy.
    `locate` tells where a key of rbuild.yaml is. `memo` is for what one rule works out of these facts and the
    next ones need again.
    """

    project: Project
    stage: Stage
    containerfile: Containerfile
    targets: tuple[int, ...]
    uses: Mapping[ImageUse, str]
    context: tuple[str, ...]
    ignore_file: str | None
    read: Callable[[str], bytes | None]
    locked: frozenset[str] | None = None
    signed: Callable[[Reference], bool] | None = field(default=None, repr=False, compare=False)
    locate: Callable[..., Where] = field(default=_in_project, repr=False, compare=False)
    memo: dict[str, object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions of the needed targets, each with its FROM, in the order of the file."""
        found = []
        for index in self.targets:
            target = self.containerfile.targets[index]
            found += [target.origin, *target.instructions]
        return tuple(found)

    @property
    def final(self) -> tuple[Instruction, ...]:
        """The instructions of the last needed target: those that make the image itself."""
        return self.containerfile.targets[self.targets[-1]].instructions if self.targets else ()

    def at(self, line: int | None) -> Where:
        """A line of the Containerfile."""
        return Where(file=self.containerfile.name, line=line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """That an image was built again from nothing, and what came of it; `when` in UTC."""

    image: Digest
    input: Digest
    when: datetime
    verdict: str  # identical, same content, different


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFacts:
    """A stage as it is locked, or is about to be.

    `previous` is what was locked before, if that was something else. `locked_at` is when the lock's file last
    changed by what git or the file system says, None where nobody knows. `verified` is the last verification
    of this input and image digest. `fresh`: it was built just now, and is to be locked if all is well.
    `now` is in UTC.
    """

    files: FileFacts
    lock: Lock
    locked: StageLock
    now: datetime
    previous: StageLock | None = None
    locked_at: datetime | None = None
    verified: Verified | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """A layer, from 1; `own`: the build made it, else it is the base's. `instruction` is what made it."""

    number: int
    diff_id: Digest
    blob: Digest
    size: int  # of the blob
    own: bool
    instruction: Instruction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """The canonical image of a stage. `packages` reads what package managers left in it, once."""

    lock: LockFacts
    digest: Digest
    manifest: Manifest
    config: Config
    layers: tuple[LayerFacts, ...]
    packages: Callable[[], tuple[Package, ...]]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry of a layer. `path` has no leading slash; what is not UTF-8 is there as surrogates.

    `visible`: no higher layer replaces or deletes it, so that a container sees it. `instruction` is of the
    Containerfile, for layers that the build made (`own`).
    """

    path: str
    kind: Kind
    mode: int  # 0o7777
    uid: int
    gid: int
    size: int
    link: str
    xattrs: Mapping[str, bytes]
    layer: int
    own: bool
    visible: bool
    instruction: Instruction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PushFacts:
    """An image on its way to a repository, with the tags that it gets; `moving` are those that may move."""

    image: ImageFacts
    repository: Reference
    tags: tuple[str, ...]
    moving: frozenset[str]
    signed: bool
