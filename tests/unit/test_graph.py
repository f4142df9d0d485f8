import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbuild.errors import RbuildError
from rbuild.graph import StageGraph, find_cycle

IRIS = {"infer": ["train"], "train": ["preprocess"], "preprocess": [], "report": ["preprocess"]}


def test_order_puts_needs_first_and_else_keeps_the_order_of_the_file() -> None:
    graph = StageGraph(IRIS)
    assert graph.levels == (("preprocess",), ("train", "report"), ("infer",))
    assert graph.order == ("preprocess", "train", "report", "infer")
    assert StageGraph({"c": [], "a": [], "b": []}).order == ("c", "a", "b")


def test_closure_adds_what_the_stages_need_and_nothing_else() -> None:
    graph = StageGraph(IRIS)
    assert graph.closure(["infer"]) == ("preprocess", "train", "infer")
    assert graph.closure(["report", "preprocess"]) == ("preprocess", "report")
    assert graph.closure([]) == ()
    assert graph.all_needs("infer") == {"train", "preprocess"}
    assert graph.needs("infer") == ("train",)


def test_ready_are_those_whose_needs_are_done() -> None:
    graph = StageGraph(IRIS)
    assert graph.ready(IRIS, done=()) == ("preprocess",)
    assert graph.ready(IRIS, done={"preprocess"}) == ("train", "report")
    assert graph.ready(["infer"], done=()) == ("infer",)
    assert graph.ready(IRIS, done=set(IRIS)) == ()


def test_an_unknown_stage_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(RbuildError) as caught:
        StageGraph(IRIS).closure(["trian", "zzz", "infer"])
    first, second = caught.value.problems
    assert first.what == "there is no stage 'trian'"
    assert first.hint == "did you mean 'train'?"
    assert second.hint == "the stages are: infer, train, preprocess, report"


def test_a_cycle_is_told_in_the_direction_of_the_needs() -> None:
    assert find_cycle({"a": ["b"], "b": ["c"], "c": ["a"], "d": []}) in (
        ("a", "b", "c", "a"),
        ("b", "c", "a", "b"),
        ("c", "a", "b", "c"),
    )
    assert find_cycle({"a": ["a"]}) == ("a", "a")
    assert find_cycle(IRIS) == ()
    with pytest.raises(RbuildError, match="need each other: a → a"):
        StageGraph({"a": ["a"]})


def test_a_long_chain_needs_no_recursion() -> None:
    count = 5000
    needs = {str(at): [str(at + 1)] for at in range(count)} | {str(count): []}
    assert find_cycle(needs | {str(count): ["0"]})[0] == find_cycle(needs | {str(count): ["0"]})[-1]


@given(st.lists(st.lists(st.integers(0, 20)), max_size=20))
def test_every_stage_comes_after_its_needs(edges: list[list[int]]) -> None:
    needs = {str(at): sorted({str(to) for to in tos if to < at}) for at, tos in enumerate(edges)}
    graph = StageGraph(dict(reversed(needs.items())))
    assert sorted(graph.order) == sorted(needs)
    for stage, wanted in needs.items():
        assert all(graph.order.index(need) < graph.order.index(stage) for need in wanted)
