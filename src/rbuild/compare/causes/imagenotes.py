"""What an image says of itself: times, owners, modes, and the notes of its builder.

Each rule takes the evidence, and gives what showed its cause as a sentence, or None.
"""

from __future__ import annotations

import re

from rbuild.compare.causes.extrafields import UNIX_OWNER, extra_fields
from rbuild.compare.causes.wording import said, values
from rbuild.compare.evidence import Evidence
from rbuild.compare.model import Change, Field

_UMASKS = (0o000, 0o002, 0o007, 0o022, 0o027, 0o077)
_OF_HISTORY = re.compile(r"history\[\d+\](?:\.created_by)?")
_CREATED = re.compile(r"(?:.*[.\]])?created")
_HASH_OF_COPIED = re.compile(rb"((?:COPY|ADD) (?:file:|dir:|multi:)?)[0-9a-f]{64}(?= in )")
_BELOW = re.compile(rb"FROM (?:[0-9a-f]{12}|[0-9a-f]{64})|sha256:[0-9a-f]{64}")
_ARGUMENTS = re.compile(rb"\|\d+ (?P<given>.{0,20000}?)(?P<rest>/bin/sh -c .*)", re.DOTALL)


def image_times(evidence: Evidence) -> str | None:
    """The clock, in the configuration or as nothing but an entry's mtime."""
    if evidence.format == "config" and _CREATED.fullmatch(evidence.part):
        return f"{evidence.part} is {values(evidence.a, evidence.b)}"
    if evidence.format == "metadata" and {field.name for field in evidence.fields} == {"mtime"}:
        return said(evidence.fields[0])
    return None


def derived_hash(evidence: Evidence) -> str | None:
    """The id of the image below a step, or the hash of what it copied."""
    if evidence.format != "config":
        return None
    a, b = evidence.a, evidence.b
    noted = evidence.part.endswith((".comment", 'image.base.digest"]'))
    if noted and _BELOW.fullmatch(a) and _BELOW.fullmatch(b):
        return f"the image below is {values(a.removeprefix(b'FROM '), b.removeprefix(b'FROM '))}"
    hidden = [_HASH_OF_COPIED.sub(rb"\1", side, count=1) for side in (a, b)]
    if evidence.part.endswith(".created_by") and hidden[0] == hidden[1] != a:
        return "the hash of what was copied differs"
    return None


def build_argument(evidence: Evidence) -> str | None:
    """Other arguments before the same command."""
    if evidence.format != "config" or not evidence.part.endswith(".created_by"):
        return None
    one, other = _ARGUMENTS.match(evidence.a), _ARGUMENTS.match(evidence.b)
    if one is None or other is None or one["rest"] != other["rest"]:
        return None
    return f"the arguments are {values(one['given'].strip(), other['given'].strip())}"


def other_containerfile(evidence: Evidence) -> str | None:
    """A line of history, which is an instruction as its Containerfile has it, or one more of them."""
    if evidence.format != "config" or not _OF_HISTORY.fullmatch(evidence.part):
        return None
    if evidence.change is not Change.CHANGED:
        side = "A" if evidence.change is Change.REMOVED else "B"
        return f"only {side} has this instruction"
    return f"the instruction is {values(evidence.a, evidence.b)}"


def user_or_umask(evidence: Evidence) -> str | None:
    """An owner, or a mode that two umasks give; also of an archive's members."""
    archive = evidence.format in ("tar", "zip") and evidence.part == "attributes"
    if evidence.format != "metadata" and not archive:
        return None
    # The clock's share in an entry needs no reason of its own.
    fields = [field for field in evidence.fields if field.name != "mtime"]
    return said(fields[0]) if fields and all(map(_of_a_user, fields)) else None


def _of_a_user(field: Field) -> bool:
    """Whether a mode is one that two umasks give, or an owner is another one."""
    aspect = field.name.rpartition(": ")[2]
    if field.a is None or field.b is None:
        return False
    if aspect == "owner":
        return True
    if aspect == "extra":
        return set(extra_fields(field.a, field.b)) == {UNIX_OWNER}
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
