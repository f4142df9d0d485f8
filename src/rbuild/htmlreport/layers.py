"""The picture of two images' layers: bars whose lengths are the layers' sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rbuild.compare.model import LayerPair

State = Literal["shared", "differs", "only in A", "only in B"]

_ROWS = 200  # layers that are drawn: overlay mounts at most 128
_THINNEST = 0.6  # per cent: a layer of a few bytes is still seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stretch of a bar, in per cent of the full width."""

    start: str
    length: str
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One layer; a bar of zero length where a side does not have it."""

    pair: LayerPair
    state: State
    a: str  # lengths in per cent of the largest layer
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Both images as one bar each, and their layers one below the other."""

    a: tuple[Bar, ...]
    b: tuple[Bar, ...]
    rows: tuple[LayerRow, ...]
    left_out: int
    shared: int  # layers
    shared_bytes: int
    differing_a: int  # bytes
    differing_b: int


def picture(layers: Sequence[LayerPair]) -> Picture:
    """The picture of `layers`; both sides have the same scale."""
    shown = layers[:_ROWS]
    full = max(sum(pair.size_a or 0 for pair in layers), sum(pair.size_b or 0 for pair in layers), 1)
    largest = max([1, *(size for pair in layers for size in (pair.size_a or 0, pair.size_b or 0))])
    return Picture(
        a=_bar(((pair.size_a, pair.shared) for pair in shown), full),
        b=_bar(((pair.size_b, pair.shared) for pair in shown), full),
        rows=tuple(
            LayerRow(
                pair=pair,
                state=_state(pair),
                a=_length(pair.size_a, largest),
                b=_length(pair.size_b, largest),
            )
            for pair in shown
        ),
        left_out=len(layers) - len(shown),
        shared=sum(pair.shared for pair in layers),
        shared_bytes=sum(pair.size_a or 0 for pair in layers if pair.shared),
        differing_a=sum(pair.size_a or 0 for pair in layers if not pair.shared),
        differing_b=sum(pair.size_b or 0 for pair in layers if not pair.shared),
    )


def _state(pair: LayerPair) -> State:
    if pair.shared:
        return "shared"
    if pair.a is None:
        return "only in B"
    return "only in A" if pair.b is None else "differs"


def _bar(parts: Iterable[tuple[int | None, bool]], full: int) -> tuple[Bar, ...]:
    """Stretches one after another; the thin ones are drawn wider, and all of them shrunk to fit."""
    lengths = [(max(100 * size / full, _THINNEST), shared) for size, shared in parts if size is not None]
    shrink = min(1.0, 100 / max(sum(length for length, _ in lengths), 1.0))
    bars, start = [], 0.0
    for length, shared in lengths:
        bars.append(Bar(start=f"{start:.2f}%", length=f"{length * shrink:.2f}%", shared=shared))
        start += length * shrink
    return tuple(bars)


def _length(size: int | None, largest: int) -> str:
    return "0" if size is None else f"{max(100 * size / largest, _THINNEST):.2f}%"
