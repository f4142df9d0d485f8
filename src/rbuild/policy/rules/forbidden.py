"""Rules about packages that a project does not want, wherever they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated

from msgspec import Meta

from rbuild.errors import Where
from rbuild.policy.facts import ImageFacts, LockFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.versions import Range
from rbuild.sbom.origins import package_of
from rbuild.sbom.package import Ecosystem

_KINDS = {"pypi": "Python", "deb": "Debian", "npm": "npm"}


class PackageSettings(Settings, frozen=True, kw_only=True):
    forbidden: Annotated[
        tuple[Range, ...],
        Meta(
            description='Packages with ranges of versions: "pypi:requests <2.31", "deb:openssl <3.0.11-1", '
            '"npm:event-stream *". Names may hold wildcards; npm ranges may be 1.2.x.'
        ),
    ] = ()


def _recorded(facts: LockFacts, settings: PackageSettings) -> Iterable[Violation]:
    if not settings.forbidden:
        return
    stage = facts.files.stage.name
    seen: set[tuple[Ecosystem, str, str]] = set()
    for found, where in _locked(facts, stage):
        if found not in seen:
            seen.add(found)
            yield from _judge(*found, settings, where, f"the build of {stage} reads")


def _locked(facts: LockFacts, stage: str) -> Iterator[tuple[tuple[Ecosystem, str, str], Where]]:
    for key in facts.locked.bases:
        base = facts.lock.bases.get(key)
        for one in base.debian.packages if base and base.debian else ():
            where = Where(file="rbuild.lock", key=f"bases.{key}.debian.packages")
            yield (Ecosystem.DEBIAN, one.name, one.version), where
    recording = facts.locked.recording
    where = Where(file="rbuild.lock", key=f"stages.{stage}.recording")
    urls = [(file.name, file.url) for index in recording.indexes for file in index.files]
    urls += [("", response.url) for response in recording.responses if response.status == 200]
    for name, url in urls:
        if found := package_of(name or url):
            yield found, where


def _installed(facts: ImageFacts, settings: PackageSettings) -> Iterable[Violation]:
    for package in facts.packages() if settings.forbidden else ():
        scoped = package.ecosystem is Ecosystem.NPM and package.namespace
        name = f"{package.namespace}/{package.name}" if scoped else package.name
        where = Where(file=package.places[0]) if package.places else None
        yield from _judge(package.ecosystem, name, package.version, settings, where, "the image has")


def _judge(
    ecosystem: Ecosystem, name: str, version: str, settings: PackageSettings, where: Where | None, who: str
) -> Iterator[Violation]:
    for one in settings.forbidden:
        if one.covers(ecosystem, name, version):
            yield Violation(
                message=f"{who} the {_KINDS[ecosystem.value]} package {name[:100]} {version[:60]}: "
                f"{re.sub(r'[^ -~]', '?', one.text)} is forbidden",
                where=where,
                text=f"{ecosystem.value}:{name[:100]} {version[:60]}",
            )
            return


RULES = (
    Rule(
        id="RB306",
        name="package-forbidden",
        title="A build reads a package that is forbidden.",
        level=Level.ERROR,
        why="The recording and the lock name every package by its file, those of build targets "
        "included that reach no image. Without a list in the settings the rule says nothing.",
        example='pypi:requests 2.30.0        # with forbidden: ["pypi:requests <2.31"]',
        fix="ask for another version, then rbuild lock --upgrade",
        settings=PackageSettings,
        lock=_recorded,
    ),
    Rule(
        id="RB307",
        name="package-forbidden-in-image",
        title="The image has a package that is forbidden.",
        level=Level.ERROR,
        why="What a base brought along, or a file of the context, is in no recording: the image's own lists "
        "of packages say what is there.",
        example='deb:openssl 3.0.9-1 in the image        # with forbidden: ["deb:openssl <3.0.11-1"]',
        fix="take a newer base or version, then rbuild lock --upgrade",
        settings=PackageSettings,
        image=_installed,
    ),
)
