"""One layer held against another one, and runs of layers that are cut in different ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import msgspec

from rbuild.compare.entries import Deletion, Entries, differing_entries
from rbuild.compare.excerpt import first_difference
from rbuild.compare.files import Files, PairSink
from rbuild.compare.lockstep import first_parting, read_wanted
from rbuild.compare.model import Blame, Change, Difference, Part
from rbuild.compare.place import Place
from rbuild.compare.scan import Scan, scan
from rbuild.compare.sidebyside import Scans, scan_both
from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.image.codec import decompressed
from rbuild.image.manifest import Descriptor
from rbuild.image.tar import MAX_ENTRIES, Entry, Kind, refused, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of one of the images; `number` counts from 1."""

    image: str
    number: int
    diff_id: Digest
    blob: Descriptor
    blame: Blame | None
    open: Callable[[], BinaryIO]

    @contextmanager
    def tar(self) -> Iterator[BinaryIO]:
        """The uncompressed layer."""
        with self.open() as file:
            yield decompressed(file, self.blob.media_type)


def compare_layers(name: str, a: Layer, b: Layer, place: Place, pairs: PairSink | None) -> Difference:
    """What differs between two layers with different diff ids; `place` is the whole image's.

    Both are read through once, side by side, and once more only where contents that have to be looked into
    could not be kept. Raises RbuildError for a layer that cannot be read.
    """
    blame = chosen(a.blame, b.blame)
    place = replace(place, blame=blame)
    scans = _both_scanned(a, b)
    entries = differing_entries(scans.a, scans.b)
    if not entries.rows:
        with a.tar() as file_a, b.tar() as file_b:
            return _archive_difference(name, file_a, file_b, scans, place)
    return Difference(
        part=Part.LAYER,
        name=name,
        change=Change.CHANGED,
        blame=blame,
        children=tuple(_differences(entries, a, b, scans, Files(place, scans.a, scans.b, pairs))),
        omitted=entries.omitted,
    )


def chosen(a: Blame | None, b: Blame | None) -> Blame | None:
    """The blame that says more: one with a line before one without, B's before A's."""
    known = [blame for blame in (b, a) if blame is not None]
    return next((blame for blame in known if blame.line is not None), known[0] if known else None)


def same_files(a: Sequence[Layer], b: Sequence[Layer]) -> bool:
    """Whether two runs of layers do the same to what lies below them."""
    return _effect(a) == _effect(b)


def _both_scanned(a: Layer, b: Layer) -> Scans:
    try:
        with a.tar() as file_a, b.tar() as file_b:
            return scan_both(file_a, file_b)
    except RbuildError as error:
        # Which of the two it is shows when each is read for itself; what was read so far is let go before.
        failed = error.with_traceback(None)
    _scanned(a)
    _scanned(b)
    raise failed


def _scanned(layer: Layer) -> Scan:
    try:
        with layer.tar() as file:
            return scan(file)
    except RbuildError as error:
        where = Where(digest=str(layer.blob.digest))
        raise RbuildError(
            replace(problem, what=f"layer {layer.number} of {layer.image}: {problem.what}", where=where)
            for problem in error.problems
        ) from error


def _differences(entries: Entries, a: Layer, b: Layer, scans: Scans, files: Files) -> Iterator[Difference]:
    rows = {row.path: row for row in entries.rows if not isinstance(row, Deletion)}
    looked_into: dict[bytes, Difference] = {}
    wanted = []
    for want in files.wanted(entries.rows):
        at_hand = scans.found(want)
        if at_hand:
            looked_into[want.path] = files.difference(rows[want.path], at_hand)
        else:
            wanted.append(want)
    if wanted:
        with a.tar() as file_a, b.tar() as file_b:
            for found in read_wanted(file_a, file_b, wanted):
                looked_into[found.path] = files.difference(rows[found.path], found)
    for row in entries.rows:
        known = None if isinstance(row, Deletion) else looked_into.get(row.path)
        yield known or files.difference(row)


def _archive_difference(
    name: str, file_a: BinaryIO, file_b: BinaryIO, scans: Scans, place: Place
) -> Difference:
    """Two archives whose entries are equal: their order, or how their headers are written."""
    order_a, order_b = list(scans.a.given), list(scans.b.given)
    if order_a != order_b:
        return place.text(
            name,
            _lines(order_a),
            _lines(order_b),
            part=Part.LAYER,
            format="tar",
            aspect="order",
            note="the entries are equal, and stand in another order",
        )
    parting = first_parting(file_a, file_b)
    if parting is None:
        note = "the archives are equal, although the configurations give them different diff ids"
        return place.leaf(name, part=Part.LAYER, format="tar", note=note)
    at = parting.start + (first_difference(parting.a, parting.b) or 0)
    entry = next((each for each in scans.a.given.values() if each.offset + each.size > at), None)
    what = f"in the header of {shown(entry.path)}" if entry else "after the last entry"
    return place.binary(
        name,
        parting.a,
        parting.b,
        part=Part.LAYER,
        format="tar",
        aspect="attributes",
        start=parting.start,
        more=True,
        note=f"the entries are equal, and the archives are written differently, first {what}",
    )


def _lines(paths: list[bytes]) -> bytes:
    return "".join(f"{shown(path)}\n" for path in paths).encode("utf-8", "backslashreplace")


def _effect(layers: Sequence[Layer]) -> tuple[dict[bytes, tuple[Entry, bytes]], set[tuple[bytes, bool]]]:
    """What a run of layers gives, and which paths below it hides; True: only what lies in them."""
    given: dict[bytes, tuple[Entry, bytes]] = {}
    hidden: set[tuple[bytes, bool]] = set()
    for layer in layers:
        scanned = _scanned(layer)
        changes = scanned.changes
        given = {path: node for path, node in given.items() if not changes.hides(path)}
        hidden |= {(path, False) for path in changes.deleted} | {(path, True) for path in changes.opaque}
        for path, entry in changes.given.items():
            content = scanned.contents.get(entry.offset) if entry.kind is Kind.FILE else None
            given[path] = (msgspec.structs.replace(entry, offset=0), content.sha256 if content else b"")
            if entry.kind is not Kind.DIRECTORY:
                hidden.add((path, False))
        if len(given) + len(hidden) > 2 * MAX_ENTRIES:
            raise refused(b"", "the layers hold more files than rbuild reads")
    return given, hidden
