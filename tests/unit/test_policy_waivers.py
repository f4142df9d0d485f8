"""Waivers: what they excuse, until when, and what is said of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rbuild.errors import RbuildError
from rbuild.policy.model import Finding
from rbuild.verbs.check import check
from rbuild.verbs.workspace import open_workspace

SUDO = "FROM a:1.0\nUSER 1\nRUN sudo x\n"


class Demo:
    """A project of these Containerfiles and policies."""

    def __init__(self, folder: Path, files: Mapping[str, str], policies: Mapping[str, str]) -> None:
        self.root = folder / "project"
        (self.root / "policies").mkdir(parents=True)
        stages = ", ".join(f"{name}: {{containerfile: {name}}}" for name in files)
        (self.root / "rbuild.yaml").write_text(f"project: demo\nstages: {{{stages}}}\n")
        for name, text in files.items():
            (self.root / name).write_text(text)
        for name, text in policies.items():
            head = f"name: {name}\ndescription: d\n"
            (self.root / "policies" / f"{name}.yaml").write_text(head + text)
        self.files = tuple(files)
        env = {"PATH": os.defpath, "HOME": str(folder), "RBUILD_STORE": str(folder / "store")}
        self.workspace = open_workspace(self.root, env)

    def check(self, *stages: str) -> list[Finding]:
        now = datetime(2026, 11, 25, tzinfo=UTC)
        found = check(self.workspace, stages or self.files, now=now, emit=lambda _: None)
        return list(found.findings)

    def said(self, *stages: str) -> list[tuple[str, str, bool]]:
        return [(one.stage, one.rule, one.waiver is not None) for one in self.check(*stages)]


def waiver(rule: str, expires: str = "2027-01-31", **more: str) -> str:
    keys = {"rule": f"'{rule}'", "reason": "r", "owner": "o", "expires": expires, **more}
    return f"  - {{{', '.join(f'{key}: {value}' for key, value in keys.items())}}}\n"


def test_one_that_is_too_long_excuses_nothing(tmp_path: Path) -> None:
    policy = "rules: {RB205: error}\nwaivers:\n" + waiver("RB205", "2099-01-01")
    demo = Demo(tmp_path, {"one": SUDO}, {"p": policy})
    assert sorted(demo.said()) == [("*", "RB001", False), ("one", "RB205", False)]


@pytest.mark.parametrize(
    ("rules", "rule", "fits"),
    [
        ("RB205: {level: error, longest_waiver: 180}", "RB205", True),
        ("RB2*: {level: error, longest_waiver: 180}", "RB205", True),
        ("RB2*: {level: error, longest_waiver: 180}, RB205: error", "RB2*", False),
        ("RB205: error", "RB*", False),
    ],
)
def test_the_longest_waiver_is_that_of_the_findings_rule(
    tmp_path: Path, rules: str, rule: str, fits: bool
) -> None:
    policy = f"rules: {{{rules}}}\nwaivers:\n" + waiver(rule, "2027-05-01")
    found = Demo(tmp_path, {"one": SUDO}, {"p": policy}).check()
    assert [one.waiver is not None for one in found if one.rule == "RB205"] == [fits]
    assert any(one.rule == "RB001" for one in found) is not fits


def test_no_comment_where_a_policy_of_that_stage_says_so(tmp_path: Path) -> None:
    """Each stage goes by the policies that cover it, whatever was looked at before."""
    comment = "# rbuild: allow=RB205 until=2027-01-31 owner=o reason=r\n"
    text = SUDO.replace("RUN", comment + "RUN")
    policies = {
        "loose": "stages: [one]\nrules: {RB205: error}\n",
        "strict": "stages: [two]\nrules: {RB205: error}\ncomment_waivers: false\n",
    }
    demo = Demo(tmp_path, {"one": text, "two": text}, policies)
    said = [("one", "RB205", True), ("two", "RB004", False), ("two", "RB205", False)]
    assert sorted(demo.said()) == said
    assert sorted(demo.said("two")) == said[1:]


def test_what_excuses_nothing_is_said_once_all_was_looked_at_that_it_could_be_about(tmp_path: Path) -> None:
    policy = "rules: {RB205: error}\nwaivers:\n" + waiver("RB205")
    demo = Demo(tmp_path, {"good": "FROM a:1.0\nUSER 1\n", "bad": SUDO}, {"p": policy})
    assert demo.said("good") == []
    assert demo.said() == [("bad", "RB205", True)]
    (demo.root / "bad").write_text("FROM a:1.0\nUSER 1\n")
    assert demo.said("good") == []
    assert demo.said() == [("*", "RB003", False)]


@pytest.mark.parametrize(
    ("rules", "rule", "idle"),
    [
        ("RB205: off, RB203: error", "RB205", True),  # nobody asks
        ("RB310: error", "RB310", False),  # about pushes: nobody looked
        ("RB203: error, RB310: error", "RB*", False),
        ("RB203: error", "RB203", True),
    ],
)
def test_when_one_is_idle(tmp_path: Path, rules: str, rule: str, idle: bool) -> None:
    policies = {
        "p": f"stages: [one]\nrules: {{{rules}}}\nwaivers:\n" + waiver(rule),
        "q": "stages: [two]\nrules: {RB102: error}\n",
    }
    demo = Demo(tmp_path, {"one": "FROM a:1.0\nUSER 1\n", "two": "FROM a:1.0\nUSER 1\n"}, policies)
    assert [one.rule for one in demo.check()] == ["RB003"] * idle


@pytest.mark.parametrize(
    "text",
    [
        "rules: {RB006: off}\n",
        "rules: {RB001: warning}\n",
        "rules: {RB101: error}\nwaivers:\n" + waiver("RB006"),
    ],
)
def test_rules_about_policies_are_always_on(tmp_path: Path, text: str) -> None:
    with pytest.raises(RbuildError, match=r"is always on|cannot be waived"):
        Demo(tmp_path, {"one": SUDO}, {"p": text}).check()


def test_a_pattern_waives_no_rule_about_policies(tmp_path: Path) -> None:
    policy = "rules: {RB205: error}\nwaivers:\n" + waiver("RB*")
    text = "# rbuild: allow=RB205\n" + SUDO
    assert sorted(Demo(tmp_path, {"one": text}, {"p": policy}).said()) == [
        ("one", "RB005", False),
        ("one", "RB205", True),
    ]


def test_a_comment_excuses_its_own_instruction_alone(tmp_path: Path) -> None:
    """Also where there are more findings than are listed."""
    comment = "# rbuild: allow=RB205 until=2027-01-31 owner=o reason=r\n"
    many = "sudo x; \\\n" * 500
    text = f"FROM a:1.0\nUSER 1\n{comment}RUN {many}true\nRUN sudo y\n"
    found = Demo(tmp_path, {"one": text}, {"p": "rules: {RB205: error}\n"}).check()
    assert [one.message for one in found if one.stops] == ["1 more findings of this rule are left out"]


def test_a_base_that_the_lock_does_not_name(tmp_path: Path) -> None:
    demo = Demo(tmp_path, {"one": SUDO}, {"p": "rules: {RB101: error}\n"})
    assert demo.check() == []  # there is no lock, which is said otherwise
    (demo.root / "rbuild.lock").write_text(
        "version: 1\nproject: demo\nplatform: linux/amd64\nbases: {}\nstages: {}\n"
    )
    assert [(one.rule, one.where and one.where.line) for one in demo.check()] == [("RB101", 1)]
