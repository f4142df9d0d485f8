"""Policy files that mean harm: a clear error each, and all at once where there are many."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import seeds
from hypothesis import given, settings
from hypothesis import strategies as st
from targets import TARGETS, accept

from rbuild.errors import Problem, RbuildError
from rbuild.policy.expression import compile_own
from rbuild.policy.policyfile import read_policy
from rbuild.verbs.check import check
from rbuild.verbs.workspace import open_workspace

HEAD = "name: p\ndescription: d\n"
OWN = "  r{}: {{expression: 'true', message: m, hint: h}}\n"
WAIVER = "  - {{rule: RB101, reason: r, owner: o, expires: 2027-01-31, line: '{}'}}\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + at)}: &{chr(98 + at)} [{', '.join([f'*{chr(97 + at)}'] * 9)}]\n" for at in range(9)
)


def problems(text: str | bytes) -> tuple[Problem, ...]:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(RbuildError) as caught:
        compile_own([read_policy(data, "policies/p.yaml")])
    assert all(one.where and one.where.file == "policies/p.yaml" for one in caught.value.problems)
    return caught.value.problems


HOSTILE = {
    "bomb": (BOMB, "is not allowed"),
    "anchor": (HEAD + "rules: &x {RB101: error}\n", "an anchor (&x) is not allowed"),
    "merge key": (HEAD + "rules: {<<: {RB101: error}}\n", "is neither the id of a rule nor a name"),
    "tag": (HEAD + "rules: !!python/object:os.system {RB101: error}\n", "a tag"),
    "two documents": (HEAD + "rules: {RB101: error}\n---\nname: q\n", "a second document"),
    "twice": (HEAD + "rules: {RB101: error, RB101: off}\n", "is there twice"),
    "larger than 1 MiB": (HEAD + "rules: {RB101: error}\n" + "#" * (1 << 20), "is larger than 1 MiB"),
    "deep lists": (HEAD + "rules: " + "[" * 10_000, "is nested deeper than 64 levels"),
    "deep mappings": (HEAD + "rules: " + "{a: " * 10_000, "is nested deeper than 64 levels"),
    "many waivers": (
        HEAD + "rules: {RB101: error}\nwaivers:\n" + WAIVER.format("x") * 10_000,
        "holds more values than rbuild reads",
    ),
    "many wrong rules": (
        HEAD + "rules:\n" + "".join(f"  RB9{number:04}: error\n" for number in range(10_000)),
        "has more problems than these",
    ),
    "many wrong expressions": (
        HEAD + "rules:\n" + "".join(OWN.format(number).replace("true", "1 +") for number in range(300)),
        "Syntax error",
    ),
    "merge conflict": (
        HEAD + "<<<<<<< ours\nrules: {RB101: error}\n=======\nrules: {}\n>>>>>>> theirs\n",
        "holds a merge conflict",
    ),
    "no UTF-8": (HEAD.encode() + b"rules: {RB101: error} # \xff\n", "is not UTF-8 text"),
    "NUL": (HEAD + "rules: {RB101: error}\0\n", "is not YAML"),
    "empty": ("", "is empty"),
    "a text": ("hello", "a mapping is expected"),
    "rules that are a list": (HEAD + "rules: [RB101]\n", "is no mapping from rules to levels"),
    "a key that looks like another": (HEAD + "rules: {RВ101: error}\n", "is neither the id of a rule"),
    "a turned text": (HEAD + 'rules: {"RB101\u202e": error}\n', "is neither the id of a rule"),
    "full-width digits": (HEAD + "rules: {RB１０１: error}\n", "is neither the id of a rule"),
    "a day that is none": (
        HEAD
        + "rules: {RB101: error}\nwaivers: [{rule: RB101, reason: r, owner: o, expires: ２０２７-01-31}]\n",
        "not a day",
    ),
    "a waiver of everything": (
        HEAD
        + "rules: {RB101: error}\nwaivers: [{rule: '[!x]*x', reason: r, owner: o, expires: 2027-01-31}]\n",
        "there is no rule",
    ),
    "a long rule": (HEAD + "rules: {" + "R" * 1000 + ": error}\n", "is neither the id of a rule"),
    "a long expression": (
        HEAD + "rules: {own: {expression: '" + "x" * 5000 + "', message: m, hint: h}}\n",
        "4096",
    ),
}


@pytest.mark.parametrize(("text", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_says_what_is_wrong(text: str | bytes, said: str) -> None:
    found = problems(text)
    assert said in "\n".join(one.what for one in found)


def test_many_rules_are_many_rules() -> None:
    """Ten thousand own rules are more values than a file may have; a thousand are fine."""
    assert (
        "holds more values" in problems(HEAD + "rules:\n" + "".join(map(OWN.format, range(10_000))))[0].what
    )
    text = HEAD + "rules:\n" + "".join(map(OWN.format, range(1_000)))
    assert len(compile_own([read_policy(text.encode(), "p.yaml")])) == 1_000


def test_many_waivers_are_many_waivers() -> None:
    text = HEAD + "rules: {RB101: error}\nwaivers:\n" + "".join(map(WAIVER.format, range(4_000)))
    assert len(read_policy(text.encode(), "p.yaml").waivers) == 4_000


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_policy_or_an_error(data: bytes) -> None:
    accept(TARGETS["policy"], data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(seeds.policies()), st.data())
def test_a_policy_with_bytes_changed_is_a_policy_or_an_error(seed: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(seed)))
    until = data.draw(st.integers(at, min(at + 8, len(seed))))
    accept(TARGETS["policy"], seed[:at] + data.draw(st.binary(max_size=6)) + seed[until:])


@pytest.mark.parametrize("seed", seeds.policies())
def test_the_seeds_are_in_order(seed: bytes) -> None:
    TARGETS["policy"].run(seed)


def test_a_run_full_of_findings_is_cut_short(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "rbuild.yaml").write_text("project: demo\nstages: {app: {containerfile: Containerfile}}\n")
    (project / "Containerfile").write_text("FROM a:1\nRUN " + "sudo x; \\\n" * 20_000 + " true\n")
    env = {"PATH": os.defpath, "HOME": str(tmp_path), "RBUILD_STORE": str(tmp_path / "store")}
    workspace = open_workspace(project, env)
    found = check(workspace, ("app",), now=datetime(2026, 11, 25, tzinfo=UTC), emit=lambda _: None).findings
    sudo = [one.message for one in found if one.rule == "RB205"]
    assert len(sudo) == 501
    assert "19500 more findings of this rule are left out" in sudo
