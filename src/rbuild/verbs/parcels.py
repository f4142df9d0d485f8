"""Images of stages as they go to registries: held against project, lock and store before any request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rbuild.destination import fill, placeholders, shortened
from rbuild.digest import Digest
from rbuild.errors import Exit, Problem, RbuildError, Where
from rbuild.image.artifact import Artifact
from rbuild.image.manifest import Descriptor, Manifest, read_manifest
from rbuild.lock import Lock, StageLock
from rbuild.process import run
from rbuild.projectfile import Attach
from rbuild.reference import Reference
from rbuild.store import Blob, MissingBlob
from rbuild.verbs.assessment import Assessment, assess, detailed, in_store
from rbuild.verbs.beside import Document, documents
from rbuild.verbs.source import Source
from rbuild.verbs.workspace import LOCK_FILE, Workspace, read_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLayers:
    """The layers of a base, and the image in a registry that it is."""

    image: Reference
    layers: frozenset[Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A stage's image as the lock names it, every blob of which is in the store; the tags that it gets.

    `source` is what it was made of, `locked` what `lock` has of it.

    A tag that is not `moving` must not leave another image. `attachments` are published beside the image, and
    refer to it: they are functions of it, so that a second push has nothing to send. `documents` are those of
    them that whoever signs the image vouches for.
    """

    stage: str
    source: Source
    lock: Lock
    locked: StageLock
    digest: Digest
    manifest: bytes
    media_type: str
    blobs: tuple[Blob, ...]
    bases: tuple[BaseLayers, ...]
    tags: tuple[str, ...]
    moving: frozenset[str]
    attachments: tuple[Artifact, ...] = ()
    documents: tuple[Document, ...] = ()

    @property
    def descriptor(self) -> Descriptor:
        """What an artifact about the image refers to."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.manifest))


def pack(
    workspace: Workspace,
    stages: Sequence[str],
    tags: Sequence[str] | None,
    attach: Sequence[Attach] | None = None,
) -> tuple[Parcel, ...]:
    """The images of `stages`, with tags made of templates, and what is attached (None: the project's).

    Raises RbuildError with all that is in the way: stages whose lock is stale (exit code 1), an image that is
    not whole in the store, a template that can be no tag, `{git}` where the checkout is not clean.
    """
    lock = read_lock(workspace)
    assessed = assess(workspace, lock, stages)
    stale = [problem for one in assessed.values() for problem in _stale(workspace, one)]
    if stale:
        raise RbuildError(stale, exit_code=Exit.FINDING)
    assert lock is not None  # or every stage would be stale
    locked = {name: one.locked for name, one in assessed.items() if one.locked}
    absent = [_absent(name, one) for name, one in locked.items() if not in_store(workspace, one.image)]
    if absent:
        raise RbuildError(absent)
    templates = tuple(tags) if tags is not None else workspace.project.push.tags
    values = _values(workspace, templates)
    kinds = tuple(attach) if attach is not None else workspace.project.push.attach
    made = (
        _parcel(workspace, lock, assessed[name].source, one, templates, values)
        for name, one in locked.items()
    )
    return tuple(_beside(workspace, lock, parcel, kinds) for parcel in made)


def _stale(workspace: Workspace, one: Assessment) -> Iterable[Problem]:
    name = one.source.stage.name
    for change in detailed(workspace.store, one):
        yield Problem(
            what=f"the lock is out of date: {change}",
            where=Where(file=LOCK_FILE, key=f"stages.{name}"),
            hint=f"rbuild build {name} builds it and brings the lock up to date",
        )


def _absent(name: str, locked: StageLock) -> Problem:
    return Problem(
        what=f"the image of stage {name} is not in the store",
        where=Where(file=LOCK_FILE, key=f"stages.{name}", digest=str(locked.image.manifest)),
        hint=f"rbuild build {name} makes it anew from what is locked",
    )


def _parcel(
    workspace: Workspace,
    lock: Lock,
    source: Source,
    locked: StageLock,
    templates: Sequence[str],
    values: Mapping[str, str],
) -> Parcel:
    name, image = source.stage.name, locked.image
    data = workspace.store.read(image.manifest)
    manifest = read_manifest(data)
    blobs = [Blob(layer.digest, layer.size) for layer in manifest.layers]
    if [blob.digest for blob in blobs] != [layer.blob for layer in image.layers]:
        raise RbuildError(
            f"the layers that the lock has for stage {name} are not those of its manifest",
            where=Where(file=LOCK_FILE, key=f"stages.{name}.image", digest=str(image.manifest)),
            hint="git checkout rbuild.lock, or rbuild lock --upgrade",
        )
    blobs.append(Blob(manifest.config.digest, manifest.config.size))
    named = {
        template: fill(template, {**values, "stage": name, "input": shortened(locked.input.hex)})
        for template in templates
    }
    return Parcel(
        stage=name,
        source=source,
        lock=lock,
        locked=locked,
        digest=image.manifest,
        manifest=data,
        media_type=manifest.media_type,
        blobs=tuple(dict.fromkeys(blobs)),
        bases=tuple(_bases(workspace, lock, locked)),
        tags=tuple(dict.fromkeys(named.values())),
        moving=frozenset(
            tag for template, tag in named.items() if template in workspace.project.push.moving_tags
        ),
    )


def _beside(workspace: Workspace, lock: Lock, parcel: Parcel, kinds: Sequence[Attach]) -> Parcel:
    """A parcel with what is published beside it."""
    found = documents(workspace, lock, parcel.stage, kinds)
    subject = Descriptor(media_type=parcel.media_type, digest=parcel.digest, size=len(parcel.manifest))
    attachments = (*parcel.attachments, *(one.artifact(subject) for one in found))
    return replace(parcel, documents=found, attachments=attachments)


def _bases(workspace: Workspace, lock: Lock, locked: StageLock) -> Iterable[BaseLayers]:
    for key in locked.bases:
        base = lock.bases[key]
        manifest = _manifest(workspace, base.digest) if base.image else None
        if base.image and manifest:
            layers = frozenset(layer.digest for layer in manifest.layers)
            yield BaseLayers(image=Reference.parse(base.image), layers=layers)


def _manifest(workspace: Workspace, digest: Digest) -> Manifest | None:
    try:
        return read_manifest(workspace.store.read(digest))
    except MissingBlob:
        return None


def _values(workspace: Workspace, templates: Sequence[str]) -> dict[str, str]:
    """What the templates ask of the project as a whole."""
    needed = frozenset().union(*map(placeholders, templates))
    values = {}
    if "version" in needed:
        if workspace.project.version is None:
            raise RbuildError(
                "a tag is to have the project's version, and rbuild.yaml says none",
                hint='add version: "1.0" to rbuild.yaml',
            )
        values["version"] = workspace.project.version
    if "git" in needed:
        values["git"] = _commit(workspace)
    return values


def _commit(workspace: Workspace) -> str:
    """The commit that the project's folder is exactly a checkout of."""

    def git(*arguments: str) -> str:
        done = run(["git", *arguments], env=workspace.env, cwd=workspace.root, check=False, timeout=60)
        if done.returncode != 0:
            raise RbuildError(
                f"a tag is to have the commit, and git has none here: {done.stderr.strip()[:200]}",
                where=Where(file=str(workspace.root)),
                hint="name tags without {git}",
            )
        return done.stdout.strip()

    commit = git("rev-parse", "--verify", "HEAD")
    changed = git("--no-optional-locks", "status", "--porcelain", "--", ".").splitlines()
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise RbuildError(
            f"a tag is to have the commit, and not all is as it was committed: {changed[0][3:]}{more}",
            where=Where(file=str(workspace.root)),
            hint="commit what changed, or name tags without {git}",
        )
    return commit
