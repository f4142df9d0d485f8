import time
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where
from rbuild.yamlfile import MIB, Document, key_path
from rbuild.yamltyped import read

DIGEST = Digest.of(b"")


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    size: int
    note: str | None = None


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    text: str = ""
    count: int = 0
    flag: bool = False
    colour: Literal["red", "green"] = "red"
    digest: Digest | None = None
    yanked: bool | str = False
    words: tuple[str, ...] = ()
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = {}


def load(text: str | bytes) -> Outer:
    data = text.encode() if isinstance(text, str) else text
    document = Document(data, file="f.yaml", max_size=4 * MIB, max_nodes=1000)
    value = read(document, Outer)
    document.finish()
    assert value is not None
    return value


def problems(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(RbuildError) as caught:
        load(text)
    return caught.value.problems


def only_problem(text: str | bytes) -> Problem:
    (problem,) = problems(text)
    return problem


def test_reads_every_kind_of_value() -> None:
    assert load(f"""
text: hello world
count: -12
flag: true
colour: green
digest: {DIGEST}
yanked: "true"
words: [a, "1.10", 'on']
inner: {{size: 3, note: ~}}
many:
- size: 1
- {{size: 2, note: two}}
by_name:
  "on": {{size: 4}}
""") == Outer(
        text="hello world",
        count=-12,
        flag=True,
        colour="green",
        digest=DIGEST,
        yanked="true",
        words=("a", "1.10", "on"),
        inner=Inner(size=3),
        many=(Inner(size=1), Inner(size=2, note="two")),
        by_name={"on": Inner(size=4)},
    )
    assert load("yanked: true").yanked is True
    assert load("text: |\n  two\n  lines\n").text == "two\nlines\n"
    assert load("{}") == Outer()


@pytest.mark.parametrize(
    ("text", "line", "key", "what"),
    [
        ("\ntext: [a]", 2, "text", "is a list; a text is expected"),
        ("text: {a: b}", 1, "text", "is a mapping; a text is expected"),
        ("text:", 1, "text", "is empty; a text is expected"),
        ('text: "a\\0b"', 1, "text", "holds a NUL character"),
        ("words: a", 1, "words", "is 'a'; a list is expected"),
        ("words:\n- a\n- [b]", 3, "words[1]", "is a list; a text is expected"),
        ("inner: 3", 1, "inner", "is '3'; a mapping is expected"),
        ("inner: {note: a}", 1, "inner.size", "is missing"),
        ("many:\n- size: 1\n- note: a", 3, "many[1].size", "is missing"),
        ("by_name:\n  a.b:\n    size: x", 3, 'by_name["a.b"].size', "is not a whole number: 'x'"),
        ("by_name:\n  x:\n", 2, "by_name.x", "is empty; a mapping is expected"),
        ("by_name: [a]", 1, "by_name", "is a list; a mapping is expected"),
        ("count: 0x10", 1, "count", "is not a whole number: '0x10'"),
        ("count: 012", 1, "count", "is not a whole number: '012'"),
        ('count: "1"', 1, "count", "is not a whole number: '1'"),
        ("count: 99999999999999999999", 1, "count", "is not a whole number: '99999999999999999999'"),
        ("count: [1]", 1, "count", "is a list; a whole number is expected"),
        ("flag: yes", 1, "flag", "is neither true nor false: 'yes'"),
        ('flag: "true"', 1, "flag", "is neither true nor false: 'true'"),
        ("flag: []", 1, "flag", "is a list; true or false is expected"),
        ("digest: sha256:12", 1, "digest", "is not a sha256 digest: '12'"),
        ("a: {}", 1, "a", "is not a known key"),
        ("text: a\ncount: 1\ntext: b", 3, "text", "is there twice; first on line 1"),
        ("inner:\n  size: 1\n  size: 2", 3, "inner.size", "is there twice; first on line 2"),
        ("text: &x a", 1, "text", "an anchor (&x) is not allowed"),
        ("words:\n  - a\n  - &x b", 3, "words[1]", "an anchor (&x) is not allowed"),
        ("inner: !!map {size: 1}", 1, "inner", "a tag (tag:yaml.org,2002:map) is not allowed"),
        ("[a]", 1, None, "is a list; a mapping is expected"),
    ],
)
def test_each_mistake_is_told_with_line_and_key(text: str, line: int, key: str | None, what: str) -> None:
    problem = only_problem(text)
    assert problem.what == what
    assert problem.where == Where(file="f.yaml", line=line, key=key)


@pytest.mark.parametrize(
    ("value", "taken_for"),
    [
        ("1.10", "a number"),
        ("3", "a number"),
        ("1:30", "a number"),
        ("on", "true or false"),
        ("NO", "true or false"),
        ("2026-07-01", "a date"),
        ("<<", "a merge key"),
        ("=", "a default key"),
    ],
)
def test_a_text_that_yaml_takes_for_something_else_has_to_be_quoted(value: str, taken_for: str) -> None:
    problem = only_problem(f"text: {value}")
    assert problem.what == f"is not a text: YAML takes {value!r} for {taken_for}"
    assert problem.hint == f'quote it: "{value}"'
    assert load(f'text: "{value}"').text == value
    key = only_problem(f"by_name: {{{value}: {{size: 1}}}}")
    assert key.hint == f'quote it: "{value}"'


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", None, "is empty"),
        ("# nothing\n", None, "is empty"),
        (
            "text: a\ninner: [",
            3,
            "is not YAML: while parsing a flow node, did not find expected node content",
        ),
        ("text: a\n\tcount: 1", 2, "is not YAML: while scanning a plain scalar, found a tab character"),
        ("text: a\ncount: \x01", 2, "is not YAML: control characters are not allowed (#x0001)"),
        (b"text: a\ncount: \xff", 2, "is not UTF-8 text"),
        ("text: a\n---\ntext: b", 2, "a second document is not allowed; remove the line ---"),
        ("text: a\nwords: [*x]", 2, "an alias (*x) is not allowed; write the value out"),
        ("text: a\n[b]: c", 2, "a key must be a text"),
        ("text: a\n<<<<<<< HEAD\ntext: b", 2, "holds a merge conflict"),
        ("words: " + "[" * 100_000, 1, "is nested deeper than 64 levels"),
        ("words: [" + "a," * 2000, 1, "holds more values than rbuild reads"),
        (b"#" * (4 * MIB + 1), None, "is larger than 4 MiB"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str | bytes, line: int | None, what: str) -> None:
    problem = problems(text)[-1]
    assert problem.what.startswith(what)
    assert problem.where == Where(file="f.yaml", line=line)


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    found = problems("""
words: [1, a]
colour: gren
txt: a
inner: {size: big, note: [a]}
count: many
""")
    assert [(one.where.line, one.where.key) for one in found if one.where] == [
        (2, "words[0]"),
        (3, "colour"),
        (4, "txt"),
        (5, "inner.size"),
        (5, "inner.note"),
        (6, "count"),
    ]
    assert found[1].hint == "did you mean 'green'?"
    assert found[2].hint == "did you mean 'text'?"


def test_a_flood_of_problems_is_cut_off() -> None:
    found = problems("words: [" + "1, " * 500 + "]")
    assert len(found) == 101
    assert found[-1].what == "has more problems than these"


def test_key_paths() -> None:
    assert key_path(("stages", "train", "needs", 0)) == "stages.train.needs[0]"
    assert key_path(("bases", "docker.io/x:1", "image")) == 'bases["docker.io/x:1"].image'
    assert key_path(("a", "b\nc")) == "a['b\\nc']"


@pytest.mark.parametrize("unit", ["[", "{a: ", "- ", "? ", "a: &a b\n", "!!x ", "'", '"', "|\n ", "- - a\n"])
def test_hostile_text_is_refused_in_little_time(unit: str) -> None:
    began = time.process_time()
    problems(unit * (2 * MIB // len(unit)))
    assert time.process_time() - began < 2


@given(st.one_of(st.text(), st.binary(), st.text(alphabet="abt:-[]{}#&*!|>'\"%@`, \n\t?<=~1.")))
def test_arbitrary_text_raises_nothing_but_rbuild_error(text: str | bytes) -> None:
    try:
        load(text)
    except RbuildError as error:
        assert error.problems
