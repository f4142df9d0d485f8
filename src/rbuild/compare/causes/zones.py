"""The same value under two locales, encodings or time zones."""

from __future__ import annotations

import re

from rbuild.compare.causes import moments
from rbuild.compare.causes.setting import Setting
from rbuild.compare.causes.tokens import Spot, Token

_LOCALE = re.compile(rb"(?:[a-z]{2,3}_[A-Z]{2}|C|POSIX)(?:\.[A-Za-z0-9-]{3,12})?(?:@[a-z]{1,12})?")
_CODESETS = frozenset(b"utf-8 ansi_x3.4-1968 us-ascii ascii iso-8859-1 iso-8859-15 iso8859-1 cp1252".split())
_REGIONS = b"Africa|America|Antarctica|Asia|Atlantic|Australia|Europe|Indian|Pacific|Etc"
_ZONE = re.compile(rb"(?:" + _REGIONS + rb")/[A-Za-z_+/0-9-]{2,40}|UTC")
_DECIMAL = re.compile(rb"\d{1,3}(?:[.,]\d{1,20}){1,8}")
_SWAPPED = bytes.maketrans(b".,", b",.")
_QUARTER, _FARTHEST = 900, 26 * 3600  # seconds: zones are whole quarters of an hour apart


def locale(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    """A name of a locale, an encoding or a time zone; a decimal comma; one moment under two zones."""
    if a.kind == b.kind == "date":
        return _other_zone(a.text, b.text)
    texts = [token.widened(b"@_/").text for token in (a, b)]
    if all(map(_ZONE.fullmatch, texts)):
        return True
    codesets = {text.lower().replace(b"utf8", b"utf-8") for text in texts}
    if codesets <= _CODESETS:
        return len(codesets) == 2
    if all(map(_LOCALE.fullmatch, texts)):
        return any(b"_" in text for text in texts) or bool(_NAMED.search(setting.name_of(a)))
    one, other = (token.widened(b",").text for token in (a, b))
    return bool(_DECIMAL.fullmatch(one)) and one.translate(_SWAPPED) == other


_NAMED = re.compile(rb"(?:\blc_[a-z]{3,14}|\blang|locale)[\s\"':=]{1,4}$")


def _other_zone(a: bytes, b: bytes) -> bool:
    one, other = moments.read(a), moments.read(b)
    if one is None or other is None or one.zone == other.zone:
        return False
    if one.instant is not None and other.instant is not None:
        return one.instant == other.instant
    if one.wall is None or other.wall is None or (one.day is None) != (other.day is None):
        return False
    apart = abs(one.wall - other.wall)
    return one.precise and other.precise and 0 < apart <= _FARTHEST and apart % _QUARTER == 0
