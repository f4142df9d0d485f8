"""What rules look at, gathered from a project, its lock and the store."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from rbuild.containerfile.chain import image_chain
from rbuild.containerfile.expand import needed_targets
from rbuild.containerfile.model import Instruction
from rbuild.context import IGNORE_FILES, Context, Kind
from rbuild.errors import RbuildError
from rbuild.image.config import Config, read_config
from rbuild.image.manifest import Manifest, read_manifest
from rbuild.lock import Lock, StageLock
from rbuild.policy.facts import MAX_READ, FileFacts, ImageFacts, LayerFacts, LockFacts, Verified
from rbuild.process import run
from rbuild.project import PROJECT_FILE, locate
from rbuild.reference import Reference
from rbuild.sbom.origins import with_origins
from rbuild.sbom.package import Package
from rbuild.store import Store
from rbuild.verbs.sbom import inventory_of
from rbuild.verbs.source import Source
from rbuild.verbs.workspace import LOCK_FILE, Workspace
from rbuild.verifications import verifications


def file_facts(workspace: Workspace, source: Source, lock: Lock | None = None) -> FileFacts:
    """A stage as its files are now, beside a lock that should fit them, if there is one."""
    stage = source.stage
    kinds = {file.path: file.kind for file in source.context.files}
    return FileFacts(
        project=workspace.project,
        stage=stage,
        containerfile=source.containerfile,
        targets=needed_targets(
            source.containerfile, stage.target, build_args=stage.args, platform=workspace.project.platform
        ),
        uses=source.uses,
        context=tuple(kinds),
        ignore_file=_ignore_file(workspace.root / stage.context, workspace.root / stage.containerfile),
        read=partial(_read, source.context, kinds),
        locked=frozenset(lock.bases) if lock else None,
        signed=_signed(workspace),
        locate=lambda *path: locate((workspace.root / PROJECT_FILE).read_bytes(), *path),
    )


def _signed(workspace: Workspace) -> Callable[[Reference], bool] | None:
    trust = workspace.trust
    return (lambda image: not trust.asks_nothing(image)) if trust else None


def _ignore_file(context: Path, containerfile: Path) -> str | None:
    beside = [containerfile.with_name(containerfile.name + suffix) for suffix in IGNORE_FILES]
    found = (path for path in (*beside, *(context / name for name in IGNORE_FILES)) if path.is_file())
    return next((path.name for path in found), None)


def _read(context: Context, kinds: Mapping[str, Kind], path: str) -> bytes | None:
    """A file of the context; a link in it is not followed, since what it leads to has a name of its own."""
    if kinds.get(path) is not Kind.FILE:
        return None
    try:
        number = os.open(context.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return None
        data = file.read(MAX_READ + 1)
    return data if len(data) <= MAX_READ else None


def locked_at(workspace: Workspace) -> datetime | None:
    """When the lock last changed: the commit's time, or the file's where it was changed since."""
    path = workspace.lock_path
    if not path.is_file():
        return None

    def git(*arguments: str) -> str | None:
        argv = ["git", "--no-optional-locks", *arguments, "--", LOCK_FILE]
        try:
            done = run(argv, env=workspace.env, cwd=workspace.root, check=False, timeout=30)
        except RbuildError:
            return None  # no git here
        return done.stdout.strip() if done.returncode == 0 else None

    if git("status", "--porcelain") == "" and (seconds := git("log", "-1", "--format=%ct")):
        return datetime.fromtimestamp(int(seconds), UTC)
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def lock_facts(
    store: Store,
    files: FileFacts,
    lock: Lock,
    locked: StageLock,
    *,
    now: datetime,
    changed: datetime | None,
    previous: StageLock | None = None,
) -> LockFacts:
    """A stage as it is locked, or is to be locked now (`changed` None: just now).

    `store` knows what was verified.
    """
    return LockFacts(
        files=files,
        lock=lock,
        locked=locked,
        now=now,
        previous=previous,
        locked_at=changed or now,
        fresh=changed is None,
        verified=_verified(store, locked),
    )


def _verified(store: Store, locked: StageLock) -> Verified | None:
    known = verifications(store, locked.image.manifest, locked.input)
    if not known:
        return None
    return Verified(
        image=locked.image.manifest, input=locked.input, when=known[0].when, verdict=known[0].result
    )


def image_facts(store: Store, facts: LockFacts, *, below: int | None = None) -> ImageFacts:
    """The locked image, every blob of which is in `store`.

    Which instruction made a layer is known from the Containerfile. Where that has changed since, `below` says
    how many layers are the base's.
    """
    image = facts.locked.image
    manifest = read_manifest(store.read(image.manifest))
    config = read_config(store.read(image.config))
    if below is None:
        makers = _told(facts.files, manifest, config)
    else:
        makers = [(at >= below, None) for at in range(len(manifest.layers))]
    layers = zip(manifest.layers, config.diff_ids, makers, strict=True)
    return ImageFacts(
        lock=facts,
        digest=image.manifest,
        manifest=manifest,
        config=config,
        layers=tuple(
            LayerFacts(
                number=number,
                diff_id=diff_id,
                blob=layer.digest,
                size=layer.size,
                own=own,
                instruction=instruction,
            )
            for number, (layer, diff_id, (own, instruction)) in enumerate(layers, 1)
        ),
        packages=cache(partial(_packages, store, facts)),
    )


def layers_of_base(store: Store, lock: Lock, locked: StageLock) -> int | None:
    """How many layers of a locked image are its base's; None where the store does not know its bases."""
    blobs = [layer.blob for layer in locked.image.layers]
    most = 0
    for key in locked.bases:
        base = lock.bases.get(key)
        if base is None or not store.has(base.digest):
            return None
        below = [layer.digest for layer in read_manifest(store.read(base.digest)).layers]
        if blobs[: len(below)] == below:
            most = max(most, len(below))
    return most


def _packages(store: Store, facts: LockFacts) -> tuple[Package, ...]:
    return with_origins(inventory_of(store, facts.locked.image).packages, facts.locked, facts.lock.bases)


_Maker = tuple[bool, Instruction | None]  # whether the build made a layer, and by what


def _told(files: FileFacts, manifest: Manifest, config: Config) -> list[_Maker]:
    chain = image_chain(
        files.containerfile,
        build_args=files.stage.args,
        platform=files.project.platform,
        target=files.stage.target,
    )
    makers = list(_makers(config, chain.instructions))
    if len(makers) != len(manifest.layers):  # a history that somebody else wrote
        return [(True, None)] * len(manifest.layers)
    return makers


def _makers(config: Config, instructions: Iterable[Instruction]) -> Iterator[_Maker]:
    """The maker of each layer: the history ends in the instructions."""
    history = config.history or []
    made = list(instructions)
    below = len(history) - len(made)
    for at, entry in enumerate(history):
        if not entry.empty_layer:
            yield (True, made[at - below]) if at >= below else (False, None)
