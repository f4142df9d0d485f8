"""What a clock said, and what one measured."""

from __future__ import annotations

import re

from rbuild.compare.causes import moments
from rbuild.compare.causes.setting import Setting
from rbuild.compare.causes.tokens import Spot, Token

_APART = 40 * 86_400  # seconds between two builds, where nothing but the numbers says that they are times
_EPOCHS = range(10**9, 2 * 10**9)  # 2001 to 2033

_NAMES_A_VERSION = re.compile(
    rb"(?:version|ver|release|api|rev|revision|tag|schema|edition|\bv)[\s\"':=_.-]{0,4}$"
)
_NAMES_A_TIME = re.compile(
    rb"(?:time|date|stamp|epoch|built|build|created|generated|since|now)[a-z_]{0,8}[\s\"':=@_.-]{0,6}$"
)
_PART_OF_A_NAME = re.compile(rb"[A-Za-z0-9][-_.]$")
_PART_OF_AN_ADDRESS = re.compile(rb"[0-9A-Za-z]:$")
_SHADOW = re.compile(rb"etc/shadow-?")
_BEFORE_LAST_CHANGE = re.compile(rb"[^:]*:[^:]*:")
_NAMES_A_DURATION = re.compile(
    rb"(?:\bin|took|elapsed|duration|\breal|\buser|\bsys|runtime)"
    rb"(?:[_ ](?:time|s|ms|seconds))?[\s\"':=]{1,4}$"
)
_DURATION = re.compile(
    rb"(?:\d{1,6}m)?\d{1,9}(?:\.\d{1,12})?(?:e-\d\d?)?(?P<unit>(?:[mnu]?s(?:econds?|ecs?)?)?)"
)
_UNIT = re.compile(rb"\s?(?:[mnu]?s|secs?|seconds?|minutes?)\b")


def build_date(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    """Two dates or times, also as seconds since 1970, or as days in shadow(5)."""
    if a.kind == b.kind == "date":
        return _dates(a, b, spot, setting)
    if not (a.text.isdigit() and b.text.isdigit()):
        return False
    if _SHADOW.fullmatch(setting.path):
        return all(_BEFORE_LAST_CHANGE.fullmatch(token.before) for token in (a, b))
    return _epochs(a, b, setting)


def _dates(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    one, other = moments.read(a.text), moments.read(b.text)
    if one is None or other is None:
        return False
    if one.day is None or other.day is None:
        return not any(_PART_OF_AN_ADDRESS.search(token.before[-2:]) for token in (a, b))
    if any(_NAMES_A_VERSION.search(setting.name_of(token)) for token in (a, b)):
        return False
    if one.clock is not None and other.clock is not None:
        return True
    # A day alone may also be a version's name, or one value of a row of data.
    attached = any(_PART_OF_A_NAME.search(token.before[-2:]) for token in (a, b))
    return not attached and spot.together == ("date",)


def _epochs(a: Token, b: Token, setting: Setting) -> bool:
    """Two numbers of seconds, milli-, micro- or nanoseconds since 1970."""
    digits = len(a.text)
    if digits != len(b.text) or digits not in (10, 13, 16, 19):
        return False
    one, other = (int(token.text[:10]) for token in (a, b))
    if one not in _EPOCHS or other not in _EPOCHS or any(token.before.endswith(b".") for token in (a, b)):
        return False
    named = all(_NAMES_A_TIME.search(setting.name_of(token)) for token in (a, b))
    return named or abs(one - other) <= _APART


def elapsed_time(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    """Two durations with a fraction and a unit, behind a word that says so: "in 0.31s"."""
    return all(_duration(token.widened(), setting) for token in (a, b))


def _duration(token: Token, setting: Setting) -> bool:
    number = _DURATION.fullmatch(token.text.rstrip(b"."))
    if number is None or b"." not in token.text or not (number["unit"] or _UNIT.match(token.after)):
        return False
    return _NAMES_A_DURATION.search(setting.name_of(token)) is not None
