"""Asking for the cause of one difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from rbuild.compare.causes import catalogue, chance, folders, formats, imagenotes, knownfiles, shapes, tokens
from rbuild.compare.causes.order import of_order
from rbuild.compare.causes.setting import Setting
from rbuild.compare.causes.tokens import Spot, Token
from rbuild.compare.causes.wording import quoted, said, values
from rbuild.compare.evidence import Evidence
from rbuild.compare.model import Cause, Change

_MOST = 32  # spots that are looked at, to say what else differs
_SIBLINGS = 64  # entries of the other side that are held against one that is missing there
# Sections that hold texts, not machine code.
_OF_TEXTS = (".debug", ".rodata", ".data", ".dynstr", ".comment", ".GCC.command.line")
_OF_CODE = ("file name", "names", "variables", "constants")  # what of bytecode is told as lines of text
_TEXTS = ("text", "json", "yaml", "config")

_OF_PLACES: tuple[tuple[Cause, Callable[[Evidence], str | None]], ...] = (
    (catalogue.IMAGE_TIMES, imagenotes.image_times),
    (catalogue.DERIVED_HASH, imagenotes.derived_hash),
    (catalogue.BUILD_ARGUMENT, imagenotes.build_argument),
    (catalogue.OTHER_CONTAINERFILE, imagenotes.other_containerfile),
    (catalogue.USER_OR_UMASK, imagenotes.user_or_umask),
    (catalogue.BYTECODE, formats.bytecode),
    (catalogue.GZIP_HEADER, formats.gzip_header),
    (catalogue.ARCHIVE_MEMBER_TIMES, formats.archive_member_times),
    (catalogue.BUILD_DATE, formats.png_time),
    (catalogue.BUILD_PATH, formats.build_id),
    (catalogue.BUILD_PATH, formats.debug_paths),
    (catalogue.DATABASE_PAGES, formats.database_pages),
    (catalogue.GIT_METADATA, knownfiles.git_metadata),
    (catalogue.PACKAGE_LEFTOVERS, knownfiles.package_leftovers),
    (catalogue.MACHINE_ID, knownfiles.machine_id),
    (catalogue.SSH_HOST_KEYS, knownfiles.ssh_host_keys),
    (catalogue.GENERATED_KEY, knownfiles.generated_key),
    (catalogue.UNLOCKED_NETWORK, knownfiles.unlocked_network),
)


def find(evidence: Evidence) -> tuple[Cause, str]:
    """The cause of a difference, and a sentence that says what showed it.

    Only what differs counts: the cause is `UNKNOWN` where the differing bytes themselves show none. Where
    they show several, the cause of the first one is said, and the sentence names the others. Swapping the two
    sides changes nothing but the order of the values in the sentence. Time and memory are bounded.
    """
    for cause, rule in _OF_PLACES:
        why = rule(evidence)
        if why:
            return cause, why
    if evidence.format == "metadata":
        return _of_fields(evidence)
    if evidence.change is not Change.CHANGED or evidence.format == "entry":
        return _of_one_side(evidence)
    return of_order(evidence, next(_spots(evidence), None)) or _of_tokens(evidence)


def _of_tokens(evidence: Evidence) -> tuple[Cause, str]:
    setting = _setting(evidence)
    spots = list(islice(_spots(evidence), _MOST))
    cause = _cause(spots[0], setting, evidence) if spots else None
    if cause is None:
        return catalogue.UNKNOWN, _first_byte(evidence)
    shown = [_whole(token, cause).text if token else None for token in (spots[0].a, spots[0].b)]
    return cause, f"{spots[0].at} holds {values(*shown)}" + _more(cause, spots, setting, evidence)


def _whole(token: Token, cause: Cause | None = None) -> Token:
    """As much as a person needs to see: of a version or a path all of it, of a number its name."""
    if token.kind not in ("word", "temporary"):
        return token
    return token.widened(_ADJOINING.get(cause, b"") if cause else b"")


_ADJOINING = {
    catalogue.BUILD_PATH: b"/",
    catalogue.RANDOM_NAME: b"/",
    catalogue.CPU_COUNT: b"=",
    catalogue.HOSTNAME: b"=",
}


def _more(cause: Cause, spots: list[Spot], setting: Setting, evidence: Evidence) -> str:
    """What else differs, after the first spot; a version whose parts differ is one place."""
    rest: list[Spot] = []
    end, line = -1, b""
    for spot in spots:
        token = spot.a or spot.b
        if token is None or (token.line is line and token.start < end):
            continue
        whole = _whole(token)
        end, line = whole.start + len(whole.text), token.line
        rest.append(spot)
    del rest[0]
    if not rest:
        return ""
    count = f"{len(rest)} more places differ" if len(rest) > 1 else "one more place differs"
    if len(spots) == _MOST:
        count = f"at least {count}"
    found = dict.fromkeys(_cause(spot, setting, evidence) for spot in rest)
    others = [other.title for other in found if other and other is not cause]
    return f"; {count}" + (f", by {', '.join(others)}" if others else "")


def _spots(evidence: Evidence) -> Iterator[Spot]:
    a, b = evidence.a, evidence.b
    of_code = evidence.format == "pyc" and evidence.part in _OF_CODE
    in_lines = of_code or evidence.format in _TEXTS or evidence.part in ("tEXt", "iTXt", "schema")
    if in_lines or evidence.part.startswith("table "):
        name = evidence.part if of_code or evidence.format in ("json", "yaml", "config") else ""
        numbered = not evidence.start and not name
        return tokens.in_text(a, b, numbered=numbered, name=name or f"offset {evidence.first:#x}")
    part = f"section {evidence.part}" if evidence.format == "elf" else ""
    return tokens.in_binary(a, b, start=evidence.start, name=part)


def _cause(spot: Spot, setting: Setting, evidence: Evidence) -> Cause | None:
    program = evidence.format == "pyc" or (evidence.format == "elf" and evidence.part.startswith(_OF_TEXTS))
    if program and spot.both and folders.path_in_program(*spot.both):
        return catalogue.BUILD_PATH
    return shapes.cause_of(spot, setting)


def _setting(evidence: Evidence) -> Setting:
    key = evidence.part.encode("utf-8", "backslashreplace") if evidence.format in _TEXTS else b""
    return Setting(path=evidence.path, key=key, hosts=evidence.facts.hosts)


def _of_fields(evidence: Evidence) -> tuple[Cause, str]:
    """Properties of an entry that are texts: a link's target, an extended attribute; all have to tell."""
    setting = Setting(path=evidence.path, hosts=evidence.facts.hosts)
    found: dict[Cause, str] = {}
    for field in evidence.fields:
        if field.name == "mtime":
            continue  # of what is written anew, whatever the reason
        a, b = ((side or "").encode("utf-8", "backslashreplace") for side in (field.a, field.b))
        spot = next(tokens.in_line(a, b, field.name), None)
        cause = shapes.cause_of(spot, setting) if spot and a and b else None
        if cause is None:
            return catalogue.UNKNOWN, said(field)
        found.setdefault(cause, said(field))
    return next(iter(found.items()), (catalogue.UNKNOWN, "no property of the entry tells"))


