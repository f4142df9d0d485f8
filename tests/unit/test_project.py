import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbuild.errors import Problem, RbuildError
from rbuild.project import Project, load_project
from rbuild.projectcheck import Kind
from rbuild.projectfile import Base, Debian, Run, Secret
from rbuild.reference import Reference
from rbuild.relativepath import RelativePath

IRIS = """\
project: iris
registry: quay.io/team
platform: linux/arm64/v8
bases:
  docker.io/library/python:3.11-slim: {image: quay.io/mirror/python:3.11-slim}
  localhost/base/python:3.11:
    debian:
      suite: bookworm
      packages: [python3, python3-pip=23.0.1+dfsg-1]
      snapshot: 20260701T000000Z
      components: [main, contrib]
  localhost/other:1: {oci: images/other, tag: v1}
stages:
  preprocess:
    run:
      command: [stages/data/iris.csv, "{outputs.clean}"]
      outputs: {clean: out/preprocess}
  train:
    containerfile: docker/Train
    context: ./stages/
    target: runtime
    args: {PYTHON: "3.11", EMPTY: ""}
    needs: [preprocess]
    normalisers: {bytecode: false}
    run:
      command: ["{inputs.x}", "--into={outputs.model}", '{"json": {"a": 1}}']
      inputs: {x: out/preprocess/x_train.csv}
      outputs: {model: out/train}
"""
FILES: dict[str, Kind] = {
    ".": "directory",
    "stages": "directory",
    "docker": "directory",
    "docker/Train": "file",
    "images/other": "directory",
    "images/other/oci-layout": "file",
    "Containerfiles/preprocess.Containerfile": "file",
    "Containerfiles/train.Containerfile": "file",
    "Containerfiles/a.Containerfile": "file",
    "Containerfiles/b.Containerfile": "file",
    "Containerfiles/c.Containerfile": "file",
    "elsewhere": "outside",
}


def load(text: str, exists: Callable[[str], Kind | None] = FILES.get) -> Project:
    return load_project(text.encode(), exists=exists)


def problems(text: str) -> dict[str, Problem]:
    """The problems of `text` by their place, as `line key`."""
    with pytest.raises(RbuildError) as caught:
        load(text)
    found = {f"{one.where.line} {one.where.key}": one for one in caught.value.problems if one.where}
    assert len(found) == len(caught.value.problems)
    assert all(one.where and one.where.file == "rbuild.yaml" for one in caught.value.problems)
    return found


def stages(text: str) -> str:
    """A project whose stages begin on line 3."""
    return f"project: x\nstages:\n{text}"


def test_reads_a_whole_project() -> None:
    project = load(IRIS)
    assert (project.name, project.registry, project.platform) == ("iris", "quay.io/team", "linux/arm64/v8")
    assert project.bases == {
        Reference.parse("python:3.11-slim"): Base(image=Reference.parse("quay.io/mirror/python:3.11-slim")),
        Reference.parse("localhost/base/python:3.11"): Base(
            debian=Debian(
                suite="bookworm",
                packages=("python3", "python3-pip=23.0.1+dfsg-1"),
                snapshot="20260701T000000Z",
                mirror="http://deb.debian.org/debian",
                components=("main", "contrib"),
            )
        ),
        Reference.parse("localhost/other:1"): Base(oci=RelativePath("images/other"), tag="v1"),
    }
    train = project.stages["train"]
    assert (train.name, train.target, train.needs) == ("train", "runtime", ("preprocess",))
    assert (str(train.containerfile), str(train.context)) == ("docker/Train", "stages")
    assert (train.args, train.normalisers) == ({"PYTHON": "3.11", "EMPTY": ""}, {"bytecode": False})
    assert train.run.inputs == {"x": RelativePath("out/preprocess/x_train.csv")}
    assert project.graph().order == ("preprocess", "train")


def test_what_is_left_out_has_its_default() -> None:
    project = load(stages("  a: {}"))
    stage = project.stages["a"]
    assert (project.registry, project.platform, project.bases) == (None, "linux/amd64", {})
    assert (str(stage.containerfile), str(stage.context)) == ("Containerfiles/a.Containerfile", ".")
    assert (stage.target, stage.args, stage.needs, stage.normalisers) == (None, {}, (), {})
    assert stage.run == Run()


