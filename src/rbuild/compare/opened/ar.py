"""Archives of ar(1): Debian packages (deb(5)) and static libraries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from rbuild.compare.opened.archives import MAX_MEMBERS, Member, compared
from rbuild.compare.place import Inner, Opened, Place, Unopened

MAGIC = b"!<arch>\n"
_HEADER = 60
_END = b"`\n"


def open_ar(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """Order, times, attributes and contents of the members."""
    return compared(place, "ar", _members(a), _members(b), inner)


def _members(data: bytes) -> dict[str, Member]:
    found: dict[str, Member] = {}
    seen: dict[bytes, int] = {}
    long_names = b""
    at = len(MAGIC)
    while at < len(data):
        header = data[at : at + _HEADER]
        if len(header) < _HEADER or header[58:] != _END:
            raise Unopened("a header of a member is broken")
        size = _number(header[48:58])
        content = data[at + _HEADER : at + _HEADER + size]
        if len(content) < size:
            raise Unopened("it ends too early")
        name, content = _named(header[:16].rstrip(b" "), content, long_names)
        if name == b"//":
            long_names = content
        # A library may hold several members of one name.
        count = seen[name] = seen.get(name, 0) + 1
        text = name.decode("utf-8", "backslashreplace") + (f" ({count})" if count > 1 else "")
        owner = f"{_number(header[28:34])}:{_number(header[34:40])}"
        attributes = {"owner": owner, "mode": f"{_number(header[40:48], 8):o}"}
        found[text] = Member(_time(header[16:28]), attributes, content, _reader(content))
        if len(found) > MAX_MEMBERS:
            raise Unopened(f"it has more than {MAX_MEMBERS} members")
        at += _HEADER + size + size % 2
    return found


def _named(name: bytes, content: bytes, long_names: bytes) -> tuple[bytes, bytes]:
    """A member's name, and its content without what of it is the name: GNU and BSD write long ones so."""
    if name.startswith(b"#1/") and name[3:].isdigit():
        size = int(name[3:])
        return content[:size].rstrip(b"\0"), content[size:]
    if name.startswith(b"/") and name[1:].isdigit():
        start = int(name[1:])
        return long_names[start : start + 4096].partition(b"/\n")[0], content
    return (name.removesuffix(b"/") or name) if name != b"//" else name, content


def _number(field: bytes, base: int = 10) -> int:
    text = field.strip(b" ")
    try:
        # Only digits: int() takes signs and underscores as well. Nothing is 0, as GNU's tables have it.
        return int(text, base) if text.isdigit() else 0 if not text else _broken()
    except ValueError:
        return _broken()


def _broken() -> int:
    raise Unopened("a header of a member is broken")


def _time(field: bytes) -> str:
    seconds = _number(field)  # of twelve digits at most
    if seconds >= 1 << 37:
        return str(seconds)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _reader(content: bytes) -> Callable[[], bytes]:
    return lambda: content