def _of_one_side(evidence: Evidence) -> tuple[Cause, str]:
    """An entry, or something inside of one, that the other side does not have, or has under another name."""
    side = "A" if evidence.change is Change.REMOVED else "B"
    if evidence.format == "entry" and not evidence.members:
        for other in sorted(evidence.others)[:_SIBLINGS]:
            cause = _renamed(evidence.path, other)
            if cause is not None:
                here, there = (quoted(path.rpartition(b"/")[2]) for path in (evidence.path, other))
                return cause, f"only {side} has {here}, and the other side {there}"
        for name in evidence.path.split(b"/"):
            if chance.drawn(name) and name.startswith((b"tmp", b"temp", b"pip-")):
                return (
                    catalogue.RANDOM_NAME,
                    f"only {side} has it, and {quoted(name)} is a name drawn by chance",
                )
    return catalogue.UNKNOWN, f"only {side} has it, and its name does not tell why"


def _renamed(path: bytes, other: bytes) -> Cause | None:
    """The one reason for which two names of one folder differ."""
    folder, _, name = path.rpartition(b"/")
    folder_there, _, name_there = other.rpartition(b"/")
    if folder != folder_there:
        return None
    spots = list(islice(tokens.in_line(name, name_there, "the name"), _MOST))
    causes = {shapes.cause_of(spot, Setting()) for spot in spots}
    cause = causes.pop() if len(causes) == 1 else None
    return cause if cause in _IN_NAMES else None


_IN_NAMES = (catalogue.UUID, catalogue.RANDOM_NAME, catalogue.BUILD_DATE, catalogue.KERNEL_OR_CPU)


def _first_byte(evidence: Evidence) -> str:
    at = evidence.first - evidence.start
    a, b = (side[at : at + 4].hex(" ") or "the end" for side in (evidence.a, evidence.b))
    return f"first differing byte at {evidence.first} ({evidence.first:#x}): {a} and {b}"