def test_a_reference_that_is_not_listed_is_an_image_in_a_registry() -> None:
    project = load(IRIS)
    python = Reference.parse("python:3.11-slim")
    assert project.base(python).image == Reference.parse("quay.io/mirror/python:3.11-slim")
    assert project.base(Reference.parse("node:22")) == Base(
        image=Reference.parse("docker.io/library/node:22")
    )


def test_placeholders_become_paths_of_the_container() -> None:
    project = load(IRIS)
    assert project.stages["train"].run.argv() == (
        "/in/x/x_train.csv",
        "--into=/out/model",
        '{"json": {"a": 1}}',
    )
    assert project.stages["preprocess"].run.argv() == ("stages/data/iris.csv", "/out/clean")
    assert project.stages["train"].run.input_path("x") == "/in/x/x_train.csv"
    with pytest.raises(KeyError):
        project.stages["train"].run.output_path("x")


TOP = "project: x\nstages: {a: {}}\n"


@pytest.mark.parametrize(
    ("text", "place", "what", "hint"),
    [
        # The outermost keys
        ("stages: {a: {}}", "1 project", "is missing", None),
        ("project: x", "1 stages", "is missing", None),
        ("project: x\nstages: {}", "2 stages", "has no stage", "at least one"),
        ("project: x\nstages: [a]", "2 stages", "is a list; a mapping is expected", None),
        ("project: X\nstages: {a: {}}", "1 project", "is not a name of lower-case", None),
        ("project: a--\nstages: {a: {}}", "1 project", "is not a name of lower-case", None),
        ("project: 1.10\nstages: {a: {}}", "1 project", "is not a text", 'quote it: "1.10"'),
        (TOP + "plattform: linux/amd64", "3 plattform", "is not a known key", "mean 'platform'?"),
        (TOP + "platform: linux/amd46", "3 platform", "is not a platform: 'linux/amd46'", "'linux/amd64'?"),
        (TOP + "platform: windows/amd64", "3 platform", "is not a platform", "linux/amd64"),
        (TOP + "registry: team", "3 registry", "is not a registry: 'team'", "quay.io/team"),
        (TOP + "registry: quay.io/Team", "3 registry", "is not a registry", "quay.io/team"),
        (TOP + "registry: https://quay.io", "3 registry", "is not a registry", "quay.io/team"),
        (
            TOP + "substitutes: [quay.io/a, team]",
            "3 substitutes[1]",
            "is not a registry: 'team'",
            "quay.io/team",
        ),
        # Bases
        (TOP + "bases: {A B: {image: x}}", '3 bases["A B"]', "is not an image name", "lower case"),
        (TOP + "bases: {a: {image: x y}}", "3 bases.a.image", "is not an image name: 'x y'", None),
        (TOP + "bases: {a: {}}", "3 bases.a", "does not say what it is", "image, oci and debian"),
        (TOP + "bases: {a: {image: }}", "3 bases.a", "does not say what it is", "image, oci and debian"),
        (
            TOP + "bases:\n  a: {image: x, oci: images/other}",
            "4 bases.a",
            "is more than one thing: image and oci",
            "keep one",
        ),
        (
            TOP + "bases:\n  python: {image: x}\n  docker.io/library/python:latest: {image: x}",
            '5 bases["docker.io/library/python:latest"]',
            "means the same image as 'python'",
            "remove one",
        ),
        (TOP + "bases: {a: {image: x, tag: y}}", "3 bases.a.tag", "goes only with oci", "its name"),
        (TOP + "bases: {a: {oci: none}}", "3 bases.a.oci", "there is no directory 'none'", "create it"),
        (TOP + "bases: {a: {oci: stages}}", "3 bases.a.oci", "is not an OCI image layout", "skopeo copy"),
        (TOP + "bases: {a: {oci: elsewhere}}", "3 bases.a.oci", "a symbolic link leads 'elsewhere'", None),
        (TOP + "bases: {a: {oci: /x}}", "3 bases.a.oci", "is not a path inside the project", "relative"),
        (TOP + "bases: {a: {debian: {}}}", "3 bases.a.debian.suite", "is missing", None),
        (TOP + "bases: {a: {debian: {suite: ../x}}}", "3 bases.a.debian.suite", "is not a word of", None),
        (
            TOP + "bases: {a: {debian: {suite: x, packages: [ok, '--force']}}}",
            "3 bases.a.debian.packages[1]",
            "is not the name of a Debian package",
            None,
        ),
        (
            TOP + "bases: {a: {debian: {suite: x, packages: [vim-]}}}",
            "3 bases.a.debian.packages[0]",
            "is not the name of a Debian package",
            None,
        ),
        (
            TOP + "bases: {a: {debian: {suite: x, snapshot: 20261301T000000Z}}}",
            "3 bases.a.debian.snapshot",
            "is not a time such as 20260701T000000Z",
            None,
        ),
        (
            TOP + "bases: {a: {debian: {suite: x, mirror: file:///x}}}",
            "3 bases.a.debian.mirror",
            "is not an http or https URL",
            None,
        ),
        # A stage's sources
        (stages("  a: {}\n  a: {}"), "4 stages.a", "is there twice; first on line 3", None),
        (stages("  A: {}"), "3 stages.A", "is not a name of lower-case", None),
        (stages("  on: {}"), "3 stages.on", "is not a text: YAML takes 'on' for true", 'quote it: "on"'),
        (stages("  a:"), "3 stages.a", "is empty; a mapping is expected", "write {}"),
        (
            stages("  zzz: {}"),
            "3 stages.zzz.containerfile",
            "there is no file 'Containerfiles/zzz.Containerfile'",
            "create it",
        ),
        (stages("  a: {containerfile: x}"), "3 stages.a.containerfile", "there is no file 'x'", "correct"),
        (
            stages("  a: {containerfile: docker}"),
            "3 stages.a.containerfile",
            "'docker' is a directory; a file is expected",
            None,
        ),
        (stages("  a:\n    context: x"), "4 stages.a.context", "there is no directory 'x'", "create it"),
        (
            stages("  a:\n    context: docker/Train"),
            "4 stages.a.context",
            "'docker/Train' is a file; a directory is expected",
            None,
        ),
        (
            stages("  a:\n    context: elsewhere"),
            "4 stages.a.context",
            "a symbolic link leads 'elsewhere' out of the project",
            None,
        ),
        (stages("  a: {context: ../x}"), "3 stages.a.context", "is not a path inside the project", None),
        (stages("  a: {context: /x}"), "3 stages.a.context", "is not a path inside the project", None),
        (stages('  a: {context: "x\\0y"}'), "3 stages.a.context", "holds a NUL character", None),
        (stages("  a: {target: --x}"), "3 stages.a.target", "is not the name of a build target", None),
        (stages("  a: {args: {V: 1.10}}"), "3 stages.a.args.V", "is not a text", 'quote it: "1.10"'),
        (stages("  a: {args: {V: true}}"), "3 stages.a.args.V", "is not a text", 'quote it: "true"'),
        (stages("  a: {args: {V-W: x}}"), "3 stages.a.args.V-W", "is not the name of a variable", None),
        (
            stages("  a: {normalisers: {bytecode: no}}"),
            "3 stages.a.normalisers.bytecode",
            "is neither true nor false: 'no'",
            "write true or false",
        ),
        # Needs
        (
            stages("  a: {}\n  b: {needs: [a, aa]}"),
            "4 stages.b.needs[1]",
            "there is no stage 'aa'",
            "did you mean 'a'?",
        ),
        (
            stages("  a: {}\n  b: {needs: [zz]}"),
            "4 stages.b.needs[0]",
            "there is no stage",
            "stages are: a, b",
        ),
        (stages("  a: {}\n  b: {needs: [a, a]}"), "4 stages.b.needs[1]", "'a' is there twice", "remove"),
        (stages("  a: {needs: [a]}"), "3 stages.a.needs[0]", "the stages need each other: a → a", "remove"),
        (
            stages("  a: {needs: [c]}\n  b: {needs: [a]}\n  c: {needs: [b]}"),
            "3 stages.a.needs[0]",
            "the stages need each other: a → c → b → a",
            "remove one of these needs",
        ),
        # How it is run
        (
            stages("  a:\n    run:\n      command:\n      - x\n      - '{input.x}'\n      inputs: {x: f}"),
            "7 stages.a.run.command[1]",
            "{input.x} is neither an input nor an output of the stage",
            "did you mean 'inputs.x'?",
        ),
        (
            stages("  a: {run: {command: ['{outputs.x}']}}"),
            "3 stages.a.run.command[0]",
            "{outputs.x} is neither an input nor an output",
            "declare it",
        ),
        (stages("  a: {run: {command: x}}"), "3 stages.a.run.command", "is 'x'; a list is expected", None),
        (stages("  a: {run: {cmd: [x]}}"), "3 stages.a.run.cmd", "is not a known key", "command"),
        (stages("  a: {run: {inputs: {x: ..}}}"), "3 stages.a.run.inputs.x", "is not a path inside", None),
        (stages("  a: {run: {inputs: {x: .}}}"), "3 stages.a.run.inputs.x", "is the whole project", None),
        (
            stages("  a: {run: {inputs: {x: elsewhere}}}"),
            "3 stages.a.run.inputs.x",
            "a symbolic link leads 'elsewhere' out",
            None,
        ),
        (stages("  a: {run: {inputs: {x/y: f}}}"), '3 stages.a.run.inputs["x/y"]', "is not a name of", None),
        (stages("  a: {run: {outputs: {x: ./}}}"), "3 stages.a.run.outputs.x", "is the whole project", None),
        (
            stages("  a: {run: {outputs: {x: docker/Train}}}"),
            "3 stages.a.run.outputs.x",
            "'docker/Train' is a file; a folder is expected",
            None,
        ),
        (
            stages("  a: {run: {outputs: {x: elsewhere}}}"),
            "3 stages.a.run.outputs.x",
            "'elsewhere' leads out of the project",
            None,
        ),
        (
            stages("  a: {run: {outputs: {x: out}}}\n  b: {run: {outputs: {x: out}}}"),
            "4 stages.b.run.outputs.x",
            "'out' is an output of stage 'a' too",
            "a folder of its own",
        ),
        (
            stages("  a: {run: {outputs: {x: out/a/b}}}\n  b: {run: {outputs: {x: out/a, y: out/ab}}}"),
            "3 stages.a.run.outputs.x",
            "'out/a/b' lies in 'out/a', which is an output of stage 'b'",
            "a folder of its own",
        ),
        (
            stages("  a: {context: stages}\n  b: {run: {outputs: {x: stages}}}"),
            "3 stages.a.context",
            "lies in 'stages', which is an output of stage 'b'",
            "out/",
        ),
        (
            stages("  a: {run: {outputs: {x: Containerfiles}}}"),
            "3 stages.a.containerfile",
            "lies in 'Containerfiles', which is an output of stage 'a'",
            "out/",
        ),
        (
            stages("  a: {run: {outputs: {x: out}}}\n  b: {run: {inputs: {x: out/f}}}"),
            "4 stages.b.run.inputs.x",
            "'out/f' is made by stage 'a', which 'b' does not need",
            "add a to stages.b.needs",
        ),
        (
            stages("  a: {run: {outputs: {x: out/a}}}\n  b: {run: {inputs: {x: out}}}"),
            "4 stages.b.run.inputs.x",
            "'out' is made by stage 'a', which 'b' does not need",
            "add a to stages.b.needs",
        ),
        (
            stages("  a: {run: {outputs: {x: out}, inputs: {y: out/f}}}"),
            "3 stages.a.run.inputs.y",
            "'out/f' is what the stage itself writes",
            None,
        ),
    ],
)
def test_each_mistake_is_told_with_line_and_key(text: str, place: str, what: str, hint: str | None) -> None:
    found = problems(text)
    assert list(found) == [place]
    assert found[place].what.startswith(what)
    if hint is not None:
        assert hint in (found[place].hint or "")


