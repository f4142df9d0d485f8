from __future__ import annotations

from rbuild.containerfile.chain import image_chain, variables_set
from rbuild.containerfile.expand import scratch_uses
from rbuild.containerfile.parse import parse
from rbuild.containerfile.render import render

TEXT = b"""\
ARG EMPTY=scratch
FROM python AS tools
ENV TOOLS=1
RUN make
FROM scratch AS unneeded
COPY x /
FROM ${EMPTY} AS root
COPY --from=tools / /
ENV A=1 B="2 C=3"
ENV D 4 E=5
FROM root
RUN true
ENV SOURCE_DATE_EPOCH=0
"""


def test_the_variables_of_a_chain_are_those_that_its_own_instructions_set() -> None:
    file = parse(TEXT, "Containerfile")
    chain = image_chain(file, build_args={}, platform="linux/amd64", target=None)
    assert chain.base is None
    assert variables_set(chain.instructions, file.escape) == {"A", "B", "D", "SOURCE_DATE_EPOCH"}


def test_a_needed_from_scratch_can_be_given_another_name() -> None:
    file = parse(TEXT, "Containerfile")
    (use,) = scratch_uses(file, build_args={})
    assert use.line == 7
    rendered = render(file, {use: "localhost/empty:1"}).decode().splitlines()
    assert rendered[6] == "FROM localhost/empty:1 AS root"
    assert rendered[4] == "FROM scratch AS unneeded"
    assert render(file, {}).decode().splitlines()[6] == "FROM ${EMPTY} AS root"


def test_what_a_target_triggers_is_done_by_the_one_that_is_from_it() -> None:
    text = "FROM x AS a\nONBUILD ENV A=1\nRUN a\nFROM a AS b\nRUN b\nFROM b\nONBUILD ENV B=1\nRUN c\n"
    chain = image_chain(parse(text.encode(), "C"), build_args={}, platform="linux/amd64", target=None)
    done = [(one.keyword, one.original) for one in chain.instructions]
    assert done == [
        ("ONBUILD", "ONBUILD ENV A=1"),
        ("RUN", "RUN a"),
        ("ENV", "ONBUILD ENV A=1"),
        ("RUN", "RUN b"),
        ("ONBUILD", "ONBUILD ENV B=1"),
        ("RUN", "RUN c"),
    ]
    assert variables_set(chain.instructions, "\\") == {"A"}
