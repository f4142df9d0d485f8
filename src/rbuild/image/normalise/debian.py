"""What apt, dpkg and the tools that their maintainer scripts call leave behind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

from rbuild.image.index import excerpt_size
from rbuild.image.normalise.normaliser import DROP, Content, LayerView, Outcome
from rbuild.image.tar import Entry, Kind

_DAY = 86_400
_MACHINE_ID = 64  # bytes that are read of one; it has 33
_SHADOW = b"etc/shadow"


class LeftBehind:
    """Drops what matches `pattern`: logs, caches and backups that nothing reads to behave differently."""

    def __init__(self, name: str, pattern: bytes) -> None:
        self.name = name
        self._pattern = re.compile(pattern, re.DOTALL)

    def normalise(self, entry: Entry, view: LayerView) -> Outcome:
        """Drop what matches."""
        return DROP if self._pattern.fullmatch(entry.path) else None

    def deletes(self, view: LayerView) -> Iterable[bytes]:
        """Nothing."""
        return ()


class ShadowDay:
    """The day of the last password change, of accounts that the layer made or changed: the epoch's day.

    The third field of shadow(5). Lines that the layers below have are left alone, as are the empty field
    (no ageing) and 0 (change it at the next login), which have a meaning. An epoch on day 0 gives the empty
    field, as useradd does under SOURCE_DATE_EPOCH=0.
    """

    name = "shadow-day"

    def normalise(self, entry: Entry, view: LayerView) -> Outcome:
        """Rewrite the day in new lines of /etc/shadow and its backup."""
        limit = excerpt_size(entry.path)
        if entry.path not in (_SHADOW, _SHADOW + b"-") or entry.kind is not Kind.FILE or entry.size > limit:
            return None
        known: set[bytes] = set()
        for path in (_SHADOW, _SHADOW + b"-"):
            below = view.lower.get(path)
            known.update(below.excerpt.split(b"\n") if below else ())
        day = view.epoch // _DAY
        today = b"%d" % day if day else b""
        lines = view.read(entry, entry.size).split(b"\n")
        data = b"\n".join(line if line in known else _dated(line, today) for line in lines)
        return Content(data)

    def deletes(self, view: LayerView) -> Iterable[bytes]:
        """Nothing."""
        return ()


class MachineId:
    """An identity that a maintainer script drew: empty, so that each start draws its own (machine-id(5))."""

    name = "machine-id"

    def normalise(self, entry: Entry, view: LayerView) -> Outcome:
        """Empty the file, unless the layers below have the same identity."""
        if entry.path not in (b"etc/machine-id", b"var/lib/dbus/machine-id") or entry.kind is not Kind.FILE:
            return None
        below = view.lower.get(entry.path)
        known = below is not None and below.sha256 == sha256(view.read(entry, _MACHINE_ID)).digest()
        return None if known else Content(b"")

    def deletes(self, view: LayerView) -> Iterable[bytes]:
        """Nothing."""
        return ()


def _dated(line: bytes, today: bytes) -> bytes:
    fields = line.split(b":")
    if len(fields) == 9 and fields[2].isdigit() and int(fields[2]):
        fields[2] = today
    return b":".join(fields)
