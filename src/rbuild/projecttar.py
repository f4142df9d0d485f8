"""A published project as one archive: written in one order from one stage's files, and laid out again.

Whoever wrote an archive that is laid out is a stranger: everything in it is bounded, and stays in its folder.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rbuild.context import Context, ContextFile
from rbuild.context import Kind as ContextKind
from rbuild.errors import RbuildError
from rbuild.image import codec
from rbuild.image.tar import Entry, Kind, TarReader, shown
from rbuild.image.ustar import END, header, padding
from rbuild.sources import CONTAINERFILE, CONTEXT, IGNORE_FILE, LAYOUTS

LARGE = 1 << 20  # bytes from which on a file is a blob of its own

_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
_MAX_ENTRIES = 200_000
_MAX_UNPACKED = 4 << 30
_MAX_DOCUMENT = 64 << 20  # bytes of a file that is not in the context
_DOCUMENTS = frozenset(
    os.fsencode(name) for name in ("rbuild.yaml", "rbuild.lock", CONTAINERFILE, IGNORE_FILE)
)


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A file of a context that is not in the archive; `path` is its path in the published project."""

    path: str
    file: ContextFile
    size: int


def write_project(
    sink: BinaryIO, documents: Mapping[str, bytes], context: Context
) -> tuple[codec.Blob, list[LargeFile]]:
    """Write an archive of `documents` and the context but for its large files, which come back with it.

    Raises RbuildError if a file is no longer what it was when it was listed.
    """
    packed = codec.DEFAULT.writer(sink)
    for path, data in sorted(documents.items()):
        packed.write(header(Entry(os.fsencode(path), Kind.FILE, 0o644, size=len(data))))
        packed.write(data + padding(len(data)))
    packed.write(header(Entry(os.fsencode(CONTEXT), Kind.DIRECTORY, 0o755)))
    large: list[LargeFile] = []
    written = 0
    for file in context.files:
        place, size = f"{CONTEXT}/{file.path}", 0
        if file.kind is ContextKind.FILE:
            size = context.size(file)
            if size >= LARGE and _is_text(place):
                large.append(LargeFile(place, file, size))
                continue
            written += size
            if written > _MAX_UNPACKED:
                raise RbuildError(
                    f"the small files of the context have more than {_MAX_UNPACKED} bytes together",
                    hint="push with --sources none, or list what is not needed in .containerignore",
                )
        for chunk in _entry(context, file, place, size):
            packed.write(chunk)
    packed.write(END)
    return packed.finish(), large


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entry(context: Context, file: ContextFile, place: str, size: int) -> Iterator[bytes]:
    path = os.fsencode(place)
    if file.kind is ContextKind.DIRECTORY:
        yield header(Entry(path, Kind.DIRECTORY, 0o755))
    elif file.kind is ContextKind.SYMLINK:
        yield header(Entry(path, Kind.SYMLINK, 0o777, link=os.fsencode(file.content)))
    else:
        yield header(Entry(path, Kind.FILE, 0o755 if file.executable else 0o644, size=size))
        yield from context.content(file)
        yield padding(size)


def lay_out(packed: BinaryIO, folder: Path) -> None:
    """Unpack an archive that `write_project` may have written into `folder`, which has no links in it.

    Raises RbuildError for anything that it would not have written, and where something is in the way. Links
    come last: nothing is written through one.
    """
    links: list[tuple[Path, bytes]] = []
    reader = TarReader(codec.decompressed(packed, _ZSTD, limit=_MAX_UNPACKED))
    try:
        for count, entry in enumerate(reader):
            if count > _MAX_ENTRIES:
                raise RbuildError(f"more than {_MAX_ENTRIES} files")
            _check_place(entry)
            place = folder / os.fsdecode(entry.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind is Kind.SYMLINK:
                links.append((place, entry.link))
            elif entry.kind is Kind.DIRECTORY:
                place.mkdir(exist_ok=True)
            else:
                with place.open("xb") as file:
                    for chunk in reader.content():
                        file.write(chunk)
                    os.fchmod(file.fileno(), 0o755 if entry.mode & 0o100 else 0o644)
        for place, target in links:
            place.symlink_to(os.fsdecode(target))
    except RbuildError as error:
        raise RbuildError(f"the project cannot be unpacked: {error.problems[0].what}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RbuildError(f"the project cannot be unpacked: {error.strerror}") from error


def _check_place(entry: Entry) -> None:
    path = entry.path
    if entry.kind in (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK):
        inside = path.split(b"/", 1)[0] == os.fsencode(CONTEXT)
        if inside and (path != os.fsencode(CONTEXT) or entry.kind is Kind.DIRECTORY):
            return
        is_document = path in _DOCUMENTS or path.split(b"/", 1)[0] == os.fsencode(LAYOUTS)
        if is_document and entry.kind is Kind.FILE and entry.size <= _MAX_DOCUMENT:
            return
    raise RbuildError(f"{shown(path)} is nothing that belongs there")


def large_path(title: str) -> tuple[str, ...]:
    """The parts of the path of a large file below the project. Raises RbuildError for any other."""
    parts = tuple(title.split("/"))
    good = len(parts) > 1 and parts[0] == CONTEXT and not {"", ".", ".."} & set(parts) and "\0" not in title
    if not good or len(os.fsencode(title)) > 4096:
        raise RbuildError(f"a file of the context has the path {title[:200]!r}")
    return parts
