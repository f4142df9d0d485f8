"""What the matrix makes of the runs of a row: which of them is a failure, and of what kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axes import Row
from fixtures import Project
from outcome import Outcome, read_journal, write_journal
from run import judge

LOCKED = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"
PROJECT = Project(
    name="scenarios",
    podman=(4,),
    stages={"links": LOCKED},
    blobs=frozenset(),
    bundle=Path("bundle"),
    store=Path("store"),
    env={},
)


def run(stage: dict[str, Any], *, cached: int = 0) -> dict[str, Any]:
    whole = {"stage": "links", "outcome": "failed", "digest": None, "error": None, **stage}
    return {"stages": [whole], "said": "", "cached": cached}


def judged(made: dict[str, Any], *, able: bool = True, warm: bool = False) -> Outcome:
    outcome = Outcome(Row.parse(""))
    judge(outcome, PROJECT, made, able=able, warm=warm)
    return outcome


BUILT = {"outcome": "built", "digest": LOCKED}
DIFFERENT = {"error": {"message": f"links came out as {OTHER}, locked is {LOCKED}"}}
REFUSED = {"error": {"message": "a here-document, which Podman 4.3.1 does not know"}}


def test_a_digest_as_locked_is_a_build_and_nothing_else() -> None:
    assert judged(run(BUILT)) == Outcome(Row.parse(""), builds=1)


def test_an_image_that_came_out_otherwise_differs() -> None:
    assert judged(run(DIFFERENT)) == Outcome(Row.parse(""), builds=1, differing=["scenarios/links"])


@pytest.mark.parametrize(
    "stage", [{"outcome": "built", "digest": OTHER}, {"outcome": "unchanged", "digest": LOCKED}, {}]
)
def test_whatever_is_not_the_locked_digest_built_is_a_failure(stage: dict[str, Any]) -> None:
    outcome = judged(run(stage))
    assert not outcome.differing
    assert [one.partition(":")[0] for one in outcome.failures] == ["scenarios/links"]


def test_a_run_without_stages_is_a_failure_with_what_it_said() -> None:
    outcome = judged({"stages": [], "said": "error: no space left", "cached": 0})
    assert outcome.failures == ["scenarios: error: no space left"]


def test_a_build_upon_a_warm_cache_has_to_use_it() -> None:
    assert judged(run(BUILT, cached=3), warm=True) == Outcome(Row.parse(""), builds=1, cached=3)
    (failure,) = judged(run(BUILT), warm=True).failures
    assert "no step from Podman's cache" in failure


def test_a_podman_without_the_syntax_has_to_refuse_clearly() -> None:
    assert judged(run(REFUSED), able=False) == Outcome(Row.parse(""), refused=1)
    for stage in (BUILT, {"error": {"message": "exit status 125"}}):
        (failure,) = judged(run(stage), able=False).failures
        assert "no clear error" in failure
    assert judged(run(REFUSED)).failures


def test_the_journal_gives_back_what_was_written(tmp_path: Path) -> None:
    outcome = Outcome(Row.parse("umask=077"), builds=23, refused=1, cached=4, seconds=1.5)
    write_journal(tmp_path / "journal" / "x.jsonl", outcome)
    assert read_journal(tmp_path / "journal" / "x.jsonl") == {str(outcome.row): outcome}
