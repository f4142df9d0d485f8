"""The command line without Podman: usage, help, completion, exit codes, and what a new project is told."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rbuild import __version__, cli
from rbuild.commands import building
from rbuild.errors import RbuildError
from rbuild.schema import schema
from rbuild.verbs.policyinit import shipped_policies

PROJECT = """\
project: demo
bases:
  localhost/base:1: {debian: {suite: bookworm}}
stages:
  train: {containerfile: Containerfile, context: context, args: {FLAVOUR: plain}}
  infer: {containerfile: Containerfile, context: context, needs: [train], run: {command: [x]}}
"""
CONTAINERFILE = "FROM localhost/base:1\nARG FLAVOUR\nCOPY file.txt /\nRUN echo \\\n  hello\n"
COMMANDS = (
    "all",
    "build",
    "lock",
    "verify",
    "diff",
    "status",
    "plan",
    "images",
    "sbom",
    "provenance",
    "run",
    "shell",
    "pull",
    "keygen",
    "check",
    "rule",
    "doctor",
    "schema",
)


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The problems of the one JSON line on stderr."""
        (line,) = self.err.splitlines()
        event = json.loads(line)
        assert event["event"] == "error"
        problems: list[dict[str, Any]] = event["problems"]
        return problems


Rbuild = Callable[..., Said]


@pytest.fixture
def rbuild(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Rbuild]:
    """`rbuild ARGUMENTS…` as an ordinary user, with an empty store."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("RBUILD_STORE", str(tmp_path / "store"))

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["rbuild", *arguments])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        captured = capsys.readouterr()
        return Said(int(exited.value.code or 0), captured.out, captured.err)

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that was never built, with the current folder in it."""
    folder = tmp_path / "project"
    (folder / "context").mkdir(parents=True)
    (folder / "rbuild.yaml").write_text(PROJECT)
    (folder / "Containerfile").write_text(CONTAINERFILE)
    (folder / "context/file.txt").write_text("text\n")
    monkeypatch.chdir(folder)
    return folder


def test_version(rbuild: Rbuild) -> None:
    assert rbuild("--version") == Said(0, f"rbuild {__version__}\n", "")


def test_without_a_command_the_help_is_shown_on_stderr(rbuild: Rbuild) -> None:
    said = rbuild()
    assert (said.code, said.out) == (2, "")
    for command in COMMANDS:
        assert re.search(rf"^  {command} +[A-Z].*\.", said.err, re.MULTILINE), command


