"""Conditions of `rbuild verify --vary`, in words."""

from __future__ import annotations

from rbuild.verbs.conditions import CONDITIONS
from rbuild.verbs.trial import Effect, Trial, circumstance


def test_every_condition_is_a_part_of_a_sentence() -> None:
    said = [circumstance(one.name) for one in CONDITIONS]
    assert len(set(said)) == len(said)
    assert not [
        words for one, words in zip(CONDITIONS, said, strict=True) if words == f"with another {one.name}"
    ]
    trial = Trial(condition="cpus", effect=Effect.CHANGES, what="1, not 2")
    assert f"as built (A) and {trial.circumstance} (B)" == (
        "as built (A) and with another number of processors (B)"
    )
