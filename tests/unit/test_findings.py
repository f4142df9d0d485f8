"""Findings as text, SARIF, GitHub's workflow commands and JUnit XML.

sarif-2.1.0.schema.json is OASIS' schema as npm's @microsoft/jest-sarif (MIT) carries it.
"""

from __future__ import annotations

import json
import os
import pty
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbuild.cireport.checks import github, junit
from rbuild.digest import Digest
from rbuild.errors import Where
from rbuild.findingsout import say_findings
from rbuild.jsonout import document
from rbuild.policy.model import Finding, Level, Waiver
from rbuild.sarif import sarif
from rbuild.verbs.check import Checked, Unchecked
from rbuild.verbs.excerpt import line_reader

SCHEMA = json.loads((Path(__file__).parent / "sarif-2.1.0.schema.json").read_text())
LINES = {("Containerfile", 1): "FROM python", ("Containerfile", 3): "    sudo chmod 777 /data \\"}
WAIVER = Waiver(
    rule="RB205",
    reason="until the team moves",
    owner="ann",
    expires=date(2026, 12, 24),
    where=Where(file="policies/p.yaml", line=9, key="waivers[0]"),
)


def finding(rule: str = "RB102", **changed: Any) -> Finding:
    one = Finding(
        rule=rule,
        name="moving-tag",
        level=Level.ERROR,
        stage="train",
        message="python means another image from one day to the next",
        where=Where(file="Containerfile", line=1),
        text="python",
        hint="name a version: FROM python:3.11-slim",
        policy="policies/reproducible.yaml",
    )
    return replace(one, **changed)


SUDO = finding(
    "RB205",
    name="sudo-used",
    level=Level.WARNING,
    message="sudo in a RUN",
    where=Where(file="Containerfile", line=3),
    text="RUN apt-get update && sudo chmod 777 /data",
)
WAIVED = replace(SUDO, waiver=WAIVER)
WHOLE = finding("own-rule", name="own-rule", level=Level.NOTE, where=None, text="", hint=None, policy="")


def checked(*findings: Finding, unchecked: Iterable[Unchecked] = ()) -> Checked:
    return Checked(
        stages=("train", "infer"),
        policies=("policies/reproducible.yaml",),
        rules=40,
        findings=findings,
        unchecked=tuple(unchecked),
    )


LEFT = Unchecked(
    stage="infer", rules=("RB201", "RB202"), reason="it is not locked yet", hint="rbuild build infer"
)


def shown(where: Where) -> str | None:
    return LINES.get((where.file or "", where.line or 0))


def text(capsys: pytest.CaptureFixture[str], found: Checked) -> str:
    say_findings(found, shown)
    return capsys.readouterr().out


def test_text_has_place_rule_level_message_line_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    said = text(capsys, checked(finding(), finding(stage="infer"), SUDO, WHOLE, unchecked=[LEFT]))
    assert (
        said
        == """\
Containerfile:1: error RB102 moving-tag: python means another image from one day to the next
  1 | FROM python
    |      ^^^^^^
  hint: name a version: FROM python:3.11-slim
  stages train, infer (policies/reproducible.yaml)

Containerfile:3: warning RB205 sudo-used: sudo in a RUN
  3 |     sudo chmod 777 /data \\
  hint: name a version: FROM python:3.11-slim
  stage train (policies/reproducible.yaml)

stage train: note own-rule: python means another image from one day to the next

not checked: stage infer: it is not locked yet: 2 rules: RB201, RB202
  hint: rbuild build infer
1 error, 1 warning, 1 note (40 rules, 2 stages)
"""
    )


def test_what_is_waived_is_counted_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert text(capsys, checked(WAIVED)) == "no findings; 1 waived (40 rules, 2 stages)\n"


def test_a_waiver_that_ended_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    said = text(capsys, checked(replace(SUDO, ended=WAIVER)))
    assert "sudo in a RUN (waived by ann until 2026-12-24; that is over)" in said


