"""The differences that rows of differing entries make, once the contents that they need are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import BinaryIO

from rbuild.compare import model
from rbuild.compare.budget import MAX_OPENED
from rbuild.compare.contents import compare_contents
from rbuild.compare.entries import Both, Deletion, OneSided, Row
from rbuild.compare.entryfields import entry_fields
from rbuild.compare.evidence import WINDOW
from rbuild.compare.lockstep import Found, Want
from rbuild.compare.model import Change, Detail, Difference, Field, Part
from rbuild.compare.place import Place, changed
from rbuild.compare.scan import Scan, Window, parting
from rbuild.image.changes import whiteout
from rbuild.image.tar import Kind, shown

PairSink = Callable[[bytes, BinaryIO, BinaryIO], None]
"""Takes the path of an entry whose content differs, and both contents, open at their start.

The files are valid until it returns. It is called once for each listed entry of which both contents have at
most `MAX_OPENED` bytes.
"""

_WHOLE = Window(0, MAX_OPENED)
_START = Window(0, WINDOW)
_NO_CONTENT = Found(b"", None, None)


@dataclass(frozen=True, slots=True)
class Files:
    """Makes differences of rows. `place` is the layer's: budget, blame and facts."""

    place: Place
    a: Scan
    b: Scan
    pairs: PairSink | None

    def wanted(self, rows: Iterable[Row]) -> list[Want]:
        """The contents that the rows need to be looked into."""
        wants = []
        for row in rows:
            if isinstance(row, Both) and row.content:
                window = self._window(row)
                wants.append(Want(row.path, (row.a, window), (row.b, window)))
            elif isinstance(row, OneSided) and row.entry.kind is Kind.FILE:
                start = (row.entry, _START)
                removed = row.change is Change.REMOVED
                wants.append(Want(row.path, start if removed else None, None if removed else start))
        return wants

    def difference(self, row: Row, found: Found = _NO_CONTENT) -> Difference:
        """A row as a difference; `found` has its contents, where they were wanted."""
        if isinstance(row, Deletion):
            return self._deletion(row)
        if isinstance(row, OneSided):
            return self._one_sided(row, found.a or found.b or b"")
        if not row.content:
            return self._metadata(row, shown(row.path), Part.ENTRY)
        return self._changed(row, found)

    def _window(self, row: Both) -> Window:
        if max(row.a.size, row.b.size) <= MAX_OPENED:
            return _WHOLE
        return parting(self.a.contents[row.a.offset], self.b.contents[row.b.offset])

    def _place(self, row: Row) -> Place:
        hash_a = hash_b = b""
        if not isinstance(row, Deletion):
            entry_a, entry_b = self.a.given.get(row.path), self.b.given.get(row.path)
            hash_a = self.a.contents[entry_a.offset].sha256 if entry_a and entry_a.kind is Kind.FILE else b""
            hash_b = self.b.contents[entry_b.offset].sha256 if entry_b and entry_b.kind is Kind.FILE else b""
        return replace(self.place, path=row.path, sha256_a=hash_a, sha256_b=hash_b)

    def _deletion(self, row: Deletion) -> Difference:
        what = f"all that the layers below have in {shown(row.path)}" if row.opaque else shown(row.path)
        name = row.path + b"/.wh..wh..opq" if row.opaque else whiteout(row.path)
        return self._place(row).leaf(
            shown(name.lstrip(b"/")),
            part=Part.ENTRY,
            format="entry",
            aspect="opaque" if row.opaque else "whiteout",
            change=row.change,
            note=f"deletes {what}",
        )

    def _one_sided(self, row: OneSided, content: bytes) -> Difference:
        removed = row.change is Change.REMOVED
        values = entry_fields(row.entry)
        if row.entry.kind is Kind.FILE:
            values["size"] = str(row.entry.size)
        if row.count:
            values["entries"] = str(row.count)
        fields = tuple(
            Field(name=name, a=value if removed else None, b=None if removed else value)
            for name, value in values.items()
        )
        detail = None
        if row.names:
            lines = [shown(name) for name in row.names]
            detail = Detail(
                form="text",
                rows=tuple(
                    model.Row(a=line if removed else None, b=None if removed else line) for line in lines
                ),
                omitted=row.count > len(lines),
            )
        return self._place(row).leaf(
            shown(row.path),
            part=Part.ENTRY,
            format="entry",
            change=row.change,
            fields=fields,
            a=content if removed else b"",
            b=b"" if removed else content,
            detail=detail,
            others=row.others,
            omitted=row.count,
        )

    def _metadata(self, row: Both, name: str, part: Part) -> Difference:
        return self._place(row).leaf(name, part=part, format="metadata", fields=row.fields)

    def _changed(self, row: Both, found: Found) -> Difference:
        name = shown(row.path)
        sizes = changed("size", row.a.size, row.b.size)
        content = self._content(row, name, found)
        if not row.fields:
            return replace(content, fields=sizes + content.fields)
        children = content.children or (replace(content, part=Part.MEMBER, name="content"),)
        return Difference(
            part=Part.ENTRY,
            name=name,
            change=Change.CHANGED,
            fields=sizes,
            blame=self.place.blame,
            children=(self._metadata(row, "metadata", Part.MEMBER), *children),
            omitted=content.omitted if content.children else 0,
        )

    def _content(self, row: Both, name: str, found: Found) -> Difference:
        place = self._place(row)
        if found.a is None or found.b is None:
            note = "could not look inside: the layers hold their entries in too different an order"
            return place.leaf(name, part=Part.ENTRY, format="binary", note=note)
        window = self._window(row)
        if window is _WHOLE:
            if self.pairs:
                self.pairs(row.path, BytesIO(found.a), BytesIO(found.b))
            return compare_contents(place, name, found.a, found.b, part=Part.ENTRY)
        note = f"could not look inside: it has more than {MAX_OPENED >> 20} MiB"
        return place.binary(name, found.a, found.b, part=Part.ENTRY, start=window.start, more=True, note=note)
