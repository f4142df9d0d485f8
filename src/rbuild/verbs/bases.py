"""Bases: what a `FROM` means, pinned in the lock and brought into the store by digest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from rbuild.debian.archives import archives
from rbuild.debian.bootstrap import build_root
from rbuild.debian.resolve import resolve
from rbuild.digest import Digest
from rbuild.errors import Exit, RbuildError, Where, at
from rbuild.events import Emit, Note, Output, Progress
from rbuild.image.codec import Codec, codec_text
from rbuild.image.config import read_config
from rbuild.image.form import NEWEST
from rbuild.image.manifest import read_manifest
from rbuild.intake import take_image, take_layout
from rbuild.lock import BaseLock, DebianLock, DebianPackage
from rbuild.project import PROJECT_FILE
from rbuild.projectfile import Base
from rbuild.reference import Reference
from rbuild.store import CorruptBlob, MissingBlob
from rbuild.verbs.admission import Admission
from rbuild.verbs.canonicalise import ReadyBase, debian_image, index_of
from rbuild.verbs.workspace import Workspace


class Bases:
    """The bases of one command: each is locked and fetched once, however many stages start from it."""

    def __init__(
        self, workspace: Workspace, *, emit: Emit, fetch: Callable[..., object], offline: bool, epoch: int
    ) -> None:
        """`fetch(url, sha256=…, size=…)` brings a file into the store; `epoch` is for bases of packages."""
        self._workspace = workspace
        self._emit = emit
        self._fetch = fetch
        self._offline = offline
        self._epoch = epoch
        self._admission = Admission(workspace, offline=offline)
        self._packed_otherwise: dict[Digest, Digest] = {}  # what is locked, and as what it came out here

    def close(self) -> None:
        """End every wait for a registry's signatures."""
        self._admission.close()

    def lock(self, key: str) -> BaseLock:
        """Pin a base anew, from the network. Raises RbuildError when it cannot be had."""
        definition = self._workspace.project.base(Reference.parse(key))
        if self._offline:
            raise RbuildError(
                "not in the lock, and --offline lets nothing look it up",
                where=Where(file=PROJECT_FILE, key=f"bases.{key}"),
                hint="rbuild lock, where there is a network",
            )
        if definition.debian:
            return self._lock_debian(key, definition)
        if definition.oci:
            digest = self._fetch_layout(str(definition.oci), definition.tag)
            return BaseLock(digest=digest, oci=str(definition.oci), tag=definition.tag)
        assert definition.image is not None
        self._emit(Note(text=f"fetching {key}"))
        return BaseLock(digest=self._fetch_image(definition.image), image=str(definition.image))

    def repacked(self, key: str, lock: BaseLock) -> BaseLock:
        """A base of packages, of the same ones, compressed as the project asks for now; others stay."""
        if lock.debian is None:
            return lock
        codec = codec_text(self._workspace.project.compression, lock.debian.codec)
        if codec == lock.debian.codec:
            return lock
        pinned = msgspec.structs.replace(lock.debian, codec=codec)
        return msgspec.structs.replace(lock, digest=self._build_debian(key, pinned), debian=pinned)

    def ready(self, key: str, lock: BaseLock, *, packed_otherwise: bool) -> ReadyBase:
        """Have every blob of a locked base in the store. Raises RbuildError when one cannot be had.

        With `packed_otherwise`, a base of packages that another version of the compressor packed may come out
        with another blob: then it goes by the locked digest, and its layer is what came out.
        """
        store = self._workspace.store
        try:
            held = self._stored(key, self._packed_otherwise.get(lock.digest, lock.digest))
            held = replace(held, digest=lock.digest)
            if lock.image is None or self._admission.admit_base(
                _pinned(Reference.parse(lock.image), lock.digest)
            ):
                return held
        except MissingBlob:
            pass
        if lock.debian:
            found = self._build_debian(key, lock.debian)
        elif lock.oci:
            found = self._fetch_layout(lock.oci, lock.tag)
        elif self._offline:
            raise RbuildError(
                "this base is not in the store, and --offline lets nothing fetch it",
                where=Where(key=key, digest=str(lock.digest)),
                hint="rbuild build without --offline, where there is a network",
            )
        else:
            assert lock.image is not None
            self._emit(Note(text=f"fetching {key}"))
            found = self._fetch_image(Reference.parse(lock.image).at(lock.digest))
        if found != lock.digest:
            codec = lock.debian.codec if lock.debian and not Codec.is_ours(lock.debian.codec) else None
            if codec is None or not packed_otherwise:
                raise _other_base(key, lock.digest, found, codec)
            self._packed_otherwise[lock.digest] = found
            return replace(self._stored(key, found), digest=lock.digest)
        assert store.has(found)
        return self._stored(key, found)

    def _stored(self, key: str, digest: Digest) -> ReadyBase:
        store = self._workspace.store
        with at(Where(digest=str(digest))):
            manifest = read_manifest(store.read(digest))
        for descriptor in (manifest.config, *manifest.layers):
            if not store.has(descriptor.digest, descriptor.size):
                raise MissingBlob(descriptor.digest)
        with at(Where(digest=str(manifest.config.digest))):
            config = read_config(store.read(manifest.config.digest))
            if len(config.diff_ids) != len(manifest.layers):
                raise RbuildError(f"{len(config.diff_ids)} layers; the manifest has {len(manifest.layers)}")
        for descriptor, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            index_of(store, descriptor, diff_id)  # before Podman unpacks what may be a bomb
        return ReadyBase(key=key, digest=digest, manifest=manifest, config=config)

    def _fetch_image(self, reference: Reference) -> Digest:
        workspace = self._workspace
        taken_by: str | None = None

        def admit(image: Reference) -> None:
            nonlocal taken_by
            taken_by = self._admission.admit(image, judged_again=True)

        with workspace.store.scratch("base-") as scratch:
            found = take_image(
                reference, workspace.project.platform, workspace.store, scratch, workspace.podman, admit
            )
        self._admission.note(_pinned(reference, found), taken_by)
        return found

    def _fetch_layout(self, folder: str, tag: str | None) -> Digest:
        workspace = self._workspace
        return take_layout(workspace.root / folder, tag, workspace.project.platform, workspace.store)

    # Bases made of Debian packages

    def _lock_debian(self, key: str, definition: Base) -> BaseLock:
        workspace, asked = self._workspace, definition.debian
        assert asked is not None
        self._emit(Note(text=f"{key}: resolving Debian {asked.suite}"))
        with workspace.store.scratch("apt-") as scratch:
            packages = resolve(
                archives(
                    asked.suite, mirror=asked.mirror, components=asked.components, snapshot=asked.snapshot
                ),
                asked.packages,
                architecture=workspace.project.platform.split("/")[1],
                environ=workspace.env,
                work=scratch,
            )
        pinned = DebianLock(
            suite=asked.suite,
            mirror=asked.mirror,
            snapshot=asked.snapshot,
            components=asked.components,
            wanted=asked.packages,
            form=NEWEST,
            codec=codec_text(workspace.project.compression),
            epoch=self._epoch,
            packages=tuple(
                DebianPackage(
                    name=package.name,
                    version=package.version,
                    architecture=package.architecture,
                    archive=None if package.archive == asked.mirror else package.archive,
                    path=package.path,
                    sha256=package.sha256,
                    size=package.size,
                )
                for package in packages
            ),
        )
        return BaseLock(digest=self._build_debian(key, pinned), debian=pinned)

    def _build_debian(self, key: str, pinned: DebianLock) -> Digest:
        workspace = self._workspace
        files = self._packages(key, pinned)
        emit, store = self._emit, workspace.store

        def on_line(line: str) -> None:
            emit(Output(text=line, stage=key))

        self._emit(Note(text=f"{key}: installing {len(files)} Debian packages"))
        with store.scratch("debian-") as scratch:
            tar = build_root(
                files,
                archives=archives(
                    pinned.suite, mirror=pinned.mirror, components=pinned.components, snapshot=pinned.snapshot
                ),
                architecture=workspace.project.platform.split("/")[1],
                epoch=pinned.epoch,
                podman=workspace.podman.command,
                environ=workspace.env,
                work=scratch,
                on_line=on_line,
            )
            return debian_image(
                tar,
                pinned=pinned,
                platform=workspace.project.platform,
                created_by=f"rbuild: Debian {pinned.suite} {' '.join(pinned.wanted)}".rstrip(),
                store=store,
            )

    def _packages(self, key: str, pinned: DebianLock) -> list[Path]:
        store = self._workspace.store
        missing = [package for package in pinned.packages if not self._is_whole(package)]
        total = sum(package.size for package in missing)
        if missing and self._offline:
            raise RbuildError(
                f"{len(missing)} packages of the base {key} are not in the store, and --offline lets nothing "
                f"fetch them; the first is {missing[0].name} {missing[0].version}",
                where=Where(file="rbuild.lock", key=f"bases.{key}", digest=str(missing[0].sha256)),
                hint="rbuild build without --offline, where there is a network",
            )
        done = 0
        for package in missing:
            archive = (package.archive or pinned.mirror).rstrip("/")
            self._fetch(f"{archive}/{package.path}", sha256=package.sha256, size=package.size)
            done += package.size
            self._emit(Progress(text=f"{key}: fetching packages", done=done, total=total))
        return [store.path(package.sha256) for package in pinned.packages]

    def _is_whole(self, package: DebianPackage) -> bool:
        store = self._workspace.store
        try:
            store.open(package.sha256).close()
        except MissingBlob:
            return False
        except CorruptBlob as error:
            what = error.problems[0].what
            self._emit(Note(text=f"{package.path}: {what}; fetching it anew", level="warning"))
            store.discard(package.sha256)
            return False
        return True


def _other_base(key: str, locked: Digest, found: Digest, codec: str | None) -> RbuildError:
    """`codec` is that of the lock, where another library is here."""
    because = f": {Codec.beside_ours(codec)}" if codec else ""
    return RbuildError(
        f"the base {key} comes out as {found}, and the lock has another digest{because}",
        where=Where(file="rbuild.lock", key=f"bases.{key}", digest=str(locked)),
        hint="rbuild lock --upgrade pins it as it is now",
        exit_code=Exit.FINDING,
    )


def _pinned(reference: Reference, digest: Digest) -> Reference:
    return Reference(reference.registry, reference.repository, digest=digest)
