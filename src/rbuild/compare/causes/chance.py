"""What is drawn by chance: UUIDs, names of temporary files, salts."""

from __future__ import annotations

import re

from rbuild.compare.causes.setting import Setting
from rbuild.compare.causes.tokens import Spot, Token

_DRAWN = re.compile(
    rb"(?P<folder>/?(?:var/)?tmp/)?"
    rb"(?P<start>(?:(?:tmp|temp)[._-]?|cc|pip-(?:[a-z]{2,12}-){1,4}|[A-Za-z][A-Za-z0-9]{0,30}[._-])?)"
    rb"(?P<letters>[A-Za-z0-9_]{6,16})(?P<end>(?:\.[A-Za-z0-9]{1,8})?)"
)
# Letters by their kind: a word, a number, a word with a number behind it, CamelCase, snake_case.
_MEANT = re.compile(rb"U|l|0|Ul|(?:U|l|Ul)0|(?:Ul){1,3}0?|l_l|l_0|U_0")


def uuid(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    """Two UUIDs."""
    return a.kind == b.kind == "uuid"


def random_name(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    """Two names that mktemp or its like drew."""
    if not (a.kind == b.kind == "temporary"):
        return False
    one, other = _DRAWN.fullmatch(a.text), _DRAWN.fullmatch(b.text)
    if one is None or other is None or len(one["letters"]) != len(other["letters"]):
        return False
    same = all(one[part] == other[part] for part in ("folder", "start", "end"))
    return same and drawn(a.text) and drawn(b.text)


def salt(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    """Two hashes of a password by the same method (crypt(5))."""
    return a.kind == b.kind == "crypt" and a.text.split(b"$")[1] == b.text.split(b"$")[1]


def drawn(name: bytes) -> bool:
    """Whether mktemp, tempfile, gcc or pip draws such a name: a known start, letters without sense."""
    match = _DRAWN.fullmatch(name)
    if match is None:
        return False
    start, letters = match["start"], match["letters"]
    if (start == b"tmp." and len(letters) in (6, 10)) or (start.startswith(b"pip-") and len(letters) == 8):
        return True
    known = match["folder"] is not None or start.startswith((b"tmp", b"temp"))
    kinds = re.sub(rb"[a-z]+", b"l", re.sub(rb"[A-Z]+", b"U", re.sub(rb"[0-9]+", b"0", letters)))
    return known and not _MEANT.fullmatch(kinds)