def test_no_line_of_the_list_of_commands_is_cut_off(rbuild: Rbuild) -> None:
    assert "..." not in rbuild("--help").out.partition("Commands:")[2]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_a_command(rbuild: Rbuild, command: str, option: str) -> None:
    said = rbuild(command, option)
    assert said.code == 0
    assert said.out.startswith(f"Usage: rbuild {command}")
    assert said.err == ""


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"shell"}))
def test_every_command_has_json(rbuild: Rbuild, command: str) -> None:
    assert "--json" in rbuild(command, "--help").out


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (("verfy",), "no such command 'verfy'. Did you mean 'verify'?", "rbuild --help"),
        (("build", "--ofline"), "no such option: --ofline", "rbuild build --help"),
        (("build", "--jobs", "many"), "invalid value for '--jobs'", "rbuild build --help"),
        (("build", "--jobs", "0"), "invalid value for '--jobs'", "rbuild build --help"),
        (("plan",), "missing argument 'STAGE'", "rbuild plan --help"),
        (("lock", "--check", "--upgrade"), "--check changes nothing", "rbuild lock --help"),
    ],
)
def test_bad_usage(rbuild: Rbuild, arguments: tuple[str, ...], what: str, hint: str) -> None:
    said = rbuild(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ") and what in said.err
    assert said.err.endswith(f"\nhint: {hint}\n")


def test_bad_usage_as_json(rbuild: Rbuild) -> None:
    said = rbuild("build", "--ofline", "--json")
    assert (said.code, said.out) == (2, "")
    (problem,) = said.errors
    assert "--ofline" in problem["what"]


def test_no_project(rbuild: Rbuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = rbuild("status")
    assert said.code == 2
    assert said.err.startswith(f"error: {tmp_path}: there is no rbuild.yaml")
    assert "\nhint: " in said.err and "--project FOLDER" in said.err


def test_a_folder_that_does_not_exist(rbuild: Rbuild) -> None:
    said = rbuild("-C", "/nowhere", "status")
    assert said.code == 2
    assert "'/nowhere' does not exist" in said.err


def test_all_mistakes_of_a_project_are_told_at_once(rbuild: Rbuild, project: Path) -> None:
    text = PROJECT.replace("context: context, args", "contxt: context, args").replace("[train]", "[trian]")
    (project / "rbuild.yaml").write_text(text)
    said = rbuild("all", "--json")
    assert (said.code, said.out) == (2, "")
    assert {(one["file"], one["line"], one["key"]) for one in said.errors} == {
        ("rbuild.yaml", 5, "stages.train.contxt"),
        ("rbuild.yaml", 6, "stages.infer.needs[0]"),
    }
    assert [one["hint"] for one in said.errors] == ["did you mean 'context'?", "did you mean 'train'?"]


def test_an_unknown_stage(rbuild: Rbuild, project: Path) -> None:
    for command in ("build", "status", "plan", "images", "run", "verify", "shell", "lock"):
        said = rbuild(command, "tarin")
        assert (said.code, said.out) == (2, ""), command
        assert said.err == "error: there is no stage 'tarin'\nhint: did you mean 'train'?\n"


def test_from_a_folder_in_the_project_and_from_outside(rbuild: Rbuild, project: Path, tmp_path: Path) -> None:
    here = rbuild("status").out
    os.chdir(project / "context")
    assert rbuild("status").out == here
    os.chdir("/")
    assert rbuild("-C", str(project / "context"), "status").out == here
    assert "train" in here


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_root_is_refused_in_one_line(
    rbuild: Rbuild, project: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_USER", raising=False)
    said = rbuild("all", *option)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert "useradd -m builder && su - builder" in said.err
    monkeypatch.setenv("SUDO_USER", "ada")
    assert "as ada, without sudo" in rbuild("all", *option).err
    assert rbuild("all", "--help").code == rbuild("schema").code == 0


def test_status_of_a_new_project(rbuild: Rbuild, project: Path) -> None:
    said = rbuild("status")
    lines = [line.split("  ") for line in said.out.splitlines()]
    assert lines[0] == ["train", "out of date"]
    assert lines[1][-1].strip() == "stage: not in the lock yet"
    assert said.code == 0
    assert [one["stage"] for one in json.loads(rbuild("status", "--json").out)] == ["train", "infer"]
    assert [one["stage"] for one in json.loads(rbuild("status", "infer", "--json").out)] == ["infer"]


def test_check_of_a_new_project(rbuild: Rbuild, project: Path) -> None:
    said = rbuild("lock", "--check")
    assert said.code == 1
    assert "train  out of date" in said.out
    error, hint = said.err.splitlines()
    assert error == "error: rbuild.lock is out of date"
    assert hint.startswith("hint: rbuild lock ")


def test_plan(rbuild: Rbuild, project: Path) -> None:
    before = sorted(project.rglob("*"))
    text = rbuild("plan", "train")
    assert text.code == 0
    assert "stage train: build\n  because stage: not in the lock yet\n" in text.out
    assert "  context        context, 1 file\n" in text.out
    assert "  arg            FLAVOUR=plain\n" in text.out
    assert "  base           localhost/base:1  to be pinned\n" in text.out
    assert text.out.endswith("       4  RUN echo   hello\n")
    found = json.loads(rbuild("plan", "train", "--json").out)
    assert (found["action"], found["epoch"], found["files"]) == ("build", None, 1)
    assert found["bases"] == [{"key": "localhost/base:1", "digest": None}]
    assert [step["line"] for step in found["steps"]] == [1, 2, 3, 4]
    assert sorted(project.rglob("*")) == before


def test_a_name_of_a_file_cannot_drive_the_terminal(rbuild: Rbuild, project: Path) -> None:
    (project / "Containerfile").write_text(
        CONTAINERFILE.replace("hello", "\x1b[2Jhello").replace("\\\n ", "")
    )
    said = rbuild("plan", "train")
    assert "RUN echo  hello" in said.out
    assert "\x1b" not in said.out


def test_images_of_a_new_project(rbuild: Rbuild, project: Path) -> None:
    said = rbuild("images")
    header, train, infer = said.out.splitlines()
    assert header.split() == ["STAGE", "REFERENCE", "DIGEST", "SIZE", "BUILT", "FROM"]
    assert train.split(maxsplit=2) == ["train", "localhost/demo/train:latest", "not built yet"]
    assert train.index("not built") == infer.index("not built") == header.index("DIGEST")
    assert [one["digest"] for one in json.loads(rbuild("images", "--json").out)] == [None, None]


def test_what_needs_an_image_says_what_to_build(rbuild: Rbuild, project: Path) -> None:
    assert rbuild("run").err == (
        "error: rbuild.lock: stages train, infer were never built\nhint: rbuild build train infer\n"
    )
    said = rbuild("shell", "infer")
    assert (said.code, said.err) == (
        2,
        "error: rbuild.lock: stage infer was never built\nhint: rbuild build infer\n",
    )


def test_verify_of_what_is_not_locked(rbuild: Rbuild, project: Path) -> None:
    said = rbuild("verify", "train")
    assert said.code == 2
    assert said.out == "train  could not tell\n"
    assert "hint: rbuild lock train, then rbuild verify train\n" in said.err


@pytest.fixture
def no_podman(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Podman that has no images."""
    (project / "podman").write_text("#!/bin/sh\n")
    (project / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", str(project), prepend=":")


@pytest.mark.usefixtures("no_podman")
def test_locked_refuses_and_names_what_changed(rbuild: Rbuild, project: Path) -> None:
    said = rbuild("all", "--locked")
    assert (said.code, said.out) == (1, "")
    assert "stage train is out of date (stage: not in the lock yet)" in said.err
    assert not (project / "rbuild.lock").exists()


def test_schema(rbuild: Rbuild) -> None:
    said = rbuild("schema")
    assert said.code == 0
    assert json.loads(said.out) == json.loads(msgspec.json.encode(schema()))
    assert rbuild("schema", "--json") == said


def completed(rbuild: Rbuild, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """What bash would be offered for the last word of a command line."""
    monkeypatch.setenv("_RBUILD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    said = rbuild()
    assert (said.code, said.err) == (0, "")
    return said.out.split()


def test_completion(rbuild: Rbuild, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(line: str) -> list[str]:
        return completed(rbuild, monkeypatch, line)

    assert {"build", "status"} <= set(offered("rbuild "))
    assert offered("rbuild build t") == ["train"]
    assert offered("rbuild build train ") == ["infer"]
    assert offered("rbuild plan i") == ["infer"]
    assert offered("rbuild build --off") == ["--offline"]
    (project / "images").mkdir()
    assert offered("rbuild diff i") == ["infer", "images"]
    assert offered("rbuild diff built:t") == ["built:train"]
    assert offered("rbuild diff train t") == ["train"]
    os.chdir(tmp_path)
    assert offered("rbuild build t") == []
    assert offered(f"rbuild -C {project} build t") == ["train"]


def test_a_bug_is_no_finding(rbuild: Rbuild, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(building, "workspace_here", broken)
    said = rbuild("lock", "--check")
    assert said.code == 2
    assert "Traceback" in said.err
    assert "error: rbuild itself is wrong here: ZeroDivisionError('oh')\n" in said.err


def test_an_error_of_the_system_is_one_line(
    rbuild: Rbuild, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(building, "workspace_here", broken)
    said = rbuild("status")
    assert (said.code, said.err) == (2, "error: Permission denied: /somewhere\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal(
    rbuild: Rbuild, project: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(building, "workspace_here", lambda *_: signal.raise_signal(number))
    said = rbuild("status")
    assert said.code == 128 + number
    assert said.err.startswith("error: interrupted")


def test_the_exit_code_of_an_error(rbuild: Rbuild, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RbuildError("two\nlines", hint="do this")

    monkeypatch.setattr(building, "workspace_here", broken)
    assert rbuild("status") == Said(2, "", "error: two\nlines\nhint: do this\n")


@pytest.mark.usefixtures("no_podman")
@pytest.mark.parametrize(
    ("value", "good"), [("0", True), ("1700000000", True), ("-1", False), ("now", False), ("9" * 20, False)]
)
def test_source_date_epoch(rbuild: Rbuild, monkeypatch: pytest.MonkeyPatch, value: str, good: bool) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    said = rbuild("all", "--locked")
    assert said.code == (1 if good else 2)
    assert ("SOURCE_DATE_EPOCH is not a number of seconds" in said.err) is not good


def test_a_rule_is_said_by_its_id_and_by_its_name(rbuild: Rbuild) -> None:
    said = rbuild("rule", "RB102")
    assert said.code == 0
    assert said.out.startswith("RB102 moving-tag  warning; checked before anything is fetched\n")
    assert "\nFound\n  FROM python\n\nFix\n  name a version" in said.out
    assert rbuild("rule", "rb102") == rbuild("rule", "moving-tag") == said
    known = json.loads(rbuild("rule", "RB102", "--json").out)
    assert (known["id"], known["level"]) == ("RB102", "warning")


def test_the_settings_of_a_rule_are_said_with_their_defaults(rbuild: Rbuild) -> None:
    with_settings = [one for one in json.loads(rbuild("rule", "--list", "--json").out) if one["settings"]]
    assert with_settings
    for rule in with_settings[::8]:
        said = rbuild("rule", rule["id"]).out
        for setting in rule["settings"]:
            assert f"  {setting['name']}: " in said
            assert setting["description"]
        assert said.count("    without it: ") == len(rule["settings"])


def test_all_rules_are_listed(rbuild: Rbuild) -> None:
    first, *rows = rbuild("rule", "--list").out.splitlines()
    assert first.split()[:3] == ["ID", "NAME", "LEVEL"]
    ids = [one["id"] for one in json.loads(rbuild("rule", "--list", "--json").out)]
    assert [row.split()[0] for row in rows] == ids == sorted(ids)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("moving-tags",), "did you mean 'moving-tag'?"),
        (("zzzzzz",), "--list"),
    ],
)
def test_there_is_no_such_rule(rbuild: Rbuild, arguments: tuple[str, ...], hint: str) -> None:
    said = rbuild("rule", *arguments)
    assert said.code == 2
    assert hint in said.err


def test_rule_wants_one_or_all(rbuild: Rbuild) -> None:
    assert rbuild("rule").code == rbuild("rule", "RB101", "--list").code == 2


def test_ids_of_rules_are_completed(rbuild: Rbuild, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"RB101", "RB102"} <= set(completed(rbuild, monkeypatch, "rbuild rule RB10"))
    assert completed(rbuild, monkeypatch, "rbuild rule RB101") == ["RB101"]


def test_schema_of_policies(rbuild: Rbuild) -> None:
    made = json.loads(rbuild("schema", "--policy").out)
    assert "RB101" in made["properties"]["rules"]["properties"]


OWN_RULES = """\
name: ours
description: What we agreed upon.
rules:
  no-copy:
    expression: item.keyword != "COPY"
    each: containerfile.instructions
    message: "{{ item.arguments }} is copied into {{ stage.name }}"
    hint: mount it
  later: {when: image, expression: image.config.user != "", message: m, hint: h}
waivers:
  - {rule: no-copy, reason: soon, owner: ann, expires: 2027-01-31, stage: infer}
"""


def test_check_holds_stages_to_rules_of_the_project_s_own(rbuild: Rbuild, project: Path) -> None:
    (project / "policies").mkdir()
    (project / "policies/ours.yaml").write_text(OWN_RULES)
    at = ("--effective-time", "2026-12-30")
    said = rbuild("check", *at)
    assert said.code == 1
    assert said.out.startswith(
        "Containerfile:3: error no-copy: file.txt / is copied into train\n"
        "  3 | COPY file.txt /\n"
        "  hint: mount it\n"
    )
    assert "not checked: stage train, infer: it is not locked yet: 1 rule: later\n" in said.out
    assert said.out.endswith("1 error; 1 waived (2 rules, 2 stages)\n")
    found = json.loads(rbuild("check", "--json", *at).out)
    assert [one["waiver"] is not None for one in found["findings"]] == [False, True]
    assert rbuild("check", "infer", *at).code == 0
    results = json.loads(rbuild("check", "--output-format", "sarif", *at).out)["runs"][0]["results"]
    assert ["suppressions" in one for one in results] == [False, True]
    assert rbuild("check", "--output-format", "github", *at).out.startswith(
        "::error file=Containerfile,line=3,"
    )
    assert '<failure type="no-copy"' in rbuild("check", "--output-format", "junit", *at).out


def test_every_mistake_in_every_policy_is_said_before_anything_is_done(rbuild: Rbuild, project: Path) -> None:
    (project / "policies").mkdir()
    (project / "policies/ours.yaml").write_text(OWN_RULES.replace("item.keyword", "item.keywor"))
    (project / "policies/yours.yaml").write_text("name: yours\ndescription: d\nrules: {RB999: error}\n")
    for command in (("check",), ("all",), ("build", "train")):
        said = rbuild(*command, "--json")
        assert said.code == 2
        places = [(one["file"], one["line"], one["key"]) for one in said.errors]
        assert ("policies/ours.yaml", 5, "rules.no-copy.expression") in places
        assert ("policies/yours.yaml", 3, "rules.RB999") in places


def test_policies_are_written_and_never_overwritten(rbuild: Rbuild, project: Path) -> None:
    names = sorted(shipped_policies())
    assert names == ["reproducible.yaml", "rootless.yaml", "supply-chain.yaml"]
    (project / "policies").mkdir()
    mine = project / "policies" / names[0]
    mine.write_text("mine")
    said = rbuild("policy", "init")
    assert said.out.splitlines() == [
        f"policies/{names[0]}  kept as it is",
        f"policies/{names[1]}  written",
        f"policies/{names[2]}  written",
    ]
    assert mine.read_text() == "mine"
    for name in names[1:]:
        assert (project / "policies" / name).read_bytes() == shipped_policies()[name]
    again = json.loads(rbuild("policy", "init", "--json").out)
    assert all(one["kept"] for one in again)


def test_the_policies_that_are_written_hold_for_their_project(rbuild: Rbuild, project: Path) -> None:
    rbuild("policy", "init")
    assert rbuild("check", "--json").code in (0, 1)
