"""The policies that come with rbuild name every rule, hold this project, and find what a reviewer would."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from policyfacts import Image, file_facts

from rbuild.policy.catalogue import RULES
from rbuild.policy.foreign import HADOLINT
from rbuild.policy.judge import asks
from rbuild.policy.model import Level, Moment
from rbuild.policy.policyfile import Policy, read_policy
from rbuild.verbs.check import check
from rbuild.verbs.policyinit import init_policies, shipped_policies
from rbuild.verbs.workspace import open_workspace

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "tests/scenarios"
NAMES = ("reproducible", "rootless", "supply-chain")


def shipped() -> list[Policy]:
    return [read_policy(data, name) for name, data in shipped_policies().items()]


def test_three_policies_come_with_rbuild() -> None:
    assert tuple(policy.name for policy in shipped()) == NAMES
    assert tuple(shipped_policies()) == tuple(f"{name}.yaml" for name in NAMES)


def test_every_rule_is_named_in_one_of_them_with_its_level() -> None:
    named = Counter(choice.pattern for policy in shipped() for choice in policy.choices)
    hadolint = dict.fromkeys(("DL3020", "DL4006"), 1)
    assert dict(named) == hadolint | {rule: 1 for rule in RULES if not rule.startswith("RB0")}
    assert all(choice.level is not None for policy in shipped() for choice in policy.choices)


def test_each_rule_is_named_beside_its_id() -> None:
    for data in shipped_policies().values():
        for line in data.decode().splitlines():
            rule = line.strip()[:5]
            if rule in RULES and line.startswith("  RB"):
                assert f"# {RULES[rule].name}" in line, line


def test_this_project_has_the_same_three() -> None:
    for name, data in shipped_policies().items():
        assert (ROOT / "policies" / name).read_bytes() == data, f"copy shipped/{name} to policies/"


def test_this_project_is_green(tmp_path: Path) -> None:
    """What its files and its lock show; its images are looked at where they are built."""
    env = {"PATH": os.defpath, "HOME": str(tmp_path), "RBUILD_STORE": str(tmp_path / "store")}
    workspace = open_workspace(ROOT, env)
    locked = datetime.fromtimestamp(workspace.lock_path.stat().st_mtime, UTC)
    checked = check(workspace, tuple(workspace.project.stages), now=locked, emit=lambda _: None)
    assert {finding.rule for finding in checked.findings} <= {"RB118"}  # not verified in an empty store
    assert checked.rules > 30


def found(containerfile: str, policies: list[Policy]) -> list[tuple[int | None, str]]:
    """Line and rule of what the policies find in a Containerfile, in the order of lines."""
    facts = file_facts(containerfile)
    return sorted(
        {
            (one.where.line if one.where else None, ask.id)
            for ask in asks(policies, "app")
            if ask.rule and ask.rule.files and ask.moment is Moment.FILES
            for one in ask.rule.files(facts, ask.settings)
        },
        key=lambda each: (each[0] or 0, each[1]),
    )


def test_the_workshops_containerfile_as_a_reviewer_would_read_it() -> None:
    """An untagged base, an unpinned `pip install -U`, no USER. What its ADD is, hadolint says."""
    text = (SCENARIOS / "workshop/Containerfile").read_text().replace("python:3.6", "python")
    assert found(text, shipped()) == [(1, "RB102"), (1, "RB218"), (2, "RB109")]
    image = Image(text)
    assert [one.where.line for one in image.violations("RB201") if one.where] == [1]


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("workshop", [(1, "RB218"), (2, "RB109")]),
        ("untagged", [(2, "RB102"), (8, "RB114")]),
        ("add-url", [(1, "RB218"), (2, "RB105"), (3, "RB105"), (4, "RB106"), (5, "RB106")]),
    ],
)
def test_what_is_found_in_the_scenarios(scenario: str, expected: list[tuple[int, str]]) -> None:
    assert found((SCENARIOS / scenario / "Containerfile").read_text(), shipped()) == expected


def test_levels_of_the_shipped_policies_are_those_of_the_rules() -> None:
    """But for these two."""
    otherwise = {"RB116": Level.ERROR, "DL3020": Level.WARNING}
    for policy in shipped():
        for choice in policy.choices:
            rule = RULES.get(choice.pattern) or HADOLINT[choice.pattern]
            assert choice.level == otherwise.get(rule.id, rule.level), choice.pattern


def test_a_new_project_with_these_policies_is_told_before_it_is_built(tmp_path: Path) -> None:
    """The workshop's form once more, through `rbuild policy init` and `rbuild check`."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "rbuild.yaml").write_text("project: demo\nstages: {infer: {containerfile: Containerfile}}\n")
    text = (SCENARIOS / "workshop/Containerfile").read_text().replace("python:3.6", "python")
    (project / "Containerfile").write_text(text)
    (project / "infer.py").write_bytes((SCENARIOS / "workshop/infer.py").read_bytes())
    env = {"PATH": os.defpath, "HOME": str(tmp_path), "RBUILD_STORE": str(tmp_path / "store")}
    workspace = open_workspace(project, env)
    assert [one.kept for one in init_policies(workspace)] == [False] * 3
    checked = check(workspace, ("infer",), now=datetime(2026, 11, 25, tzinfo=UTC), emit=lambda _: None)
    said = [(one.where and str(one.where), one.rule, one.policy) for one in checked.findings]
    assert said == [
        ("Containerfile:1", "RB102", "policies/reproducible.yaml"),
        ("Containerfile:1", "RB218", "policies/rootless.yaml"),
        *[("Containerfile:2", "RB109", "policies/reproducible.yaml")] * 4,
        ("Containerfile:3", "DL3020", "policies/reproducible.yaml"),
    ]
    (unchecked,) = checked.unchecked
    assert unchecked.reason == "it is not locked yet"
    assert {"RB201", "RB303"} <= set(unchecked.rules)
