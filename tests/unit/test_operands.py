"""How images are named on a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.verbs.operands import Operand, Transport, parse_operand

STAGES = ("train", "infer")
HEX = "a" * 64


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file, a layout's folder, and one that is called as a stage is."""
    (tmp_path / "layout").mkdir()
    (tmp_path / "infer").mkdir()
    (tmp_path / "image.tar").touch()
    (tmp_path / "odd:name").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "transport", "name", "tag"),
    [
        ("train", Transport.STAGE, "train", None),
        ("infer", Transport.STAGE, "infer", None),  # before the folder
        ("./infer", None, "./infer", None),
        ("stage:infer", Transport.STAGE, "infer", None),
        ("built:train", Transport.BUILT, "train", None),
        ("layout", None, "layout", None),
        ("image.tar", None, "image.tar", None),
        ("oci:layout", Transport.OCI, "layout", None),
        ("oci:layout:v1.2", Transport.OCI, "layout", "v1.2"),
        ("oci:odd:name", Transport.OCI, "odd:name", None),
        ("oci-archive:image.tar:v1", Transport.OCI_ARCHIVE, "image.tar", "v1"),
        (
            "docker-archive:image.tar:localhost/a/b:1",
            Transport.DOCKER_ARCHIVE,
            "image.tar",
            "localhost/a/b:1",
        ),
        ("docker://debian", Transport.REGISTRY, "docker.io/library/debian:latest", None),
        ("registry.example.org/team/x", Transport.REGISTRY, "registry.example.org/team/x:latest", None),
        ("localhost/x:1", Transport.REGISTRY, "localhost/x:1", None),
        ("localhost:5000/x", Transport.REGISTRY, "localhost:5000/x:latest", None),
        ("containers-storage:localhost/x", Transport.STORAGE, "localhost/x", None),
    ],
)
def test_what_a_word_means(text: str, transport: Transport | None, name: str, tag: str | None) -> None:
    assert parse_operand(text, STAGES) == Operand(text=text, transport=transport, name=name, tag=tag)


def test_an_image_of_a_layout_by_its_digest() -> None:
    operand = parse_operand(f"oci:layout@sha256:{HEX}", STAGES)
    assert (operand.name, operand.tag, operand.digest) == ("layout", None, Digest(HEX))


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("trian", "'trian' is no stage of this project, no file, and no name with a registry", "'train'"),
        ("trian", "", "docker://NAME"),
        ("debian", "no name with a registry", "docker://NAME"),
        ("layout:v1", "no name with a registry", "oci:FOLDER"),  # and is not asked of docker.io
        ("x" * 5000, "no file", "oci:FOLDER"),
        ("", "is no stage", "oci:FOLDER"),
        ("./gone", "there is no file or folder './gone'", "path"),
        ("oci:gone", "there is no file or folder 'gone'", "path"),
        ("oci:gone:tag", "there is no file or folder 'gone'", "path"),
        ("stage:nope", "there is no stage 'nope'", "train, infer"),
        ("built:infre", "there is no stage 'infre'", "'infer'"),
        ("built:", "nothing is named after 'built:'", "built:STAGE"),
        ("docker://UPPER/x", "not an image name", "lower case"),
        ("oci:layout@sha256:12", "not a sha256 digest", None),
        ("containers-storage:--help", "not an image name: '--help'", "podman images"),
        ("containers-storage:[vfs@/tmp]x", "not an image name", "podman images"),
    ],
)
def test_a_word_that_means_nothing(text: str, what: str, hint: str | None) -> None:
    with pytest.raises(RbuildError) as raised:
        parse_operand(text, STAGES)
    (problem,) = raised.value.problems
    assert what in problem.what
    assert hint is None or hint in (problem.hint or "")


def test_outside_of_a_project_there_are_no_stages() -> None:
    with pytest.raises(RbuildError) as raised:
        parse_operand("built:train", ())
    assert raised.value.problems[0].hint == "there is no project around here"
