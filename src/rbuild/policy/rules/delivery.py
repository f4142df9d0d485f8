"""Rules about what is handed on with an image: size and labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from rbuild.errors import Where
from rbuild.policy.facts import ImageFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.sightings import last, place

_MB = 1_000_000


class SizeSettings(Settings, frozen=True, kw_only=True):
    """Of the rule about the size of an image."""

    megabytes: Annotated[
        int, Meta(ge=1, description="The most megabytes that all layers may have, as they are pulled.")
    ] = 2_000


class LayerSizeSettings(Settings, frozen=True, kw_only=True):
    """Of the rule about the size of a layer."""

    megabytes: Annotated[
        int, Meta(ge=1, description="The most megabytes that a layer of the build may have, as it is pulled.")
    ] = 1_000


class CountSettings(Settings, frozen=True, kw_only=True):
    """Of the rule about the number of layers."""

    layers: Annotated[int, Meta(ge=1, description="The most layers, those of the base among them.")] = 40


class GrowthSettings(Settings, frozen=True, kw_only=True):
    """Of the rule about growth."""

    percent: Annotated[int, Meta(ge=0, description="By how much of what was locked before it may grow.")] = 20
    megabytes: Annotated[int, Meta(ge=0, description="Growth of fewer megabytes is none.")] = 10


class LabelSettings(Settings, frozen=True, kw_only=True):
    """Of the rule about labels."""

    labels: Annotated[tuple[str, ...], Meta(description="The labels that an image needs.")] = (
        "org.opencontainers.image.title",
        "org.opencontainers.image.description",
        "org.opencontainers.image.licenses",
    )


def _size(facts: ImageFacts) -> int:
    return sum(layer.size for layer in facts.layers)


def _too_large(facts: ImageFacts, settings: SizeSettings) -> Iterable[Violation]:
    size = _size(facts)
    if size > settings.megabytes * _MB:
        yield Violation(
            message=f"the image has {_said(size)}; {settings.megabytes} MB are the most",
            where=_largest(facts),
        )


def _largest(facts: ImageFacts) -> Where:
    """Where the largest of the build's own layers was made."""
    own = [layer for layer in facts.layers if layer.own]
    if not own:
        return facts.lock.files.at(None)
    layer = max(own, key=lambda one: one.size)
    return place(facts, layer.number, layer.instruction)


def _large_layers(facts: ImageFacts, settings: LayerSizeSettings) -> Iterable[Violation]:
    for layer in facts.layers:
        if layer.own and layer.size > settings.megabytes * _MB:
            yield Violation(
                message=f"layer {layer.number} has {_said(layer.size)}; {settings.megabytes} MB are the most",
                where=place(facts, layer.number, layer.instruction),
                text=layer.instruction.original[:200] if layer.instruction else "",
            )


def _many_layers(facts: ImageFacts, settings: CountSettings) -> Iterable[Violation]:
    if (count := len(facts.layers)) > settings.layers:
        own = sum(layer.own for layer in facts.layers)
        yield Violation(
            message=f"the image has {count} layers, {own} of them made by the build; "
            f"{settings.layers} are the most",
            where=facts.lock.files.at(None),
        )


def _grown(facts: ImageFacts, settings: GrowthSettings) -> Iterable[Violation]:
    previous = facts.lock.previous
    if previous is None or not previous.image.layers:
        return
    before, size = sum(layer.size for layer in previous.image.layers), _size(facts)
    grown = size - before
    if grown > settings.megabytes * _MB and grown * 100 > before * settings.percent:
        more = f"{grown * 100 // before} % more" if before else "all of it new"
        yield Violation(
            message=f"the image has {_said(size)}, and had {_said(before)} when it was last locked: {more}",
            where=_largest(facts),
        )


def _said(size: int) -> str:
    return f"{size / _MB:.1f} MB"


def _labels(facts: ImageFacts, settings: LabelSettings) -> Iterable[Violation]:
    labels = (facts.config.config.labels if facts.config.config else None) or {}
    for name in settings.labels:
        if not labels.get(name, "").strip():
            yield Violation(
                message=f"the image has no label {name[:200]}",
                where=last(facts.lock.files, "LABEL"),
                text=f"LABEL {name[:200]}",
                hint=f'LABEL {name[:200]}="…"',
            )


RULES = (
    Rule(
        id="RB312",
        name="image-too-large",
        title="The image is larger than is allowed.",
        level=Level.WARNING,
        why="It is pulled by every node that runs it, and kept in every registry.",
        example="an image of 3.1 GB where 2000 MB are the most",
        fix="rbuild images shows sizes; COPY --from only what is needed, and mount data when it is run",
        settings=SizeSettings,
        image=_too_large,
    ),
    Rule(
        id="RB313",
        name="layer-too-large",
        title="A layer of the build is larger than is allowed.",
        level=Level.WARNING,
        why="A layer is fetched by one connection, and again as a whole when a byte of it changes.",
        example="COPY model.bin /models/        # 4 GB",
        fix="split what changes at other times into instructions of its own, or mount it when it is run",
        settings=LayerSizeSettings,
        image=_large_layers,
    ),
    Rule(
        id="RB314",
        name="too-many-layers",
        title="The image has more layers than is allowed.",
        level=Level.WARNING,
        why="Each one costs a mount and a request, and overlay file systems end at some number.",
        example="a RUN for each package, 60 times",
        fix="join RUN instructions by && where they change together",
        settings=CountSettings,
        image=_many_layers,
    ),
    Rule(
        id="RB315",
        name="image-grew",
        title="The image grew by more than is allowed since it was locked last.",
        level=Level.WARNING,
        why="It is seldom meant: a cache, a data set or a second copy of a framework came along.",
        example="412.0 MB, and 180.2 MB when it was last locked",
        fix="rbuild diff shows what is new in it; where it is meant, raise the setting or waive it once",
        settings=GrowthSettings,
        image=_grown,
    ),
    Rule(
        id="RB316",
        name="label-missing",
        title="The image lacks a label that is required.",
        level=Level.WARNING,
        why="Who finds an image in a registry wants to know what it is, and under which terms.",
        example="an image without org.opencontainers.image.licenses",
        fix='LABEL org.opencontainers.image.title="…"',
        settings=LabelSettings,
        image=_labels,
    ),
)
