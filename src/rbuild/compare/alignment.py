"""Two sequences side by side: what stands in both in the same order."""

from __future__ import annotations

from collections.abc import Sequence


def common(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """A longest common subsequence, as pairs of indices; the same one, swapped, for `b` and `a`.

    Takes time and memory in proportion to the product of the lengths.
    """
    lengths = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in reversed(range(len(a))):
        row, below = lengths[i], lengths[i + 1]
        for j in reversed(range(len(b))):
            row[j] = below[j + 1] + 1 if a[i] == b[j] else max(below[j], row[j + 1])
    pairs = []
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
            continue
        without_a, without_b = lengths[i + 1][j], lengths[i][j + 1]
        if without_a > without_b or (without_a == without_b and a[i] > b[j]):
            i += 1
        else:
            j += 1
    return pairs


def aligned(
    a: Sequence[str], b: Sequence[str], texts_a: Sequence[str], texts_b: Sequence[str]
) -> list[tuple[int | None, int | None]]:
    """Rows of indices: what is equal beside each other, between that what has equal texts, then in order.

    None: the side has nothing beside it.
    """
    rows: list[tuple[int | None, int | None]] = []
    for run_a, run_b, anchor in _runs(common(a, b), range(len(a)), range(len(b))):
        texts = common([texts_a[i] for i in run_a], [texts_b[j] for j in run_b])
        for left, right, same in _runs([(run_a[i], run_b[j]) for i, j in texts], run_a, run_b):
            most = max(len(left), len(right))
            rows += [
                (left[at] if at < len(left) else None, right[at] if at < len(right) else None)
                for at in range(most)
            ]
            if same:
                rows.append(same)
        if anchor:
            rows.append(anchor)
    return rows


def _runs(
    anchors: Sequence[tuple[int, int]], a: range, b: range
) -> list[tuple[range, range, tuple[int, int] | None]]:
    """What lies before each anchor on either side, with the anchor; at last what lies after all of them."""
    runs: list[tuple[range, range, tuple[int, int] | None]] = []
    at_a, at_b = a.start, b.start
    for i, j in anchors:
        runs.append((range(at_a, i), range(at_b, j), (i, j)))
        at_a, at_b = i + 1, j + 1
    runs.append((range(at_a, a.stop), range(at_b, b.stop), None))
    return runs
