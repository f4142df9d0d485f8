"""What is published beside an image so that anyone can rebuild it: which files, and which blobs.

The sources are a project of one stage, laid out anew: `rbuild.yaml`, `rbuild.lock`, `Containerfile`, what is
ignored, and `context/`. They are functions of what goes into the stage's image, and of nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from rbuild.digest import Digest
from rbuild.lock import BaseLock, Lock, StageLock
from rbuild.plain import plain
from rbuild.project import Project
from rbuild.recording import Response
from rbuild.reference import Reference

ARTIFACT_TYPE: Final = "application/vnd.rbuild.sources.v1"
PROJECT_TYPE: Final = "application/vnd.rbuild.project.v1.tar+zstd"
FILE_TYPE: Final = "application/vnd.rbuild.file.v1"  # a large file of the context, with its path as title
BLOB_TYPE: Final = "application/vnd.rbuild.blob.v1"  # a response, a package, a part of a base
KEPT: Final = "rbuild.sources"  # annotation of the artifact: pages, all
TITLE: Final = "org.opencontainers.image.title"
EXECUTABLE: Final = "rbuild.executable"  # annotation of a file: true

CONTAINERFILE: Final = "Containerfile"
IGNORE_FILE: Final = "Containerfile.containerignore"
CONTEXT: Final = "context"
LAYOUTS: Final = "bases"
NO_VALUE: Final = "NOT_PUBLISHED"  # the variable that a published project has for every secret

_EMPTY = Digest.of(b"")
# Names that no package archive gives to other bytes later.
_RELEASED = re.compile(r"[^/]+\.(?:deb|udeb|whl|crate|gem)\Z")
_NPM_TARBALL = re.compile(r"/-/[^/]+\.tgz\Z")


class Kept(Enum):
    """How much of what a build read is published: only what cannot be had again by URL and sha256, or all."""

    NONE = "none"
    PAGES = "pages"
    ALL = "all"


def kept_by(project: Project) -> Kept:
    """What a project publishes unless a command says otherwise: pages, if it says where its images go."""
    if project.sources is not None:
        return Kept(project.sources)
    return Kept.PAGES if project.registry else Kept.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A blob that a rebuild may read. `size` is None where no lock says it.

    Without `certain`, only those who built the stage know whether its build read it.
    """

    digest: Digest
    size: int | None
    what: str
    certain: bool = True


def stage_lock(lock: Lock, stage: str) -> Lock:
    """The part of a lock that one stage needs. Layouts of bases are at places of the published project's."""
    locked = lock.stages[stage]
    bases = {key: _placed(lock.bases[key], number) for number, key in enumerate(locked.bases)}
    return msgspec.structs.replace(lock, bases=bases, stages={stage: locked})


def _placed(base: BaseLock, number: int) -> BaseLock:
    return msgspec.structs.replace(base, oci=f"{LAYOUTS}/{number}") if base.oci else base


def stage_project(project: Project, lock: Lock) -> bytes:
    """The `rbuild.yaml` of the one stage of a lock that `stage_lock` made: what its image depends on."""
    from rbuild.yamltext import yaml_lines  # brings the parser along

    (name,) = lock.stages
    stage = project.stages[name]
    defined: dict[str, Any] = {"containerfile": CONTAINERFILE, "context": CONTEXT}
    for key in ("target", "args", "normalisers"):
        if value := getattr(stage, key):
            defined[key] = plain(value)
    if stage.secrets:
        defined["secrets"] = {secret: {"env": NO_VALUE} for secret in stage.secrets}
    written: dict[str, Any] = {
        "project": project.name,
        "platform": project.platform,
        "stages": {name: defined},
    }
    if project.compression != "zstd":
        written["compression"] = project.compression
    if lock.bases:
        written["bases"] = {key: _definition(project, key, base) for key, base in lock.bases.items()}
    return "\n".join([*yaml_lines(written), ""]).encode()


def _definition(project: Project, key: str, base: BaseLock) -> dict[str, Any]:
    if base.oci:
        return {"oci": base.oci, **({"tag": base.tag} if base.tag else {})}
    definition = project.base(Reference.parse(key))
    return {kind: plain(value) for kind in ("image", "debian") if (value := getattr(definition, kind))}


def needs(
    stage: StageLock, bases: Collection[BaseLock], kept: Kept, checksums: Collection[Digest]
) -> list[Need]:
    """The responses and packages that are published for a stage, each once, in the order of their digests.

    `checksums` are those that its Containerfile itself demands. The parts of bases that are images are not
    among them: a lock knows only their manifests.
    """
    found: dict[Digest, Need] = {}
    for need in _needs(stage, bases, kept, checksums):
        known = found.get(need.digest)
        if need.digest != _EMPTY and (known is None or (need.certain and not known.certain)):
            found[need.digest] = need
    return [found[digest] for digest in sorted(found)]


def _needs(
    stage: StageLock, bases: Collection[BaseLock], kept: Kept, checksums: Collection[Digest]
) -> Iterator[Need]:
    if kept is Kept.NONE:
        return
    for response in stage.recording.responses:
        if kept is Kept.ALL or not is_released(response, checksums):
            yield Need(digest=response.sha256, size=response.size, what=response.url)
    if kept is not Kept.ALL:
        return
    for index in stage.recording.indexes:
        for file in index.files:
            read = file.metadata is None  # else the metadata may have been enough
            yield Need(digest=file.sha256, size=file.size, what=file.url, certain=read)
            if file.metadata is not None:
                yield Need(digest=file.metadata, size=None, what=f"{file.url}.metadata")
    for base in bases:
        for package in base.debian.packages if base.debian else ():
            yield Need(digest=package.sha256, size=package.size, what=package.path)


def layers_kept(base: BaseLock, kept: Kept) -> bool:
    """Whether manifest, configuration and layers of a base are published: nobody else may have a layout."""
    return (base.oci is not None and kept is not Kept.NONE) or (base.image is not None and kept is Kept.ALL)


def is_released(response: Response, checksums: Collection[Digest]) -> bool:
    """Whether a response can be had again from its URL, for all that names can tell."""
    plain_get = (response.method, response.status, response.body, response.accept) == ("GET", 200, None, None)
    path = unquote(urlsplit(response.url).path)
    named = _RELEASED.search(path) or _NPM_TARBALL.search(path)
    return plain_get and (bool(named) or response.sha256 in checksums)
