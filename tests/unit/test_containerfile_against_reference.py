"""The parser against BuildKit's own, over thousands of odd files and over every Containerfile in here."""

from __future__ import annotations

import re
from pathlib import Path

import buildkitdialect
import pytest
from buildkitdialect import as_buildkit, as_podman, reference, views
from containerfilecorpus import corpus

PROJECT = Path(__file__).parents[2]
FILES = 6000
CHUNKS = 12

# One file for each entry of DIFFERENCES, which is only of use while Podman reads such a file otherwise.
OTHERWISE = {
    "doubled-escape": b"FROM a\nRUN echo \\\\\nUSER b\n",
    "directives": b"# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN b `\nUSER c\n",
    "carriage-returns": b"FROM a\nRUN b \\\r\r\nUSER c\n",
    "heredoc-line-ends": b"FROM a\nRUN <<E\nb\r\nE\n",
}
NOT_COMPARED = {
    "flags": b"FROM a\nRUN --network=\xc3\xa0 b\n",
    "unknown": b"FROM a\nUSE b\n",
    "onbuild": b"FROM a\nONBUILD RUN --network=none <<E\nb\nE\n",
    "nul": b"FROM a\nRUN b\0c\n",
    "heredoc-versions": b"FROM a\nRUN ${x#<<E}\nb\nE}\n",
}


def disagreement(text: bytes) -> str | None:
    """What the reference says otherwise, with the parser under its rules."""
    ours = as_buildkit(text)
    theirs = reference(text, ours)
    if isinstance(theirs, str):
        return None if ours.problems else f"the reference refuses {text!r}: {theirs}"
    found = views(ours)
    if found == theirs:
        return None
    return f"{text!r}\nrbuild:    {found}\nreference: {theirs}"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_generated_files(chunk: int) -> None:
    size = FILES // CHUNKS
    texts = list(corpus(size, first=chunk * size))
    found = [difference for text in texts if (difference := disagreement(text))]
    assert len(texts) == size
    assert found == []


def test_the_corpus_is_worth_its_time() -> None:
    texts = list(corpus(1000))
    assert len(set(texts)) > 990
    assert texts == list(corpus(1000))
    readings = [as_podman(text) for text in texts]
    assert sum(not reading.problems for reading in readings) > 500
    every = [one for reading in readings if not reading.problems for one in reading.instructions]
    assert len({one.keyword for one in every}) == 18
    assert sum(one.end_line > one.line for one in every) > 500
    assert sum(bool(one.heredocs) for one in every) > 100
    assert sum(one.exec_form is not None for one in every) > 100
    assert sum(bool(one.flags) for one in every) > 100
    assert sum(reading.escape == "`" for reading in readings) > 100


def test_every_containerfile_of_this_project() -> None:
    files = [
        file
        for folder in ("tests", "Containerfiles", "benchmarks")
        for file in (PROJECT / folder).rglob("*")
        if re.search(r"(?i)(container|docker)file$", file.name) and file.is_file()
    ]
    assert len(files) > 40
    for file in files:
        text = file.read_bytes()
        assert disagreement(text) is None, file
        assert views(as_podman(text)) == views(as_buildkit(text)), file


@pytest.mark.parametrize("name", buildkitdialect.DIFFERENCES)
def test_what_podman_reads_otherwise(name: str) -> None:
    text = OTHERWISE[name]
    assert disagreement(text) is None
    podman, buildkit = as_podman(text), as_buildkit(text)
    assert podman.problems == buildkit.problems == ()
    assert views(podman) != views(buildkit)


@pytest.mark.parametrize("name", buildkitdialect.NOT_COMPARED)
def test_what_is_not_compared(name: str) -> None:
    assert disagreement(NOT_COMPARED[name]) is None
    refused = bool(as_podman(NOT_COMPARED[name]).problems)
    assert refused == (name in ("flags", "unknown", "heredoc-versions"))


def test_the_documentation_has_them_all() -> None:
    text = (PROJECT / "docs" / "containerfiles.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \|", text, re.M)
    assert dict(rows) == buildkitdialect.DIFFERENCES | buildkitdialect.NOT_COMPARED
