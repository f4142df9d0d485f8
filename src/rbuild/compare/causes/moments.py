"""Dates and times as programs write them, found and read in bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_MONTHS = b"Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_LONG = b"January|February|March|April|May|June|July|August|September|October|November|December"
_MONTH = rb"(?P<month>" + _LONG + b"|" + _MONTHS + rb")"
_WEEKDAY = rb"(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,? {1,2})?"
_HALF = rb"(?: (?P<half>[AP]M))?"
_TIME = rb"(?P<hour>\d\d)[:_.-]?(?P<minute>\d\d)(?:[:_.-]?(?P<second>\d\d)(?:[.,_]\d{1,9})?)?" + _HALF
_CLOCK = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,]\d{1,9})?" + _HALF
_ZONE = rb"(?: ?(?P<zone>Z|[+-]\d\d:?\d\d|(?!AM|PM)[A-Z]{3,5}|[+-]\d\d)(?![A-Za-z0-9]))?"
_YEAR, _DAY = rb"(?P<year>\d{4})", rb"(?P<day>\d{1,2})"
_ISO_DAY = _YEAR + rb"(?P<mark>[-/])(?P<number>\d\d)(?P=mark)(?P<day>\d\d)"
_BASIC_DAY = _YEAR + rb"(?P<number>\d\d)(?P<day>\d\d)"
_BASIC_TIME = rb"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"

_FORMS = (
    # ISO 8601 and its neighbours
    _ISO_DAY + rb"(?:(?:T|_| {1,2}|-)" + _TIME + _ZONE + rb")?",
    _BASIC_DAY + rb"[T_-]?" + _BASIC_TIME + _ZONE,
    # RFC 5322, HTTP
    _WEEKDAY + _DAY + rb"[ -]" + _MONTH + rb"[ -]" + _YEAR + rb"(?:,? (?:at )?" + _TIME + _ZONE + rb")?",
    # What date and ctime write, C's __DATE__, syslog, C's __TIME__
    _WEEKDAY + _MONTH + rb" {1,2}" + _DAY + rb" " + _CLOCK + _ZONE + rb" " + _YEAR,
    _WEEKDAY + _MONTH + rb" {1,2}" + _DAY + rb",? " + _YEAR + rb"(?:,? (?:at )?" + _CLOCK + _ZONE + rb")?",
    _WEEKDAY + _MONTH + rb" {1,2}" + _DAY + rb" " + _CLOCK + _ZONE,
    _CLOCK + _ZONE,
)
_READERS = tuple(re.compile(form) for form in _FORMS)

ANY = b"|".join(re.sub(rb"\(\?P=mark\)", b"[-/]", re.sub(rb"\(\?P<\w+>", b"(?:", form)) for form in _FORMS)
"""A pattern without groups that finds all of them; `read` says what is no date after all (month 13)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, a time of a day, or both. `clock` is in seconds since midnight; the zone as written."""

    day: date | None
    clock: int | None
    precise: bool  # the clock has seconds
    zone: str | None

    @property
    def instant(self) -> datetime | None:
        """In UTC, where date, time and the zone's offset are known."""
        offset = _offset(self.zone)
        if self.day is None or self.clock is None or offset is None:
            return None
        try:
            local = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
            return local + timedelta(seconds=self.clock) - offset
        except OverflowError:
            return None

    @property
    def wall(self) -> int | None:
        """What a clock on the wall showed, in seconds, whatever the zone; None without a clock."""
        if self.clock is None:
            return None
        return self.clock + (self.day.toordinal() * 86_400 if self.day else 0)


def read(text: bytes) -> Moment | None:
    """What a date or time says; None if it is none."""
    for reader in _READERS:
        match = reader.fullmatch(text)
        if match:
            moment = _moment({name: value for name, value in match.groupdict().items() if value is not None})
            if moment is not None:
                return moment
    return None


def _moment(said: dict[str, bytes]) -> Moment | None:
    day = None
    if "day" in said:
        named = said.get("month")
        month = _MONTHS.split(b"|").index(named[:3]) + 1 if named else int(said["number"])
        try:
            # A day without its year: 2000 had a 29th of February.
            day = date(int(said.get("year", b"2000")), month, int(said["day"]))
        except ValueError:
            return None
        if "year" in said and not 1970 <= day.year < 2100:
            return None
    clock = None
    if "hour" in said:
        hour, minute, second = (int(said.get(name, b"0")) for name in ("hour", "minute", "second"))
        if "half" in said:
            hour = hour % 12 + (12 if said["half"] == b"PM" else 0)
        if hour > 23 or minute > 59 or second > 60:
            return None
        clock = hour * 3600 + minute * 60 + second
    zone = said.get("zone")
    return Moment(day, clock, "second" in said, zone.decode("ascii") if zone else None)


def _offset(zone: str | None) -> timedelta | None:
    if zone in ("Z", "UTC", "GMT"):
        return timedelta()
    if zone and zone[0] in "+-":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        return timedelta(hours=int(digits[:2]), minutes=int(digits[2:])) * (-1 if zone[0] == "-" else 1)
    return None
