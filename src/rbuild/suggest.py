"""What somebody may have meant by a word that nothing is called."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

# A comparison takes the square of the length.
_LONGEST = 64
_MOST = 100_000  # Debian has 64,000 packages


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """A hint that names the choice nearest to `word`, or None where none is near."""
    import difflib  # only ever needed on the way to an error

    short = (choice for choice in islice(choices, _MOST) if len(choice) <= _LONGEST)
    near = difflib.get_close_matches(word[:_LONGEST], short, n=1)
    return f"did you mean {near[0]!r}?" if near else None
