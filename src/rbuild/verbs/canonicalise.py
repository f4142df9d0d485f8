"""From what Podman committed, or a root file system, to the canonical image in the store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from rbuild.archive import RawImage
from rbuild.containerfile.model import Instruction
from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where, at
from rbuild.image.codec import Codec, decompressed
from rbuild.image.config import (
    Config,
    Execution,
    HistoryEntry,
    Platform,
    RootFs,
    canonical_config,
)
from rbuild.image.derived import derived_history
from rbuild.image.index import LayerIndex, Tree, index_layer
from rbuild.image.layer import canonical_layer
from rbuild.image.manifest import OCI_CONFIG, Descriptor, Manifest, canonical_manifest
from rbuild.image.normalise import normalisers
from rbuild.lock import DebianLock, ImageLock, LayerLock
from rbuild.plan import Inputs
from rbuild.sealed.environment import MOUNT
from rbuild.store import Store

_BASE_NAME = "org.opencontainers.image.base.name"
_BASE_DIGEST = "org.opencontainers.image.base.digest"
_MOUNTS = frozenset((MOUNT.strip("/").encode(),))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyBase:
    """A base whose every blob is in the store."""

    key: str
    digest: Digest
    manifest: Manifest
    config: Config


def canonicalise(
    raw: RawImage,
    *,
    base: ReadyBase | None,
    instructions: Sequence[Instruction],
    inputs: Inputs,
    injected: Mapping[str, str],
    store: Store,
) -> ImageLock:
    """Write the canonical form of an image that Podman committed into the store.

    `instructions` made the image on top of `base`; `injected` are the variables that rbuild put into the
    base's configuration. Raises RbuildError for an image that is not what such a build makes.
    """
    history = _own_history(raw.config, base, instructions)
    layers = _Layers(store, inputs, base)
    above = raw.config.diff_ids[len(base.config.diff_ids) if base else 0 :]
    if len(above) != sum(not entry.empty_layer for entry in history):
        raise _unexpected(f"{len(above)} layers for {len(history)} instructions")
    rest = iter(above)
    entries: list[HistoryEntry] = []
    for entry in history:
        kept = entry.empty_layer or layers.add(next(rest), raw.layers)
        entries.append(entry if kept else msgspec.structs.replace(entry, empty_layer=True))
    config = store.put(
        canonical_config(
            raw.config,
            base=base.config if base else None,
            injected_env=injected,
            epoch=inputs.epoch,
            platform=Platform.parse(inputs.platform),
            history=entries,
            diff_ids=layers.diff_ids,
        )
    )
    annotations = {_BASE_NAME: base.key, _BASE_DIGEST: str(base.digest)} if base else {}
    descriptor = Descriptor(media_type=OCI_CONFIG, digest=config.digest, size=config.size)
    written = store.put(canonical_manifest(descriptor, layers.descriptors, annotations))
    return ImageLock(manifest=written.digest, config=config.digest, layers=layers.locks)


def _own_history(
    committed: Config, base: ReadyBase | None, instructions: Sequence[Instruction]
) -> list[HistoryEntry]:
    """The build's own part of the history: each instruction as its Containerfile has it.

    Podman writes one entry for each instruction, and one for each ONBUILD trigger of the base before them.
    """
    below = len(derived_history(base.config, "")) if base else 1  # FROM scratch has the token's entry
    own = (committed.history or [])[below:]
    execution = base.config.config if base else None
    triggers = (execution.on_build if execution else None) or []
    texts = [f"ONBUILD {trigger}" for trigger in triggers] + [one.original for one in instructions]
    if len(own) != len(texts):
        raise _unexpected(f"{len(own)} entries of history for {len(texts)} instructions")
    return [
        HistoryEntry(created_by=text, empty_layer=entry.empty_layer)
        for text, entry in zip(texts, own, strict=True)
    ]


def _unexpected(what: str) -> RbuildError:
    return RbuildError(
        f"Podman committed an image that rbuild does not understand: {what}",
        hint="please report it, with the Containerfile and `podman --version`",
    )


class _Memo(msgspec.Struct, frozen=True, array_like=True):
    """The canonical form of a layer that was made before; no blob: nothing was left of it."""

    diff_id: str
    blob: str
    size: int
    raw_mtimes: dict[bytes, int]


class _Layers:
    """The layers of an image as they come: the base's as they are, then canonical ones."""

    def __init__(self, store: Store, inputs: Inputs, base: ReadyBase | None) -> None:
        self._store = store
        self._inputs = inputs
        self._codec = Codec.parse(inputs.codec)
        rules = normalisers(inputs.form)
        self._normalisers = [rules[name] for name in inputs.normalisers]
        self._tree: Tree | None = None
        self._below: list[tuple[Digest, dict[bytes, int]]] = []
        self.diff_ids: list[Digest] = []
        self.descriptors: list[Descriptor] = []
        if base:
            self.diff_ids += base.config.diff_ids
            self.descriptors += base.manifest.layers
            for descriptor, diff_id in zip(base.manifest.layers, base.config.diff_ids, strict=True):
                index_of(store, descriptor, diff_id)
                self._below.append((diff_id, {}))

    @property
    def locks(self) -> tuple[LayerLock, ...]:
        return tuple(
            LayerLock(diff_id=diff_id, blob=descriptor.digest, size=descriptor.size)
            for diff_id, descriptor in zip(self.diff_ids, self.descriptors, strict=True)
        )

    def add(self, raw: Digest, files: Mapping[Digest, Path]) -> bool:
        """Add the canonical form of a layer, given by its diff id; False if it changes nothing."""
        key = self._key(raw)
        memo = self._remembered(key)
        if memo is None:
            with files[raw].open("rb") as source:
                memo = self._write(source)
            self._store.cache("layers", key, msgspec.msgpack.encode(memo))
        if not memo.blob:
            return False
        diff_id = Digest(memo.diff_id)
        self.diff_ids.append(diff_id)
        self.descriptors.append(
            Descriptor(media_type=self._codec.media_type, digest=Digest(memo.blob), size=memo.size)
        )
        self._below.append((diff_id, memo.raw_mtimes))
        self._tree = None
        return True

    def _key(self, raw: Digest) -> str:
        """A canonical layer is a function of these."""
        made = self._inputs
        parts = [str(made.form), str(made.epoch), str(self._codec), *made.normalisers, str(raw)]
        for diff_id, raw_mtimes in self._below:
            times = Digest.of(msgspec.msgpack.encode(sorted(raw_mtimes.items())))
            parts += [str(diff_id), str(times)]
        return Digest.of("\0".join(parts).encode()).hex

    def _remembered(self, key: str) -> _Memo | None:
        data = self._store.cached("layers", key)
        if data is None:
            return None
        try:
            memo = msgspec.msgpack.decode(data, type=_Memo)
        except msgspec.MsgspecError:
            return None
        if memo.blob and not self._store.has(Digest(memo.blob), memo.size):
            return None
        if memo.blob and self._store.cached("indexes", memo.diff_id) is None:
            return None
        return memo

    def _write(self, source: BinaryIO) -> _Memo:
        with self._store.writer() as writer:
            compressor = self._codec.writer(writer, workers=min(os.cpu_count() or 1, 4))
            layer = canonical_layer(
                source,
                self._lower(),
                epoch=self._inputs.epoch,
                normalisers=self._normalisers,
                sink=compressor,
                mounts=_MOUNTS,
            )
            if layer is None:
                return _Memo("", "", 0, {})
            blob = compressor.finish()
            writer.commit(blob.digest)
        self._store.cache("indexes", layer.diff_id.hex, layer.index.to_bytes())
        return _Memo(layer.diff_id.hex, blob.digest.hex, blob.size, layer.raw_mtimes)

    def _lower(self) -> Tree:
        if self._tree is None:
            self._tree = Tree()
            for diff_id, raw_mtimes in self._below:
                data = self._store.cached("indexes", diff_id.hex)
                assert data is not None  # made with the layer
                self._tree.apply(LayerIndex.from_bytes(data), raw_mtimes)
        return self._tree


