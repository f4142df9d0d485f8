"""Which entries of two layers differ: what only one of them has, what both have and say differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rbuild.compare.entryfields import differing_fields
from rbuild.compare.model import Change, Field
from rbuild.compare.scan import Scan
from rbuild.image.changes import parents
from rbuild.image.tar import Entry, Kind

MAX_LISTED = 2_000
"""Differences that are listed of one layer."""

_MAX_NAMES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """An entry that both layers have, with other properties or another content."""

    path: bytes
    a: Entry
    b: Entry
    fields: tuple[Field, ...]
    content: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OneSided:
    """An entry that only one layer has; of a folder, with the number of entries below and some of them.

    `others` are the paths in the same folder that only the other layer has.
    """

    path: bytes
    entry: Entry
    change: Change
    count: int = 0
    names: tuple[bytes, ...] = ()
    others: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A path of the layers below that only one layer deletes; `opaque`: all that lies in it, not itself."""

    path: bytes
    change: Change
    opaque: bool


Row = Both | OneSided | Deletion


@dataclass(frozen=True, slots=True)
class Entries:
    """What differs, in byte order of the paths, and how many rows more there are."""

    rows: tuple[Row, ...]
    omitted: int


def differing_entries(a: Scan, b: Scan) -> Entries:
    """Hold the entries of two layers against each other.

    A folder that only one layer has is one row with all that lies in it. Of more than MAX_LISTED rows, those
    that differ in more than their properties are listed first.
    """
    rows: list[Row] = [*_both(a, b), *_one_sided(a, b), *_deletions(a, b)]
    if len(rows) > MAX_LISTED:
        rows.sort(key=lambda row: isinstance(row, Both) and not row.content)
    listed = sorted(rows[:MAX_LISTED], key=lambda row: row.path)
    return Entries(tuple(listed), len(rows) - len(listed))


def _both(a: Scan, b: Scan) -> Iterator[Both]:
    for path, one in a.given.items():
        other = b.given.get(path)
        if other is None:
            continue
        fields = differing_fields(one, other)
        content = (
            one.kind is Kind.FILE
            and other.kind is Kind.FILE
            and a.contents[one.offset].sha256 != b.contents[other.offset].sha256
        )
        if fields or content:
            yield Both(path=path, a=one, b=other, fields=fields, content=content)


def _one_sided(a: Scan, b: Scan) -> Iterator[OneSided]:
    only_a = [path for path in a.given if path not in b.given]
    only_b = [path for path in b.given if path not in a.given]
    in_folder_a, in_folder_b = _by_folder(only_a), _by_folder(only_b)
    yield from _grouped(only_a, a, b, Change.REMOVED, in_folder_b)
    yield from _grouped(only_b, b, a, Change.ADDED, in_folder_a)


def _by_folder(paths: list[bytes]) -> dict[bytes, frozenset[bytes]]:
    folders: dict[bytes, set[bytes]] = {}
    for path in paths:
        folders.setdefault(path.rpartition(b"/")[0], set()).add(path)
    return {folder: frozenset(members) for folder, members in folders.items()}


def _grouped(
    paths: list[bytes], own: Scan, other: Scan, change: Change, others: Mapping[bytes, frozenset[bytes]]
) -> Iterator[OneSided]:
    whole = {
        path for path in paths if own.given[path].kind is Kind.DIRECTORY and path not in other.changes.folders
    }
    below: dict[bytes, list[bytes]] = {}
    topmost = []
    for path in paths:
        # The highest folder above that only this side has, with all that lies in it.
        top = None
        for parent in parents(path):
            if parent in whole:
                top = parent
        if top is None:
            topmost.append(path)
        else:
            below.setdefault(top, []).append(path)
    for path in topmost:
        inside = below.get(path, ())
        yield OneSided(
            path=path,
            entry=own.given[path],
            change=change,
            count=len(inside),
            names=tuple(sorted(inside)[:_MAX_NAMES]),
            others=others.get(path.rpartition(b"/")[0], frozenset()),
        )


def _deletions(a: Scan, b: Scan) -> Iterator[Deletion]:
    for opaque, paths_a, paths_b in (
        (False, a.changes.deleted, b.changes.deleted),
        (True, a.changes.opaque, b.changes.opaque),
    ):
        for path in paths_a ^ paths_b:
            change = Change.REMOVED if path in paths_a else Change.ADDED
            yield Deletion(path=path, change=change, opaque=opaque)
