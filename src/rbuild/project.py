"""`rbuild.yaml` as a value that is known to make sense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from rbuild.errors import RbuildError, Where
from rbuild.graph import StageGraph
from rbuild.image.form import Algorithm
from rbuild.projectfile import Base, Exists, Kind, ProjectFile, PushFile, StageFile, default_containerfile
from rbuild.reference import Reference
from rbuild.relativepath import RelativePath

if TYPE_CHECKING:  # what a file that is known takes no time for
    from rbuild.yamlfile import Document

PROJECT_FILE: Final = "rbuild.yaml"


class Stage(StageFile, frozen=True, kw_only=True):
    """One step of the pipeline, with all that its file leaves to the defaults."""

    name: str
    containerfile: RelativePath


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project. Stages are in the order of the file; `registry` is a registry's name with a path."""

    name: str
    registry: str | None
    platform: str
    bases: dict[Reference, Base]
    stages: dict[str, Stage]
    version: str | None = None
    substitutes: tuple[str, ...] = ()
    push: PushFile = PushFile()
    trust: RelativePath | None = None
    sources: Literal["none", "pages", "all"] | None = None
    compression: Algorithm = "zstd"

    def graph(self) -> StageGraph:
        """Which stage needs which."""
        return StageGraph({name: stage.needs for name, stage in self.stages.items()})

    def base(self, reference: Reference) -> Base:
        """What a `FROM` of `reference` means: an image in a registry, unless the file says otherwise."""
        return self.bases.get(reference) or Base(image=reference)


def locate(text: bytes, *path: str) -> Where:
    """Where a key is in `text`, the bytes of a project's file without mistakes."""
    return _document(text, PROJECT_FILE).where(*path)


def load_project(text: bytes, name: str = PROJECT_FILE, *, exists: Exists) -> Project:
    """The project that `text`, the bytes of the file `name`, says.

    `exists` tells what is at a path of the project: "file", "directory", "outside" for one that a symbolic
    link leads out of the project, or None. Raises RbuildError with every problem: file, line and key path.
    """
    return project_of(check_project(text, name, exists=exists))


def check_project(text: bytes, name: str = PROJECT_FILE, *, exists: Exists) -> ProjectFile:
    """What such a file says, which is known to make sense. Raises RbuildError as `load_project` does."""
    from rbuild.projectcheck import check
    from rbuild.yamltyped import read

    document = _document(text, name)
    file = read(document, ProjectFile)
    if file:
        check(file, document, exists)
    document.finish()
    assert file is not None  # else there was a problem
    return file


def project_of(file: ProjectFile) -> Project:
    """The project of a file that makes sense."""
    return Project(
        name=file.project,
        registry=file.registry,
        platform=file.platform,
        bases={Reference.parse(key): base for key, base in file.bases.items()},
        stages={stage: _stage(stage, written) for stage, written in file.stages.items()},
        version=file.version,
        substitutes=file.substitutes,
        push=file.push,
        trust=file.trust,
        sources=file.sources,
        compression=file.compression,
    )


class Known(msgspec.Struct, frozen=True):
    """A file that made sense while there was `found` at paths of the project. For a cache."""

    file: ProjectFile
    found: dict[str, Kind | None]

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Known:
        """What `encode` wrote. Raises RbuildError for anything else."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except (msgspec.DecodeError, ValueError) as error:
            raise RbuildError(f"not an encoded project: {error}") from error


def _document(text: bytes, name: str) -> Document:
    from rbuild.yamlfile import MIB, Document

    return Document(text, file=name, max_size=4 * MIB, max_nodes=20_000)


def _stage(name: str, written: StageFile) -> Stage:
    fields = msgspec.structs.asdict(written)
    return Stage(
        **fields | {"name": name, "containerfile": written.containerfile or default_containerfile(name)}
    )
