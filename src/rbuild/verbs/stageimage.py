"""The image of a stage, as it is in a store, on one side of a comparison."""

from __future__ import annotations

from functools import partial
from typing import BinaryIO, Protocol

from rbuild.compare.evidence import Facts
from rbuild.compare.images import Image
from rbuild.compare.model import Blame
from rbuild.containerfile.chain import image_chain
from rbuild.containerfile.model import Containerfile
from rbuild.digest import Digest
from rbuild.image.config import Config, read_config
from rbuild.image.manifest import Manifest, read_manifest
from rbuild.lock import StageLock
from rbuild.project import Stage
from rbuild.sealed.enter import HOST_NAME
from rbuild.store import MissingBlob, Store


class Recipe(Protocol):
    """What a stage's image was built by; its context is not needed."""

    @property
    def stage(self) -> Stage: ...

    @property
    def containerfile(self) -> Containerfile: ...


def stage_image(store: Store, manifest: Digest, name: str, source: Recipe, platform: str) -> Image:
    """An image that was built of `source`; its layers are blamed on the lines of the Containerfile.

    `name` is what to call it. Raises MissingBlob unless the store has every blob of it, and CorruptBlob for
    one, when it is read, that is not what it was.
    """
    written = store.read(manifest)
    found = read_manifest(written)
    for layer in found.layers:
        if not store.has(layer.digest, layer.size):
            raise MissingBlob(layer.digest)
    config = store.read(found.config.digest)
    instructions = image_chain(
        source.containerfile,
        build_args=source.stage.args,
        platform=platform,
        target=source.stage.target,
    ).instructions
    file = str(source.stage.containerfile)
    lines = [Blame(text=one.original, file=file, line=one.line) for one in instructions]
    return Image(
        name=name,
        manifest=written,
        config=config,
        open_layer=partial(_open, store, found),
        blames=_of_layers(read_config(config), lines),
        instructions=lines,
    )


def _open(store: Store, manifest: Manifest, number: int) -> BinaryIO:
    return store.open(manifest.layers[number - 1].digest)


def _of_layers(config: Config, lines: list[Blame]) -> list[Blame | None]:
    """The blame of each layer. The history ends in one entry for each of the instructions."""
    history = config.history or []
    below: list[Blame | None] = [Blame(text=one.created_by or "") for one in history[: -len(lines) or None]]
    made = zip(history, [*below, *lines], strict=True)
    return [blame for entry, blame in made if not entry.empty_layer]


def facts_of(locked: StageLock, *hosts: str) -> Facts:
    """What is known of two builds of a stage: the responses that both read, and the names of their hosts."""
    responses = {bytes.fromhex(one.sha256.hex): one.url for one in locked.recording.responses}
    return Facts(responses_a=responses, responses_b=responses, hosts=frozenset((HOST_NAME, *hosts)))
