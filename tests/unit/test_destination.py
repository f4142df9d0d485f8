"""Names as registries want them, and tags from templates."""

from __future__ import annotations

import pytest

from rbuild.destination import Destination, check_template, fill, placeholders
from rbuild.errors import RbuildError
from rbuild.project import Project, load_project


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("docker.io/ann", "docker.io/ann/iris-train"),
        ("index.docker.io/ann/", "docker.io/ann/iris-train"),
        ("quay.io/team", "quay.io/team/iris-train"),
        ("ghcr.io/ann", "ghcr.io/ann/iris/train"),
        ("registry.gitlab.com/group/sub/code", "registry.gitlab.com/group/sub/code/iris/train"),
        ("localhost:5000", "localhost:5000/iris/train"),
        ("[::1]:5000/a", "[::1]:5000/a/iris/train"),
        ("10.0.0.1:5000/deep/path", "10.0.0.1:5000/deep/path/iris/train"),
        ("docker://registry.example.org/team", "registry.example.org/team/iris/train"),
    ],
)
def test_each_registry_gets_the_names_that_it_wants(where: str, name: str) -> None:
    assert Destination.parse(where).repository("iris", "train").name == name


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ("docker.io", "docker.io/USER"),
        ("docker.io/ann/deeper", "docker.io/USER"),
        ("quay.io", "quay.io/ORGANISATION"),
        ("quay.io/team/deeper", "quay.io/ORGANISATION"),
        ("ghcr.io", "ghcr.io/OWNER"),
        ("registry.gitlab.com/group", "GROUP/PROJECT"),
        ("team", "such as quay.io/team"),
        ("", "such as quay.io/team"),
        ("quay.io/Team", "such as quay.io/team"),
        ("https://quay.io/team", "such as quay.io/team"),
        ("user:word@quay.io/team", "such as quay.io/team"),
        ("quay.io//team", "such as quay.io/team"),
        ("host:99999999/x", "such as quay.io/team"),
        ("quay.io/team:tag", "such as quay.io/team"),
    ],
)
def test_a_name_that_a_registry_would_not_take(where: str, hint: str) -> None:
    with pytest.raises(RbuildError) as caught:
        Destination.parse(where)
    assert hint in (caught.value.problems[0].hint or "")


def test_a_name_that_is_too_long_as_a_whole() -> None:
    where = Destination.parse(f"localhost:5000/{'/'.join(['a' * 60] * 3)}")
    with pytest.raises(RbuildError, match="not an image name"):
        where.repository("b" * 60, "c" * 60)


def test_templates_become_tags() -> None:
    values = {"stage": "train", "version": "1.2", "git": "c0ffee", "input": "0123456789ab"}
    assert fill("{stage}-{version}_{git}.{input}", values) == "train-1.2_c0ffee.0123456789ab"
    assert fill("latest", {}) == "latest"
    assert placeholders("{stage}-{git}") == {"stage", "git"}


def test_a_placeholder_that_nobody_knows() -> None:
    with pytest.raises(RbuildError) as caught:
        check_template("{stages}")
    assert "{stages}" in caught.value.problems[0].what
    assert "stage" in (caught.value.problems[0].hint or "")


@pytest.mark.parametrize("template", ["", "-x", "a b", "a/b", "x" * 129, "{stage", "a:{stage}"])
def test_a_template_that_can_make_no_tag(template: str) -> None:
    with pytest.raises(RbuildError, match="makes no tag"):
        check_template(template)


def test_a_value_that_makes_no_tag() -> None:
    with pytest.raises(RbuildError, match="makes no tag"):
        fill("{version}", {"version": "1.2+local"})


def project(text: str) -> Project:
    stages = "project: iris\nstages: {train: {}}\n"
    return load_project((stages + text).encode(), exists=lambda path: "file" if "/" in path else "directory")


def test_what_a_project_says_about_pushing() -> None:
    plain = project("")
    assert (plain.push.tags, plain.push.moving_tags) == (("{input}", "latest"), ("latest",))
    assert (plain.version, plain.registry) == (None, None)
    said = project('version: "1.2"\nregistry: quay.io/team\npush: {tags: ["v{version}"], moving_tags: []}\n')
    assert (said.push.tags, said.push.moving_tags) == (("v{version}",), ())
    assert (said.version, said.registry) == ("1.2", "quay.io/team")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("registry: docker.io\n", "rbuild.yaml:3 registry: is not where images can go"),
        ('push: {tags: ["{branch}"]}\n', "rbuild.yaml:3 push.tags[0]: {branch} is nothing"),
        ('push: {moving_tags: ["a b"]}\n', "push.moving_tags[0]: 'a b' makes no tag"),
        ('push: {tags: ["{version}"]}\n', "push.tags[0]: {version} needs the project's version"),
    ],
)
def test_a_project_with_mistakes_about_pushing(text: str, said: str) -> None:
    with pytest.raises(RbuildError) as caught:
        project(text)
    assert said in str(caught.value)