def test_all_mistakes_are_told_at_once() -> None:
    found = problems("""\
project: Iris
plattform: linux/amd64
bases:
  X Y: {image: ok}
stages:
  a:
    needs: [b, zz]
    args: {V: 1}
    context: nowhere
    run:
      command: ["{inputs.x}"]
      outputs: {o: out}
  b:
    needs: [a]
    containerfile: nowhere
  c:
    run: {inputs: {i: out/x}}
  c: {}
""")
    assert list(found) == [
        "1 project",
        "2 plattform",
        '4 bases["X Y"]',
        "7 stages.a.needs[1]",
        "7 stages.a.needs[0]",
        "8 stages.a.args.V",
        "9 stages.a.context",
        "11 stages.a.run.command[0]",
        "15 stages.b.containerfile",
        "17 stages.c.run.inputs.i",
        "18 stages.c",
    ]


def test_every_cycle_is_told() -> None:
    found = problems(stages("  a: {needs: [a]}\n  b: {needs: [c]}\n  c: {needs: [b]}"))
    assert [one.what for one in found.values()] == [
        "the stages need each other: a → a",
        "the stages need each other: b → c → b",
    ]


def test_a_broken_stage_is_still_a_stage_for_those_that_need_it() -> None:
    assert list(problems(stages("  a: [x]\n  b: {needs: [a]}"))) == ["3 stages.a"]


