"""docs/policies.md: its tables are those of the rules, and its examples do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from policyfacts import Image, file_facts
from tarballs import member

from rbuild.image.config import Execution
from rbuild.policy.cel.inputs import EACH, TYPES, VARIABLES
from rbuild.policy.cel.types import classes
from rbuild.policy.expression import OwnCheck, compile_own
from rbuild.policy.facts import FileFacts, ImageFacts, PushFacts
from rbuild.policy.policyfile import OwnRuleFile, read_policy
from rbuild.policy.watch import watched
from rbuild.reference import Reference

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "docs/policies.md").read_text()
FENCED = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
FIRST, EXAMPLES = (text for text in FENCED if text.startswith("name:"))
PARTS = [text for text in FENCED if not text.startswith("name:")]


def test_the_tables_are_those_of_the_rules_and_inputs() -> None:
    command = [sys.executable, "scripts/policy-tables", "--check"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_inputs_are_the_library_s() -> None:
    for name, fields in TYPES.items():
        assert [field.name for field in classes()[name].DESCRIPTOR.fields] == [field.name for field in fields]
    rows = dict(re.findall(r"^\| `([a-z_.\[\]]+)` \| (.*?) \|", TEXT, re.MULTILINE))
    assert {variable.name for variable in VARIABLES} <= {row.split(".")[0].removesuffix("[]") for row in rows}
    assert rows["containerfile.instructions[].keyword"] == "text"
    assert rows["image.files[].xattrs"] == "map from text to bytes"


def test_the_keys_of_a_rule_are_listed() -> None:
    section = TEXT.split("\n## Rules of your own\n")[1].split("What an expression can look at")[0]
    listed = re.findall(
        r"`([a-z_]+)`", "".join(row.split("|")[1] for row in section.splitlines() if "|" in row)
    )
    assert sorted(listed) == sorted(OwnRuleFile.__struct_fields__)
    for each in EACH:
        assert f"`{each}`" in section


def checks(text: str) -> dict[str, OwnCheck]:
    policy = read_policy(text.encode(), "docs/policies.md")
    return {name.partition("/")[2]: check for name, check in compile_own([policy]).items()}


EXAMPLE = checks(EXAMPLES)


def said(name: str, facts: FileFacts | ImageFacts | PushFacts) -> list[tuple[str, int | None]]:
    return [(one.message, one.where.line if one.where else None) for one in EXAMPLE[name].violations(facts)]


def test_the_first_example_is_right() -> None:
    assert list(checks(FIRST)) == ["no-add"]


def test_there_are_five_examples() -> None:
    assert list(EXAMPLE) == ["no-add", "needs-labels", "our-bases", "no-large-files", "only-to-quay"]


def test_no_add() -> None:
    assert said("no-add", file_facts("FROM scratch\nCOPY a /\nADD b /\n")) == [("ADD b /", 3)]
    assert said("no-add", file_facts("FROM scratch\nCOPY a /\n")) == []


def test_labels() -> None:
    labels = {"org.opencontainers.image.source": "x", "org.opencontainers.image.licenses": "MIT"}
    bad, good = Image("FROM scratch\n"), Image("FROM scratch\n", execution=Execution(labels=labels))
    [(message, _)] = said("needs-labels", bad.facts)
    assert message == "stage app has no label for its source, or none for its licence"
    assert said("needs-labels", good.facts) == []


@pytest.mark.parametrize(
    ("base", "found"),
    [
        ("python:3.11", True),
        ("quay.io/team/base:1", False),
        ("quay.io/team/base2:1", True),
        ("scratch", False),
    ],
)
def test_bases(base: str, found: bool) -> None:
    wanted = [(f"{base} is not a base of ours", 1)] if found else []
    assert said("our-bases", file_facts(f"FROM {base}\n")) == wanted


def test_large_files() -> None:
    own, base = [member("srv/model.bin", b"x")], [member("usr/lib/large", b"x")]
    image = Image("FROM scratch\nCOPY . /srv\n", {2: own}, base=[base])
    watcher = EXAMPLE["no-large-files"].watcher(image.facts)
    watched(image.layers, [watcher])
    assert list(watcher.violations()) == []

    class Larger:
        """The same files, as if each had 300 MB."""

        def wants(self, entry: object) -> int:
            return 0

        def see(self, entry: object, content: bytes) -> None:
            watcher.see(replace(entry, size=300_000_000), b"")  # type: ignore[type-var]

        def violations(self) -> tuple[()]:
            return ()

    watched(image.layers, [Larger()])
    assert [one.message for one in watcher.violations()] == ["/srv/model.bin has 300 MB"]


@pytest.mark.parametrize(
    ("repository", "tags", "found"),
    [
        ("quay.io/team/app", ("1.0",), False),
        ("quay.io/team/app", ("1.0", "latest"), True),
        ("docker.io/team/app", ("1.0",), True),
        ("quay.io/teammate/app", ("1.0",), True),
    ],
)
def test_pushes(repository: str, tags: tuple[str, ...], found: bool) -> None:
    facts = PushFacts(
        image=Image("FROM scratch\n").facts,
        repository=Reference.parse(repository),
        tags=tags,
        moving=frozenset(),
        signed=False,
    )
    wanted = [(f"{repository} with {', '.join(tags)}", None)] if found else []
    assert said("only-to-quay", facts) == wanted


@pytest.mark.parametrize("part", PARTS, ids=lambda text: text.split(":")[0])
def test_parts_of_policies_are_as_they_may_be_written(part: str) -> None:
    head = "name: part\ndescription: of a policy\n" + ("" if part.startswith("rules:") else "rules: {}\n")
    assert read_policy(f"{head}{part}".encode(), "docs/policies.md").description
