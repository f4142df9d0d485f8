"""hadolint as one engine of policies: the program that `make setup` installs, through the front door."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from worlds import World

from rbuild.containerfile.parse import parse
from rbuild.hadolint import Hadolint, find
from rbuild.policy.foreign import HADOLINT
from rbuild.policy.model import Level
from rbuild.store import Store
from rbuild.verbs.linting import Linter

WORKSHOP = Path(__file__).parents[1] / "scenarios" / "workshop" / "Containerfile"
PROJECT = """\
project: demo
stages:
  one:
    containerfile: Containerfile
    context: context
"""
POLICY = """\
name: linted
description: What hadolint says.
rules:
  DL*: warning
  SC*: note
"""


@pytest.fixture
def engine() -> Hadolint:
    found = find(os.environ)
    assert found is not None
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def write(world: World, containerfile: str, policy: str | None = POLICY, **files: str) -> None:
    world.write({"rbuild.yaml": PROJECT, "Containerfile": containerfile, "context/infer.py": "1\n"})
    if policy:
        world.write({"policies/linted.yaml": policy})


def check(world: World, *arguments: str, code: int = 0, env: dict[str, str] | None = None) -> Any:
    done = world.rbuild("check", "--json", *arguments, env=env)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def found_in(checked: Any) -> set[tuple[str, str, int]]:
    return {
        (one["rule"], one["level"], one["where"]["line"])
        for one in checked["findings"]
        if one["rule"].startswith(("DL", "SC"))
    }


def test_the_workshops_containerfile(world: World) -> None:
    write(world, WORKSHOP.read_text(), policy=None)
    checked = check(world, code=1)
    assert found_in(checked) == {("DL3013", "warning", 2), ("DL3042", "warning", 2), ("DL3020", "error", 3)}
    (copy,) = (one for one in checked["findings"] if one["rule"] == "DL3020")
    assert copy["name"] == "hadolint"
    assert copy["text"] == "ADD infer.py /code/infer.py"
    assert copy["hint"] == "see https://github.com/hadolint/hadolint/wiki/DL3020"


def test_levels_are_the_policys(world: World) -> None:
    text = WORKSHOP.read_text() + "RUN echo $x | cat\n"
    write(world, text)
    assert found_in(check(world)) == {
        *(("DL3013", "warning", 2), ("DL3042", "warning", 2), ("DL3020", "warning", 3)),
        *(("DL4006", "warning", 4), ("DL3057", "warning", 1), ("SC2086", "note", 4)),
    }
    write(world, text, f"{POLICY}  DL3013: off\n  DL3020: error\n  SC2086: error\n  DL3057: off\n")
    assert found_in(check(world, code=1)) == {
        *(("DL3042", "warning", 2), ("DL3020", "error", 3), ("DL4006", "warning", 4), ("SC2086", "error", 4)),
    }


def test_waivers_are_the_policys(world: World) -> None:
    waiver = "{rule: DL3013, reason: a demo, owner: ann, expires: 2026-06-30, line: scikit-learn}"
    idle = "{rule: SC2046, reason: a demo, owner: ann, expires: 2026-06-30}"
    comment = "# rbuild: allow=DL3020 until=2026-06-30 owner=bob reason=it is what it was\n"
    text = WORKSHOP.read_text().replace("ADD", f"{comment}ADD")
    write(world, text, f"{POLICY}  DL3057: off\n  DL3020: error\nwaivers:\n- {waiver}\n- {idle}\n")
    checked = check(world, "--effective-time", "2026-05-01")
    waived = {one["rule"]: one["waiver"]["owner"] for one in checked["findings"] if one.get("waiver")}
    assert waived == {"DL3013": "ann", "DL3020": "bob"}
    assert [one["message"] for one in checked["findings"] if one["rule"] == "RB003"] == [
        "the waiver of SC2046 by ann excuses nothing"
    ]
    check(world, "--effective-time", "2026-07-01", code=1)


def test_an_id_that_there_is_not(world: World) -> None:
    write(world, WORKSHOP.read_text(), f"{POLICY}  DL3099: error\n  DL9*: error\n  SC9999: error\n")
    done = world.rbuild("check")
    assert done.returncode == 2
    assert "policies/linted.yaml:6" in done.stderr
    assert "policies/linted.yaml:7" in done.stderr
    assert "policies/linted.yaml:8" not in done.stderr
    assert "did you mean 'DL30" in done.stderr


def test_nothing_else_changes_a_verdict(world: World) -> None:
    write(world, WORKSHOP.read_text())
    expected = found_in(check(world))
    ignored = "ignored: [DL3013, DL3020, DL3042]\n"
    home = world.data / "home"
    world.write({".hadolint.yaml": ignored, "context/.hadolint.yaml": ignored})
    (home / ".config").mkdir(parents=True)
    (home / ".config" / "hadolint.yaml").write_text(ignored)
    world.forget_store()
    env = {"HADOLINT_IGNORE": "DL3013", "HADOLINT_NOFAIL": "1", "HADOLINT_CONFIG": "x"}
    env |= {"XDG_CONFIG_HOME": str(home / ".config")}
    assert found_in(check(world, env=env)) == expected


def test_a_comment_hides_nothing_from_it(world: World) -> None:
    lines = [
        "# syntax=docker/dockerfile:1",
        "# escape=`",  # no directive to Podman
        "# hadolint global ignore=DL3020,DL3004",
        "FROM a:1",
        "# hadolint shell=powershell",
        "RUN true `",
        "# hadolint ignore=DL3004,SC2086",
        "RUN true \\",
        "  # a comment",
        "",
        "  && sudo true $x",
        "RUN <<E",
        "sudo true",
        "E",
        "ADD a /b/",
    ]
    write(world, "\n".join(lines))
    found = found_in(check(world))
    assert {("DL3004", "warning", 8), ("SC2086", "note", 8), ("DL3004", "warning", 12)} <= found
    assert ("DL3020", "warning", 15) in found
    assert {line for rule, _, line in found if rule == "DL1001"} == {3, 7}
    assert not any(rule == "DL1000" for rule, _, _ in found)


def test_an_instruction_that_it_cannot_read_hides_no_other(world: World) -> None:
    write(world, "FROM a:1\nEXPOSE x\nRUN sudo true\nVOLUME\t/x\nADD a /b/\n")
    found = {(rule, line) for rule, _, line in found_in(check(world))}
    assert {("DL1000", 2), ("DL3004", 3), ("DL3020", 5)} <= found


def test_what_it_cannot_read_is_told(world: World) -> None:
    """By DL1000 where a policy asks for it; else as not checked, which a policy may not stand."""
    text = "FROM a:1\nEXPOSE x\nRUN true\nUSER 1\n"
    one = "name: p\ndescription: d\nrules: {DL3004: error}\n"
    write(world, text, one)
    (unchecked,) = check(world)["unchecked"]
    assert unchecked["reason"] == "hadolint cannot read the instruction on line 2"
    write(world, text, one + "hadolint: required\n")
    checked = check(world, code=1)
    assert [(finding["rule"], finding["level"]) for finding in checked["findings"]] == [("RB006", "error")]
    # More of it than rbuild leaves out one by one:
    write(world, "FROM a:1\n" + "EXPOSE x\n" * 9 + "RUN sudo true\nUSER 1\n", POLICY)
    (unchecked,) = check(world)["unchecked"]
    assert "DL3004" in unchecked["rules"]


def test_a_letter_that_it_falls_over(world: World) -> None:
    write(world, "FROM a:1\nWORKDIR b\nADD a /b/\n")
    assert {("DL3000", "warning", 2), ("DL3020", "warning", 3)} <= found_in(check(world))


def test_only_the_build_targets_that_the_image_needs_are_judged(world: World) -> None:
    write(world, "FROM a:1 AS unneeded\nRUN sudo true\nFROM b:1\nADD a /b/\n")
    assert {rule for rule, _, _ in found_in(check(world))} >= {"DL3020"}
    assert "DL3004" not in {rule for rule, _, _ in found_in(check(world))}


def test_without_hadolint_the_run_says_what_was_not_checked(world: World) -> None:
    write(world, WORKSHOP.read_text())
    env = {"RBUILD_HADOLINT": str(world.data / "nothing")}
    checked = check(world, env=env)
    (left,) = (one for one in checked["unchecked"] if "DL3020" in one["rules"])
    assert left["reason"] == "hadolint is not installed"
    assert "SC*" in left["rules"]
    assert len(left["rules"]) == len(HADOLINT) + 1
    assert found_in(checked) == set()
    write(world, WORKSHOP.read_text(), f"{POLICY}hadolint: required\n")
    checked = check(world, code=1, env=env)
    (missing,) = (one for one in checked["findings"] if one["rule"] == "RB006")
    assert "policies/linted.yaml requires its rules" in missing["message"]
    assert found_in(check(world)) != set()


def test_an_error_stops_a_build_before_anything_is_fetched(world: World) -> None:
    write(world, "FROM registry.invalid/a:1\nADD infer.py /\n", f"{POLICY}  DL3020: error\n")
    done = world.rbuild("all")
    assert done.returncode == 1
    assert "Containerfile:2: DL3020 hadolint: Use COPY instead of ADD" in done.stderr
    assert "registry.invalid cannot" not in done.stderr


def test_its_rules_are_known(engine: Hadolint) -> None:
    inside = {name.decode() for name in re.findall(rb"DL[0-9]{4}", engine.program.read_bytes())}
    assert inside == set(HADOLINT)


def test_its_levels_are_known(engine: Hadolint, store: Store) -> None:
    text = b"""\
