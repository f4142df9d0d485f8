"""Caches of package managers that a build leaves in a home folder.

The one rule: what lies in a cache's folder, and the folder itself, goes; what the layers below have there
stays as it is, and what the build deletes there stays deleted. A cache that a symlink of the same layer leads
into (`uv --link-mode symlink`) is no cache but part of the program, and stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rbuild.image.normalise.normaliser import DROP, LayerView, Outcome
from rbuild.image.tar import Entry


class Cache:
    """Drops folders (or files) whose path ends in one of `tails`, with all that is in them."""

    def __init__(self, name: str, *tails: bytes) -> None:
        self.name = name
        alternatives = b"|".join(re.escape(tail) for tail in tails)
        self._folder = re.compile(rb"(?:.*/)?(?:" + alternatives + rb")(?=/|\Z)", re.DOTALL)
        self._quick = tuple({tail.partition(b"/")[0] for tail in tails})

    def normalise(self, entry: Entry, view: LayerView) -> Outcome:
        """Drop what lies in a cache's folder."""
        path = entry.path
        if not any(part in path for part in self._quick) or not self._folder.match(path):
            return None
        return None if view.linked(self._folder) else DROP

    def deletes(self, view: LayerView) -> Iterable[bytes]:
        """Nothing."""
        return ()
