"""What the documents list is what there is."""

from __future__ import annotations

from pathlib import Path

from rbuild.compare.causes import CATALOGUE

DOCS = Path(__file__).parents[2] / "docs"


def test_every_cause_is_listed_in_the_order_of_asking() -> None:
    section = (DOCS / "reproducibility.md").read_text().split("\n## Causes\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{cause.id}` | {cause.title} | {cause.explanation} |" for cause in CATALOGUE]
