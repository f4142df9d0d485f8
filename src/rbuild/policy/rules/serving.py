"""Rules about how a container serves: ports, volumes, health."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from rbuild.errors import Where
from rbuild.image.tar import Kind
from rbuild.policy.facts import FileEntry, FileFacts, ImageFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.scoped import said
from rbuild.policy.sightings import PathSettings, Sight, chain, last, said_path

_PORT = re.compile(r"(?P<first>[0-9]{1,5})(?:-[0-9]{1,5})?(?:/[a-z]+)?\Z", re.IGNORECASE)


class PortSettings(Settings, frozen=True, kw_only=True):
    """Of the rule about ports."""

    lowest: Annotated[int, Meta(ge=1, le=65535, description="The lowest port that is fine.")] = 1024


def _low_ports(facts: FileFacts, settings: PortSettings) -> Iterable[Violation]:
    exposing = [one for one in said(facts) if one.instruction.keyword == "EXPOSE"]
    mine = {one.line for one in chain(facts)} if exposing else ()
    for one in exposing:
        if one.instruction.line not in mine:
            continue
        for value in one.values:
            match = _PORT.match(value)
            if match and int(match["first"]) < settings.lowest:
                yield Violation(
                    message=f"port {match[0]} is below {settings.lowest}",
                    where=facts.at(one.instruction.line),
                    text=one.instruction.original[:200],
                )


def _no_health(facts: ImageFacts, _: Settings) -> Iterable[Violation]:
    execution = facts.config.config
    if execution is None or not execution.exposed_ports:
        return
    test = (execution.healthcheck.test if execution.healthcheck else None) or []
    if test and test[0].upper() != "NONE":
        return
    ports = ", ".join(sorted(execution.exposed_ports)[:5])
    yield Violation(
        message=f"the image serves on {ports[:80]}, and has no HEALTHCHECK",
        where=last(facts.lock.files, "EXPOSE"),
        text=f"EXPOSE {ports[:80]}",
    )


class _Volumes(Sight):
    """Files below a volume, and a working directory that is in one."""

    def __init__(self, facts: ImageFacts, settings: PathSettings) -> None:
        super().__init__(facts, settings)
        execution = facts.config.config
        named = sorted((execution.volumes if execution else None) or {})
        self._folder = ((execution.working_dir if execution else "") or "/").strip("/")
        self._paths = {path: f"{path.strip('/')}/" for path in named if path.strip("/")}
        self._first: dict[str, FileEntry] = {}
        self._count: dict[str, int] = {}

    def see(self, entry: FileEntry, content: bytes) -> None:
        if not self._paths or not (entry.own and entry.visible) or entry.kind is Kind.DIRECTORY:
            return
        for path, prefix in self._paths.items():
            if entry.path.startswith(prefix):
                self._count[path] = self._count.get(path, 0) + 1
                first = self._first.setdefault(path, entry)
                if entry.path < first.path:
                    self._first[path] = entry

    def violations(self) -> Iterable[Violation]:
        for path, prefix in self._paths.items():
            if count := self._count.get(path):
                said = said_path(self._first[path].path)
                files = said if count == 1 else f"{count} files, {said} among them"
                what = f"the volume {path} lies over {files}"
            elif f"{self._folder}/".startswith(prefix):
                what = f"the volume {path} lies over the working directory"
            else:
                continue
            yield Violation(message=what[:300], where=self._where(path), text=f"VOLUME {path}"[:200])

    def _where(self, path: str) -> Where:
        files = self.facts.lock.files
        for instruction in reversed(chain(files)):
            if instruction.keyword == "VOLUME" and path.strip("/") in instruction.arguments:
                return files.at(instruction.line)
        return last(files, "VOLUME")


RULES = (
    Rule(
        id="RB231",
        name="volume-over-code",
        title="A volume lies over files that the build put there, or over the working directory.",
        level=Level.WARNING,
        why="A container that gets an old volume, or an empty one, runs other files than those of its image. "
        "What a step writes there after the VOLUME is lost.",
        example="WORKDIR /app\nCOPY . .\nVOLUME /app",
        fix="leave VOLUME out, or name a folder of its own for data: VOLUME /data",
        settings=PathSettings,
        watch=_Volumes,
    ),
    Rule(
        id="RB232",
        name="low-port",
        title="A port below 1024 is exposed.",
        level=Level.WARNING,
        why="A program that is not root may not listen there without a capability, and a rootless Podman "
        "cannot publish it on the host.",
        example="EXPOSE 80",
        fix="listen on a port from 1024 on: EXPOSE 8080",
        settings=PortSettings,
        files=_low_ports,
    ),
    Rule(
        id="RB233",
        name="no-healthcheck",
        title="The image serves, and has no HEALTHCHECK.",
        level=Level.NOTE,
        why="Without one nobody sees that the program hangs. A stage that exposes no port does its work and "
        "ends: its exit code says how it went.",
        example="EXPOSE 8080        # and no HEALTHCHECK",
        fix='HEALTHCHECK CMD ["python3", "/app/healthy.py"]',
        image=_no_health,
    ),
)