def test_an_input_may_come_from_a_stage_that_is_needed_by_way_of_another() -> None:
    text = """
  a: {run: {outputs: {x: out/a}}}
  b: {needs: [a]}
  c: {needs: [b], run: {inputs: {x: out/a/f, y: out/a}}}
"""
    assert load(stages(text)).graph().all_needs("c") == {"a", "b"}


def test_an_input_beside_an_output_needs_nothing() -> None:
    text = "  a: {run: {outputs: {x: out/a}}}\n  b: {run: {inputs: {x: out/ab, y: out/a.csv}}}"
    assert load(stages(text)).graph().needs("b") == ()


def test_a_thousand_stages_load_and_more_are_refused() -> None:
    def everything(path: str) -> Kind:
        return "file" if "." in path[1:] else "directory"

    def chain(count: int) -> str:
        lines = [f"  s{at}: {{needs: [s{at - 1}]}}" for at in range(1, count)]
        return stages("\n".join(["  s0: {}", *lines]))

    assert len(load(chain(1000), everything).graph().order) == 1000
    with pytest.raises(RbuildError, match="more than 1000 stages"):
        load(chain(1001), everything)


@pytest.mark.parametrize(
    "text",
    [
        stages("  a: {needs: [" + ", ".join(f"name{at}x" for at in range(9000)) + "]}"),
        stages("  a: {" + ", ".join(f"contex{at}: x" for at in range(9000)) + "}"),
        stages("  a: {run: {command: ['" + "{inputz.x}" * 100_000 + "'], inputs: {x: f}}}"),
        stages("".join(f"  s{at}: {{needs: [s{(at + 1) % 900}, s{(at + 5) % 900}]}}\n" for at in range(900))),
    ],
    ids=["needs", "keys", "placeholders", "cycles"],
)
def test_a_flood_of_mistakes_is_refused_in_little_time(text: str) -> None:
    began = time.process_time()
    with pytest.raises(RbuildError) as caught:
        load(text)
    assert len(caught.value.problems) <= 101
    assert time.process_time() - began < 4


