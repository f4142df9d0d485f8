"""Asking for the cause of one difference."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from rbuild.compare.causes import catalogue, chance, folders, places, shapes, tokens
from rbuild.compare.causes.setting import Setting
from rbuild.compare.causes.tokens import Spot, Token
from rbuild.compare.causes.wording import quoted, values
from rbuild.compare.evidence import Evidence
from rbuild.compare.model import Cause, Change

_MOST = 32  # spots that are looked at, to say what else differs
_SIBLINGS = 64  # entries of the other side that are held against one that is missing there
_TEXTS = ("text", "json", "yaml", "config")
_DELIMITERS = re.compile(rb"[\s,;:=|{}\[\]()<>\"']+")
_STRING = re.compile(rb"[ -~]{3,}")
_NUMBER = re.compile(rb"[\d.eE+-]*")


def find(evidence: Evidence) -> tuple[Cause, str]:
    """The cause of a difference, and a sentence that says what showed it.

    Only what differs counts: the cause is `UNKNOWN` where the differing bytes themselves show none. Where
    they show several, the cause of the first one is said, and the sentence names the others. Swapping the two
    sides changes nothing but the order of the values in the sentence. Time and memory are bounded.
    """
    for cause, rule in places.RULES:
        why = rule(evidence)
        if why:
            return cause, why
    if evidence.format == "metadata":
        return _of_fields(evidence)
    if evidence.change is not Change.CHANGED or evidence.format == "entry":
        return _of_one_side(evidence)
    return _of_order(evidence) or _of_tokens(evidence)


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
    in_lines = evidence.format in _TEXTS or evidence.part in ("tEXt", "iTXt", "schema")
    if in_lines or evidence.part.startswith("table "):
        name = evidence.part if evidence.format in ("json", "yaml", "config") else ""
        numbered = not evidence.start and not name
        return tokens.in_text(a, b, numbered=numbered, name=name or f"offset {evidence.first:#x}")
    part = f"section {evidence.part}" if evidence.format == "elf" else ""
    return tokens.in_binary(a, b, start=evidence.start, name=part)


def _cause(spot: Spot, setting: Setting, evidence: Evidence) -> Cause | None:
    if evidence.format in ("elf", "pyc") and spot.both and folders.path_in_program(*spot.both):
        return catalogue.BUILD_PATH
    return shapes.cause_of(spot, setting)


def _setting(evidence: Evidence) -> Setting:
    key = evidence.part.encode("utf-8", "backslashreplace") if evidence.format in _TEXTS else b""
    return Setting(path=evidence.path, key=key, hosts=evidence.facts.hosts)


def _of_order(evidence: Evidence) -> tuple[Cause, str] | None:
    """The same lines, or the same items of a line, in another order."""
    if evidence.format not in (*_TEXTS, "sqlite", "binary", "pyc", "png"):
        return None
    found = places.permuted(evidence)
    if found and not all(_NUMBER.fullmatch(line) for line in found[1]):
        count, _ = found
        if _collated(evidence.a, evidence.b):
            return catalogue.LOCALE, f"the same {count} lines are sorted by different rules"
        return catalogue.HASH_ORDER, f"the same {count} lines stand in another order"
    spot = next(_spots(evidence), None)
    if evidence.format == "pyc":
        # Sets of constants; Python writes them in a fixed order since 3.11.
        items = [_STRING.findall(side) for side in (evidence.a, evidence.b)]
    elif spot is not None and spot.both is not None:
        items = [[item for item in _DELIMITERS.split(token.line) if item] for token in spot.both]
    else:
        return None
    if len(_moved(*items)) < 3:
        return None
    where = spot.at if spot else "the code"
    return catalogue.HASH_ORDER, f"{where} holds the same {len(items[0])} items in another order"


def _moved(a: list[bytes], b: list[bytes]) -> set[bytes]:
    """The items that stand elsewhere, where both sides have the same ones; numbers have no hash of chance."""
    if len(a) != len(b) or Counter(a) != Counter(b):
        return set()
    return {item for item, other in zip(a, b, strict=True) if item != other and not _NUMBER.fullmatch(item)}


def _collated(a: bytes, b: bytes) -> bool:
    """Whether one side is sorted by bytes, and the other as a dictionary is: case and marks count last."""
    sides = [[line for line in side.split(b"\n") if line] for side in (a, b)]
    by_bytes = [lines == sorted(lines) for lines in sides]
    by_letters = [lines == sorted(lines, key=_letters) for lines in sides]
    return by_bytes[0] != by_bytes[1] and by_letters[by_bytes.index(False)]


def _letters(line: bytes) -> bytes:
    return re.sub(rb"[^A-Za-z0-9\x80-\xff]", b"", line).lower()


def _of_fields(evidence: Evidence) -> tuple[Cause, str]:
    """Properties of an entry that are texts: a link's target, an extended attribute."""
    setting = Setting(path=evidence.path, hosts=evidence.facts.hosts)
    told = [field for field in evidence.fields if field.name != "mtime"]
    found: dict[Cause, str] = {}
    for field in told:
        a, b = ((side or "").encode("utf-8", "surrogateescape") for side in (field.a, field.b))
        spot = next(tokens.in_line(a, b, field.name), None)
        cause = shapes.cause_of(spot, setting) if spot and field.a and field.b else None
        if cause is None:
            said = f"{quoted(field.name.encode())} is {values(a or None, b or None)}"
            return catalogue.UNKNOWN, said
        found.setdefault(cause, f"{quoted(field.name.encode())} is {values(a, b)}")
    if not found:
        return catalogue.UNKNOWN, "no property of the entry tells"
    return next(iter(found.items()))


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
