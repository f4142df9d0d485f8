"""Archives inside of an image: the order of their members, what is said of each, and what each holds."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rbuild.compare.budget import MAX_CHILDREN
from rbuild.compare.entryfields import entry_fields
from rbuild.compare.evidence import WINDOW
from rbuild.compare.model import Change, Difference, Field
from rbuild.compare.place import Inner, Opened, Place, Unopened, changed, reading
from rbuild.image.tar import Kind, TarReader

ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
MAX_MEMBERS = 20_000
"""Of one archive."""

_MAX_FIELDS = 50
_BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ValueError,
    LookupError,
    EOFError,
    OSError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Member:
    """One of an archive. `content` is equal where the contents are, as far as it tells; `read` gives them."""

    time: str
    attributes: Mapping[str, str]
    content: object
    read: Callable[[], bytes]


Members = dict[str, Member]


def is_tar(data: bytes) -> bool:
    """Whether a content is a tar archive, by its first header."""
    return data[257:262] == b"ustar"


def open_tar(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """Order, times, attributes and contents of a tar's members."""
    with reading():
        members_a, members_b = _tar_members(a), _tar_members(b)
    return compared(place, "tar", members_a, members_b, inner)


def open_zip(place: Place, a: bytes, b: bytes, inner: Inner) -> Opened:
    """Order, times, attributes and contents of the members of a zip, wheel or jar."""
    for data in (a, b):
        if data.count(b"PK\x01\x02") > MAX_MEMBERS:
            raise Unopened(f"it has more than {MAX_MEMBERS} members")
    with reading(*_BROKEN_ZIP):
        zip_a, zip_b = zipfile.ZipFile(io.BytesIO(a)), zipfile.ZipFile(io.BytesIO(b))
        members_a, members_b = _zip_members(place, zip_a), _zip_members(place, zip_b)
    opened = compared(place, "zip", members_a, members_b, inner)
    if zip_a.comment != zip_b.comment:
        fields = changed("comment", zip_a.comment, zip_b.comment)
        opened.children.append(place.leaf("comment", format="zip", aspect="attributes", fields=fields))
    return opened


def compared(place: Place, format: str, a: Members, b: Members, inner: Inner) -> Opened:
    """What differs between the members of two archives: their order, times, attributes and contents."""
    children: list[Difference] = []
    common = [name for name in a if name in b]
    if common != [name for name in b if name in a]:
        names_a, names_b = _names(a), _names(b)
        children.append(place.text("order of members", names_a, names_b, format=format, aspect="order"))
    times = [field for name in common for field in changed(name, a[name].time, b[name].time)]
    attributes = [
        field
        for name in common
        for key in a[name].attributes.keys() | b[name].attributes.keys()
        for field in changed(f"{name}: {key}", a[name].attributes.get(key), b[name].attributes.get(key))
    ]
    for name, aspect, fields in (
        ("times of members", "time", times),
        ("attributes of members", "attributes", sorted(attributes, key=lambda field: field.name)),
    ):
        if fields:
            children.append(_fields_leaf(place, name, format, aspect, fields))
    one_sided = [name for name in [*a, *b] if (name in a) is not (name in b)]
    differing = [name for name in common if a[name].content != b[name].content]
    for name in (differing + one_sided)[:MAX_CHILDREN]:
        children.append(_member(place, name, a.get(name), b.get(name), inner))
    return Opened(children, max(0, len(differing) + len(one_sided) - MAX_CHILDREN))


def _fields_leaf(place: Place, name: str, format: str, aspect: str, fields: list[Field]) -> Difference:
    shown = tuple(fields[:_MAX_FIELDS])
    return place.leaf(name, format=format, aspect=aspect, fields=shown, omitted=len(fields) - len(shown))


def _member(place: Place, name: str, a: Member | None, b: Member | None, inner: Inner) -> Difference:
    inside = place.within(name)
    note = None
    content_a = content_b = b""
    try:
        content_a = a.read() if a else b""
        content_b = b.read() if b else b""
    except Unopened as error:
        note = f"could not look inside: {error}"
    if a and b and note is None:
        return inner(name, content_a, content_b)
    change = Change.CHANGED if a and b else Change.REMOVED if a else Change.ADDED
    format = "binary" if a and b else "entry"
    return inside.leaf(
        name, format=format, change=change, a=content_a[:WINDOW], b=content_b[:WINDOW], note=note
    )


def _names(members: Members) -> bytes:
    return "".join(f"{name}\n" for name in members).encode("utf-8", "backslashreplace")


def _tar_members(data: bytes) -> Members:
    members: Members = {}
    for entry in TarReader(io.BytesIO(data)):
        if len(members) > MAX_MEMBERS:
            raise Unopened(f"it has more than {MAX_MEMBERS} members")
        fields = entry_fields(entry)
        time = fields.pop("mtime")
        content = data[entry.offset : entry.offset + entry.size] if entry.kind is Kind.FILE else b""
        name = entry.path.decode("utf-8", "backslashreplace") or "."
        members[name] = Member(time, fields, content, lambda content=content: content)  # type: ignore[misc]
    return members


def _zip_members(place: Place, archive: zipfile.ZipFile) -> Members:
    return {
        info.filename: Member(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*info.date_time),
            {
                "mode": f"{info.external_attr >> 16:06o}",
                "attributes": f"{info.external_attr & 0xFFFF:04x}",
                "system": str(info.create_system),
                "compression": str(info.compress_type),
                "flags": f"{info.flag_bits:04x}",
                "extra": info.extra.hex(),
                "comment": info.comment.decode("utf-8", "backslashreplace"),
            },
            (info.CRC, info.file_size),
            _zip_reader(place, archive, info),
        )
        for info in archive.infolist()
    }


def _zip_reader(place: Place, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unopened(f"it is compressed with method {info.compress_type}")
        most = place.budget.unpacked
        with reading(*_BROKEN_ZIP), archive.open(info) as file:
            content = file.read(most + 1)
        place.budget.unpack(len(content))
        if len(content) > most:
            raise Unopened(f"it unpacks to more than {most} bytes")
        return content

    return read
