from __future__ import annotations

from typing import Any

import pytest
from imagepairs import fields, image, names, sealed
from tarballs import member

from rbuild.compare.images import compare
from rbuild.compare.model import Blame, Difference, Part, Verdict
from rbuild.errors import RbuildError

LAYERS = [[member("x", b"")]]


def config(a: dict[str, Any], b: dict[str, Any], **options: Any) -> tuple[Difference, ...]:
    one, other = image("a", LAYERS, config=a, **options), image("b", LAYERS, config=b, **options)
    comparison = compare(sealed(one), sealed(other))
    assert comparison.verdict is Verdict.DIFFERENT
    (found,) = comparison.differences
    assert found.part is Part.CONFIG
    return found.children


def test_variables_and_labels_are_keys() -> None:
    found = config(
        {"Env": ["PATH=/bin", "A=1", "SAME=x=y"], "Labels": {"org.one": "1"}, "ExposedPorts": {"80/tcp": {}}},
        {"Env": ["SAME=x=y", "PATH=/usr/bin", "B=2"]},
    )
    assert names(found) == [
        "config.Env.PATH",
        "-config.Env.A",
        "+config.Env.B",
        '-config.ExposedPorts["80/tcp"]',
        '-config.Labels["org.one"]',
    ]
    assert fields(found[0]) == {"value": ("/bin", "/usr/bin")}
    assert all(each.cause for each in found)


def test_variables_in_another_order_are_written_differently() -> None:
    one = image("a", LAYERS, config={"Env": ["A=1", "B=2"]})
    other = image("b", LAYERS, config={"Env": ["B=2", "A=1"]})
    (found,) = compare(one, other).differences
    assert found.note == "all values are equal, and they are written differently"
    assert found.detail is not None


def test_history_goes_by_entry_and_is_its_own_blame() -> None:
    a = image(
        "a",
        LAYERS,
        history=[{"created": "1", "created_by": "RUN x"}, {"created_by": "ENV A=1", "empty_layer": True}],
    )
    b = image("b", LAYERS, history=[{"created": "2", "created_by": "RUN x"}])
    (found,) = compare(a, b).differences
    assert names(found.children) == ["history[0].created", "-history[1]"]
    assert [each.blame for each in found.children] == [Blame(text="RUN x"), Blame(text="ENV A=1")]


def test_keys_that_rbuild_does_not_know_are_compared() -> None:
    one, other = (image(name, LAYERS, extra={"moby": {"x": name}}) for name in "ab")
    (found,) = compare(one, other).differences
    assert names(found.children) == ["moby.x"]


def test_a_key_is_blamed_on_its_instruction() -> None:
    instructions = [
        Blame(text="FROM debian", file="Containerfile", line=1),
        Blame(text="ENV B=1", file="Containerfile", line=2),
        Blame(text="ENV A=1", file="Containerfile", line=3),
        Blame(text="RUN echo USER x", file="Containerfile", line=4),
        Blame(text="WORKDIR /srv", file="Containerfile", line=5),
    ]
    found = config(
        {"Env": ["B=1"], "WorkingDir": "/", "Cmd": ["x"]},
        {"Env": ["B=2"], "WorkingDir": "/srv", "Cmd": ["y"]},
        instructions=instructions,
    )
    assert {each.name: each.blame and each.blame.line for each in found} == {
        "config.Env.B": 2,
        "config.WorkingDir": 5,
        "config.Cmd[0]": None,
    }


def test_the_history_is_blamed_where_no_instructions_are_known() -> None:
    history = [{"created_by": "RUN x"}, {"created_by": "/bin/sh -c #(nop)  ENV B=1", "empty_layer": True}]
    (found,) = config({"Env": ["B=1"]}, {"Env": ["B=2"]}, history=history)
    assert found.blame == Blame(text="/bin/sh -c #(nop)  ENV B=1")


def test_what_layers_explain_is_not_said_again() -> None:
    a, b = image("a", [[member("x", b"1")]]), image("b", [[member("x", b"2")]])
    assert [each.part for each in compare(a, b).differences] == [Part.LAYER]


@pytest.mark.parametrize("value", ["x" * 100_000, "\x1b[31m", "line\nline"])
def test_values_are_shown_as_one_short_line(value: str) -> None:
    (found,) = config({"User": value}, {"User": "y"})
    shown = fields(found)["value"][0]
    assert shown is not None
    assert len(shown) < 300
    assert shown.isprintable()


def test_a_configuration_nested_without_end_is_an_error() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = {"x": deep}
    one, other = image("a", LAYERS, extra={"x": deep}), image("b", LAYERS, extra={"x": {"x": deep}})
    with pytest.raises(RbuildError, match="nested too deeply"):
        compare(one, other)


def test_many_keys_are_counted() -> None:
    many = [f"V{number}=1" for number in range(300)]
    one, other = image("a", LAYERS, config={"Env": many}), image("b", LAYERS)
    (found,) = compare(one, other).differences
    assert len(found.children) == 200
    assert found.omitted == 100
