"""Fields of the form `Name: value`, as dpkg's status and Python's core metadata have them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rbuild.sbom.package import Unreadable

_FIELD = re.compile(r"([!-9;-~]+):[ \t]*(.*)\Z")
_BLANK = re.compile(rb"\n[ \t\r]*\n")
_MAX_FIELDS = 10_000


def stanzas(data: bytes) -> Iterator[list[tuple[str, str]]]:
    """The stanzas of a file, which blank lines divide: for each its fields, with names in lower case.

    A line that begins with white space goes on with the field above it. Bytes that are not UTF-8 become the
    replacement character. Raises Unreadable for a line that is neither (deb822(5), RFC 822).
    """
    for block in _BLANK.split(data):
        if block.strip():
            yield fields(block)


def fields(block: bytes) -> list[tuple[str, str]]:
    """The fields of one stanza; see `stanzas`."""
    found: list[tuple[str, str]] = []
    more: list[str] = []
    for line in block.decode(errors="replace").split("\n"):
        line = line.rstrip("\r")
        if line[:1] in (" ", "\t"):
            more.append(line.strip())
            continue
        if more and found:
            name, value = found[-1]
            found[-1] = name, "\n".join([value, *more])
        more = []
        if not line:
            continue
        match = _FIELD.match(line)
        if match is None or len(found) >= _MAX_FIELDS:
            raise Unreadable(f"not a field: {line[:80]!r}")
        found.append((match[1].lower(), match[2].strip()))
    if more and found:
        name, value = found[-1]
        found[-1] = name, "\n".join([value, *more])
    return found
