"""Evidence of a difference, as tests of causes make it."""

from __future__ import annotations

from dataclasses import replace

from rbuild.compare.evidence import Evidence
from rbuild.compare.excerpt import first_difference
from rbuild.compare.model import Change, Field


def binary(a: bytes, b: bytes, path: str = "srv/file", **more: object) -> Evidence:
    first = first_difference(a, b) or 0
    return Evidence(path=path.encode(), a=a, b=b, first=first, **more)  # type: ignore[arg-type]


def swapped(evidence: Evidence) -> Evidence:
    other = {Change.ADDED: Change.REMOVED, Change.REMOVED: Change.ADDED}
    facts = evidence.facts
    return replace(
        evidence,
        a=evidence.b,
        b=evidence.a,
        sha256_a=evidence.sha256_b,
        sha256_b=evidence.sha256_a,
        change=other.get(evidence.change, evidence.change),
        fields=tuple(Field(name=field.name, a=field.b, b=field.a) for field in evidence.fields),
        facts=replace(facts, responses_a=facts.responses_b, responses_b=facts.responses_a),
    )
