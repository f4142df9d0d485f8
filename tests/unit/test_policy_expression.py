"""Rules of a project's own: what they find, what is wrong with them, and what they may cost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policyfacts import Image, file_facts, lock_facts, stage_lock
from tarballs import member

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.config import Execution
from rbuild.image.tar import Kind
from rbuild.lock import BaseLock, Lock
from rbuild.policy.expression import OwnCheck, compile_own
from rbuild.policy.facts import FileEntry, PushFacts
from rbuild.policy.model import Violation
from rbuild.policy.policyfile import Policy, read_policy
from rbuild.policy.watch import watched
from rbuild.recording import IndexFile, Recording, Response, SimpleIndex
from rbuild.reference import Reference

_CONTAINERFILE = """\
FROM python:3.11-slim AS build
ADD https://example.org/x.tar.gz /x/
RUN --mount=type=cache,target=/root/.cache pip install . && \\
    rm -rf /x
FROM quay.io/team/base@sha256:{}
COPY --from=build /x /x
LABEL org.opencontainers.image.source=https://example.org
""".format("0" * 64)


def policy(expression: str, **others: str) -> Policy:
    """A policy with one rule of its own, `own`, with this expression."""
    said = {"message": "m", "hint": "h", "expression": expression, **others}
    lines = [f"    {key}: {_quoted(text)}" for key, text in said.items()]
    return read_policy(
        "\n".join(["name: p", "description: d", "rules:", "  own:", *lines]).encode(), "p.yaml"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def check(expression: str, **others: str) -> OwnCheck:
    return compile_own([policy(expression, **others)])["p/own"]


def problems(expression: str, **others: str) -> list[str]:
    with pytest.raises(RbuildError) as caught:
        compile_own([policy(expression, **others)])
    return [f"{one.where}: {one.what} [{one.hint}]" for one in caught.value.problems]


def facts(moment: str) -> object:
    """A stage at that moment, with a base, a recording, an image and a push."""
    base = Digest("1" * 64)
    responses = (
        Response(url="https://pypi.org/simple/x/", sha256=Digest("2" * 64), size=10),
        Response(url="http://files.example:8080/x.whl", sha256=Digest("3" * 64), size=300_000_000),
    )
    files = file_facts(_CONTAINERFILE)
    wheel = IndexFile(name="y.whl", url="https://files.example.org/y.whl", sha256=Digest("4" * 64))
    index = SimpleIndex(url="https://pypi.org/simple/y/", project="y", files=(wheel,))
    recording = Recording(responses=responses, indexes=(index,))
    locked = stage_lock(recording=recording, args={"A": "1"})
    bases = {key: BaseLock(digest=base, image=key) for key in files.uses.values()}
    lock = Lock(
        version=1, project="demo", platform="linux/amd64", bases=bases, stages={files.stage.name: locked}
    )
    at_lock = lock_facts(files, locked=locked, lock=lock)
    image = replace(_image().facts, lock=at_lock)
    return {
        "files": files,
        "lock": at_lock,
        "image": image,
        "push": PushFacts(
            image=image,
            repository=Reference.parse("quay.io/team/app"),
            tags=("1.0", "latest"),
            moving=frozenset({"latest"}),
            signed=False,
        ),
    }[moment]


def _image() -> Image:
    own = [
        member("usr/bin/big", b"x" * 5000, mode=0o4755, uid=7),
        member("usr/bin/small", b"x"),
        member("srv/lin\udc80k", link="small"),
        member("srv/capable", b"", pax={"SCHILY.xattr.security.capability": "abc"}),
    ]
    execution = Execution(
        user="1000",
        env=["PATH=/bin", "EMPTY"],
        labels={"org.opencontainers.image.source": "https://example.org"},
        exposed_ports={"8080/tcp": {}},
        cmd=["run"],
    )
    return Image(_CONTAINERFILE, {6: own}, base=[[member("etc/shadow", b"s")]], execution=execution)


def found(expression: str, when: str = "files", **others: str) -> list[Violation]:
    """What a rule finds at a moment."""
    own = check(expression, when=when, **others)
    at = facts(when)
    if not own.watches:
        return list(own.violations(at))  # type: ignore[arg-type]
    watcher = own.watcher(at)  # type: ignore[arg-type]
    watched(_image().layers, [watcher])
    return list(watcher.violations())


_HOLDS = [
    ("files", 'stage.name == "app" && stage.context == "." && stage.target == ""'),
    ("files", 'stage.containerfile == "Containerfile" && stage.args.size() == 0 && stage.needs == []'),
    ("files", 'containerfile.name == "Containerfile" && containerfile.instructions.size() == 6'),
    ("files", 'containerfile.instructions.map(i, i.keyword) == ["FROM","ADD","RUN","FROM","COPY","LABEL"]'),
    ("files", "containerfile.instructions.map(i, i.line) == [1, 2, 3, 5, 6, 7]"),
    (
        "files",
        'containerfile.instructions[0].target == "build" && containerfile.instructions[4].target == "1"',
    ),
    ("files", 'containerfile.instructions[2].arguments == "pip install . &&     rm -rf /x"'),
    ("files", 'containerfile.instructions[2].flags[0].value == "type=cache,target=/root/.cache"'),
    ("files", 'containerfile.instructions[4].flags.exists(f, f.name == "from" && f.value == "build")'),
    ("files", 'base.map(b, b.registry) == ["docker.io", "quay.io"] && base.map(b, b.line) == [1, 5]'),
    ("files", 'base[0].repository == "library/python" && base[0].tag == "3.11-slim" && base[0].digest == ""'),
    ("files", 'base[0].kind == "image" && base[1].tag == "" && base[1].digest.startsWith("sha256:000")'),
    ("lock", 'base[0].digest.startsWith("sha256:111") && lock.args["A"] == "1" && lock.form == 2'),
    ("lock", 'lock.epoch == timestamp("2020-09-13T12:26:40Z") && now - lock.epoch > duration("8760h")'),
    ("lock", "lock.layers.size() == 0 && lock.input == lock.manifest && lock.config == lock.manifest"),
    (
        "lock",
        'recording.map(r, r.host).join(" ") == "files.example pypi.org pypi.org files.example.org" '
        "&& recording[0].size == 300000000",
    ),
    ("lock", 'recording.filter(r, r.sha256 == "").map(r, r.url) == ["https://pypi.org/simple/y/"]'),
    ("lock", 'recording.all(r, r.method == "GET" && r.status == 200)'),
    ("lock", 'lock.codec == "zstd:3:1.5.7" && lock.normalisers == []'),
    (
        "image",
        'image.config.user == "1000" && image.config.env["PATH"] == "/bin" && "EMPTY" in image.config.env',
    ),
    ("image", '"org.opencontainers.image.source" in image.config.labels && image.config.cmd == ["run"]'),
    (
        "image",
        'image.config.exposed_ports == ["8080/tcp"] && image.config.volumes == [] && image.config.os != ""',
    ),
    (
        "image",
        'image.config.healthcheck == [] && image.config.entrypoint == [] && image.config.working_dir == ""',
    ),
    (
        "image",
        'image.config.architecture == "amd64" && image.config.stop_signal == "" && image.digest.size() == 71',
    ),
    ("image", "image.layers.map(l, l.own) == [false, true] && image.layers.map(l, l.line) == [0, 6]"),
    (
        "image",
        "image.layers.all(l, l.size > 0 && l.blob.size() == 71 && l.diff_id != l.blob && l.number > 0)",
    ),
    ("push", 'push.destination == "quay.io/team/app" && push.tags == ["1.0", "latest"] && !push.signed'),
    (
        "push",
        'push.moving == ["latest"] && image.config.user == "1000" && lock.form == 2 && stage.name == "app"',
    ),
    ("push", '"A-b".lowerAscii() == "a-b" && "a,b".split(",") == ["a", "b"] && "a".matches("^[a-z]$")'),
]


@pytest.mark.parametrize(("when", "expression"), _HOLDS)
def test_sees_what_is_documented(when: str, expression: str) -> None:
    assert found(expression, when) == []
    assert [one.message for one in found(f"!({expression})", when)] == ["m"]


def test_names_the_instruction_that_breaks_it() -> None:
    [one] = found(
        'item.keyword != "ADD"',
        each="containerfile.instructions",
        message="{{ item.keyword }} on line {{item.line}} of {{ stage.name }}: {{ item.line > 1 }}",
        hint="COPY {{ item.arguments.split(' ')[1] }}",
    )
    assert one.message == "ADD on line 2 of app: true"
    assert one.hint == "COPY /x/"
    assert (one.where.file, one.where.line) == ("Containerfile", 2)  # type: ignore[union-attr]
    assert one.text == "ADD https://example.org/x.tar.gz /x/"


def test_looks_at_each_base_response_and_layer() -> None:
    [one] = found('item.registry == "quay.io"', each="base", message="{{ item.name }}")
    assert (one.message, one.where.line, one.text) == ("python:3.11-slim", 1, "python:3.11-slim")  # type: ignore[union-attr]
    [one] = found("item.size < 200000000", "lock", each="recording", message="{{ item.size }}")
    assert (one.message, one.where.file, one.text) == (  # type: ignore[union-attr]
        "300000000",
        "rbuild.lock",
        "http://files.example:8080/x.whl",
    )
    [one] = found("!item.own", "image", each="image.layers", message="{{ item.number }}")
    assert (one.message, one.where.line) == ("2", 6)  # type: ignore[union-attr]


_FILES = [
    ('item.kind != "file" || item.size < 4096', ["/usr/bin/big"]),
    ("item.mode < 2048 || item.mode >= 4096 || item.uid != 7 || item.gid != 7", ["/usr/bin/big"]),
    ('!("security.capability" in item.xattrs)', ["/srv/capable"]),
    ('item.xattrs.all(name, item.xattrs[name] != b"abc")', ["/srv/capable"]),
    ('item.link != "small"', ["/srv/lin\\udc80k"]),
    ("item.own", ["/etc/shadow"]),
    ("item.visible", []),
    ("item.layer == 2", ["/etc/shadow"]),
    ("image.layers[item.layer - 1].own == item.own && stage.name != 'x'", []),
]


@pytest.mark.parametrize(("expression", "paths"), _FILES)
def test_looks_at_each_file_of_the_image(expression: str, paths: list[str]) -> None:
    violations = found(expression, "image", each="image.files", message="{{ item.path }}")
    assert [one.text for one in violations] == paths
    assert [f"/{one.message}" for one in violations] == paths


def test_a_file_is_on_the_line_that_made_its_layer() -> None:
    lines = {one.text: one.where.line for one in found("false", "image", each="image.files") if one.where}
    assert lines["/usr/bin/big"] == 6
    assert lines["/etc/shadow"] is None


_BROKEN = [
    ("1 / 0 == 1", "divide by zero"),
    ("[1][2] == 1", "index error"),
    ('stage.args["NO"] == ""', 'key not found in map : "NO"'),
    ('"x".matches("(")', "missing )"),
    ("9223372036854775807 + stage.needs.size() + 1 == 0", "overflow"),
    ('int("x") == 1', "cannot convert"),
]


@pytest.mark.parametrize(("expression", "said"), _BROKEN)
def test_what_cannot_be_evaluated_is_a_violation(expression: str, said: str) -> None:
    [one] = found(expression)
    assert one.message.startswith("the rule own could not be evaluated: ")
    assert said.lower() in one.message.lower()
    assert "[" not in one.message.removesuffix("]") or "INVALID" not in one.message


def test_a_message_that_cannot_be_evaluated_does_not_hide_the_finding() -> None:
    [one] = found("false", message="{{ stage.args['X'] }} is wrong")
    assert one.message.endswith(") is wrong")
    assert "not found" in one.message


def test_a_value_in_a_message_is_one_line_of_bounded_length() -> None:
    [one] = found("false", message="{{ 'a\\n\\t b' + containerfile.name }}|{{ '" + "x" * 900 + "' }}")
    first, second = one.message.split("|")
    assert first == "a bContainerfile"
    assert len(second) == 201


_MISTAKES: list[tuple[str, dict[str, str], str]] = [
    ("1 +", {}, "Syntax error"),
    ('"a"', {}, "is of the type string; bool"),
    ("dyn(true)", {}, "is of the type dyn; bool"),
    (
        "stage.nam == ''",
        {},
        "field 'nam' not found in struct 'Stage' (line 1, column 6) [did you mean 'name'?]",
    ),
    (
        "stagge.name == ''",
        {},
        "undeclared reference to 'stagge.name' (line 1, column 7) [did you mean 'stage'?]",
    ),
    ("lock.form == 2", {}, "[lock is there with when: lock]"),
    ("now > now", {}, "[now is there with when: lock]"),
    ("image.digest == ''", {"when": "lock"}, "[image is there with when: image]"),
    ("push.signed", {"when": "image"}, "[push is there with when: push]"),
    ("item.line > 1", {}, "[each: says what item is"),
    ("item.lin > 1", {"each": "containerfile.instructions"}, "undefined field 'lin'"),
    (
        "image.files.all(f, f.size < 1)",
        {"when": "image"},
        "[files are looked at one by one: each: image.files]",
    ),
    ("true", {"each": "recording"}, "recording is not there with when: files [when: lock]"),
    (
        "true",
        {"each": "image.files", "when": "push"},
        "image.files is not there with when: push [when: image]",
    ),
    ("stage.name == 1", {}, "no matching overload for '_==_'"),
    ("'%s'.format([stage.name]) == ''", {}, "uses the function format, which rbuild does not offer"),
    ("true", {"message": "{{ stage.nam }}"}, "p.yaml:5 rules.own.message: undefined field 'nam'"),
    ("true", {"hint": "{{ nothing }}"}, "rules.own.hint: undeclared reference"),
    ("true", {"message": "{{ stage.needs }}"}, "is of the type list"),
    ("true", {"message": "{{ stage.name"}, "has braces"),
    ("true", {"message": "}} {{ stage.name }}"}, "has braces"),
    ("true", {"message": "{{ }}"}, "Syntax error"),
    ("true", {"message": "x" * 2001}, "is longer than 2,000 characters"),
    ("getenv('HOME') == ''", {}, "undeclared reference to 'getenv'"),
    ("file('/etc/passwd') == ''", {}, "undeclared reference to 'file'"),
    ("", {}, "Syntax error"),
    ("true\0", {}, "Syntax error"),
]


@pytest.mark.parametrize(("expression", "others", "said"), _MISTAKES, ids=range(len(_MISTAKES)))
def test_a_mistake_is_found_when_the_policy_is_loaded(
    expression: str, others: dict[str, str], said: str
) -> None:
    if "\0" in expression:
        with pytest.raises(RbuildError):
            policy(expression)
        return
    mistakes = problems(expression, **others)
    assert said.lower() in "\n".join(mistakes).lower()
    assert all(one.startswith("p.yaml:") and "rules.own." in one for one in mistakes)


def test_all_mistakes_of_all_policies_are_said_at_once() -> None:
    text = """\
