from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rbuild.digest import Digest
from rbuild.lock import (
    BaseLock,
    DebianLock,
    DebianPackage,
    ImageLock,
    Lock,
    StageLock,
    read_lock,
    write_lock,
)
from rbuild.plain import plain
from rbuild.provenance import statement
from rbuild.recording import IndexFile, Recording, Response, SimpleIndex

PROJECT = Path(__file__).parents[2]
A, B, C, D, E, F, G, H, INPUT, J, K = (Digest.of(bytes([number])) for number in range(11))
PACKAGE = DebianPackage(
    name="libc6",
    version="2.36-9",
    architecture="amd64",
    path="pool/main/g/glibc/libc6_2.36-9_amd64.deb",
    sha256=A,
    size=3,
)


def debian(digest: Digest) -> BaseLock:
    return BaseLock(
        digest=digest,
        debian=DebianLock(
            suite="bookworm", mirror="http://deb.example/debian", epoch=1_700_000_000, packages=(PACKAGE,)
        ),
    )


STAGE = StageLock(
    input=INPUT,
    form=2,
    codec="zstd:3:1.5.7",
    epoch=1_700_000_000,
    normalisers=("bytecode", "pip-cache"),
    args={"FLAVOUR": "plain"},
    target="final",
    bases=("docker.io/library/python:3.11", "localhost/one:1", "localhost/two:1"),
    context=J,
    containerfile=K,
    image=ImageLock(manifest=H, config=G, layers=()),
    recording=Recording(
        responses=(
            Response(url="https://example.org/data", sha256=D, size=4),
            Response(
                url="https://example.org/gone",
                sha256=E,
                size=5,
                status=404,
                method="POST",
                body=F,
                accept="text/html",
            ),
        ),
        indexes=(
            SimpleIndex(
                url="https://pypi.example/simple/x/",
                project="x",
                files=(
                    IndexFile(
                        name="x-1-py3-none-any.whl",
                        url="https://pypi.example/x-1-py3-none-any.whl",
                        sha256=F,
                        metadata=G,
                    ),
                ),
            ),
        ),
    ),
)
LOCK = Lock(
    version=1,
    project="demo",
    platform="linux/amd64",
    bases={
        "docker.io/library/python:3.11": BaseLock(digest=B, image="docker.io/library/python:3.11"),
        "localhost/one:1": debian(B),
        "localhost/two:1": debian(C),
        "localhost/unused:1": debian(D),
    },
    stages={"train": STAGE, "other": msgspec.structs.replace(STAGE, recording=Recording())},
)


def said(lock: Lock = LOCK, stage: str = "train") -> Any:
    return json.loads(statement(lock, stage))


def sha(digest: Digest) -> dict[str, str]:
    return {"sha256": digest.hex}


def test_the_statement_is_the_one_that_slsa_describes() -> None:
    found = said()
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["subject"] == [{"name": "demo/train", "digest": sha(H)}]
    assert found["predicate"].keys() == {"buildDefinition", "runDetails"}
    assert found["predicate"]["runDetails"].keys() == {"builder"}
    definition = found["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {
        "args": {"FLAVOUR": "plain"},
        "containerfile": sha(K),
        "context": sha(J),
        "platform": "linux/amd64",
        "project": "demo",
        "stage": "train",
        "target": "final",
    }
    assert definition["internalParameters"] == {
        "codec": "zstd:3:1.5.7",
        "epoch": 1_700_000_000,
        "form": 2,
        "input": sha(INPUT),
        "normalisers": ["bytecode", "pip-cache"],
    }


def test_every_base_package_and_response_is_a_dependency_once() -> None:
    assert said()["predicate"]["buildDefinition"]["resolvedDependencies"] == [
        {
            "name": "docker.io/library/python:3.11",
            "uri": "docker://docker.io/library/python:3.11",
            "digest": sha(B),
        },
        {"name": "localhost/one:1", "digest": sha(B)},
        {
            "name": "libc6_2.36-9_amd64",
            "uri": "http://deb.example/debian/pool/main/g/glibc/libc6_2.36-9_amd64.deb",
            "digest": sha(A),
            "annotations": {"size": 3},
        },
        {"name": "localhost/two:1", "digest": sha(C)},
        {
            "name": "x-1-py3-none-any.whl",
            "uri": "https://pypi.example/x-1-py3-none-any.whl",
            "digest": sha(F),
        },
        {
            "name": "x-1-py3-none-any.whl.metadata",
            "uri": "https://pypi.example/x-1-py3-none-any.whl.metadata",
            "digest": sha(G),
        },
        {"uri": "https://example.org/data", "digest": sha(D), "annotations": {"size": 4}},
        {
            "uri": "https://example.org/gone",
            "digest": sha(E),
            "annotations": {
                "size": 5,
                "status": 404,
                "method": "POST",
                "requestBody": sha(F),
                "accept": "text/html",
            },
        },
    ]


def test_no_digest_of_the_lock_is_missing_for_a_real_pipeline() -> None:
    lock = read_lock((PROJECT / "rbuild.lock").read_bytes())
    for name, stage in lock.stages.items():
        written = statement(lock, name).decode()
        pinned = plain([stage.recording, *(lock.bases[base] for base in stage.bases)])
        expected = set(re.findall(r"sha256:([0-9a-f]{64})", json.dumps(pinned)))
        assert len(expected) > 90 and {one for one in expected if one not in written} == set()


def test_the_same_lock_gives_the_same_bytes() -> None:
    assert statement(read_lock(write_lock(LOCK)), "train") == statement(LOCK, "train")
    assert statement(LOCK, "train") != statement(LOCK, "other")


@pytest.mark.parametrize("change", [{"epoch": 1}, {"args": {}}, {"target": None}, {"codec": "gzip:6"}])
def test_every_parameter_counts(change: dict[str, Any]) -> None:
    changed = msgspec.structs.replace(STAGE, **change)
    other = msgspec.structs.replace(LOCK, stages={"train": changed})
    assert statement(other, "train") != statement(LOCK, "train")
