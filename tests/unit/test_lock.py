import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError
from rbuild.image.form import NEWEST
from rbuild.lock import (
    LOCK_VERSION,
    BaseLock,
    DebianLock,
    DebianPackage,
    ImageLock,
    LayerLock,
    Lock,
    StageLock,
    decode,
    encode,
    read_lock,
    write_lock,
)
from rbuild.plain import plain
from rbuild.recording import IndexFile, Recording, Response, SimpleIndex

A, B = Digest.of(b"a"), Digest.of(b"b")

IMAGE = ImageLock(manifest=A, config=B, layers=(LayerLock(diff_id=A, blob=B, size=3),))
STAGE = StageLock(
    input=A, form=1, codec="zstd:3", epoch=1_700_000_000, context=A, containerfile=B, image=IMAGE
)
LOCK = Lock(
    version=LOCK_VERSION,
    project="iris",
    platform="linux/amd64",
    bases={
        "docker.io/library/python:3.11-slim": BaseLock(digest=A, image="docker.io/library/python:3.11-slim"),
        "localhost/base:1": BaseLock(
            digest=B,
            debian=DebianLock(
                suite="bookworm",
                mirror="http://deb.debian.org/debian",
                epoch=1_700_000_000,
                packages=(
                    DebianPackage(
                        name="libc6",
                        version="2.36-9",
                        architecture="amd64",
                        path="pool/main/g/glibc/libc6_2.36-9_amd64.deb",
                        sha256=A,
                        size=2758000,
                    ),
                ),
            ),
        ),
    },
    stages={
        "train": StageLock(
            input=A,
            form=1,
            codec="zstd:3",
            epoch=1_700_000_000,
            normalisers=("bytecode", "dpkg-log"),
            args={"PYTHON": "3.10", "DEBUG": "on"},
            bases=("docker.io/library/python:3.11-slim",),
            context=A,
            containerfile=B,
            recording=Recording(responses=(Response(url="https://a.org/x", sha256=A, size=1),)),
            image=IMAGE,
        )
    },
)
TEXT = f"""\
# Written by rbuild. Commit it; do not edit it: `rbuild lock` writes it anew.
bases:
  docker.io/library/python:3.11-slim:
    digest: {A}
    image: docker.io/library/python:3.11-slim
  localhost/base:1:
    debian:
      epoch: 1700000000
      mirror: http://deb.debian.org/debian
      packages:
        - architecture: amd64
          name: libc6
          path: pool/main/g/glibc/libc6_2.36-9_amd64.deb
          sha256: {A}
          size: 2758000
          version: 2.36-9
      suite: bookworm
    digest: {B}
platform: linux/amd64
project: iris
stages:
  train:
    args:
      DEBUG: "on"
      PYTHON: "3.10"
    bases:
      - docker.io/library/python:3.11-slim
    codec: zstd:3
    containerfile: {B}
    context: {A}
    epoch: 1700000000
    form: 1
    image:
      config: {B}
      layers:
        - blob: {B}
          diff_id: {A}
          size: 3
      manifest: {A}
    input: {A}
    normalisers:
      - bytecode
      - dpkg-log
    recording:
      responses:
        - sha256: {A}
          size: 1
          url: https://a.org/x
version: 1
"""


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(RbuildError) as caught:
        read_lock(text.encode())
    return caught.value.problems


