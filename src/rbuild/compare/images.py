"""Two images held against each other: manifests, configurations, layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import BinaryIO, TypeVar

import msgspec

from rbuild.compare.alignment import aligned
from rbuild.compare.budget import Budget
from rbuild.compare.config import Text, compare_configs, compare_manifests
from rbuild.compare.evidence import Facts
from rbuild.compare.files import PairSink
from rbuild.compare.layers import Layer, chosen, compare_layers, same_files
from rbuild.compare.model import (
    Blame,
    Change,
    Comparison,
    Difference,
    Field,
    LayerPair,
    Part,
    Side,
    Verdict,
)
from rbuild.compare.place import Place, changed
from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.image.config import Config, read_config
from rbuild.image.manifest import read_manifest

__all__ = ["Image", "PairSink", "compare"]

T = TypeVar("T")
_TAR = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One side of a comparison.

    `name` is what the user wrote. `manifest` and `config` are the stored bytes. `open_layer(number)` opens
    the blob of a layer as stored (compressed), at its start; `number` counts from 1, lowest first, as
    `LayerPair.number` does. It may be called several times, and from another thread; what it gives is closed
    after use. Who hands in an image has checked the digests of manifest, config and blobs; the diff ids of
    the configuration are believed.

    `blames` has one item for each layer (index 0: layer 1); None: taken from the configuration's history.
    `instructions` are all instructions of the Containerfile in order, those that make no layer too: a key of
    the configuration is blamed on one of them; None: taken from the history as well.

    `unpacked`: `open_layer` gives a layer's tar, checked against its diff id, whatever media type the
    manifest has for it: Podman's storage keeps manifests, but no blobs.
    """

    name: str
    manifest: bytes
    config: bytes
    open_layer: Callable[[int], BinaryIO]
    blames: Sequence[Blame | None] | None = None
    instructions: Sequence[Blame] | None = None
    unpacked: bool = False