@given(st.one_of(st.text(), st.binary()))
def test_arbitrary_text_raises_nothing_but_rbuild_error(text: str | bytes) -> None:
    with pytest.raises(RbuildError):
        load_project(text.encode() if isinstance(text, str) else text, exists=FILES.get)


@given(
    st.integers(0, len(IRIS) - 1),
    st.integers(0, 30),
    st.text(alphabet="abt:-[]{}#&*!|>'\"%@`, \n\t?<=~1./", max_size=8),
)
def test_a_damaged_project_raises_nothing_but_rbuild_error(at: int, length: int, damage: str) -> None:
    try:
        load(IRIS[:at] + damage + IRIS[at + length :])
    except RbuildError as error:
        assert error.problems


def test_secrets_of_a_stage() -> None:
    text = stages("  a:\n    secrets: {pip.conf: {file: private/pip.conf}, token: {env: TOKEN}}\n")
    assert load(text).stages["a"].secrets == {
        "pip.conf": Secret(file=RelativePath("private/pip.conf")),
        "token": Secret(env="TOKEN"),
    }


def test_secrets_that_make_no_sense() -> None:
    found = problems(
        stages(
            "  a:\n    secrets:\n      none: {}\n      both: {env: A, file: b}\n      out: {file: ../x}\n"
            "      a=b: {env: A}\n      name: {env: 1A}\n"
        )
    )
    said = {place.rpartition(".")[2]: problem.what for place, problem in found.items()}
    assert said["none"] == "does not say where its value is"
    assert said["both"] == "is in more than one place: env and file"
    assert any("is not a name of letters, digits, '_', '.' and '-': 'a=b'" in what for what in said.values())
    assert len(found) == 5
