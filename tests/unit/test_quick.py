"""A push without the parser for people: read as Typer would read it, or left to Typer."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from rbuild.commands.every import app
from rbuild.commands.quick import FLAGS, SOURCES, VALUES, plain_push
from rbuild.sources import Kept


def options() -> dict[str, typer.core.TyperOption]:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    push = group.commands["push"]
    return {name: one for one in push.params if isinstance(one, typer.core.TyperOption) for name in one.opts}


def test_what_is_read_here_is_what_typer_would_read() -> None:
    known = options()
    for name in VALUES:
        assert known[name].multiple
        assert not known[name].is_flag
    for name in FLAGS:
        assert known[name].is_flag
    assert not known["--sources"].multiple
    assert {Kept(value) for value in SOURCES} == set(Kept)
    # What is one option there is one here.
    for one in known.values():
        assert len({FLAGS.get(name) for name in one.opts}) == 1


def test_a_plain_push(tmp_path: Path) -> None:
    words = ["-C", str(tmp_path), "push", "b", "--to", "quay.io/x", "a", "-q", "--to", "ghcr.io/y", "--json"]
    found = plain_push(
        [*words, "--tag", "v1", "--force", "--insecure", "quay.io", "--attach", "spdx", "--sources", "none"]
    )
    assert found is not None
    assert (found.folder, found.stages) == (tmp_path, ["b", "a"])
    assert found.values == {
        "to": ["quay.io/x", "ghcr.io/y"],
        "tags": ["v1"],
        "insecure": ["quay.io"],
        "attach": ["spdx"],
    }
    assert found.sources == "none"
    assert found.flags == {"quiet", "json", "force"}
    assert plain_push(["push"]) is not None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "all",
        "--version",
        "--json push",
        "pull push",
        "-C",
        "-C nowhere push",
        "push --help",
        "push -h",
        "push --to",
        "push --to --json",
        "push --sources",
        "push --sources some",
        "push --to=quay.io",
        "push -qq",
        "push --forc",
        "push --",
        "push -",
    ],
)
def test_anything_else_is_left_to_typer(line: str) -> None:
    assert plain_push(line.split()) is None
