"""What formats of files keep beside their content: times, names, ids, pages.

Each rule takes the evidence, and gives what showed its cause as a sentence, or None.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from rbuild.compare.causes.extrafields import UNIX_TIME, extra_fields
from rbuild.compare.causes.wording import said, values
from rbuild.compare.evidence import Evidence
from rbuild.compare.model import Change

_MAGICS = (
    (0, b"SQLite format 3\0", "an SQLite"),
    (0, b"\xce\x9a\x57\x13", "a GDBM"),
    (0, b"\xcf\x9a\x57\x13", "a GDBM"),
    (0, b"\xcd\x9a\x57\x13", "a GDBM"),
    (12, b"\x61\x15\x06\x00", "a Berkeley DB hash"),
    (12, b"\x62\x31\x05\x00", "a Berkeley DB btree"),
    (16, b"\xde\xc0\xef\xbe", "an LMDB"),
)
_COUNTERS = {"change counter", "version valid for", "pages", "free pages", "schema cookie"}

_STRING_SECTIONS = (".debug_str", ".debug_line_str")
_ABSOLUTE = re.compile(rb"/[^\0\n]{1,4096}")
_ID_SECTIONS = {".note.gnu.build-id": "the build id", ".note.go.buildid": "Go's build id"}


def bytecode(evidence: Evidence) -> str | None:
    """The time of the source in a .pyc file's header, and nothing else of it."""
    a, b = evidence.a, evidence.b
    if evidence.format != "pyc" or evidence.part != "header" or min(len(a), len(b)) < 16:
        return None
    # PEP 552: magic, flags, time and size of the source. Flags: it holds a hash in their place.
    if a[:8] != b[:8] or a[4:8] != bytes(4) or a[8:12] == b[8:12] or a[12:16] != b[12:16]:
        return None
    return f"the header says that the source is of {_when(a[8:12])} and {_when(b[8:12])}"


def gzip_header(evidence: Evidence) -> str | None:
    """Whatever stands in gzip's header."""
    if evidence.format != "gzip" or evidence.part != "header":
        return None
    if evidence.fields:
        return f"in the header, {'; '.join(map(said, evidence.fields[:3]))}"
    return "the headers differ"


def png_time(evidence: Evidence) -> str | None:
    """The chunk tIME of a picture."""
    if evidence.format != "png" or evidence.part != "tIME" or evidence.change is not Change.CHANGED:
        return None
    if len(evidence.a) != 7 or len(evidence.b) != 7:
        return None
    # PNG specification, 11.3.6.1: year, month, day, hour, minute, second.
    times = (
        f"{int.from_bytes(data[:2], 'big')}-{data[2]:02}-{data[3]:02} {data[4]:02}:{data[5]:02}:{data[6]:02}"
        for data in (evidence.a, evidence.b)
    )
    return f"the picture was changed last at {' and '.join(times)}"


def archive_member_times(evidence: Evidence) -> str | None:
    """Times of members of an archive."""
    if evidence.format not in ("tar", "zip", "ar") or not evidence.fields:
        return None
    first = evidence.fields[0]
    more = f", and {len(evidence.fields) - 1} more" if len(evidence.fields) > 1 else ""
    if evidence.part == "time":
        return f"the time of {said(first)}{more}"
    if evidence.part == "attributes" and all(
        field.name.endswith(": extra") and UNIX_TIME in extra_fields(field.a or "", field.b or "")
        for field in evidence.fields
    ):
        return f"the time in an extra field: {first.name.removesuffix(': extra')}{more}"
    return None


def database_pages(evidence: Evidence) -> str | None:
    """Counters of a database's header, or pages that hold the same rows."""
    if evidence.format == "sqlite" and evidence.part == "pages":
        return "the tables hold the same rows, and lie in the file in another way"
    if evidence.format == "sqlite" and evidence.part == "header":
        own = [field for field in evidence.fields if field.name in _COUNTERS]
        return f"in the header, {said(own[0])}" if own and len(own) == len(evidence.fields) else None
    if evidence.format != "binary" or evidence.start:
        return None
    for at, magic, kind in _MAGICS:
        if evidence.a.startswith(magic, at) and evidence.b.startswith(magic, at):
            first = evidence.first
            return f"it is {kind} database, whose pages differ from offset {first:#x} on"
    return None


def build_id(evidence: Evidence) -> str | None:
    """The build id of a program, or the checksum of its debug information."""
    if evidence.format != "elf":
        return None
    if evidence.part == ".note.gnu.build-id" and min(len(evidence.a), len(evidence.b)) > 16:
        # elf(5): three sizes and the owner's name stand before the description.
        return f"the build id is {evidence.a[16:36].hex()} and {evidence.b[16:36].hex()}"
    if evidence.part in _ID_SECTIONS:
        return f"{_ID_SECTIONS[evidence.part]} differs"
    if evidence.part == ".gnu_debuglink":
        return "the checksum of the debug information differs"
    return None


def _when(data: bytes) -> str:
    return datetime.fromtimestamp(int.from_bytes(data, "little"), UTC).strftime("%Y-%m-%d %H:%M:%S")


def debug_paths(evidence: Evidence) -> str | None:
    """Strings of debug information, of which all that differ are absolute paths.

    The linker orders them by their hashes: what counts is the strings, not what stands at one offset.
    """
    if evidence.format != "elf" or evidence.part not in _STRING_SECTIONS or evidence.start:
        return None
    a, b = (set(side.split(b"\0")) for side in (evidence.a, evidence.b))
    only_a, only_b = sorted(a - b), sorted(b - a)
    if not only_a or len(only_a) != len(only_b) or not all(map(_ABSOLUTE.fullmatch, only_a + only_b)):
        return None
    return f"section {evidence.part} holds {values(only_a[-1], only_b[-1])}"
