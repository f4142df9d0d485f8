"""Rules about package managers that take whatever is there on the day."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rbuild.policy.facts import FileFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.runs import Command, Run, about, runs

_APT = ("apt-get", "apt", "aptitude")
_RPM = ("dnf", "yum", "microdnf", "tdnf")
_VALUED = ("-o", "-t", "-c", "--option", "--target-release", "--config-file", "--repo", "--enablerepo")
_INSTALLS = frozenset(
    {"install", "reinstall", "build-dep", "source", "download", "satisfy", "add", "in", "group"}
)
_ZYPPER = ("update", "up", "dist-upgrade", "dup", "patch")


def _verb(command: Command) -> tuple[str, int, int]:
    """What a package manager is to do, the line of that word, and how many packages are named after it."""
    operands = command.operands(_VALUED)
    return (*operands[0], len(operands) - 1) if operands else ("", command.line, 0)


def _upgrade(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for run in runs(facts):
        for command in run.commands:
            verb, line, named = _verb(command)
            name = command.name
            everything = (
                (name in _APT and verb in ("upgrade", "dist-upgrade", "full-upgrade", "safe-upgrade"))
                or (name in _RPM and verb in ("update", "upgrade", "distro-sync") and not named)
                or (name == "apk" and verb == "upgrade" and not named)
                or (name == "zypper" and verb in _ZYPPER and not named)
                or (name == "pacman" and command.has("-S") and command.has("-u"))
            )
            if everything and not command.has("--help", "--download-only", "--simulate", "--dry-run"):
                said = f"{name} {verb} brings every package to another version"
                yield about(facts, command, said, line=line)


def _index_alone(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for run in runs(facts):
        last_use = _last_use(run)
        for command in run.commands:
            verb, line, _named = _verb(command)
            name = command.name
            fetches = (
                (name in _APT and verb == "update")
                or (name == "apk" and verb == "update")
                or (name in _RPM and verb == "makecache")
                or (name == "zypper" and verb in ("refresh", "ref"))
            )
            if fetches and last_use <= command.number:
                yield about(facts, command, f"{name} {verb}, and nothing is installed in this RUN", line=line)


def _last_use(run: Run) -> int:
    """The number of the last command that may use an index: an installation, or a script that may be one."""
    if any(flag.name == "mount" and "type=cache" in (flag.value or "") for flag in run.instruction.flags):
        return sys.maxsize
    return max((one.number for one in run.commands if _may_install(one)), default=-1)


def _may_install(command: Command) -> bool:
    if any(word in _INSTALLS or word.endswith("upgrade") for word in command.arguments[:6]):
        return True
    first = command.words[0] if command.words else ""
    if "/" in first or "$" in first or first.endswith((".sh", ".py")) or first in ("source", "."):
        return command.name not in (*_APT, *_RPM, "apk", "zypper")
    return any(word.endswith(".sh") for word in command.arguments[:2])


RULES = (
    Rule(
        id="RB107",
        name="upgrade-all",
        title="A step upgrades every package of the base.",
        level=Level.WARNING,
        why="The base is pinned, and then replaced by whatever its distribution has on the day of recording; "
        "the layer holds the packages a second time.",
        example="RUN apt-get update && apt-get -y upgrade",
        fix="take a newer base: rbuild lock --upgrade; or install the one package that has to be newer",
        files=_upgrade,
    ),
    Rule(
        id="RB108",
        name="index-alone",
        title="A package index is fetched in a step that installs nothing.",
        level=Level.WARNING,
        why="The index stays in a layer of its own, and the layer cache serves the old one to a new install "
        "line: that asks for packages which are gone.",
        example="RUN apt-get update        # and in the next RUN: apt-get install -y curl",
        fix="RUN apt-get update && apt-get install -y --no-install-recommends PACKAGE",
        files=_index_alone,
    ),
)
