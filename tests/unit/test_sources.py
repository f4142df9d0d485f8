"""What is published beside an image: a stage's part of project and lock, and which responses."""

from __future__ import annotations

import pytest

from rbuild.digest import Digest
from rbuild.lock import BaseLock, DebianLock, DebianPackage, ImageLock, Lock, StageLock, read_lock, write_lock
from rbuild.project import load_project
from rbuild.recording import IndexFile, Recording, Response, SimpleIndex
from rbuild.sources import Kept, is_released, layers_kept, needs, stage_lock, stage_project

ZERO = Digest.of(b"zero")
POOL = "http://deb.debian.org/debian/pool/main/t/tree/tree_2.1.0-1_amd64.deb"


def response(url: str, name: str = "body", **more: object) -> Response:
    return Response(url=url, sha256=Digest.of(name.encode()), size=4, **more)  # type: ignore[arg-type]


def stage(
    *responses: Response, bases: tuple[str, ...] = (), indexes: tuple[SimpleIndex, ...] = ()
) -> StageLock:
    return StageLock(
        input=ZERO,
        form=1,
        codec="zstd:3:1.5.7",
        epoch=1,
        bases=bases,
        context=ZERO,
        containerfile=ZERO,
        recording=Recording(responses=responses, indexes=indexes),
        image=ImageLock(manifest=ZERO, config=ZERO, layers=()),
    )


@pytest.mark.parametrize(
    ("one", "again"),
    [
        (response(POOL), True),
        (response("https://files.example.org/a/b/numpy-1.0-py3-none-any.whl"), True),
        (response("https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz"), True),
        (response("https://registry.npmjs.org/@types%2fnode/-/node-1.0.0.tgz"), True),
        (response("http://deb.debian.org/debian/dists/bookworm/InRelease"), False),
        (response("https://registry.npmjs.org/left-pad"), False),
        (response("https://github.com/a/b/archive/v1.tar.gz"), False),
        (response("https://example.org/?file=a.deb"), False),
        (response(POOL, status=404), False),
        (response(POOL, method="POST"), False),
        (response(POOL, method="HEAD"), False),
        (response(POOL, body=ZERO), False),
        (response(POOL, accept="text/plain"), False),
        (response("https://example.org/tool", "checked"), True),
    ],
)
def test_what_can_be_had_again(one: Response, again: bool) -> None:
    assert is_released(one, [Digest.of(b"checked")]) is again
    kept = needs(stage(one), [], Kept.PAGES, [Digest.of(b"checked")])
    assert [need.digest for need in kept] == ([] if again else [one.sha256])
    assert [need.digest for need in needs(stage(one), [], Kept.ALL, [])] == [one.sha256]
    assert needs(stage(one), [], Kept.NONE, []) == []


def test_files_of_an_index_and_packages_of_bases_are_kept_with_all() -> None:
    wheel = IndexFile(name="a.whl", url="https://f.org/a.whl", sha256=Digest.of(b"a"), size=1)
    looked_at = IndexFile(
        name="b.whl", url="https://f.org/b.whl", sha256=Digest.of(b"b"), size=2, metadata=Digest.of(b"m")
    )
    index = SimpleIndex(url="https://pypi.org/simple/a/", project="a", files=(wheel, looked_at))
    package = DebianPackage(
        name="tree", version="2", architecture="amd64", path="pool/tree.deb", sha256=Digest.of(b"d"), size=3
    )
    debian = DebianLock(suite="bookworm", mirror="http://deb.debian.org/debian", epoch=1, packages=(package,))
    bases = [BaseLock(digest=ZERO, debian=debian), BaseLock(digest=ZERO, oci="x")]
    empty = response("https://f.org/empty", "")
    locked = stage(empty, indexes=(index,))
    assert needs(locked, bases, Kept.PAGES, []) == []
    found = {need.digest: (need.size, need.certain) for need in needs(locked, bases, Kept.ALL, [])}
    assert found == {
        Digest.of(b"a"): (1, True),
        Digest.of(b"b"): (2, False),  # its metadata may have been enough
        Digest.of(b"m"): (None, True),
        Digest.of(b"d"): (3, True),
    }
    assert [layers_kept(base, Kept.PAGES) for base in bases] == [False, True]
    image = BaseLock(digest=ZERO, image="docker.io/library/python:3.11")
    assert [layers_kept(image, kept) for kept in Kept] == [False, False, True]


PROJECT = b"""\
project: iris
version: "1.0"
registry: quay.io/team
bases:
  docker.io/library/other:latest: {oci: images/other, tag: "1"}
  docker.io/library/debian:12: {debian: {suite: bookworm, packages: [apt], mirror: "http://m.example.org/d"}}
stages:
  train:
    containerfile: train.Containerfile
    context: code
    target: last
    args: {A: "1", B: "yes: # no"}
    secrets: {token: {env: PRIVATE_NAME}, file: {file: private/file}}
    normalisers: {bytecode: false}
    run: {command: ["x"], outputs: {model: out/train}}
  infer:
    containerfile: infer.Containerfile
    needs: [train]
"""


def test_the_part_of_one_stage() -> None:
    project = load_project(PROJECT, exists=_exists)
    bases = {
        "docker.io/library/debian:12": BaseLock(
            digest=ZERO,
            debian=DebianLock(
                suite="bookworm", mirror="http://m.example.org/d", wanted=("apt",), epoch=1, packages=()
            ),
        ),
        "docker.io/library/other:latest": BaseLock(digest=ZERO, oci="images/other", tag="1"),
        "docker.io/library/python:3.11": BaseLock(digest=ZERO, image="docker.io/library/python:3.11"),
    }
    whole = Lock(
        version=1,
        project="iris",
        platform="linux/amd64",
        bases=bases,
        stages={"train": stage(bases=tuple(bases)), "infer": stage()},
    )
    own = stage_lock(whole, "train")
    assert list(own.stages) == ["train"]
    assert own.bases["docker.io/library/other:latest"].oci == "bases/1"
    assert read_lock(write_lock(own)) == own
    assert stage_lock(whole, "infer").bases == {}

    text = stage_project(project, own)
    again = load_project(text, exists=_exists)
    mine, theirs = again.stages["train"], project.stages["train"]
    assert list(again.stages) == ["train"]
    assert (mine.target, mine.args, mine.normalisers) == (theirs.target, theirs.args, theirs.normalisers)
    assert (str(mine.containerfile), str(mine.context)) == ("Containerfile", "context")
    assert {name: secret.env for name, secret in mine.secrets.items()} == dict.fromkeys(
        ("token", "file"), "NOT_PUBLISHED"
    )
    assert b"PRIVATE_NAME" not in text and b"private/file" not in text
    for key, base in again.bases.items():
        if not base.oci:
            assert base == project.base(key)
    assert stage_project(project, own) == text
    packed = load_project(PROJECT + b"compression: gzip\n", exists=_exists)
    assert load_project(stage_project(packed, own), exists=_exists).compression == "gzip"


def _exists(path: str) -> object:
    kinds = {"Containerfile": "file", "oci-layout": "file"}
    return next((kind for end, kind in kinds.items() if path.endswith(end)), "directory")