def compare(a: Image, b: Image, *, facts: Facts | None = None, pairs: PairSink | None = None) -> Comparison:
    """Hold image `a` against image `b`.

    Equal manifests are identical; equal diff ids and configurations are the same content. Only layers whose
    diff ids differ are opened. `pairs` is handed the contents of files that differ. Raises RbuildError for a
    manifest, configuration or layer that cannot be read, naming blob and entry; what is broken inside of a
    file is a note on its difference.
    """
    layers_a, layers_b = _layers(a), _layers(b)
    rows = _rows(layers_a, layers_b)
    picture = tuple(_pictured(row) for row in rows)
    verdict = Verdict.DIFFERENT
    if a.manifest == b.manifest:
        verdict = Verdict.IDENTICAL
    elif a.config == b.config and all(row.shared for row in rows):
        verdict = Verdict.SAME_CONTENT
    differences: list[Difference] = []
    if verdict is not Verdict.IDENTICAL:
        place = Place(path=b"", budget=Budget(), facts=facts or Facts())
        differences = [*_documents(a, b, rows, place), *_layer_differences(rows, place, pairs)]
    return Comparison(
        a=Side(name=a.name, digest=Digest.of(a.manifest)),
        b=Side(name=b.name, digest=Digest.of(b.manifest)),
        verdict=verdict,
        layers=picture,
        differences=tuple(differences),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """Two layers beside each other, or one that the other image has nothing beside."""

    number: int
    a: Layer | None
    b: Layer | None

    @property
    def shared(self) -> bool:
        return self.a is not None and self.b is not None and self.a.diff_id == self.b.diff_id

    @property
    def blame(self) -> Blame | None:
        return chosen(self.a.blame if self.a else None, self.b.blame if self.b else None)


def _layers(image: Image) -> list[Layer]:
    manifest, config = _read(image, read_manifest, image.manifest), _read(image, read_config, image.config)
    diff_ids = config.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise RbuildError(
            f"{image.name}: the manifest has {len(manifest.layers)} layers, "
            f"and the configuration {len(diff_ids)}",
            where=Where(digest=str(Digest.of(image.manifest))),
            hint="the image is broken: fetch or build it again",
        )
    blames = image.blames if image.blames is not None else _blames(config)
    return [
        Layer(
            image=image.name,
            number=number,
            diff_id=diff_id,
            blob=msgspec.structs.replace(blob, media_type=_TAR) if image.unpacked else blob,
            blame=blames[number - 1] if number <= len(blames) else None,
            open=partial(image.open_layer, number),
        )
        for number, (diff_id, blob) in enumerate(zip(diff_ids, manifest.layers, strict=True), 1)
    ]


def _read(image: Image, read: Callable[[bytes], T], data: bytes) -> T:
    try:
        return read(data)
    except RbuildError as error:
        raise RbuildError(
            replace(problem, what=f"{image.name}: {problem.what}", where=Where(digest=str(Digest.of(data))))
            for problem in error.problems
        ) from error


def _blames(config: Config) -> list[Blame | None]:
    """The instructions of the layers, where the history has one for each."""
    made = [entry.created_by for entry in config.history or () if not entry.empty_layer]
    if len(made) != len(config.diff_ids):
        return []
    return [Blame(text=text) if text else None for text in made]


def _rows(a: Sequence[Layer], b: Sequence[Layer]) -> list[_Row]:
    indices = aligned(
        [str(layer.diff_id) for layer in a],
        [str(layer.diff_id) for layer in b],
        [layer.blame.text if layer.blame else "" for layer in a],
        [layer.blame.text if layer.blame else "" for layer in b],
    )
    return [
        _Row(number, None if i is None else a[i], None if j is None else b[j])
        for number, (i, j) in enumerate(indices, 1)
    ]


def _pictured(row: _Row) -> LayerPair:
    return LayerPair(
        number=row.number,
        blame=row.blame,
        a=row.a.diff_id if row.a else None,
        b=row.b.diff_id if row.b else None,
        size_a=row.a.blob.size if row.a else None,
        size_b=row.b.blob.size if row.b else None,
        shared=row.shared,
    )


def _documents(a: Image, b: Image, rows: Sequence[_Row], place: Place) -> Iterator[Difference]:
    layers = [(row.a.number - 1, row.b.number - 1) for row in rows if row.a and row.b and row.shared]
    found = compare_manifests(
        Text(f"the manifest of {a.name}", a.manifest),
        Text(f"the manifest of {b.name}", b.manifest),
        place,
        layers,
        explained=a.config != b.config or not all(row.shared for row in rows),
    )
    if found:
        yield found
    if a.config != b.config:
        config_a = Text(f"the configuration of {a.name}", a.config)
        config_b = Text(f"the configuration of {b.name}", b.config)
        found = compare_configs(config_a, config_b, place, _instructions(b) or _instructions(a))
        if found:
            yield found


def _instructions(image: Image) -> Sequence[Blame]:
    if image.instructions is not None:
        return image.instructions
    return [Blame(text=entry.created_by) for entry in read_config(image.config).history or ()]


def _layer_differences(rows: Sequence[_Row], place: Place, pairs: PairSink | None) -> Iterator[Difference]:
    """The differences of each run of layers that are not shared."""
    for shared, run in groupby(rows, key=lambda row: row.shared):
        if not shared:
            yield from _run_differences(list(run), place, pairs)


def _run_differences(run: Sequence[_Row], place: Place, pairs: PairSink | None) -> Iterator[Difference]:
    a, b = [row.a for row in run if row.a], [row.b for row in run if row.b]
    if len(a) != len(b) and a and b and same_files(a, b):
        yield place.leaf(
            f"layers {run[0].number} to {run[-1].number}",
            part=Part.LAYER,
            format="metadata",
            aspect="layers",
            fields=changed("layers", len(a), len(b)),
            note="the same files, divided into layers in another way",
        )
        return
    for row in run:
        name = f"layer {row.number}"
        if row.a and row.b:
            yield compare_layers(name, row.a, row.b, place, pairs)
        else:
            yield _one_sided(name, row, place)


def _one_sided(name: str, row: _Row, place: Place) -> Difference:
    def field(what: str, value: Callable[[Layer], object]) -> Field:
        a, b = (None if layer is None else str(value(layer)) for layer in (row.a, row.b))
        return Field(name=what, a=a, b=b)

    return replace(place, blame=row.blame).leaf(
        name,
        part=Part.LAYER,
        format="entry",
        aspect="layer",
        change=Change.REMOVED if row.a else Change.ADDED,
        fields=(field("diff id", lambda layer: layer.diff_id), field("size", lambda layer: layer.blob.size)),
    )
