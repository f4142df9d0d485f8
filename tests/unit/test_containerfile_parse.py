"""Parsing: what each instruction of a Containerfile is, and every mistake of form at once."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbuild.containerfile.model import Containerfile, Flag, Heredoc, Instruction
from rbuild.containerfile.parse import MAX_SIZE, parse
from rbuild.errors import Problem, RbuildError


def parsed(text: str) -> Containerfile:
    return parse(text.encode(), "Containerfile")


def first(text: str) -> Instruction:
    """The first instruction after `FROM base`."""
    return parsed(f"FROM base\n{text}").targets[0].instructions[0]


def problems(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(RbuildError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "Containerfile")
    return caught.value.problems


def test_targets_and_global_args() -> None:
    file = parsed(
        "ARG TAG=3\nFROM --platform=$BUILDPLATFORM python:$TAG AS Build\nRUN a\n\n"
        "FROM scratch\nCOPY --from=Build /a /a\n"
    )
    assert [arg.arguments for arg in file.global_args] == ["TAG=3"]
    assert file.global_args[0].target is None
    build, last = file.targets
    assert (build.index, build.name, build.base) == (0, "Build", "python:$TAG")
    assert (build.platform, build.line) == ("$BUILDPLATFORM", 2)
    assert (last.name, last.base, last.line, last.reference) == (None, "scratch", 5, "1")
    copy = last.instructions[0]
    assert copy.flags == (Flag("from", "Build"),)
    assert (copy.keyword, copy.arguments, copy.target, copy.line) == ("COPY", "/a /a", 1, 6)


def test_continuations_join_without_their_comments_and_blank_lines() -> None:
    run = first("run  one \\\n  # comment\n#another \\\n\n   \\\n  two \\  \nthree\nUSER x\n")
    assert run.original == "run  one      two three"
    assert (run.keyword, run.arguments) == ("RUN", "one      two three")
    assert (run.line, run.end_line) == (2, 8)


def test_a_continuation_may_end_with_the_file() -> None:
    assert first("RUN a \\\n").arguments == "a"


def test_crlf_and_byte_order_mark() -> None:
    file = parse(b"\xef\xbb\xbfFROM base\r\nRUN a \\\r\n  b\r\n# c\r\nUSER u\r\n", "f")
    assert [item.original for item in file.targets[0].instructions] == ["RUN a   b", "USER u"]
    assert file.targets[0].base == "base"


@pytest.mark.parametrize(
    ("head", "escape"),
    [
        ("# escape=`\n", "`"),
        ("#Escape = ` and more\n", "`"),
        ("# escape=\\\n", "\\"),
        ("# a comment\n# escape=`\n", "\\"),  # only the very first lines are directives
        ("# syntax=docker/dockerfile:1\n# escape=`\n", "\\"),  # to Podman the first line is a comment
        ("\n# escape=`\n", "\\"),
    ],
)
def test_escape_directive(head: str, escape: str) -> None:
    file = parsed(f"{head}FROM base\nRUN a {escape}\nb\n")
    assert file.escape == escape
    assert file.targets[0].instructions[0].arguments == "a b"


def test_json_form() -> None:
    assert first('RUN ["a", "b\\u00e9"]').exec_form == ("a", "bé")
    assert first("RUN [a, b]").exec_form is None
    assert first("RUN [ -f x ]").exec_form is None
    assert first('RUN ["a", 1e999]').exec_form is None
    assert first('RUN ["\\ud800", "\\ud83d\\ude00"]').exec_form == ("\ufffd", "\U0001f600")
    assert first('ENV x=["a"]').exec_form is None
    assert first('HEALTHCHECK --interval=5s CMD ["a"]').exec_form == ("a",)
    assert first("RUN " + "[" * 30_000).exec_form is None


def test_flags_end_at_the_first_other_word() -> None:
    run = first("RUN --mount=type=bind,from='a b',target=/x --network=none  cmd --flag")
    assert run.flags == (Flag("mount", "type=bind,from=a b,target=/x"), Flag("network", "none"))
    assert run.arguments == "cmd --flag"
    assert first("COPY --link a b").flags == (Flag("link", None),)
    assert first("RUN -- --x").arguments == "--x"


def test_heredocs() -> None:
    file = parsed(
        "FROM base\nRUN <<-EOF cat <<'B C' 3<<\"D\"\n"
        "\techo $x\n\tEOF\nFROM not an instruction\nB C\nD\nUSER u\n"
    )
    run, user = file.targets[0].instructions
    assert run.heredocs == (
        Heredoc("EOF", "\techo $x\n", expand=True, chomp=True),
        Heredoc("B C", "FROM not an instruction\n", expand=False, chomp=False),
        Heredoc("D", "", expand=False, chomp=False),
    )
    assert (run.line, run.end_line, user.line) == (2, 7, 8)
    assert run.original == "RUN <<-EOF cat <<'B C' 3<<\"D\""


@pytest.mark.parametrize(
    "line",
    [
        "RUN echo $((1 <<3))x",  # `<<3))x` would announce one, were it not for the missing end
        "COPY <<EOF /x",
        "ONBUILD RUN <<EOF",
    ],
)
def test_unterminated_heredoc(line: str) -> None:
    (problem,) = problems(f"FROM base\n{line}\nUSER x\n")
    assert "does not end" in problem.what
    assert problem.where is not None
    assert problem.where.line == 2


@pytest.mark.parametrize(
    "line",
    [
        "ENV a=<<EOF",
        'RUN ["<<EOF"]',
        "RUN echo a<<EOF",
        "RUN echo '<<EOF'",
        "RUN x <<<y",
        "RUN echo it's <<EOF",
    ],
)
def test_what_is_no_heredoc(line: str) -> None:
    assert first(f"{line}\nUSER x\n").heredocs == ()


def test_a_heredoc_may_begin_in_a_substitution() -> None:
    assert first("RUN echo ${A:-x <<E}\nUSER x\nE}\n").heredocs == (
        Heredoc("E}", "USER x\n", expand=True, chomp=False),
    )
    assert first('RUN echo "${A:-x <<E}"\nUSER x\n').heredocs == ()
    (problem,) = problems("FROM a\nRUN echo ${A#x <<E}\n")
    assert "Podman 5.4 and 5.8 differ" in problem.what


def test_letters_that_are_others_in_lower_case() -> None:
    assert first("ENTRYPO\u0130NT x").keyword == "ENTRYPOINT"
    assert first("HEALTHCHEC\u212a NONE").keyword == "HEALTHCHECK"
    (problem,) = problems("FROM a\nU\u017fER x\n")
    assert problem.what.startswith("unknown instruction")


def test_a_flag_is_read_byte_by_byte() -> None:
    # The builder would end this flag in the middle of the letter: 0xA0 is a space to it.
    (problem,) = problems("FROM a\nRUN --network=\xe0 x\n")
    assert "ASCII" in problem.what
    assert first("RUN --network=none \xe0").arguments == "\xe0"


def test_onbuild_keeps_its_trigger_as_arguments() -> None:
    onbuild = first("ONBUILD COPY --from=x a b")
    assert (onbuild.keyword, onbuild.flags, onbuild.arguments) == ("ONBUILD", (), "COPY --from=x a b")


def test_all_mistakes_are_reported_together() -> None:
    found = problems(
        "RUN early\n"
        "FROM\n"
        "FORM x\n"
        "COPY one\n"
        "FROM a b c\n"
        "FROM x AS n\n"
        "ENV a=1 b\n"
        "FROM y AS N\n"
        "ONBUILD FROM x\n"
        "SHELL /bin/sh\n"
        "RUN [1]\n"
        "FROM --os=x y\n"
    )
    lines = [problem.where.line for problem in found if problem.where]
    assert lines == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]
    assert found[2].what == "unknown instruction FORM"
    assert found[2].hint == "did you mean FROM?"
    assert "line 6" in found[6].what
    assert all(problem.where and problem.where.file == "Containerfile" for problem in found)


@pytest.mark.parametrize("text", ["", "\n# only a comment\n", "ARG x=1\n"])
def test_a_file_without_from(text: str) -> None:
    (problem,) = problems(text)
    assert problem.what.startswith("no FROM")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("# escape=x\nFROM a\n", "escape character"),
        ("# escape=`\n# escape=`\nFROM a\n", "second escape"),
        ("FROM a AS $x\n", "cannot hold a variable"),
        ("FROM a\nHEALTHCHECK maybe\n", "only CMD and NONE"),
        ("FROM a\nWORKDIR\n", "WORKDIR without an argument"),
        ("FROM a\nARG =x\n", "has no name"),
        ("FROM a\nLABEL x\n", "has no value"),
        ("FROM a\n\\\n", "without an instruction"),
        ("FROM a\nRUN x" + "y" * 70_000, "longer than"),
    ],
)
def test_one_mistake(text: str, what: str) -> None:
    (problem,) = problems(text)
    assert what in problem.what


def test_bytes_that_are_not_utf8_may_stand_in_comments_only() -> None:
    assert parse(b"# caf\xe9\nFROM a\n", "f").targets[0].base == "a"
    (problem,) = problems(b"FROM a\nRUN caf\xe9\n")
    assert "UTF-8" in problem.what


def test_size_limit() -> None:
    assert "at most" in problems(b"#" * (MAX_SIZE + 1))[0].what


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\n" + "RUN \\\n" * 40_000,
        "FROM a\nRUN " + "--x \\\n" * 40_000,
        "FROM a\nRUN " + "\\\n <<a" * 40_000,
        ("FROM a\n" + "COPY --from=b <<E x\nE\n" * 12_000),
        "FROM a\nRUN '\"${a:-" * 20_000,
    ],
)
def test_hostile_files_take_time_in_proportion_to_their_size(text: str) -> None:
    start = time.process_time()
    with contextlib.suppress(RbuildError):
        parsed(text)
    assert time.process_time() - start < 2


@given(st.binary(max_size=300))
def test_bytes_give_a_containerfile_or_an_rbuild_error(data: bytes) -> None:
    try:
        parse(data, "f")
    except RbuildError as error:
        assert error.problems


_KEYWORDS = ("FROM ", "RUN ", "COPY --from=", "ENV ", "ARG ", "ONBUILD ", "<<E ", "E\n", "# escape=`\n")
_FRAGMENTS = st.sampled_from(
    [*_KEYWORDS, "\\\n", "\r\n", "${", ":-", "--", *"\n[]\"'$}aé\x00\ufeff\xa0 \t#=`<"]
)


@given(st.lists(_FRAGMENTS, max_size=40).map("".join))
def test_fragments_give_a_containerfile_or_an_rbuild_error(text: str) -> None:
    try:
        file = parsed(text)
    except RbuildError as error:
        assert error.problems
    else:
        assert "".join(file.lines) == text


_WORD = st.text("abcxyz/._-=:$<>|&'\"é[]{}()0#", min_size=1, max_size=8).filter(
    lambda word: "<<" not in word and not word.startswith(("-", "#", "["))
)


@st.composite
def _written(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """A Containerfile with odd line ends, continuations and comments, and what it was generated from."""
    escape = draw(st.sampled_from("\\`"))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = f"# escape={escape}{end}" if escape == "`" else draw(st.sampled_from(["", "\ufeff", "# x\n"]))
    expected = []
    text += f"FROM base{end}"
    for _ in range(draw(st.integers(0, 5))):
        keyword = draw(st.sampled_from(["RUN", "run", "USER", "CMD"]))
        words = draw(st.lists(_WORD, min_size=1, max_size=5))
        text += draw(st.sampled_from(["", "  ", f"{end}# comment{end}", "\t"]))
        text += f"{keyword} {words[0]}"
        for word in words[1:]:
            text += " " + draw(
                st.sampled_from(
                    [
                        "",
                        f"{escape}{end}",
                        f"{escape} \t{end}",
                        f"{escape}{end}  # c{end}{end}",
                        f"{escape}{end}#{end}",
                    ]
                )
            )
            text += word
        text += end
        expected.append((keyword.upper(), " ".join(words)))
    return text, expected


@given(_written())
@settings(max_examples=200)
def test_a_generated_file_gives_what_it_was_generated_from(case: tuple[str, list[tuple[str, str]]]) -> None:
    text, expected = case
    found = [(item.keyword, item.arguments) for item in parsed(text).targets[0].instructions]
    assert found == expected


@given(_written())
def test_spans_point_at_the_characters_of_the_logical_line(case: tuple[str, list[tuple[str, str]]]) -> None:
    file = parsed(case[0])
    for item in file.targets[0].instructions:
        spans = item.spans(0, len(item.original))
        assert "".join(file.lines[span.line - 1][span.start : span.end] for span in spans) == item.original
