"""What is said of a stage that was built under varied conditions; no build is made here."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from rbuild.compare.causes.catalogue import UNKNOWN
from rbuild.compare.model import Blame, Cause, Change, Comparison, Difference, Part, Side, Verdict
from rbuild.digest import Digest
from rbuild.podman import Podman
from rbuild.verbs.buildsecrets import check_secrets, read_secrets
from rbuild.verbs.checkout import checkout
from rbuild.verbs.conditions import CONDITIONS, MOMENT, NotVaried
from rbuild.verbs.rebuild import Setting
from rbuild.verbs.source import read_sources
from rbuild.verbs.trial import Effect, Trial
from rbuild.verbs.vary import beyond
from rbuild.verbs.workspace import Workspace, open_workspace

UUID = Cause(id="uuid", title="UUID", explanation="", hint="")
TWO, THREE = (Blame(text=f"RUN {line}", file="Containerfile", line=line) for line in (2, 3))


def leaf(name: str, cause: Cause | None = None) -> Difference:
    return Difference(part=Part.ENTRY, name=name, change=Change.CHANGED, cause=cause)


def layer(blame: Blame, *children: Difference) -> Difference:
    name = f"layer {blame.line}"
    return Difference(part=Part.LAYER, name=name, change=Change.CHANGED, blame=blame, children=children)


def comparison(*differences: Difference) -> Comparison:
    sides = (Side(name=letter, digest=Digest(letter * 64)) for letter in "ab")
    return Comparison(
        a=next(sides), b=next(sides), verdict=Verdict.DIFFERENT, layers=(), differences=differences
    )


def names(usual: Comparison, found: Comparison) -> list[str] | None:
    """The leaves that a trial is left with; None if it has the effect that every build has."""
    trial = Trial(condition="cpus", effect=Effect.CHANGES, what="1, not 2", comparison=found)
    left = beyond(trial, usual)
    if left.comparison is None:
        assert left.effect is Effect.AS_EVER
        return None
    assert left.effect is Effect.CHANGES
    return [one.name for one in left.comparison.leaves()]


def test_what_always_differs_is_not_due_to_the_condition() -> None:
    usual = comparison(layer(TWO, leaf("/id", UUID)))
    assert names(usual, usual) is None
    assert names(usual, comparison(layer(TWO, leaf("/id", UUID), leaf("/cpus")))) == ["/cpus"]
    assert names(usual, comparison(layer(TWO, leaf("/id", UUID)), layer(THREE, leaf("/id")))) == ["/id"]


def test_a_name_that_is_made_up_is_known_by_line_and_cause() -> None:
    usual = comparison(layer(TWO, leaf("/tmp.a1", UUID)))
    assert names(usual, comparison(layer(TWO, leaf("/tmp.b2", UUID)))) is None
    assert names(usual, comparison(layer(THREE, leaf("/tmp.b2", UUID)))) == ["/tmp.b2"]


def test_an_unknown_cause_says_nothing_of_other_files() -> None:
    usual = comparison(layer(TWO, leaf("/a", UNKNOWN)))
    assert names(usual, comparison(layer(TWO, leaf("/b", UNKNOWN)))) == ["/b"]


def test_parts_of_equal_names_in_two_files_are_two() -> None:
    def file(name: str) -> Difference:
        return replace(leaf(name), children=(leaf(".comment"),))

    found = comparison(layer(TWO, file("/x"), file("/y")))
    assert names(comparison(layer(TWO, file("/x"))), found) == [".comment"]


# Another checkout

PROJECT = """\
project: demo
stages:
  one: {containerfile: docker/one, context: src}
  two: {containerfile: docker/two, context: src/inner}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "project"
    files = {
        "rbuild.yaml": PROJECT,
        "docker/one": "FROM scratch\nCOPY . /\n",
        "docker/two": "FROM scratch\nCOPY . /\n",
        "docker/one.containerignore": "*.log\ninner/secret\n",
        "src/a.log": "ignored",
        "src/a.txt": "a",
        "src/inner/secret": "for two alone",
        "src/inner/run.sh": "#!/bin/sh",
        "unrelated": "x" * 100,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "src/inner/run.sh").chmod(0o755)
    (root / "src/empty").mkdir()
    (root / "src/link").symlink_to("a.txt")
    (root / os.fsdecode(b"src/\xff")).write_text("not UTF-8")
    return open_workspace(root, {"RBUILD_STORE": str(tmp_path / "store")})


