"""What is known of one difference when its cause is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rbuild.compare.model import Change, Field

WINDOW = 1 << 20
"""Bytes of a content that evidence holds at most: its start up to there, or what lies around the first
differing byte in a larger one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of the two images as wholes. Empty where nobody knows."""

    responses_a: Mapping[bytes, str] = field(default_factory=dict)  # raw sha256 of a recorded body → its URL
    responses_b: Mapping[bytes, str] = field(default_factory=dict)
    hosts: frozenset[str] = frozenset()  # host names that the builds may have seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One difference without parts of its own: an entry, or something inside of one.

    `format` says what kind of content `a` and `b` are, `part` which part of it they are:

    ====================  ==================================================================================
    metadata              an entry's own properties differ, in `fields`; no content. `part` is layers where
                          only the division of files into layers differs
    entry                 the entry is only on one side; `a` or `b` is its content. `part` is whiteout or
                          opaque for a deletion, whose target `path` is, and layer for a whole layer
    text, json, yaml      lines or keys; `part` is a key path for the latter two
    binary                anything that could not be opened
    pyc                   `part` is header; of a code object, file name, names, variables, constants (as
                          text, one a line), properties, instructions, line table, exception table; or code:
                          a whole one that one side lacks, or the bytes of all where they cannot be read
    gzip                  `part` is header (its time, name, system), or data: the same content, packed
                          differently
    xz, bzip2, zstd       `part` is data, as above
    zip, tar, ar          `part` is order (`a`, `b`: the names, one a line), time or attributes of members
    elf                   `part` is the section's name; .note.gnu.build-id, .debug_str, .text, .comment
    sqlite                `part` is header, pages, schema, or "table NAME" (rows as text)
    png                   `part` is the chunk's type: tEXt, tIME, IDAT
    config                `part` is the key path in the image's configuration or manifest
    ====================  ==================================================================================
    """

    path: bytes  # of the entry in the image, without a leading slash; empty for a configuration
    members: tuple[str, ...] = ()  # the way inside of it: ("pkg/mod.pyc",)
    change: Change = Change.CHANGED
    format: str = "binary"
    part: str = ""
    fields: tuple[Field, ...] = ()
    a: bytes = b""
    b: bytes = b""
    first: int = 0  # the offset of the first differing byte, in the content that `a` and `b` are windows of
    start: int = 0  # the offset of `a` and `b` in that content
    sha256_a: bytes = b""  # raw, of the whole entry's content; empty where there is none
    sha256_b: bytes = b""
    others: frozenset[bytes] = frozenset()  # for an entry on one side only: the paths of its folder that are
    # only on the other side
    instruction: str = ""  # the text of the instruction that made the layer
    facts: Facts = Facts()
