"""Rendering for Podman, and which instruction a line of its output is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbuild.containerfile.expand import image_uses, resolve
from rbuild.containerfile.parse import parse
from rbuild.containerfile.render import render, uses_heredocs
from rbuild.containerfile.steps import step_lines


def rendered(text: str, target: str | None = None, gateway: str = "", **args: str) -> str:
    """`text` with the n-th image use replaced by `pin-n`."""
    file = parse(text.encode(), "f")
    uses = image_uses(file, build_args=args, target=target)
    pins = {use: f"localhost/pin-{number}" for number, use in enumerate(uses)}
    return render(file, pins, target=target, build_args=args, gateway=gateway).decode()


def test_names_are_replaced_in_place() -> None:
    text = (
        "# escape=\\\r\nARG T=3\r\nFROM  --platform=linux/amd64\tpython:$T   as  b  \r\n"
        "COPY --chown=1:1 --from=alpine /a /b\r\nRUN --mount=target=/u,from=uv,ro --network=none from=uv x"
    )
    assert rendered(text) == (
        "# escape=\\\r\nARG T=3\r\nFROM  --platform=linux/amd64\tlocalhost/pin-0   as  b  \r\n"
        "COPY --chown=1:1 --from=localhost/pin-1 /a /b\r\n"
        "RUN --mount=target=/u,from=localhost/pin-2,ro --network=none from=uv x"
    )


def test_a_name_over_several_lines_keeps_the_lines() -> None:
    text = "FROM pyt\\\n# note\nhon:\\\n3\nCOPY --from=al\\\npine /a \\\n /b\n"
    assert rendered(text) == (
        "FROM \\\n# note\n\\\nlocalhost/pin-0\nCOPY \\\n--from=localhost/pin-1 /a \\\n /b\n"
    )


def test_quotes_around_a_mount() -> None:
    text = 'FROM a\nRUN --mount="type=bind,from=b,target=/x y" z\n'
    again = parse(rendered(text).encode(), "f").targets[0].instructions[0]
    assert again.flags[0].value == "type=bind,from=localhost/pin-1,target=/x y"
    assert again.arguments == "z"


def test_targets_that_are_not_needed_are_emptied_in_place() -> None:
    text = (
        "FROM a AS one\nRUN x \\\n  # c\n  y\n\nFROM b AS two\nCOPY <<E /\nFROM z\nE\n"
        "FROM c\nCOPY --from=1 / /\nFROM d AS after\nRUN z\n"
    )
    assert rendered(text, "2") == (
        "FROM scratch AS one\n#RUN x \\\n#  # c\n#  y\n\nFROM localhost/pin-0 AS two\nCOPY <<E /\nFROM z\nE\n"
        "FROM localhost/pin-1\nCOPY --from=1 / /\nFROM scratch AS after\n#RUN z\n"
    )
    assert rendered(text, "one").splitlines()[5:9] == ["FROM scratch AS two", "#COPY <<E /", "#FROM z", "#E"]


def test_references_to_targets_are_written_out_where_buildah_would_not_find_them() -> None:
    text = (
        "ARG B=One\nFROM a AS one\nFROM ${B} AS two\nARG N=0\nCOPY --from=$N / /\nCOPY --from=ONE / /\n"
        "COPY --from=0 / /\nRUN --mount=from=0,target=/x y\n"
    )
    assert rendered(text) == (
        "ARG B=One\nFROM localhost/pin-0 AS one\nFROM one AS two\nARG N=0\nCOPY --from=one / /\n"
        "COPY --from=one / /\nCOPY --from=0 / /\nRUN --mount=from=one,target=/x y\n"
    )


def test_a_url_that_a_trigger_adds_is_led_through_the_gateway() -> None:
    text = (
        'FROM a AS b\nONBUILD ADD https://x/y \\\n  https://x/z /\nONBUILD ADD ["http://x/q", "/"]\nFROM b\n'
    )
    assert rendered(text, gateway="http://g/") == (
        "FROM localhost/pin-0 AS b\nONBUILD ADD http://g/https://x/y \\\n  http://g/https://x/z /\n"
        'ONBUILD ADD ["http://g/http://x/q", "/"]\nFROM b\n'
    )


def test_every_url_of_an_add_is_led_through_the_gateway() -> None:
    text = (
        "FROM a\nARG SITE\nADD $SITE/a local --chown=1 \\\n  https://b/c \\\n # note\n ${SITE}/d /to/\n"
        'ADD --chown=1:2 ["x y", "$SITE/\\u0065", "http://b", "/to/"]\n'
        "ADD git@b:c.git /git\nCOPY $SITE/no /no\nADD not/http://a /to\nADD b https://is.a/target\n"
    )
    assert rendered(text, SITE="http://site", gateway="http://g/") == (
        "FROM localhost/pin-0\nARG SITE\nADD http://g/$SITE/a local --chown=1 \\\n  http://g/https://b/c \\\n"
        " # note\n http://g/${SITE}/d /to/\n"
        'ADD --chown=1:2 ["x y", "http://g/$SITE/\\u0065", "http://g/http://b", "/to/"]\n'
        "ADD git@b:c.git /git\nCOPY $SITE/no /no\nADD not/http://a /to\nADD b https://is.a/target\n"
    )


def test_a_secret_is_required_in_words_that_every_buildah_reads() -> None:
    text = (
        "FROM a\nRUN --mount=type=secret,id=required,required --mount='required,type=secret,id=b' required\n"
        "RUN --mount=type=secret,id=c,required=false,target=/required x\n"
    )
    assert rendered(text) == (
        "FROM localhost/pin-0\nRUN --mount=type=secret,id=required,required=true "
        "--mount='required=true,type=secret,id=b' required\n"
        "RUN --mount=type=secret,id=c,required=false,target=/required x\n"
    )


def test_a_checksum_is_not_for_podman() -> None:
    text = (
        "FROM a\nADD --checksum=sha256:00 --chown=1 http://b /c\nADD --chmod=644 \\\n  --checksum=$SUM \\\n"
        "  http://b /c\nONBUILD ADD --checksum=sha256:00 http://b /c\n"
    )
    assert rendered(text) == (
        "FROM localhost/pin-0\nADD  --chown=1 http://b /c\nADD --chmod=644 \\\n   \\\n"
        "  http://b /c\nONBUILD ADD --checksum=sha256:00 http://b /c\n"
    )


def test_a_cache_is_not_locked() -> None:
    text = (
        "FROM a\nRUN --mount=type=cache,target=/c,sharing=locked,mode=0700 sharing=locked\n"
        "RUN --mount=type=cache,sharing=loc\\\n# note\nked,target=/c x\n"
        "RUN --mount=type=cache,sharing=private y\n"
    )
    assert rendered(text) == (
        "FROM localhost/pin-0\nRUN --mount=type=cache,target=/c,sharing=shared,mode=0700 sharing=locked\n"
        "RUN --mount=type=cache,sharing=\\\n# note\nshared,target=/c x\n"
        "RUN --mount=type=cache,sharing=private y\n"
    )


def test_a_replacement_must_be_a_plain_name() -> None:
    file = parse(b"FROM a\n", "f")
    (use,) = image_uses(file, build_args={})
    for name in ("a b", "$x", "", "a\nRUN evil", "-x"):
        with pytest.raises(ValueError, match="not the name of an image"):
            render(file, {use: name})


def test_uses_heredocs() -> None:
    assert uses_heredocs(parse(b"FROM a\nRUN x\nRUN <<E\nE\n", "f")) == 3
    assert uses_heredocs(parse(b"FROM a\nRUN x\n", "f")) is None


_LINE = st.sampled_from(
    [
        "RUN a",
        "RUN a \\\n  # c\n b",
        "COPY --from=img a b",
        "COPY --from=0 a b",
        "COPY <<E x\nFROM y\nE",
        "RUN --mount=type=bind,from=i\\\nmg x",
        "ENV é=1",
        "LABEL \\\n\n\\\n a=b",
        "USER \\\r\nx\r",
        "# x",
        "",
    ]
)


@st.composite
def _files(draw: st.DrawFn) -> str:
    lines = []
    for number in range(draw(st.integers(1, 4))):
        base = draw(st.sampled_from(["img", "$A", "i\\\nmg", f"t{number - 1}" if number else "img", "'img'"]))
        lines += (
            [f"FROM {base} AS t{number}"]
            if number == 0
            else [f"FROM {base} AS t{number}", "COPY --from=0 a b"]
        )
        lines += [line for line in draw(st.lists(_LINE, max_size=5)) if number or "from=0" not in line]
    return "ARG A=img\n" + "\n".join(lines) + "\n"


@given(_files(), st.data())
def test_rendering_keeps_lines_and_needs(text: str, data: st.DataObject) -> None:
    file = parse(text.encode(), "f")
    target = data.draw(st.sampled_from([item.reference for item in file.targets]))
    before = resolve(file, build_args={}, target=target)
    again = parse(render(file, dict.fromkeys(before.images, "localhost/pin"), target=target), "f")
    after = resolve(again, build_args={}, target=target)
    assert (after.wanted, after.needed) == (before.wanted, before.needed)
    assert {use.image for use in after.images} == {"localhost/pin"}
    assert len(after.images) == len(before.images)
    for old, new in zip(file.targets, again.targets, strict=True):
        assert (new.line, new.name) == (old.line, old.name)
        if old.index in before.needed:
            places = [(item.keyword, item.arguments, item.line, item.end_line) for item in old.instructions]
            assert [(i.keyword, i.arguments, i.line, i.end_line) for i in new.instructions] == places
        else:
            assert (new.base, new.instructions) == ("scratch", ())


@given(_files())
def test_rendering_without_replacements_changes_nothing(text: str) -> None:
    file = parse(text.encode(), "f")
    everything = file.targets[-1].reference
    if len(resolve(file, build_args={}, target=everything).needed) == len(file.targets):
        assert render(file, {}, target=everything) == text.encode()


STEPS = """\
ARG V=1
FROM a AS one
ARG V
RUN x