FROM python
MAINTAINER me
RUN cd /x && sudo apt-get install a && wget x | y && curl z
RUN pip install a && npm install b && gem install c && yum install d && dnf install e && zypper install f
RUN apt install a; apk add b; useradd -u 123456 c; yarn install; ln -sfv /bin/bash /bin/sh; top
ADD a b
COPY c d e
COPY --from=nobody f g
ENV A=1 B=$A
EXPOSE 70000
WORKDIR hh
CMD i
CMD j
ENTRYPOINT k
ENTRYPOINT l
HEALTHCHECK NONE
HEALTHCHECK CMD m
ONBUILD MAINTAINER n
ARG PASSWORD
USER root
FROM --platform=linux/amd64 debian:latest AS scratch
"""
    (remarks,) = engine.judge([text], store)
    assert remarks is not None
    on = {code for code, rule in HADOLINT.items() if rule.level is not Level.OFF}
    seen = {one.code: one.level for one in remarks if one.code in on}
    assert len(seen) > 35
    assert {code: HADOLINT[code].level for code in seen} == seen


def test_hostile_files_take_bounded_time_and_keep_no_other_from_being_judged(
    engine: Hadolint, store: Store
) -> None:
    impatient = Hadolint(engine.program, engine.identity, seconds=2)
    hostile = [b"FROM a:1\nRUN " + b"(" * 100_000 + b"\n", b"FROM a:1\nRUN " + b"$(" * 20_000 + b"\n"]
    good = b"FROM a:1\nADD a /b/\n"
    found = impatient.judge([good, *hostile, good], store)
    assert found[1] is None and found[2] is None
    for remarks in (found[0], found[3]):
        assert remarks is not None and "DL3020" in {one.code for one in remarks}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\xff\xfe",
        b"FROM a\n" * 2000,
        b"# escape=`\n",
        bytes(range(256)),
        b"FROM a:1\nRUN \x1b[31m\n",
    ],
)
def test_garbage_is_judged_or_refused(engine: Hadolint, store: Store, data: bytes) -> None:
    (remarks,) = engine.judge([data], store)
    assert remarks is not None
    assert all(one.line >= 1 and "\n" not in one.message for one in remarks)


def test_a_program_that_is_none(store: Store, tmp_path: Path) -> None:
    for name, said in (("silent", ""), ("wrong", "echo '[{\"code\": 1}]'"), ("failing", "exit 3")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{said}\n")
        program.chmod(0o755)
        assert Hadolint(program, name).judge([b"FROM a\n", b"FROM b\n"], store) == [None, None]


def test_a_file_is_judged_once(engine: Hadolint, store: Store) -> None:
    files = [parse(f"FROM a:{number % 2}\nADD a /b/\n".encode(), "f") for number in range(10)]
    first = Linter(engine, store)
    first.prepare(files)
    expected = [first.remarks(file) for file in files]
    assert all(expected)
    gone = Hadolint(engine.program.with_name("gone"), engine.identity)
    assert [Linter(gone, store).remarks(file) for file in files] == expected
    assert Linter(Hadolint(gone.program, "another"), store).remarks(files[0]) is None


def test_the_program_is_not_started_for_what_is_known(engine: Hadolint, store: Store, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    counting = tmp_path / "counting"
    counting.write_text(f'#!/bin/sh\necho called >>{calls}\nexec {engine.program} "$@"\n')
    counting.chmod(0o755)
    files = [parse(f"FROM a:{number}\nADD a /b/\n".encode(), "f") for number in range(10)]
    for _ in range(2):
        linter = Linter(Hadolint(counting, "counting"), store)
        linter.prepare(files)
        assert all(linter.remarks(file) for file in files)
        assert len(calls.read_text().splitlines()) <= (os.cpu_count() or 1)
