"""Covering arrays: few rows in which every pair of values of two axes occurs together somewhere.

Two conditions that each do no harm may do so together; three that do so only together are rare (D. R. Kuhn
et al., "Software Fault Interactions and Implications for Software Testing", 2004). The full product of all
axes would be thousands of rows; its pairs fit into a few.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

Row = dict[str, str]
Pair = frozenset[tuple[str, str]]


def cover(given: Sequence[Mapping[str, str]], free: Mapping[str, Sequence[str]]) -> list[Row]:
    """Complete the rows of `given` by values of the `free` axes, and add rows until every pair occurs.

    `given` rows all have the same axes, other than the free ones; their combinations stay as they are, and an
    added row has those of one of them. A pair is of two values of free axes, or of one of those and one that
    occurs in `given`. The same arguments give the same rows. Raises ValueError if `given` is empty.
    """
    if not given:
        raise ValueError("no rows to complete")
    missing = dict.fromkeys(_all_pairs(given, free))  # in order, unlike a set
    rows: list[Row] = []
    for row in given:
        rows.append(_completed(row, free, missing, turn=len(rows)))
    while missing:
        wanted = dict(next(iter(missing)))
        fixed = next(
            row for row in given if all(row.get(axis, wanted[axis]) == wanted[axis] for axis in wanted)
        )
        rows.append(_completed({**fixed, **wanted}, free, missing, turn=len(rows)))
    return rows


def pairs_of(row: Mapping[str, str], free: Mapping[str, Sequence[str]]) -> Iterator[Pair]:
    """The pairs that a row covers: those of which at least one value is of a free axis."""
    for one, other in combinations(row.items(), 2):
        if one[0] in free or other[0] in free:
            yield frozenset((one, other))


def _all_pairs(given: Sequence[Mapping[str, str]], free: Mapping[str, Sequence[str]]) -> Iterator[Pair]:
    fixed = {axis: list(dict.fromkeys(row[axis] for row in given)) for axis in given[0]}
    for (one, ones), (other, others) in combinations({**fixed, **free}.items(), 2):
        if one in free or other in free:
            for value in ones:
                for another in others:
                    yield frozenset(((one, value), (other, another)))


def _completed(
    row: Mapping[str, str], free: Mapping[str, Sequence[str]], missing: dict[Pair, None], *, turn: int
) -> Row:
    """Choose, axis by axis, the value that covers most of what is missing, and take that out of `missing`.

    Where several do, `turn` decides, so that no value comes more often than it must.
    """
    chosen: Row = dict(row)
    for axis, values in free.items():
        if axis in chosen:
            continue
        turned = [values[(turn + number) % len(values)] for number in range(len(values))]
        chosen[axis] = max(
            turned,
            key=lambda value: sum(frozenset(((axis, value), other)) in missing for other in chosen.items()),
        )
    for pair in pairs_of(chosen, free):
        missing.pop(pair, None)
    return chosen