def test_is_written_sorted_with_one_value_a_line() -> None:
    assert write_lock(LOCK).decode() == TEXT
    assert read_lock(TEXT.encode()) == LOCK
    assert decode(encode(LOCK)) == LOCK


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "what"),
    [
        (
            f"digest: {A}",
            "digest: sha256:00",
            4,
            'bases["docker.io/library/python:3.11-slim"].digest',
            "is not a sha",
        ),
        (
            "size: 2758000",
            "size: -1",
            15,
            'bases["localhost/base:1"].debian.packages[0].size',
            "is less than 0",
        ),
        (
            "path: pool/main",
            "path: pool/../../etc",
            13,
            'bases["localhost/base:1"].debian.packages[0].path',
            "is not a path below the archive's URL",
        ),
        (
            "name: libc6",
            "name: ../x",
            12,
            'bases["localhost/base:1"].debian.packages[0].name',
            "is not a package",
        ),
        (
            "url: https://a.org/x",
            "url: file:///etc",
            48,
            "stages.train.recording.responses[0].url",
            "is not an http",
        ),
        ("codec: zstd:3", "codecs: zstd:3", 28, "stages.train.codecs", "is not a known key"),
        ("codec: zstd:3", "codecs: zstd:3", 22, "stages.train.codec", "is missing"),
        (
            "      - docker.io/library/python:3.11-slim",
            "      - x",
            27,
            "stages.train.bases[0]",
            "'x' is not in bases",
        ),
        (
            "    image: docker",
            "    oci: x\n    image: docker",
            3,
            'bases["docker.io/library/python:3.11-slim"]',
            "needs ex",
        ),
        ('PYTHON: "3.10"', "PYTHON: 3.10", 25, "stages.train.args.PYTHON", "is not a text"),
        ("form: 1", "form: 0", 32, "stages.train.form", "is less than 1"),
        ("form: 1", "form: 3", 32, "stages.train.form", "version 3 of the canonical form needs a newer"),
        (
            "    debian:\n      epoch: 1700000000\n",
            "    debian:\n      epoch: 1700000000\n      form: 9\n",
            9,
            'bases["localhost/base:1"].debian.form',
            "version 9 of the canonical form needs a newer",
        ),
        ("version: 1\n", "version: 0\n", 49, "version", "is of version 0"),
        ("project: iris", "", 2, "project", "is missing"),
    ],
)
def test_each_mistake_is_told_with_line_and_key(old: str, new: str, line: int, key: str, what: str) -> None:
    assert TEXT.count(old) >= 1
    found = {(one.where.line, one.where.key): one for one in problems(TEXT.replace(old, new, 1)) if one.where}
    assert (line, key) in found, found
    assert found[line, key].what.startswith(what)
    assert found[line, key].hint


def test_a_lock_of_a_newer_rbuild_is_refused_before_its_keys_are_looked_at() -> None:
    (problem,) = problems("version: 2\nwhatever: [1]\n")
    assert problem.what == "is of version 2; this rbuild reads version 1"
    assert str(problem.where) == "rbuild.lock:1 version"
    assert problem.hint and "rbuild lock" in problem.hint


def test_a_merge_conflict_is_told_with_its_line_and_the_way_out() -> None:
    lines = TEXT.splitlines()
    text = "\n".join([*lines[:5], "<<<<<<< HEAD", lines[5], "=======", lines[5], ">>>>>>> other", *lines[6:]])
    (problem,) = problems(text)
    assert problem.what == "holds a merge conflict"
    assert str(problem.where) == "rbuild.lock:6"
    assert problem.hint and "git checkout rbuild.lock" in problem.hint and "rbuild lock" in problem.hint


def test_a_torn_lock_is_never_taken_for_a_whole_one() -> None:
    data = write_lock(LOCK)
    for end in range(len(data) - len("\n")):
        with pytest.raises(RbuildError):
            read_lock(data[:end])


