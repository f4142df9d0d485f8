"""The temporary folders in which pip builds a source distribution, whose names are drawn by chance.

They stay in what a compiler writes: in the debug information, in the texts of assertions, and through both in
the build ID and in the hash that the RECORD of the installed distribution has of the file.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from posixpath import normpath

from rbuild.image.normalise.elf import MAGIC, sections
from rbuild.image.normalise.normaliser import Blank, Content, Edits, LayerView, Outcome, Patch, edited
from rbuild.image.tar import Entry, Kind

# pip's TempDirectory: a kind, and eight characters of Python's tempfile; below it, a name with a UUID.
_NAMES = re.compile(
    rb"/pip-(?:build-env|ephem-wheel-cache|install|metadata|modern-metadata|req-build|wheel)-"
    rb"([a-z0-9_]{8})(?![a-z0-9_])(?:/[^/\0]{1,200}_([0-9a-f]{32})(?![0-9a-f]))?"
    rb"|/\.mesonpy-([a-z0-9_]{8})(?![a-z0-9_])"
)
_QUICK = (b"/pip-", b"/.mesonpy-")
_LONGEST = 300
_MAX_NAMES = 10_000

_RECORD = b".dist-info/RECORD"
_MAX_RECORD = 16 << 20
_ROW = re.compile(rb'^("?)([^\n]+)\1,sha256=([A-Za-z0-9_-]{43}),', re.MULTILINE)

_DEBUG = b".debug_"
_BUILD_ID = b".note.gnu.build-id"
_BUILD_ID_HEADER = 16  # three words, and "GNU" as the name


class BuildPaths:
    """Gives such folders one name, and empties the debug information of a program that has one in it.

    The debug information cannot be kept: the compiler orders its strings by their hashes, so the order
    differs from build to build as well. What it leads to, the sources, went with the folder.
    """

    name = "build-paths"

    def normalise(self, entry: Entry, view: LayerView) -> Outcome:
        """Rewrite a program that names such a folder, and the hashes of such programs in a RECORD."""
        if entry.kind is not Kind.FILE:
            return None
        if entry.path.endswith(_RECORD):
            return _record(entry, view)
        return _program(entry, view) if view.read(entry, len(MAGIC)) == MAGIC else None

    def deletes(self, view: LayerView) -> Iterable[bytes]:
        """Nothing."""
        return ()


def _program(entry: Entry, view: LayerView) -> Outcome:
    edits: list[Patch | Blank] = [
        Patch(start, b"0" * (end - start)) for start, end in _drawn(view.chunks(entry))
    ]
    if not edits:
        return None
    identity: Blank | None = None
    for section in sections(lambda at, size: view.read(entry, size, at), entry.size):
        if section.name == _BUILD_ID and _BUILD_ID_HEADER < section.size <= _BUILD_ID_HEADER + 32:
            identity = Blank(section.offset + _BUILD_ID_HEADER, section.size - _BUILD_ID_HEADER)
        elif section.name.startswith(_DEBUG) and not section.loaded:
            place, width = section.size_field
            edits += [Blank(section.offset, section.size), Blank(place, width)]
    if identity is not None:
        digest = hashlib.sha256()
        for chunk in edited(view.chunks(entry), (*edits, identity)):
            digest.update(chunk)
        edits.append(Patch(identity.at, digest.digest()[: identity.size]))
    return Edits(tuple(edits))


def _drawn(chunks: Iterable[bytes]) -> list[tuple[int, int]]:
    """Where the parts of names that were drawn by chance begin and end."""
    found: list[tuple[int, int]] = []
    for at, text in _windows(chunks):
        for match in _NAMES.finditer(text):
            found += [(at + match.start(group), at + match.end(group)) for group in (1, 2, 3) if match[group]]
        if len(found) > _MAX_NAMES:
            return []
    return sorted(set(found))


def _windows(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Parts of a stream in which a name may be, with their offsets; each name is whole in one of them."""
    at, before = 0, b""
    for chunk in chunks:
        text = before + chunk
        if any(quick in text for quick in _QUICK):
            yield at - len(before), text
        at += len(chunk)
        before = text[-_LONGEST:]


def _record(entry: Entry, view: LayerView) -> Outcome:
    if entry.size > _MAX_RECORD:
        return None
    folder = entry.path.rpartition(b"/")[0].rpartition(b"/")[0]

    def row(match: re.Match[bytes]) -> bytes:
        path = normpath(b"/%s/%s" % (folder, match[2])).lstrip(b"/")
        if path.endswith(_RECORD) or not view.rewritten(path):
            return match[0]
        start, stop = match.start(3) - match.start(), match.end(3) - match.start()
        return match[0][:start] + _urlsafe(view.sha256(path)) + match[0][stop:]

    data = view.read(entry, entry.size)
    written = _ROW.sub(row, data)
    return None if written == data else Content(written)


def _urlsafe(sha256: bytes) -> bytes:
    return urlsafe_b64encode(sha256).rstrip(b"=")