def index_of(store: Store, descriptor: Descriptor, diff_id: Digest) -> LayerIndex:
    """The index of a layer in the store, kept since making it reads the whole layer.

    Raises RbuildError, with the blob and the entry, for a layer that is broken or not what `diff_id` says.
    """
    # By diff id alone, a forged image could pass off another blob as a layer that is known.
    claim = Digest.of(f"{descriptor.digest} {descriptor.media_type} {diff_id}".encode()).hex
    if store.cached("layers-read", claim) is not None and (data := store.cached("indexes", diff_id.hex)):
        try:
            return LayerIndex.from_bytes(data)
        except RbuildError:
            pass  # of another version of rbuild
    with at(Where(digest=str(descriptor.digest))), store.open(descriptor.digest) as file:
        index = index_layer(decompressed(file, descriptor.media_type), diff_id)
    store.cache("indexes", diff_id.hex, index.to_bytes())
    store.cache("layers-read", claim, b"")
    return index


def debian_image(tar: Path, *, pinned: DebianLock, platform: str, created_by: str, store: Store) -> Digest:
    """Write a root file system into the store as an image of one canonical layer; gives its digest."""
    codec = Codec.parse(pinned.codec)
    with tar.open("rb") as source, store.writer() as writer:
        compressor = codec.writer(writer, workers=min(os.cpu_count() or 1, 4))
        rules = tuple(normalisers(pinned.form).values())
        layer = canonical_layer(source, Tree(), epoch=pinned.epoch, normalisers=rules, sink=compressor)
        if layer is None:
            raise RbuildError("the root file system is empty")
        blob = compressor.finish()
        writer.commit(blob.digest)
    store.cache("indexes", layer.diff_id.hex, layer.index.to_bytes())
    system = Platform.parse(platform)
    committed = Config(
        os=system.os,
        architecture=system.architecture,
        config=Execution(
            env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], cmd=["/bin/bash"]
        ),
        rootfs=RootFs(diff_ids=[]),
    )
    config = store.put(
        canonical_config(
            committed,
            base=None,
            injected_env={},
            epoch=pinned.epoch,
            platform=system,
            history=[HistoryEntry(created_by=created_by)],
            diff_ids=[layer.diff_id],
        )
    )
    descriptor = Descriptor(media_type=OCI_CONFIG, digest=config.digest, size=config.size)
    compressed = Descriptor(media_type=codec.media_type, digest=blob.digest, size=blob.size)
    return store.put(canonical_manifest(descriptor, [compressed], {})).digest
