"""Secrets of a stage as Podman gets them, and as nobody else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbuild.errors import RbuildError
from rbuild.podman import Podman
from rbuild.project import load_project
from rbuild.projectcheck import Kind
from rbuild.store import Store
from rbuild.verbs.buildsecrets import Secrets, read_secrets
from rbuild.verbs.workspace import Workspace

PROJECT = """\
project: x
stages:
  a:
    secrets:
      key: {file: "private/a, b"}
      token: {env: TOKEN}
"""
KEY = "first line\n-\nsecond/line \n"


def secrets(root: Path, env: dict[str, str]) -> Secrets:
    (root / "rbuild.yaml").write_text(PROJECT)
    project = load_project(PROJECT.encode(), exists=_anything)
    store = Store(root / "store", clear=lambda _folder: None)
    workspace = Workspace(root=root, project=project, store=store, podman=Podman(env=env), env=env)
    return read_secrets(workspace, project.stages["a"])


def _anything(path: str) -> Kind:
    return "directory" if path == "." else "file"


@pytest.fixture
def both(tmp_path: Path) -> Secrets:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "a, b").write_text(KEY)
    return secrets(tmp_path, {"TOKEN": "t0ken"})


def test_podman_is_told_where_a_value_is_and_never_what(both: Secrets, tmp_path: Path) -> None:
    options, variables = both.hand_over(tmp_path / "links")
    assert options == [f"id=key,src={tmp_path}/links/0", "id=token,env=RBUILD_SECRET_1"]
    assert (tmp_path / "links" / "0").read_text() == KEY
    assert variables == {"RBUILD_SECRET_1": "t0ken"}
    assert "t0ken" not in repr(both) and "line" not in repr(both)


def test_every_line_of_a_value_is_blotted_out(both: Secrets) -> None:
    said = both.hide("a t0ken, the second/line and the first line - all: t0kent0ken, second%2Fline")
    assert said == "a ***, the *** and the *** - all: ******, ***"


def test_which_secret_some_bytes_give_away(both: Secrets) -> None:
    assert both.shown_in(b'{"url": "http://x/t0ken"}') == "token"
    assert both.shown_in(b'{"url": "http://x/?q=second%2Fline"}') == "key"
    assert both.shown_in(b'{"url": "http://x/-"}') is None
    assert Secrets().shown_in(b"anything") is None


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(RbuildError) as caught:
        secrets(tmp_path, {})
    first, second = caught.value.problems
    assert first.what.startswith("the secret 'key' is missing: 'private/a, b' cannot be read: ")
    assert (str(first.where), first.hint) == (
        "rbuild.yaml:5 stages.a.secrets.key",
        "put the secret's value into private/a, b, and the file into .gitignore",
    )
    assert second.what == "the secret 'token' is missing: the variable TOKEN is not set"


def test_a_secret_is_no_large_file(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "a, b").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(RbuildError, match="larger than 1048576 bytes"):
        secrets(tmp_path, {"TOKEN": "t0ken"})
