"""Operands on their way to images: manifest and configuration at once, layers when they are asked for.

Two images with equal layers cost two manifests and two configurations, wherever they are.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from rbuild.compare.images import Image
from rbuild.containerfile.model import Containerfile
from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.events import Emit, Note
from rbuild.image.manifest import Descriptor, read_manifest
from rbuild.imagefiles import Files, Folder, open_archive
from rbuild.imagelayouts import (
    StoredImage,
    check_digest,
    config_of,
    is_docker,
    is_layout,
    manifest_of,
    read_docker,
    read_layout,
    refuse_list,
)
from rbuild.lock import LOCK_VERSION, Lock, StageLock
from rbuild.podman import Podman
from rbuild.process import run
from rbuild.project import Stage
from rbuild.reference import Reference
from rbuild.skopeo import copy_to_folder, inspect, on_loopback, registry_source
from rbuild.store import Store
from rbuild.verbs.assessment import assess, in_store
from rbuild.verbs.operands import Operand, Transport
from rbuild.verbs.source import read_containerfile
from rbuild.verbs.stageimage import facts_of, stage_image
from rbuild.verbs.workspace import LOCK_FILE, Workspace, read_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What images are opened with. `workspace` is None outside of a project.

    `scratch` is a folder in the store, for as long as the images are read. `epoch` is for a stage that is
    built and was never locked.
    """

    workspace: Workspace | None
    store: Store
    podman: Podman
    platform: str
    scratch: Path
    offline: bool
    epoch: int
    emit: Emit
    opened: contextlib.ExitStack  # what is closed when the images are


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An image that can be compared, and what is known of it: its responses, from raw sha256 to URL."""

    image: Image
    responses: Mapping[bytes, str] = field(default_factory=dict)


def open_image(operand: Operand, desk: Desk) -> Opened:
    """Open the image that a person named. Raises RbuildError when it cannot be had, or is not one image."""
    match operand.transport:
        case Transport.STAGE:
            return _open_locked(operand, desk)
        case Transport.BUILT:
            return _open_built(operand, desk)
        case Transport.REGISTRY:
            return Opened(image=_open_remote(operand, desk))
        case Transport.STORAGE:
            return Opened(image=_open_storage(operand, desk))
        case _:
            return Opened(image=_open_file(operand, desk))


# Stages


def _open_locked(operand: Operand, desk: Desk) -> Opened:
    workspace, name = _workspace(desk), operand.name
    lock = read_lock(workspace)
    locked = lock.stages.get(name) if lock else None
    place = Where(file=LOCK_FILE, key=f"stages.{name}")
    if lock is None or locked is None:
        raise RbuildError(f"stage {name} is not in the lock", where=place, hint=f"rbuild build {name}")
    if not in_store(workspace, locked.image):
        raise RbuildError(
            f"the image of stage {name} is not in the store",
            where=Where(file=LOCK_FILE, key=f"stages.{name}", digest=str(locked.image.manifest)),
            hint=f"rbuild build {name} makes it anew from what is locked; built:{name} is one built now",
        )
    recipe = _recipe(workspace, name, locked)
    image = _of_store(workspace.store, locked.image.manifest, operand.text, recipe, lock.platform)
    return Opened(image=image, responses=facts_of(locked).responses_a)


@dataclass(frozen=True, slots=True)
class _Recipe:
    stage: Stage
    containerfile: Containerfile


def _recipe(workspace: Workspace, name: str, locked: StageLock) -> _Recipe | None:
    """What the locked image was built by; None if the files say otherwise now, or cannot be read."""
    stage = workspace.project.stages[name]
    if (locked.target, locked.args) != (stage.target, dict(stage.args)):
        return None
    try:
        digest, containerfile = read_containerfile(workspace, stage)
    except RbuildError:
        return None
    return _Recipe(stage, containerfile) if digest == locked.containerfile else None


def _of_store(store: Store, digest: Digest, name: str, recipe: _Recipe | None, platform: str) -> Image:
    """An image in the store; without its recipe, layers are blamed on the history's text."""
    if recipe is not None:
        return stage_image(store, digest, name, recipe, platform)
    data = store.read(digest)
    manifest = read_manifest(data)
    return Image(
        name=name,
        manifest=data,
        config=store.read(manifest.config.digest),
        open_layer=lambda number: store.open(manifest.layers[number - 1].digest),
    )


def _open_built(operand: Operand, desk: Desk) -> Opened:
    from rbuild.verbs.rebuild import Setting, rebuild  # brings TLS, HTTP and compressors along

    workspace, name = _workspace(desk), operand.name
    empty = Lock(version=LOCK_VERSION, project=workspace.project.name, platform=workspace.project.platform)
    lock = read_lock(workspace) or empty
    assessed = assess(workspace, lock, [name])
    setting = Setting(workspace=workspace, jobs=1, offline=desk.offline, record=True, epoch=desk.epoch)
    folder = Path(tempfile.mkdtemp(dir=desk.scratch, prefix="built-")) / "stage"
    outcome = rebuild(setting, lock, assessed, folder=folder, below=workspace.store, emit=desk.emit)
    built = outcome.stages[name].image
    if isinstance(built, RbuildError):
        raise built
    locked, source = assessed[name].locked, assessed[name].source
    return Opened(
        image=stage_image(outcome.store, built.manifest, operand.text, source, workspace.project.platform),
        responses=facts_of(locked).responses_a if locked else {},
    )


def _workspace(desk: Desk) -> Workspace:
    assert desk.workspace is not None  # or the operand would be no stage
    return desk.workspace