def test_a_lock_from_the_cache_does_not_wait_for_the_yaml_parser(tmp_path: Path) -> None:
    cached = tmp_path / "lock"
    cached.write_bytes(encode(LOCK))
    code = (
        "import sys, pathlib, rbuild.lock as lock;"
        f"lock.decode(pathlib.Path({str(cached)!r}).read_bytes()); sys.exit('yaml' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_could_not_be_read_again_is_not_written() -> None:
    bad = Response(url="not a URL", sha256=A, size=0)
    stage = StageLock(
        input=A,
        form=1,
        codec="x",
        epoch=0,
        context=A,
        containerfile=A,
        image=IMAGE,
        recording=Recording(responses=(bad,)),
    )
    with pytest.raises(RbuildError, match="not an http or https URL"):
        write_lock(Lock(version=1, project="x", platform="linux/amd64", stages={"a": stage}))


@pytest.mark.parametrize("data", [b"", b"\x80", b"garbage", b"\x81\xa7version\x01", encode(LOCK)[:-1]])
def test_a_cache_that_is_not_whole_is_refused(data: bytes) -> None:
    with pytest.raises(RbuildError):
        decode(data)


digests = st.binary(max_size=4).map(Digest.of)
texts = st.text(max_size=20).filter(lambda text: "\0" not in text)
# fmt: off
AWKWARD = [
    "no", "y", "~", "<<", "=", "-", "...", "---", "1.10", "1e3", "0x1", "1:30", "2026-07-01", "a:", ":", "#",
    "[a", "{", "%", "@", "`", "!a", "&a", "*a", "|", ">", '"', "\\", "'", "", " a", "a ", "- a", "a: b",
    "a #b", "\x85", "\u2028", "\ufeff",
]
# fmt: on
odd_texts = texts | st.sampled_from(AWKWARD)
sizes = st.integers(0, 2**59)
urls = st.from_regex(r"https?://[!-~]+", fullmatch=True)
layers = st.builds(LayerLock, diff_id=digests, blob=digests, size=sizes)
images = st.builds(
    ImageLock, manifest=digests, config=digests, layers=st.lists(layers, max_size=3).map(tuple)
)
packages = st.builds(
    DebianPackage,
    name=st.from_regex(r"[a-z0-9][a-z0-9+.-]*", fullmatch=True),
    version=st.from_regex(r"[0-9][A-Za-z0-9.+:~-]*", fullmatch=True),
    architecture=st.sampled_from(["amd64", "all"]),
    path=st.from_regex(r"[a-z0-9_+~%]+(/[a-z0-9_+~.%]+\.deb)?", fullmatch=True),
    sha256=digests,
    size=sizes,
    archive=st.none() | urls,
)
debians = st.builds(
    DebianLock,
    suite=odd_texts,
    mirror=urls,
    snapshot=st.none() | odd_texts,
    form=st.integers(1, NEWEST),
    epoch=st.integers(0, 2**33 - 1),
    packages=st.lists(packages, max_size=3).map(tuple),
)
bases = st.one_of(
    st.builds(BaseLock, digest=digests, image=odd_texts),
    st.builds(BaseLock, digest=digests, oci=odd_texts),
    st.builds(BaseLock, digest=digests, debian=debians),
)
responses = st.builds(
    Response,
    url=urls,
    sha256=digests,
    size=sizes,
    status=st.integers(100, 599),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    body=st.none() | digests,
    accept=st.none() | odd_texts,
    headers=st.dictionaries(odd_texts, odd_texts, max_size=3),
)
files = st.builds(
    IndexFile,
    name=odd_texts,
    url=urls,
    sha256=digests,
    size=st.none() | sizes,
    requires_python=st.none() | odd_texts,
    metadata=st.none() | digests,
    yanked=st.booleans() | odd_texts,
)
indexes = st.builds(
    SimpleIndex,
    url=urls,
    project=odd_texts,
    files=st.lists(files, max_size=3, unique_by=lambda file: file.name).map(tuple),
)
recordings = st.builds(
    Recording,
    responses=st.lists(responses, max_size=3, unique_by=lambda response: response.key).map(tuple),
    indexes=st.lists(indexes, max_size=2, unique_by=lambda index: index.url).map(tuple),
)


@st.composite
def locks(draw: Any) -> Lock:
    known = draw(st.dictionaries(odd_texts, bases, max_size=3))
    stages = st.builds(
        StageLock,
        input=digests,
        form=st.integers(1, NEWEST),
        codec=odd_texts,
        epoch=st.integers(0, 2**33 - 1),
        normalisers=st.lists(odd_texts, max_size=3).map(tuple),
        args=st.dictionaries(odd_texts, odd_texts, max_size=3),
        bases=(st.lists(st.sampled_from(sorted(known)), max_size=3) if known else st.just([])).map(tuple),
        context=digests,
        containerfile=digests,
        recording=recordings,
        image=images,
    )
    return Lock(
        version=LOCK_VERSION,
        project=draw(odd_texts),
        platform=draw(odd_texts),
        bases=known,
        stages=draw(st.dictionaries(odd_texts, stages, max_size=2)),
    )


@settings(max_examples=60, deadline=None)
@given(locks())
def test_what_is_written_reads_the_same_here_and_with_any_other_yaml(lock: Lock) -> None:
    data = write_lock(lock)
    assert data.endswith(b"\n") and data.startswith(b"# Written by rbuild")
    assert read_lock(data) == lock
    assert yaml.safe_load(data) == plain(lock)
    assert decode(encode(lock)) == lock


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary()))
def test_arbitrary_text_raises_nothing_but_rbuild_error(text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(RbuildError):
        read_lock(data)
    with pytest.raises(RbuildError):
        decode(data)


@settings(deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.characters(exclude_categories=["Cs"]))
def test_a_changed_character_gives_a_lock_or_an_rbuild_error(at: int, character: str) -> None:
    try:
        read_lock((TEXT[:at] + character + TEXT[at + 1 :]).encode())
    except RbuildError as error:
        assert all(problem.hint for problem in error.problems if problem.where and problem.where.line)