@pytest.mark.parametrize("backwards", [False, True])
def test_a_checkout_has_the_same_contexts(workspace: Workspace, tmp_path: Path, backwards: bool) -> None:
    sources = read_sources(workspace, ["one", "two"])
    copy = checkout(workspace, sources.values(), tmp_path / "copy", backwards=backwards, mtime=1000.0)
    again = read_sources(copy, ["one", "two"])
    for name, source in sources.items():
        assert again[name].digest == source.digest
        assert again[name].context.digest == source.context.digest
        assert again[name].context.root != source.context.root
    assert not (copy.root / "unrelated").exists()
    assert (copy.root / "src/a.txt").stat().st_mtime == 1000
    assert (workspace.root / "src/a.txt").stat().st_mtime != 1000


def test_a_checkout_has_no_copy_of_a_secret(workspace: Workspace, tmp_path: Path) -> None:
    """The stages of the copy read it from where it is, and it stays out of every context."""
    root = workspace.root
    (root / "docker/one").write_text("FROM scratch\nRUN --mount=type=secret,id=key true\nCOPY . /\n")
    (root / "rbuild.yaml").write_text(
        PROJECT.replace(
            "{containerfile: docker/one,", "{containerfile: docker/one, secrets: {key: {file: src/key}},"
        )
    )
    (root / "src/key").write_text("correct horse\n")
    workspace = open_workspace(root, workspace.env)
    sources = read_sources(workspace, ["one", "two"])
    copy = checkout(workspace, sources.values(), tmp_path / "copy")
    check_secrets(copy, ["one"])
    stage = copy.project.stages["one"]
    assert read_secrets(copy, stage).shown_in(b"it is correct horse") == "key"
    options, variables = read_secrets(copy, stage).hand_over(tmp_path / "links")
    assert variables == {} and (tmp_path / "links" / "0").samefile(root / "src/key")
    assert options == [f"id=key,src={tmp_path}/links/0"]
    assert not any("horse" in path.read_text() for path in copy.root.rglob("*") if path.is_file())
    assert read_sources(copy, ["one"])["one"].context.digest == sources["one"].context.digest
    again = checkout(copy, sources.values(), tmp_path / "again")
    assert again.secrets_root == root


def test_a_checkout_follows_the_umask(workspace: Workspace, tmp_path: Path) -> None:
    usual = os.umask(0o077)
    try:
        copy = checkout(workspace, read_sources(workspace, ["one"]).values(), tmp_path / "copy")
    finally:
        os.umask(usual)
    modes = {
        name: (copy.root / name).stat().st_mode & 0o777 for name in ("src", "src/a.txt", "src/inner/run.sh")
    }
    assert modes == {"src": 0o700, "src/a.txt": 0o600, "src/inner/run.sh": 0o700}


# Conditions


def setting(workspace: Workspace) -> Setting:
    return Setting(workspace=workspace, jobs=2, offline=True)


def test_conditions_leave_this_process_as_it_was(workspace: Workspace, tmp_path: Path) -> None:
    sources = read_sources(workspace, ["one", "two"])
    umask, cpus = os.umask(0o022), os.sched_getaffinity(0)
    try:
        for condition in CONDITIONS:
            if condition.name == "driver":
                continue  # asks Podman
            try:
                with condition.vary(setting(workspace), sources, tmp_path / condition.name) as varied:
                    changed = varied.setting != setting(workspace)
                    process = os.umask(0o022) != 0o022 or os.sched_getaffinity(0) != cpus
                    assert (changed or process) is (condition.name != MOMENT), condition.name
            except NotVaried:
                pass
            assert os.sched_getaffinity(0) == cpus
            assert os.umask(0o022) == 0o022
    finally:
        os.umask(umask)
    assert setting(workspace).workspace.podman == Podman(env=workspace.env)


def test_one_stage_has_no_neighbour(workspace: Workspace, tmp_path: Path) -> None:
    jobs = next(condition for condition in CONDITIONS if condition.name == "jobs")
    with (
        pytest.raises(NotVaried, match="nothing beside it"),
        jobs.vary(setting(workspace), read_sources(workspace, ["one"]), tmp_path),
    ):
        pass
