"""Two contents that differ: looked into where the format is known, else as text or bytes."""

from __future__ import annotations

from collections.abc import Callable

from rbuild.compare.budget import MAX_DEPTH
from rbuild.compare.model import Change, Difference, Part
from rbuild.compare.opened import ar, archives, bytecode, documents, elf, gzip, packed, png, sqlite
from rbuild.compare.place import Inner, Opened, Place, Unopened

Opener = Callable[[Place, bytes, bytes, Inner], Opened]

_DOCUMENTS = ("json", "yaml")
_PEEK = 1 << 13
_COSTS = {
    "xz": 8,
    "bzip2": 16,
    "json": 8,
    "yaml": 32,
    "zip": 4,
    "tar": 2,
    "sqlite": 16,
}  # how much dearer than reading
_CONTROLS = bytes(code for code in range(0x20) if code not in b"\t\n\f\r\x1b") + b"\x7f"


def compare_contents(
    place: Place, name: str, a: bytes, b: bytes, *, part: Part = Part.MEMBER, depth: int = 0
) -> Difference:
    """The difference between two contents that are not equal, with what differs inside of them.

    A content that cannot be looked into, or is nested too deeply, is compared as text or bytes, with a note
    that says why.
    """
    format, opener = _format(place.name, a, b)
    note = None
    if opener is not None and depth >= MAX_DEPTH:
        note = f"could not look inside: it is nested more than {MAX_DEPTH} files deep"
    elif opener is not None and not place.budget.work(_COSTS.get(format, 1) * (len(a) + len(b))):
        note = "could not look inside: as much was looked into as rbuild does in one comparison"
    elif opener is not None:

        def inner(member: str, one: bytes, other: bytes) -> Difference:
            return compare_contents(place.within(member), member, one, other, depth=depth + 1)

        try:
            opened = opener(place, a, b, inner)
        except Unopened as error:
            how = "compared line by line" if format in _DOCUMENTS else "could not look inside"
            note = f"{how}: {error}"
        else:
            if opened.children:
                return Difference(
                    part=part,
                    name=name,
                    change=Change.CHANGED,
                    blame=place.blame,
                    children=tuple(opened.children),
                    omitted=opened.omitted,
                )
            if format not in _DOCUMENTS:
                note = f"no difference that is particular to {format} was found, yet the bytes differ"
    if is_text(a) and is_text(b):
        text = format if format in _DOCUMENTS else "text"
        return place.text(name, a, b, part=part, format=text, note=note)
    return place.binary(name, a, b, part=part, note=note)


def is_text(data: bytes) -> bool:
    """Whether people would read it: no control characters but those that texts have, at its start."""
    start = data[:_PEEK]
    if b"\0" in data or start.translate(None, _CONTROLS) != start:
        return False
    high = len(start) - len(start.translate(None, bytes(range(0x80, 0x100))))
    try:
        start.decode()
    except UnicodeDecodeError as error:
        # Cut within a character at the end of what is looked at, or an 8-bit encoding with a few high bytes.
        return error.start >= _PEEK - 4 or high * 5 <= len(start)
    return True


def _format(name: str, a: bytes, b: bytes) -> tuple[str, Opener | None]:
    """What both contents are; no opener where they are of different formats, or of none that is known."""
    for format, opener, matches in _FORMATS:
        if matches(name, a) and matches(name, b):
            return format, opener
    return "", None


def _begins(*magics: bytes) -> Callable[[str, bytes], bool]:
    return lambda name, data: data.startswith(magics)


def _called(*endings: str) -> Callable[[str, bytes], bool]:
    return lambda name, data: name.endswith(endings) and is_text(data)


_FORMATS: tuple[tuple[str, Opener, Callable[[str, bytes], bool]], ...] = (
    ("gzip", gzip.open_gzip, _begins(gzip.MAGIC)),
    ("xz", packed.open_xz, _begins(packed.XZ_MAGIC)),
    ("bzip2", packed.open_bzip2, packed.is_bzip2),
    ("zstd", packed.open_zstd, _begins(packed.ZSTD_MAGIC)),
    ("ar", ar.open_ar, _begins(ar.MAGIC)),
    ("zip", archives.open_zip, _begins(*archives.ZIP_MAGICS)),
    ("elf", elf.open_elf, _begins(elf.MAGIC)),
    ("sqlite", sqlite.open_sqlite, _begins(sqlite.MAGIC)),
    ("png", png.open_png, _begins(png.MAGIC)),
    ("pyc", bytecode.open_bytecode, bytecode.is_bytecode),
    ("tar", archives.open_tar, lambda name, data: archives.is_tar(data)),
    ("json", documents.open_json, _called(".json", ".ipynb", ".map", ".jsonld", ".webmanifest")),
    ("yaml", documents.open_yaml, _called(".yaml", ".yml")),
)