name: {}
description: d
rules:
  one:
    expression: |
      stage.name == "x" &&
      stage.nam == "y" &&
      stagge == 1
    message: "{{{{ stage.nam }}}}"
    hint: h
  two: {{expression: "1 +", message: m, hint: h}}
"""
    policies = [read_policy(text.format(name).encode(), f"{name}.yaml") for name in "ab"]
    with pytest.raises(RbuildError) as caught:
        compile_own(policies)
    places = [f"{one.where}: {one.what}" for one in caught.value.problems]
    assert len(places) == 8
    for name in "ab":
        mine = [one for one in places if one.startswith(f"{name}.yaml")]
        assert mine[0].startswith(f"{name}.yaml:5 rules.one.expression: undefined field 'nam'")
        assert mine[0].endswith("(line 2, column 6)")
        assert mine[1].endswith("(line 3, column 1)")
        assert mine[2].startswith(f"{name}.yaml:9 rules.one.message: undefined field")
        assert mine[3].startswith(f"{name}.yaml:11 rules.two.expression: Syntax error")


def test_without_the_library_an_own_rule_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    [said] = problems("true")
    assert said.startswith(
        "p.yaml:4 rules.own: a rule of the project's own needs the package cel-expr-python"
    )
    assert said.endswith("[pip install 'rbuild[cel]']")
    without = read_policy(b"name: p\ndescription: d\nrules: {RB101: error}\n", "p.yaml")
    assert compile_own([without]) == {}


def test_without_an_own_rule_the_library_is_not_imported() -> None:
    program = (
        "import sys\nfrom rbuild.policy.policyfile import read_policy\n"
        "from rbuild.verbs.policies import own_checks\n"
        "own_checks([read_policy(b'name: p\\ndescription: d\\nrules: {RB101: error}', 'p.yaml')])\n"
        "sys.exit(any(name.startswith(('cel_expr_python', 'google')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


_TEN = "[1,2,3,4,5,6,7,8,9,10]"
_HUNDRED = f"[{','.join(map(str, range(100)))}]"
_NESTED = f"{_TEN}.all(a,{_TEN}.all(b,{_TEN}.all(c,{_TEN}.all(d,{_TEN}.all(e,{_TEN}.all(f,true))))))"

# What is refused when it is loaded.
_HOSTILE = {
    "doubling": "['aaaaaaaaaa']" + ".map(a,a+a)" * 27 + " == []",
    "growing by eight": "['aaaaaaaaaa']" + ".map(a,((a+a)+(a+a))+((a+a)+(a+a)))" * 20 + " == []",
    "lists": "[[1]]" + ".map(a,a+a)" * 27 + " == []",
    "replace": "stage.name" + ".replace('', stage.name)" * 9 + " == ''",
    "join": "[" + _HUNDRED + ".map(a,'" + "x" * 999 + "').join('" + "y" * 999 + "')]"
    ".map(a,[a,a,a,a,a,a,a,a,a].join(a)).map(a,[a,a,a,a,a,a,a,a,a].join(a)) == []",
    "quote": "[stage.name]" + ".map(a,strings.quote(a))" * 25 + " == []",
    "deep parentheses": "(" * 2000 + "true" + ")" * 2000,
    "deep lists": "[" * 2000 + "]" * 2000 + " == []",
    "deep fields": "stage" + ".name" * 800 + " == ''",
    "deep sum": "1" + "+1" * 2000 + " == 1",
    "deep conditions": "true?true:" * 400 + "true",
    "deep macros": "[1].all(x," * 300 + "true" + ")" * 300,
    "many macros": "[1]" + ".filter(x,true)" * 250 + " == [1]",
    "rounds that gather": f"{_HUNDRED}.map(a,{_HUNDRED}.map(b,[{','.join('b' * 900)}])) == []",
}


@pytest.mark.parametrize("expression", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_what_could_take_too_much_is_refused_when_it_is_loaded(expression: str) -> None:
    assert len(expression) <= 4096
    assert problems(expression)


# What is ended when it runs.
_ENDED = {
    "rounds": _NESTED,
    "rounds over input": "containerfile.instructions.all(a," * 7 + "true" + ")" * 7,
}


@pytest.mark.parametrize("expression", _ENDED.values(), ids=_ENDED.keys())
def test_too_many_rounds_are_ended(expression: str) -> None:
    [one] = found(expression)
    assert "it goes more than 10,000 rounds" in one.message


def test_what_is_small_over_small_input_is_refused_over_large_input() -> None:
    words = " ".join(f"word{number}" for number in range(6_000))
    files = file_facts("FROM scratch\n" + f"RUN echo {words}\n" * 15)
    own = check(
        "containerfile.instructions.all(i, (i.arguments + i.arguments + i.arguments).split(' ').size() > 0)"
    )
    [one] = own.violations(files)
    assert "MB of memory" in one.message
    assert list(own.violations(file_facts("FROM scratch\nRUN echo\n"))) == []


def test_regular_expressions_take_linear_time() -> None:
    files = file_facts("FROM scratch\nRUN " + "a" * 50_000 + "!\n")
    own = check("containerfile.instructions.all(i, !i.arguments.matches('^(a+)+(a|aa)+$'))")
    assert list(own.violations(files)) == []


def test_a_rule_that_takes_too_many_steps_over_all_files_ends() -> None:
    many = [member(f"f{number:05}", b"") for number in range(1_500)]
    # It could do all of this for each file, though here it never does.
    slow = f"{_HUNDRED}.exists(a, {_TEN}.exists(b, !item.path.matches('(x+x+)+y' + string(a))))"
    own = check(slow, when="image", each="image.files")
    image = Image("FROM x\nRUN y\n", {2: many})
    watcher = own.watcher(image.facts)
    watched(image.layers, [watcher])
    [one] = watcher.violations()
    assert "it takes too many steps" in one.message


def test_a_rule_that_everything_breaks_stops_counting() -> None:
    image = Image("FROM x\nRUN y\n", {2: [member(f"f{number:05}", b"") for number in range(1_200)]})
    watcher = check("false", when="image", each="image.files").watcher(image.facts)
    watched(image.layers, [watcher])
    violations = list(watcher.violations())
    assert len(violations) == 1_001
    assert violations[-1].message == "the rule own is broken more than 1,000 times; the rest is left out"


_PIECES = st.sampled_from(
    [
        *(
            "stage",
            ".name",
            "containerfile",
            ".instructions",
            ".all(x, ",
            ".map(x, ",
            ".exists(x, ",
            "item",
            "x",
        ),
        *(
            "(",
            ")",
            "[",
            "]",
            "+",
            "==",
            "&&",
            "||",
            "!",
            "?",
            ":",
            "'a'",
            "1",
            "0",
            "-",
            "/",
            ".size()",
            "true",
        ),
        *(
            ".matches(",
            ".split('')",
            ".join()",
            ".replace('a', ",
            "dyn(",
            "string(",
            "{",
            "}",
            ",",
            " ",
            "in",
            "b'x'",
        ),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, max_size=40).map("".join))
def test_any_text_is_a_rule_or_a_problem(expression: str) -> None:
    files = file_facts(_CONTAINERFILE)
    try:
        own = check(expression)
    except RbuildError as error:
        assert all(one.where and one.where.line for one in error.problems)
        return
    for one in own.violations(files):
        assert one.message


_NO_FILE = check("item.path == '' && item.uid == 0", when="image", each="image.files")
_ANY_IMAGE = _image().facts


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60), st.dictionaries(st.text(max_size=5), st.binary(max_size=5), max_size=3))
def test_names_and_attributes_of_any_bytes_are_values(name: bytes, xattrs: Mapping[str, bytes]) -> None:
    entry = FileEntry(
        path=name.decode(errors="surrogateescape"),
        kind=Kind.FILE,
        mode=0o644,
        uid=1 << 70,
        gid=0,
        size=1,
        link="",
        xattrs=xattrs,
        layer=1,
        own=True,
        visible=True,
        instruction=None,
    )
    watcher = check("item.path == '' && item.uid == 0", when="image", each="image.files").watcher(
        _image().facts
    )
    watcher.see(entry, b"")
    [one] = watcher.violations()
    assert one.text.startswith("/")


def test_what_is_evaluated_at_all_stays_under_200_mb() -> None:
    """The largest of each kind that is not refused, over the largest Containerfile, one after the other."""
    program = """
import re
from pathlib import Path
from policyfacts import file_facts
from test_policy_expression import check, _HUNDRED, _TEN
from rbuild.errors import RbuildError

files = file_facts("FROM scratch\\n" + ("RUN echo " + "x" * 60_000 + "\\n") * 16)
every = "containerfile.instructions.map(i, i.arguments)"
evaluated = 0
for kind in (
    lambda many: "['aaaaaaaaaa']" + ".map(a,a+a)" * many + " == []",
    lambda many: every + ".map(a,a+a)" * many + " == []",
    lambda many: f"{_HUNDRED}.map(a,{_TEN}.map(b,[{','.join('b' * many * 8)}])) == []",
):
    for many in range(1, 30):
        try:
            found = list(check(kind(many)).violations(files))
        except RbuildError:
            break
        evaluated += "could need" not in found[0].message
assert evaluated > 30, evaluated
# Its own peak: getrusage would count in what forked it.
assert int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) < 200 << 10
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
