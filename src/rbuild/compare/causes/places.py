"""What the place of a difference shows: the entry's path, the kind of file, the field of a header.

Each rule takes the evidence and returns what showed its cause, as a sentence; None if it did not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from rbuild.compare.causes import catalogue
from rbuild.compare.causes.tokens import common_start
from rbuild.compare.causes.wording import quoted, values
from rbuild.compare.evidence import WINDOW, Evidence
from rbuild.compare.model import Cause, Change, Field

Rule = Callable[[Evidence], str | None]

_UMASKS = (0o000, 0o002, 0o007, 0o022, 0o027, 0o077)
_CREATED = re.compile(r"(?:.*[.\]])?created")


# The image's own metadata


def _image_times(evidence: Evidence) -> str | None:
    if evidence.format == "config" and _CREATED.fullmatch(evidence.part):
        return f"{evidence.part} is {values(evidence.a, evidence.b)}"
    if evidence.format == "metadata" and {field.name for field in evidence.fields} == {"mtime"}:
        return _said(evidence.fields[0])
    return None


_HASH_OF_COPIED = re.compile(rb"((?:COPY|ADD) (?:file:|dir:|multi:)?)[0-9a-f]{64}(?= in )")
_BELOW = re.compile(rb"FROM (?:[0-9a-f]{12}|[0-9a-f]{64})|sha256:[0-9a-f]{64}")
_ARGUMENTS = re.compile(rb"\|\d+ (?P<given>.{0,20000}?)(?P<rest>/bin/sh -c .*)", re.DOTALL)


def _derived_hash(evidence: Evidence) -> str | None:
    if evidence.format != "config":
        return None
    a, b = evidence.a, evidence.b
    if (
        evidence.part.endswith((".comment", 'image.base.digest"]'))
        and _BELOW.fullmatch(a)
        and _BELOW.fullmatch(b)
    ):
        return f"the image below is {values(a.removeprefix(b'FROM '), b.removeprefix(b'FROM '))}"
    hidden = [_HASH_OF_COPIED.sub(rb"\1", side, count=1) for side in (a, b)]
    if evidence.part.endswith(".created_by") and hidden[0] == hidden[1] != a:
        return "the hash of what was copied differs"
    return None


def _build_argument(evidence: Evidence) -> str | None:
    if evidence.format != "config" or not evidence.part.endswith(".created_by"):
        return None
    one, other = _ARGUMENTS.match(evidence.a), _ARGUMENTS.match(evidence.b)
    if one is None or other is None or one["rest"] != other["rest"]:
        return None
    return f"the arguments are {values(one['given'].strip(), other['given'].strip())}"


def _user_or_umask(evidence: Evidence) -> str | None:
    archive = evidence.format in ("tar", "zip") and evidence.part == "attributes"
    if evidence.format != "metadata" and not archive:
        return None
    # The clock's share in an entry needs no reason of its own.
    fields = [field for field in evidence.fields if field.name != "mtime"]
    return _said(fields[0]) if fields and all(map(_of_a_user, fields)) else None


def _of_a_user(field: Field) -> bool:
    """Whether a mode is one that two umasks give, or an owner is another one."""
    aspect = field.name.rpartition(": ")[2]
    if field.a is None or field.b is None:
        return False
    if aspect == "owner":
        return True
    if aspect == "extra":
        return set(_extra_fields(field.a, field.b)) == {_UNIX_OWNER}
    if aspect != "mode":
        return False
    try:
        a, b = int(field.a, 8), int(field.b, 8)
    except ValueError:
        return False
    # The mode before a umask was applied had the same bits for everyone.
    whole = (a | b) & 0o777
    everyone = whole >> 6 & 7
    asked = everyone * 0o111
    masked = {asked & ~mask for mask in _UMASKS}
    return a & ~0o777 == b & ~0o777 and a & 0o777 in masked and b & 0o777 in masked


# Formats that hold a time, a name or an order


def _bytecode(evidence: Evidence) -> str | None:
    a, b = evidence.a, evidence.b
    if evidence.format != "pyc" or evidence.part != "header" or min(len(a), len(b)) < 16:
        return None
    # PEP 552: magic, flags, time and size of the source. Flags: it holds a hash in their place.
    if a[:8] != b[:8] or a[4:8] != bytes(4) or a[8:12] == b[8:12] or a[12:16] != b[12:16]:
        return None
    return f"the header says that the source is of {_when(a[8:12])} and {_when(b[8:12])}"


def _gzip_header(evidence: Evidence) -> str | None:
    if evidence.format != "gzip" or evidence.part != "header":
        return None
    if evidence.fields:
        return f"in the header, {'; '.join(map(_said, evidence.fields[:3]))}"
    return "the headers differ"


def _png_time(evidence: Evidence) -> str | None:
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


def _archive_member_times(evidence: Evidence) -> str | None:
    if evidence.format not in ("tar", "zip") or not evidence.fields:
        return None
    first = evidence.fields[0]
    more = f", and {len(evidence.fields) - 1} more" if len(evidence.fields) > 1 else ""
    if evidence.part == "time":
        return f"the time of {_said(first)}{more}"
    if evidence.part == "attributes" and all(
        field.name.endswith(": extra") and _UNIX_TIME in _extra_fields(field.a or "", field.b or "")
        for field in evidence.fields
    ):
        return f"the time in an extra field: {first.name.removesuffix(': extra')}{more}"
    return None


def _unsorted_listing(evidence: Evidence) -> str | None:
    if evidence.format in ("tar", "zip") and evidence.part == "order":
        found = permuted(evidence)
        return f"the same {found[0]} members stand in another order" if found else None
    if evidence.format != "text":
        return None
    found = permuted(evidence)
    if found is None or not all(_PATH.fullmatch(line) for line in found[1]):
        return None
    return f"the same {found[0]} paths stand in another order"


_PATH = re.compile(rb"[^\s/]{0,255}/[^\s]{1,4096}")


def permuted(evidence: Evidence) -> tuple[int, list[bytes]] | None:
    """How many lines there are, and those that moved, where both sides have the same lines; None if not."""
    a, b = evidence.a, evidence.b
    if evidence.start or max(len(a), len(b)) >= WINDOW or abs(len(a) - len(b)) > 2:
        return None
    # A comma or a line's end may be missing after whatever comes last.
    ours, theirs = ([line.rstrip(b", \t\r") for line in side.split(b"\n")] for side in (a, b))
    if len(ours) != len(theirs) or ours == theirs or Counter(ours) != Counter(theirs):
        return None
    moved = sorted(one for one, other in zip(ours, theirs, strict=True) if one != other)
    # Two lines may have changed places by hand.
    return (len([line for line in ours if line]), moved) if len(set(moved)) > 2 else None


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


def _database_pages(evidence: Evidence) -> str | None:
    if evidence.format == "sqlite" and evidence.part == "pages":
        return "the tables hold the same rows, and lie in the file in another way"
    if evidence.format == "sqlite" and evidence.part == "header":
        own = [field for field in evidence.fields if field.name in _COUNTERS]
        return f"in the header, {_said(own[0])}" if own and len(own) == len(evidence.fields) else None
    if evidence.format != "binary" or evidence.start:
        return None
    for at, magic, kind in _MAGICS:
        if evidence.a.startswith(magic, at) and evidence.b.startswith(magic, at):
            first = evidence.first
            return f"it is {kind} database, whose pages differ from offset {first:#x} on"
    return None


# Files that everyone knows

_GIT = re.compile(rb"(?:.*/)?\.git(?:/.*)?", re.DOTALL)
_LEFTOVERS = re.compile(
    rb"var/log/(?:apt|dnf|yum|zypp|pacman|installer|unattended-upgrades)(?:/.+|\.log|\.rpm\.log|\.librepo\.log)?"
    rb"|var/log/(?:dpkg|alternatives|bootstrap|fontconfig|hawkey|apk)\.log"
    rb"|var/cache/(?:apt|apk|dnf|yum|zypp|pacman|libdnf5?)/.+"
    rb"|var/cache/(?:ldconfig/aux-cache|debconf/[^/]+-old|man/.+|fontconfig/.+)"
    rb"|var/lib/(?:apt/lists/.+|apt/extended_states|dpkg/[^/]+-old|dnf/history\.[^/]+)"
    rb"|(?:.*/)?\.cache/(?:pip|uv|pypoetry|pnpm|yarn|go-build|composer|node-gyp)(?:/.*)?"
    rb"|(?:.*/)?\.npm/(?:_cacache|_logs)(?:/.*)?|(?:.*/)?\.npm/_update-notifier-last-checked"
    rb"|(?:.*/)?\.cargo/(?:registry/(?:cache|index)/.*|\.package-cache.*|\.global-cache)"
    rb"|(?:.*/)?(?:conda|miniconda3?|micromamba)/pkgs/(?:cache/.*|urls(?:\.txt)?)",
    re.DOTALL,
)
_MACHINE_ID = re.compile(rb"etc/machine-id|var/lib/dbus/machine-id")
_IDENTITY = re.compile(rb"(?:[0-9a-f]{32})?\n?|uninitialized\n?")
_SSH_HOST_KEY = re.compile(
    rb"etc/(?:ssh/ssh_host_[a-z0-9]+_key(?:\.pub)?|dropbear/dropbear_[a-z0-9]+_host_key)"
)
_COPIED = re.compile(r"(?:.*#\(nop\)\s+)?(?:COPY|ADD)\b", re.IGNORECASE)


def _git_metadata(evidence: Evidence) -> str | None:
    return "it lies in a .git folder" if _GIT.fullmatch(evidence.path) else None


def _package_leftovers(evidence: Evidence) -> str | None:
    if _LEFTOVERS.fullmatch(evidence.path) is None:
        return None
    kind = "log" if evidence.path.startswith(b"var/log/") or b"/_logs" in evidence.path else "cache"
    return f"/{quoted(evidence.path)} is a package manager's {kind}"


def _machine_id(evidence: Evidence) -> str | None:
    if not _MACHINE_ID.fullmatch(evidence.path):
        return None
    if not (_IDENTITY.fullmatch(evidence.a) and _IDENTITY.fullmatch(evidence.b)):
        return None
    return f"the identity is {values(evidence.a.strip(), evidence.b.strip())}"


def _ssh_host_keys(evidence: Evidence) -> str | None:
    if not _SSH_HOST_KEY.fullmatch(evidence.path) or _COPIED.match(evidence.instruction):
        return None
    return f"/{quoted(evidence.path)} is a host key"


_BEGIN = re.compile(rb"-----BEGIN ((?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY|DH PARAMETERS)-----")


def _generated_key(evidence: Evidence) -> str | None:
    if evidence.change is not Change.CHANGED or _COPIED.match(evidence.instruction):
        return None
    a, b = evidence.a, evidence.b
    common = a[: common_start(a, b)]
    begin = common.rfind(b"-----BEGIN ")
    match = _BEGIN.match(common, begin) if begin >= 0 else None
    if match is None or b"-----END " in common[begin:]:
        return None
    return f"the bytes that differ are within a {match[1].decode().lower()}"


# Programs, and files of the network

_ID_SECTIONS = {".note.gnu.build-id": "the build id", ".note.go.buildid": "Go's build id"}


def _build_id(evidence: Evidence) -> str | None:
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


_URL = r"[a-z]{3,5}://[^\s'\"|;&>]+"
_ADDED_URL = re.compile(rf"(?:.*#\(nop\)\s+)?ADD\s+(?:--(?!checksum)\S+\s+)*\[?\s*\"?({_URL})", re.IGNORECASE)
# Podman's history says "file:" or "dir:" before the hash of what is no download.
_DOWNLOADED = re.compile(r".{0,40}#\(nop\)\s+ADD [0-9a-f]{64} in ")
_FETCHED = re.compile(rf"\b(?:curl|wget)\b[^|;&]{{0,2000}}?({_URL})")


def _unlocked_network(evidence: Evidence) -> str | None:
    facts = evidence.facts
    url_a, url_b = facts.responses_a.get(evidence.sha256_a), facts.responses_b.get(evidence.sha256_b)
    if url_a and url_a == url_b and evidence.sha256_a != evidence.sha256_b:
        return f"it is the answer of {quoted(url_a.encode(), 200)}"
    if evidence.format in ("metadata", "entry", "config") or evidence.members:
        return None
    if _DOWNLOADED.match(evidence.instruction):
        return "the ADD that made it took it from a URL"
    added = _ADDED_URL.match(evidence.instruction)
    if added:
        return f"it is the answer of {quoted(added[1].encode(), 200)}"
    for command in re.split(r"&&|;|\n", evidence.instruction[:20_000]):
        fetched = _FETCHED.search(command)
        if fetched and _writes(command, evidence.path):
            return f"it is the answer of {quoted(fetched[1].encode(), 200)}"
    return None


def _writes(command: str, path: bytes) -> bool:
    """Whether a command line of curl or wget names the file that it writes; a pipe makes another content."""
    name = re.escape("/" + path.decode("utf-8", "replace"))
    option = rf"(?:-[a-zA-Z]{{0,8}}[oO]\s{{0,4}}|--output[ =]|--output-document[ =]|>\s{{0,4}}){name}(?:\s|$)"
    return "|" not in command and re.search(option, command) is not None


_UNIX_TIME, _UNIX_OWNER = 0x5455, 0x7875  # APPNOTE.TXT 4.6.1 and Info-ZIP's extrafld.txt


def _extra_fields(a: str, b: str) -> list[int]:
    """The ids of the blocks that differ in two extra fields of a zip, given in hexadecimal."""
    blocks = []
    for text in (a, b):
        try:
            data = bytes.fromhex(text)
        except ValueError:
            return []
        found: dict[int, bytes] = {}
        while len(data) >= 4:
            size = int.from_bytes(data[2:4], "little")
            found[int.from_bytes(data[:2], "little")] = data[4 : 4 + size]
            data = data[4 + size :]
        blocks.append(found)
    return [key for key in blocks[0].keys() | blocks[1].keys() if blocks[0].get(key) != blocks[1].get(key)]


def _said(field: Field) -> str:
    sides = (None if side is None else side.encode() for side in (field.a, field.b))
    return f"{quoted(field.name.encode())} is {values(*sides)}"


def _when(data: bytes) -> str:
    return datetime.fromtimestamp(int.from_bytes(data, "little"), UTC).strftime("%Y-%m-%d %H:%M:%S")


RULES: tuple[tuple[Cause, Rule], ...] = (
    (catalogue.IMAGE_TIMES, _image_times),
    (catalogue.DERIVED_HASH, _derived_hash),
    (catalogue.BUILD_ARGUMENT, _build_argument),
    (catalogue.USER_OR_UMASK, _user_or_umask),
    (catalogue.BYTECODE, _bytecode),
    (catalogue.GZIP_HEADER, _gzip_header),
    (catalogue.ARCHIVE_MEMBER_TIMES, _archive_member_times),
    (catalogue.BUILD_DATE, _png_time),
    (catalogue.UNSORTED_LISTING, _unsorted_listing),
    (catalogue.BUILD_PATH, _build_id),
    (catalogue.DATABASE_PAGES, _database_pages),
    (catalogue.GIT_METADATA, _git_metadata),
    (catalogue.PACKAGE_LEFTOVERS, _package_leftovers),
    (catalogue.MACHINE_ID, _machine_id),
    (catalogue.SSH_HOST_KEYS, _ssh_host_keys),
    (catalogue.GENERATED_KEY, _generated_key),
    (catalogue.UNLOCKED_NETWORK, _unlocked_network),
)
"""In order of asking."""
