"""Rules about what is handed on with an image: licences, size, labels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

from rbuild.errors import Where
from rbuild.policy.facts import ImageFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.sightings import MAX_SAID, last, place
from rbuild.sbom.package import Package

_MB = 1_000_000
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_OPERATORS = frozenset({"and", "or", "with"})


class LicenceSettings(Settings, frozen=True, kw_only=True):
    """Of the rule about licences. Names are SPDX's, and may end in a *; upper and lower case are the same."""

    allow: Annotated[
        tuple[str, ...], Meta(description="Licences that are fine; with some named, all others are not.")
    ] = ()
    deny: Annotated[tuple[str, ...], Meta(description="Licences that are not.")] = (
        "AGPL-*",
        "SSPL-*",
        "BUSL-*",
        "CC-BY-NC*",
    )
    unknown: Annotated[
        bool, Meta(description="Whether a package whose files name no licence is a finding, too.")
    ] = False
    packages: Annotated[
        tuple[str, ...],
        Meta(description="Packages that are fine whatever their licence: names and patterns."),
    ] = ()


def _licences(facts: ImageFacts, settings: LicenceSettings) -> Iterable[Violation]:
    found = []
    for package in facts.packages():
        if any(fnmatchcase(package.name, pattern) for pattern in settings.packages):
            continue
        said = _refused(package, settings)
        if said:
            found.append((package, said))
    for package, said in found[:MAX_SAID]:
        name = f"{package.ecosystem.value} package {package.name} {package.version}"[:200]
        yield Violation(message=f"the {name} {said}", where=_origin(facts), text=name)
    if len(found) > MAX_SAID:
        yield Violation(message=f"and {len(found) - MAX_SAID} more of the kind", where=_origin(facts))


def _refused(package: Package, settings: LicenceSettings) -> str | None:
    if package.licence is None:
        return "names no licence" if settings.unknown else None
    for choices in licences(package.licence):
        if all(any(_fits(one, settings.deny) for one in choice) for choice in choices):
            return f"is under {package.licence[:80]}, which is not allowed"
        if settings.allow and not any(
            all(_fits(one, settings.allow) for one in choice) for choice in choices
        ):
            return f"is under {package.licence[:80]}, which is none of those that are allowed"
    return None


def licences(said: str) -> list[list[frozenset[str]]]:
    """The parts of what a package says, for each the choices, for each choice the licences that hold at once.

    Debian's lists of names have commas between parts; SPDX expressions are one part. Parentheses are taken as
    if they were not there.
    """
    parts = []
    for part in said.split(","):
        choices = []
        for choice in re.split(r"(?i)\s+or\s+", part):
            names = {name for name in _LICENCE.findall(choice) if name.casefold() not in _OPERATORS}
            if names:
                choices.append(frozenset(names))
        if choices:
            parts.append(choices)
    return parts


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)


def _origin(facts: ImageFacts) -> Where:
    return facts.lock.files.at(None)


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
        id="RB311",
        name="licence-not-allowed",
        title="A package in the image is under a licence that is not allowed.",
        level=Level.ERROR,
        why="Whoever hands the image on has to keep to it. Names are those that packages give themselves: in "
        "the metadata of Python's and npm's, and in Debian's copyright files.",
        example="a Python package whose metadata say AGPL-3.0-only",
        fix="take another package, or say that this one is fine: settings: {packages: [NAME]}",
        settings=LicenceSettings,
        image=_licences,
    ),
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
