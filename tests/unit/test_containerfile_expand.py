"""Expansion: which images, targets, args and URLs a Containerfile refers to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbuild.containerfile.expand import (
    ImageUse,
    args_used,
    checksums,
    find_target,
    image_uses,
    needed_targets,
    remote_adds,
    sources,
)
from rbuild.containerfile.model import Containerfile
from rbuild.containerfile.parse import parse
from rbuild.containerfile.variables import expand
from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError


def parsed(text: str) -> Containerfile:
    return parse(text.encode(), "Containerfile")


def uses(
    text: str, target: str | None = None, platform: str = "linux/amd64", **args: str
) -> tuple[ImageUse, ...]:
    return image_uses(parsed(text), build_args=args, platform=platform, target=target)


def images(text: str, target: str | None = None, **args: str) -> list[str]:
    return [use.image for use in uses(text, target, **args)]


def problems(text: str, target: str | None = None, **args: str) -> tuple[Problem, ...]:
    with pytest.raises(RbuildError) as caught:
        uses(text, target, **args)
    return caught.value.problems


VALUES = {"x": "X Y", "empty": "", "n": "1"}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("$x", "X Y"),
        ("${x}:${unset}", "X Y:"),
        ("a$n$n", "a11"),
        ("$x_y", ""),
        ("$1x", "x"),
        ("a$", "a$"),
        ("$-", "$-"),
        ("${unset:-d$n}", "d1"),
        ("${empty:-d}${empty-d}", "d"),
        ("${unset-d}", "d"),
        ("${x:+p}${empty:+p}${empty+q}${unset+r}", "pq"),
        ("${x:?m}${empty?m}", "X Y"),
        ("${unset:-${empty:-deep}}", "deep"),
        ("'$x'", "$x"),
        ('"$x\'"', "X Y'"),
        (r"\$x", "$x"),
        (r'"\$x \" \a"', '$x " \\a'),
        ("${unset:-'a}b'}", "a}b"),
        ("trailing\\", "trailing"),
    ],
)
def test_word_expansion(word: str, value: str) -> None:
    assert expand(word, VALUES.get) == value


@pytest.mark.parametrize(
    "word",
    ["'a", '"a', "${x", "${x:-", "${unset:?}", "${empty:?why}", "${x#p}", "${x/a/b}", "${x:x}", "${u:-" * 60],
)
def test_words_that_cannot_be_expanded(word: str) -> None:
    with pytest.raises(RbuildError):
        expand(word, VALUES.get)


def test_expansion_is_bounded() -> None:
    doubling = "".join(f"ARG A{n + 1}=$A{n}$A{n}\n" for n in range(40))
    (problem,) = problems(f"ARG A0=xxxxxxxx\n{doubling}FROM $A40\n")
    assert "characters after expansion" in problem.what


@given(st.text("${}:-+?'\"\\ax_ é1#", max_size=30))
def test_any_word_expands_or_gives_an_rbuild_error(word: str) -> None:
    try:
        expand(word, VALUES.get)
    except RbuildError as error:
        assert error.problems


def test_every_kind_of_image_use() -> None:
    first, second, third = uses(
        "ARG TAG=3.11\n"
        "FROM --platform=$BUILDPLATFORM python:${TAG}-slim AS build\n"
        "FROM scratch\n"
        "ARG TOOL=busybox\n"
        "COPY --from=build /a /a\n"
        "COPY --from=0 /a /a\n"
        "COPY --chown=1 --from=$TOOL:1 /a /a\n"
        "RUN --mount=type=cache,target=/c \\\n"
        "  --mount=type=bind,from=ghcr.io/astral-sh/uv,target=/uv x\n"
    )
    assert (first.kind, first.text, first.image) == ("FROM", "python:${TAG}-slim", "python:3.11-slim")
    assert (first.line, first.target, first.platform) == (2, 0, "linux/amd64")
    assert (second.kind, second.text, second.image) == ("COPY --from", "$TOOL:1", "busybox:1")
    assert (second.line, second.target, second.platform) == (7, 1, None)
    assert (third.kind, third.image, third.line) == ("RUN --mount", "ghcr.io/astral-sh/uv", 9)


def test_build_args_count_only_where_an_arg_declares_them() -> None:
    text = (
        "ARG A=1\nFROM x:$A AS one\nARG B\nCOPY --from=i:$A-$B / /\nFROM one\nARG A\nCOPY --from=j:$A$B / /\n"
    )
    assert images(text) == ["x:1", "i:-", "j:1"]
    assert images(text, A="2", B="3") == ["x:2", "i:-3", "j:2"]


def test_an_arg_sees_earlier_args_and_env() -> None:
    text = "FROM x\nENV V=7\nARG I=node:$V\nARG V=8\nARG 'Q=a b'\nCOPY --from=$I / /\nCOPY --from=y:$V / /\n"
    assert images(text) == ["x", "node:7", "y:8"]


def test_predefined_platform_args() -> None:
    text = "FROM x:$TARGETARCH$TARGETVARIANT\nARG TARGETOS\nCOPY --from=y:$TARGETOS-$TARGETARCH / /\n"
    assert [use.image for use in uses(text, platform="linux/arm/v7")] == ["x:armv7", "y:linux-"]


def test_names_of_earlier_targets_are_no_images() -> None:
    text = "FROM later AS Base\nFROM base AS later\nFROM BASE\nCOPY --from=LATER / /\n"
    assert images(text) == ["later"]


def test_a_target_through_a_variable_is_needed() -> None:
    text = "ARG WHICH=a\nFROM one AS a\nFROM two AS b\nFROM $WHICH\n"
    assert images(text) == ["one"]
    assert images(text, WHICH="b") == ["two"]
    assert images(text, WHICH="three") == ["three"]


def test_only_needed_targets_count() -> None:
    file = parsed("FROM a AS a\nFROM b AS b\nFROM a AS c\nRUN --mount=from=b,target=/b x\nFROM d\n")
    assert needed_targets(file) == (3,)
    assert needed_targets(file, "C") == (0, 1, 2)
    assert needed_targets(file, "1") == (1,)


def test_an_unknown_target() -> None:
    with pytest.raises(RbuildError, match="did you mean build"):
        find_target(parsed("FROM a AS build\nFROM b\n"), "biuld")
    with pytest.raises(RbuildError, match="the targets are build, 1"):
        find_target(parsed("FROM a AS build\nFROM b\n"), "7")


def test_mistakes_of_needed_targets_come_together() -> None:
    text = "FROM ${X}\nCOPY --from=1 / /\nCOPY --from=0 / /\nCOPY --from=${Y / /\n"
    assert [problem.where.line for problem in problems(text) if problem.where] == [1, 2, 3, 4]


def test_a_value_that_cannot_be_expanded_matters_only_if_an_image_needs_it() -> None:
    text = "FROM x\nENV V=1.2\nARG MINOR=${V%.*}\nENV SHORT=${V#1.}\n"
    assert images(text) == ["x"]
    (problem,) = problems(f"{text}COPY --from=y:$MINOR / /\n")
    assert problem.where is not None
    assert problem.where.line == 3
    assert images(f"{text}COPY --from=y:$V / /\n") == ["x", "y:"]  # as Buildah: ENV does not count here


def test_args_used() -> None:
    names = args_used(parsed("ARG A=1 B\nFROM x\nARG C\nENV D=1\n"))
    assert {"A", "B", "C", "TARGETARCH", "https_proxy"} <= names
    assert "D" not in names


def test_sources_and_remote_adds() -> None:
    file = parsed(
        "FROM x AS one\nENV V=1\nADD https://example.org/$V.tgz /t/\nFROM y\nADD https://unneeded.org/a /\n"
        'FROM one\nADD ["https://example.org/b $V", "c d", "/"]\nCOPY --from=one /x /y\nCOPY a <<E b* /\nE\n'
    )
    found = sources(file, build_args={})
    assert [(source.keyword, source.path, source.line) for source in found] == [
        ("ADD", "https://example.org/1.tgz", 3),
        ("ADD", "https://example.org/b 1", 7),
        ("ADD", "c d", 7),
        ("COPY", "a", 9),
        ("COPY", "b*", 9),
    ]
    assert [source.line for source in remote_adds(file, build_args={})] == [3, 7]


def test_args_of_a_trigger_are_used() -> None:
    assert "LATER" in args_used(parsed("FROM x\nONBUILD ARG LATER=1\n"))


def test_checksums_of_urls() -> None:
    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    text = (
        f"FROM x AS parent\nENV SITE=http://site\nADD --checksum={one} $SITE/a /a\nFROM parent\nARG SUM\n"
        'ADD --chown=1 --checksum=$SUM ["${SITE}/b", "/b"]\nADD $SITE/c /c\n'
        "FROM x AS unneeded\nADD --checksum=none http://site/d /d\n"
    )
    found = checksums(parsed(text), build_args={"SUM": two}, target="1")
    assert found == {"http://site/a": Digest.parse(one), "http://site/b": Digest.parse(two)}


@pytest.mark.parametrize(
    "add", ["--checksum http://a /b", "--checksum=md5:00 http://a /b", "--checksum=sha256:00 http://a /b"]
)
def test_checksums_that_are_none(add: str) -> None:
    with pytest.raises(RbuildError, match="not a sha256"):
        checksums(parsed(f"FROM x\nADD {add}\n"), build_args={})


@pytest.mark.parametrize("sources", ["file", "http://a http://b", "http://a file", "git://a"])
def test_a_checksum_goes_with_one_url(sources: str) -> None:
    with pytest.raises(RbuildError, match="goes with one http or https URL"):
        checksums(parsed(f"FROM x\nADD --checksum=sha256:{'0' * 64} {sources} /to/\n"), build_args={})
