"""What a tar entry says of itself, as text for people."""

from __future__ import annotations

from datetime import UTC, datetime

from rbuild.compare.model import Field
from rbuild.compare.place import changed
from rbuild.image.tar import Entry, Kind, shown


def entry_fields(entry: Entry) -> dict[str, str]:
    """All that an entry says but for its path and size; `link` and `device` where the kind has them."""
    fields = {
        "kind": entry.kind.value,
        "mode": f"{entry.mode:04o}",
        "owner": f"{entry.uid}:{entry.gid}",
        "mtime": when(entry.mtime),
    }
    if entry.kind is Kind.SYMLINK:
        fields["link"] = shown(entry.link)[1:]
    elif entry.kind is Kind.HARDLINK:
        fields["link"] = shown(entry.link)
    elif entry.kind in (Kind.CHAR, Kind.BLOCK):
        fields["device"] = "{},{}".format(*entry.device)
    for name, value in entry.xattrs:
        fields[shown(name)[1:]] = _xattr(value)
    return fields


def differing_fields(a: Entry, b: Entry) -> tuple[Field, ...]:
    """What two entries say differently of themselves."""
    if (a.kind, a.mode, a.uid, a.gid, a.mtime, a.link, a.device, a.xattrs) == (
        b.kind,
        b.mode,
        b.uid,
        b.gid,
        b.mtime,
        b.link,
        b.device,
        b.xattrs,
    ):
        return ()
    fields_a, fields_b = entry_fields(a), entry_fields(b)
    names = [*fields_a, *(name for name in fields_b if name not in fields_a)]
    return tuple(field for name in names for field in changed(name, fields_a.get(name), fields_b.get(name)))


def when(seconds: int) -> str:
    """A time as ISO 8601 in UTC; the number of seconds where no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _xattr(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()