# Files


def _open_file(operand: Operand, desk: Desk) -> Image:
    path = Path(operand.name)
    if path.is_dir():
        files: Files = Folder(path)
    else:
        desk.emit(Note(text=f"reading {operand.name}"))
        with desk.store.space():
            files = desk.opened.enter_context(open_archive(path, desk.scratch))
    stored = _read(operand, files, desk.platform)
    return Image(
        name=operand.text, manifest=stored.manifest, config=stored.config, open_layer=stored.open_layer
    )


def _read(operand: Operand, files: Files, platform: str) -> StoredImage:
    if operand.transport is Transport.DOCKER_ARCHIVE or (
        operand.transport is None and is_docker(files) and not is_layout(files)
    ):
        return read_docker(files, tag=operand.tag)
    if operand.transport is None and not is_layout(files):
        raise RbuildError(
            "is no image: it holds neither the index.json of an OCI layout nor the manifest.json of Docker's",
            where=Where(file=operand.name),
            hint="oci:FOLDER, oci-archive:FILE and docker-archive:FILE say what a path is",
        )
    return read_layout(files, tag=operand.tag, digest=operand.digest, platform=platform)


# Elsewhere


def _open_remote(operand: Operand, desk: Desk) -> Image:
    reference = Reference.parse(operand.name)
    if desk.offline and not on_loopback(reference):
        raise RbuildError(
            f"{operand.text} is in a registry, and --offline lets nothing ask it", hint="leave --offline out"
        )
    source = registry_source(reference)
    hint = "check its name, and that its registry can be reached; `podman login` where it asks for a password"
    tls = ["--tls-verify=false"] if on_loopback(reference) else []
    desk.emit(Note(text=f"asking {reference.registry} for {reference.repository}"))
    data = inspect(source, *tls, env=desk.podman.env, hint=hint)
    if reference.digest and Digest.of(data) != reference.digest:
        raise RbuildError(
            "the registry gave a manifest of another digest",
            where=Where(url=source, digest=str(reference.digest)),
        )
    refuse_list(data, f"docker://{reference.name}", desk.platform)
    manifest = manifest_of(operand.text, data)
    pinned = registry_source(reference.at(Digest.of(data)))  # the tag may move meanwhile
    config = inspect(pinned, "--config", *tls, env=desk.podman.env, hint=hint)
    _check_config(config, manifest.config, operand.text)
    config_of(operand.text, config, manifest)

    def fetch(folder: Path) -> None:
        size = sum(layer.size for layer in manifest.layers)
        desk.emit(Note(text=f"fetching {operand.text} ({size / 1e6:.1f} MB)"))
        verify = [option.replace("--", "--src-") for option in tls]
        with desk.store.space():
            copy_to_folder(
                pinned,
                *verify,
                target=folder,
                scratch=desk.scratch,
                env=desk.podman.env,
                hint=hint,
                most=size + manifest.config.size,
                handed=desk.podman.handed,
            )

    blobs = _Later(desk.scratch, fetch)
    names = [layer.digest for layer in manifest.layers]
    return Image(
        name=operand.text,
        manifest=data,
        config=config,
        open_layer=lambda number: blobs.open(names[number - 1]),
    )


def _open_storage(operand: Operand, desk: Desk) -> Image:
    podman = desk.podman
    hint = "podman images lists what is there"
    form = podman.argv("image", "inspect", "--format", "{{.Id}}", operand.name)
    found = run(form, env=podman.env, check=False)
    identity = found.stdout.strip().removeprefix("sha256:")
    if found.returncode != 0 or not identity.isalnum():
        raise RbuildError(f"Podman's storage has no image {operand.name}", hint=hint)
    source = f"containers-storage:{podman.place}@{identity}"
    data = inspect(source, env=podman.env, hint=hint)
    manifest = manifest_of(operand.text, data)
    config = inspect(source, "--config", env=podman.env, hint=hint)
    _check_config(config, manifest.config, operand.text)
    diff_ids = config_of(operand.text, config, manifest).diff_ids

    def unpack(folder: Path) -> None:
        desk.emit(Note(text=f"unpacking {operand.text}"))
        with desk.store.space():
            copy_to_folder(
                source,
                target=folder,
                scratch=desk.scratch,
                env=podman.env,
                hint=hint,
                handed=podman.handed,
            )

    layers = _Later(desk.scratch, unpack)
    return Image(
        name=operand.text,
        manifest=data,
        config=config,
        open_layer=lambda number: layers.open(diff_ids[number - 1]),
        unpacked=True,
    )


def _check_config(data: bytes, descriptor: Descriptor, name: str) -> None:
    if Digest.of(data) != descriptor.digest:
        raise RbuildError(
            f"the configuration of {name} does not have the digest that its manifest gives",
            where=Where(digest=str(descriptor.digest)),
        )


class _Later:
    """Files by the hex of their digest, in a folder that is filled when the first of them is asked for."""

    def __init__(self, scratch: Path, fill: Callable[[Path], None]) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=scratch, prefix="blobs-")) / "image"
        self._fill = fill
        self._lock = threading.Lock()

    def open(self, digest: Digest) -> BinaryIO:
        """A file whose bytes were looked at just now. Raises RbuildError where they are not those."""
        with self._lock:
            if not self._folder.exists():
                self._fill(self._folder)
        file = Folder(self._folder).open(digest.hex)
        try:
            check_digest(file, digest, digest.hex)
        except BaseException:
            file.close()
            raise
        return file