FROM b AS two
LABEL \\
 a=b
RUN y
FROM one
COPY --from=two / /
"""


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("[1/3] STEP 1/3: FROM a AS one", 2),
        ("[1/3] STEP 2/3: ARG V", 3),
        ("[2/3] STEP 2/3: LABEL  a=b", 7),
        ("[2/3] STEP 3/3: run y", 9),
        ("[3/3] STEP 1/2: FROM 1234 AS x", 10),
        ("[3/3] STEP 2/4: COPY trigger", 10),  # two ONBUILD triggers of the base
        ("[3/3] STEP 4/4: COPY --from=two / /", 11),
        ("[3/3] STEP 9/9: RUN beyond", None),
        ("[2/3] STEP 3/3: COPY something else", None),
        ("[4/3] STEP 1/1: FROM x", None),
        ("[1/2] STEP 1/3: FROM x", None),
        ("STEP 1/3: FROM a", None),
        ("[3/3] COMMIT x", None),
        ("RUN STEP 1/3", None),
        ("[1/3] STEP 0/3: FROM a", None),
    ],
)
def test_step_lines_of_several_targets(output: str, line: int | None) -> None:
    found = step_lines(parse(STEPS.encode(), "f")).find(output)
    assert (found.line if found else None) == line


def test_step_lines_of_one_target() -> None:
    steps = step_lines(parse(STEPS.encode(), "f"), "one")
    found = steps.find("STEP 3/3: RUN x")
    assert found is not None
    assert (found.line, found.original) == (4, "RUN x")
    assert steps.find("STEP 3: RUN x") is found
