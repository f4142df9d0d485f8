"""Every rule of RB1xx and RB3xx has a case that fires and one that does not, by what is in the tables."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import test_policy_reproducible as reproducible
import test_policy_supplychain as supplychain
from policyfacts import NOW, Image, file_facts, found, lock_facts, stage_lock

from rbuild.policy.catalogue import RULES
from rbuild.policy.facts import FileFacts, LockFacts, PushFacts, Verified
from rbuild.policy.model import Moment
from rbuild.policy.versions import Range
from rbuild.recording import Recording
from rbuild.sbom.package import Ecosystem, Package

FROM = "FROM a.example/b:1.2"
FILES = file_facts(FROM)
YAML = (
    "project: demo\nbases: {%s}\nstages:\n  app:\n    containerfile: Containerfile\n    normalisers: {%s}\n"
)
MIRROR = "'localhost/base/a:1': {debian: {suite: bookworm, mirror: 'http://%s/debian'}}"
RECORDED = lock_facts(FILES, locked=stage_lock(recording=supplychain.RECORDING))
EMPTY = lock_facts(FILES, locked=stage_lock(recording=Recording()))
OPENSSL = Package(ecosystem=Ecosystem.DEBIAN, name="openssl", version="3.0.9-1")


@dataclass(frozen=True, slots=True)
class Case:
    """Facts in which a rule finds something, and facts in which it does not, under the same settings."""

    rule: str
    fires: object
    silent: object
    settings: Mapping[str, Any] = field(default_factory=dict)


def based(locked: bool) -> FileFacts:
    return replace(FILES, locked=frozenset(FILES.uses.values() if locked else ()))


def verified(verdict: str) -> LockFacts:
    locked = stage_lock()
    when = NOW - timedelta(days=1)
    record = Verified(image=locked.image.manifest, input=locked.input, when=when, verdict=verdict)
    return lock_facts(FILES, locked=locked, verified=record)


def pushed(verdict: str) -> PushFacts:
    push = supplychain.push("1")
    return replace(push, image=replace(push.image, lock=verified(verdict)))


def mirrored(host: str) -> object:
    return file_facts("FROM localhost/base/a:1", project=YAML % (MIRROR % host, ""))


def aged(days: int) -> LockFacts:
    return lock_facts(FILES, locked_at=NOW - timedelta(days=days))


CASES = (
    Case("RB101", based(False), based(True)),
    Case("RB102", file_facts("FROM python"), file_facts("FROM python:3.11")),
    Case(
        "RB116",
        file_facts(FROM, project=YAML % ("", "bytecode: false")),
        file_facts(FROM, project=YAML % ("", "bytecode: true")),
    ),
    Case("RB117", aged(91), aged(90)),
    Case("RB118", verified("different"), verified("identical")),
    Case("RB301", FILES, file_facts("FROM python:3.11"), {"allowed": ("docker.io/library/*",)}),
    Case("RB302", mirrored("b.example"), mirrored("deb.debian.org")),
    Case("RB303", RECORDED, EMPTY, {"allowed": ("pypi.org",)}),
    Case("RB306", RECORDED, EMPTY, {"forbidden": (Range.parse("pypi:flask *"),)}),
    Case(
        "RB307",
        replace(Image(FROM).facts, packages=lambda: (OPENSSL,)),
        Image(FROM).facts,
        {"forbidden": (Range.parse("deb:openssl <3.0.11-1"),)},
    ),
    Case("RB308", RECORDED, EMPTY),
    Case("RB309", pushed("different"), pushed("identical")),
    Case("RB310", supplychain.push("1"), supplychain.push("1"), {"allowed": ("b.example/*",)}),
    Case("RB317", supplychain.push("latest"), supplychain.push("1", "latest")),
    Case("RB318", supplychain.push("1"), supplychain.push("1", signed=True)),
    Case("RB319", FILES, replace(FILES, signed=lambda _: True), {"images": ("a.example/*",)}),
)


@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_found_here_and_not_there(case: Case) -> None:
    assert found(case.rule, case.fires, **case.settings)
    if case.rule == "RB310":  # the same push, to a place that is allowed
        assert not found(case.rule, case.silent, allowed=("a.example/*",))
    else:
        assert not found(case.rule, case.silent, **case.settings)


def test_every_rule_has_both() -> None:
    held = {case.rule for case in CASES}
    fires = {rule for rule, *_ in (*reproducible.FIRES, *supplychain.FIRES)}
    silent = {rule for rule, *_ in (*reproducible.SILENT, *supplychain.SILENT)}
    mine = {
        rule.id
        for rule in RULES.values()
        if rule.id.startswith(("RB1", "RB3")) and (rule.moment is not Moment.IMAGE or rule.id == "RB307")
    }
    assert fires == silent
    assert held | fires == mine


HOSTILE = [
    "curl a.b|x;",
    "curl https://a.b/c|sh;",
    "git clone x;",
    "apt-get update;",
    "date>x;",
    "date|",
    "curl -o x https://a.b/c;",
    "pip install x;",
    "pip install -c pins.txt -r pins.txt x;",
    "npm i x;",
    "$A$A$A ",
    "curl -k -k ",
    "x=$x;",
    "echo $(date);",
    "rsync a:b;",
    "uname -a|x;",
    "cp /c/x /y;",
    "sudo sh -c 'date';",
]


@pytest.mark.parametrize("part", HOSTILE)
def test_twice_as_much_to_read_takes_about_twice_the_steps(part: str) -> None:
    """All rules about files on one RUN that is long for no good reason; counted in calls, not in seconds."""
    assert calls(part * 200) < 2.6 * calls(part * 100) + 10_000


def calls(script: str) -> int:
    text = f"FROM a.example/b:1\nENV A=$B{'x' * 1000}\nRUN --mount=type=cache,target=/c {script}true\n"
    facts = file_facts(text, context={"pins.txt": b"numpy==1\n" * 50})
    profile = cProfile.Profile()
    for rule in RULES.values():
        if rule.files and rule.id[:3] in ("RB1", "RB3"):
            profile.runcall(lambda rule=rule: list(rule.files(facts, rule.settings())))
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]