def test_text_of_strangers_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b[31mb\x1b]0;title\x07\u202ec\rd\ne"
    found = checked(finding(message=hostile, text=hostile, hint=hostile))
    say_findings(found, lambda _: hostile)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, unless NO_COLOR says otherwise."""

    def written() -> str:
        ours, theirs = pty.openpty()
        with open(theirs, "w") as terminal:  # noqa: PTH123
            monkeypatch.setattr(sys, "stdout", terminal)
            say_findings(checked(finding()), shown)
            terminal.flush()
            said = os.read(ours, 65536).decode()
        os.close(ours)
        return said

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31merror\x1b[0m" in written()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in written()


def log(*findings: Finding, unchecked: Iterable[Unchecked] = (), folder: str = "") -> dict[str, Any]:
    made: dict[str, Any] = sarif(
        checked(*findings, unchecked=unchecked), folder=PurePosixPath(folder), shown=shown
    )
    made = json.loads(json.dumps(document(made)))
    jsonschema.Draft4Validator(SCHEMA).validate(made)
    return made


def test_sarif_is_valid_and_complete() -> None:
    [run] = log(finding(), WAIVED, WHOLE, unchecked=[LEFT], folder="ml")["runs"]
    first, waived, whole = run["results"]
    assert (first["ruleId"], first["level"]) == ("RB102", "error")
    assert first["message"]["text"].endswith("\nhint: name a version: FROM python:3.11-slim")
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "ml/Containerfile", "uriBaseId": "%SRCROOT%"}
    assert place["region"] == {"startLine": 1, "snippet": {"text": "FROM python"}}
    assert first["locations"][0]["logicalLocations"][0]["name"] == "train"
    assert "%SRCROOT%" in run["originalUriBaseIds"]
    assert "suppressions" not in first
    [suppression] = waived["suppressions"]
    assert suppression["kind"] == "external"
    assert suppression["justification"] == "until the team moves (ann, until 2026-12-24)"
    assert suppression["location"]["physicalLocation"]["artifactLocation"]["uri"] == "ml/policies/p.yaml"
    assert "region" not in whole["locations"][0]["physicalLocation"]
    rules = run["tool"]["driver"]["rules"]
    assert [rules[one["ruleIndex"]]["id"] for one in run["results"]] == ["RB102", "RB205", "own-rule"]
    assert rules[0]["help"]["markdown"].count("FROM python") == 2
    assert rules[0]["defaultConfiguration"]["level"] == "warning"
    [note] = run["invocations"][0]["toolExecutionNotifications"]
    assert "stage infer: not checked, since it is not locked yet: RB201, RB202" in note["message"]["text"]


def test_sarif_of_a_waiver_in_a_comment_is_in_source() -> None:
    waiver = replace(WAIVER, at=("Containerfile", 3, 3))
    [run] = log(replace(SUDO, waiver=waiver))["runs"]
    assert run["results"][0]["suppressions"][0]["kind"] == "inSource"


def fingerprints(*findings: Finding) -> list[str]:
    [run] = log(*findings)["runs"]
    return [one["partialFingerprints"]["rbuild/v1"] for one in run["results"]]


def test_sarif_fingerprints_hold_when_lines_move() -> None:
    moved = replace(finding(), where=Where(file="Containerfile", line=99), message="other words")
    assert fingerprints(finding()) == fingerprints(moved)
    assert fingerprints(finding()) != fingerprints(finding(text="node"))
    twice = fingerprints(finding(), moved)
    assert twice[0] == fingerprints(finding())[0]
    assert len(set(twice)) == 2


def test_sarif_writes_the_paths_of_files_as_uris() -> None:
    [run] = log(finding(where=Where(file="a b/ü#%.x", line=1)))["runs"]
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "a%20b/%C3%BC%23%25.x"


_ANY = st.text(max_size=30) | st.sampled_from(["\udc80", "\x1b[1m", "\0", "]]>", "%0A::error::x", "a,b:c"])


@settings(max_examples=60, deadline=None)
@given(_ANY, _ANY, _ANY, st.integers(1, 10**9))
def test_any_text_gives_valid_documents(message: str, about: str, file: str, line: int) -> None:
    one = finding(message=message, text=about, hint=about, where=Where(file=file, line=line), name=about)
    found = checked(one, replace(one, waiver=replace(WAIVER, reason=message)))
    jsonschema.Draft4Validator(SCHEMA).validate(
        json.loads(json.dumps(document(sarif(found, folder=PurePosixPath(), shown=lambda _: about))))
    )
    ElementTree.fromstring(junit(found, project="p", host="h", when=datetime.now(UTC)))
    said = github(found, folder=PurePosixPath())
    assert said.count("\n") == 1
    assert said.startswith("::error ")


def test_github_annotates_lines() -> None:
    said = github(checked(finding(), WAIVED, SUDO, WHOLE, unchecked=[LEFT]), folder=PurePosixPath("ml"))
    first, second, third, fourth = said.splitlines()
    assert first.startswith(
        "::error file=ml/Containerfile,line=1,title=RB102 moving-tag (train)::python means"
    )
    assert first.endswith("%0Ahint: name a version: FROM python:3.11-slim")
    assert second.startswith("::warning file=ml/Containerfile,line=3,")
    assert third.startswith("::notice title=own-rule (train)::")
    assert fourth.startswith("::notice title=infer%3A not checked%3A it is not locked yet::RB201, RB202")


def test_junit_has_a_case_for_each_stage_and_rule() -> None:
    warned = replace(SUDO, rule="RB299", name="x")
    found = checked(finding(), finding(message="again"), WAIVED, warned, unchecked=[LEFT])
    root = ElementTree.fromstring(junit(found, project="iris", host="h", when=datetime.now(UTC)))
    suite = root[0]
    cases = {(case.get("classname"), case.get("name")): case for case in suite.iter("testcase")}
    assert list(cases) == [
        ("rbuild.check.iris", "train"),
        ("rbuild.check.iris.train", "RB102 moving-tag"),
        ("rbuild.check.iris.train", "RB205 sudo-used"),
        ("rbuild.check.iris.train", "RB299 x"),
        ("rbuild.check.iris", "infer"),
        ("rbuild.check.iris.infer", "RB201"),
        ("rbuild.check.iris.infer", "RB202"),
    ]
    failure = cases["rbuild.check.iris.train", "RB102 moving-tag"].find("failure")
    assert failure is not None
    assert failure.text is not None
    assert failure.text.count("Containerfile:1: ") == 2
    skipped = cases["rbuild.check.iris.train", "RB205 sudo-used"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "waived by ann until 2026-12-24: until the team moves"
    assert len(cases["rbuild.check.iris.train", "RB299 x"]) == 0
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("7", "1", "3")


def test_lines_are_read_inside_the_project_alone(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    project = tmp_path / "project"
    project.mkdir()
    (project / "a").write_bytes(b"one\r\ntwo \xff\nthree")
    (project / "link").symlink_to("../secret")
    (project / "large").write_bytes(b"\n" * (5 << 20))
    os.mkfifo(project / "pipe")
    line = line_reader(project)
    assert line(Where(file="a", line=1)) == "one"
    assert line(Where(file="a", line=2)) == "two \udcff"
    assert line(Where(file="a", line=3)) == "three"
    for file in ("link", "../secret", str(tmp_path / "secret"), "large", "pipe", "none", "."):
        assert line(Where(file=file, line=1)) is None
    assert line(Where(file="a", line=4)) is None
    assert line(Where(file="a")) is None
    assert line(Where(digest=str(Digest.of(b"")))) is None
