"""Dates and times as others write them, read into ISO 8601 with an offset.

A date format is ISO_8601, EPOCH_SECONDS, EPOCH_MILLISECONDS, EPOCH_MICROSECONDS, or a pattern of
Unicode's letters (CLDR): yyyy yy MMMM MMM MM M dd d HH H hh h a mm ss S… XXX, text in quotes.
Times without an offset are local to a time zone. An hour that the clocks go through twice is taken
as its first time round; one that they leave out does not exist, and is refused.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final, Self
from zoneinfo import ZoneInfo

import msgspec

from schemas.errors import InvalidInput
from schemas.expression import Value, parse_number

ISO: Final = "ISO_8601"
EPOCHS: Final[Mapping[str, int]] = {
    "EPOCH_SECONDS": 1_000_000,
    "EPOCH_MILLISECONDS": 1_000,
    "EPOCH_MICROSECONDS": 1,
}
"""Microseconds of one unit."""

PATTERN_LENGTH_MAX: Final = 64
TEXT_LENGTH_MAX: Final = 100

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS_MAX: Final = 253_402_300_800 * 1_000_000  # the year 10000
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_SHORT: Final = tuple(month[:3] for month in _MONTHS)

_split: Final = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']").match
_match_iso: Final = re.compile(r"\d{4}-\d\d-\d\d([Tt ].{2,36})?", re.ASCII).fullmatch

PARTS: Final[Mapping[str, str]] = {
    "yyyy": r"(?P<year>\d{4})",
    "yy": r"(?P<century_year>\d\d)",
    "MMMM": f"(?P<month_name>{'|'.join(_MONTHS)})",
    "MMM": f"(?P<month_short>{'|'.join(_SHORT)})",
    "MM": r"(?P<month>\d\d)",
    "M": r"(?P<month>\d\d?)",
    "dd": r"(?P<day>\d\d)",
    "d": r"(?P<day>\d\d?)",
    "HH": r"(?P<hour>\d\d)",
    "H": r"(?P<hour>\d\d?)",
    "hh": r"(?P<half_hour>\d\d)",
    "h": r"(?P<half_hour>\d\d?)",
    "a": r"(?P<half>am|pm)",
    "mm": r"(?P<minute>\d\d)",
    "ss": r"(?P<second>\d\d)",
    "XXX": r"(?P<offset>z|[+-]\d\d:\d\d)",
    "XX": r"(?P<offset>z|[+-]\d\d\d\d)",
    "X": r"(?P<offset>z|[+-]\d\d(?:\d\d)?)",
}
"""What the letters of a pattern stand for; S, a digit of a fraction, is beside them."""

_FRACTION_DIGITS_MAX: Final = 9


class DateFormat(msgspec.Struct, frozen=True):
    """How a time is written. pattern: compiled, None for ISO 8601 and epochs.

    zone: of times without an offset, None where each must have one.
    """

    name: str
    zone: ZoneInfo | None
    pattern: re.Pattern[str] | None

    @classmethod
    def parse(cls, name: str, zone: ZoneInfo | None) -> Self:
        """Read a date format. Raises InvalidInput `date_format_malformed`, `required`."""
        if name == ISO or name in EPOCHS:
            return cls(name, zone, None)
        pattern = _compile(name)
        if zone is None and "offset" not in pattern.groupindex:
            detail = "times by this format have no offset from UTC: say their timezone"
            raise InvalidInput("required", detail, "/timezone")
        return cls(name, zone, pattern)

    def read(self, value: Value) -> str:
        """Return a time as ISO 8601; what has an offset already stays as it is.

        Raises InvalidInput `timestamp_malformed`, `timestamp_nonexistent`.
        """
        if self.name in EPOCHS:
            return _iso(self._instant(value))
        if not isinstance(value, str):
            raise _malformed(f"must be a text by the format {self.name}")
        if len(value) > TEXT_LENGTH_MAX:
            raise _malformed("is too long for a time")
        if self.pattern is None:
            return value if self.zone is None else self._iso_local(value, self.zone)
        match = self.pattern.fullmatch(value.strip())
        if match is None:
            raise _malformed(f"{value[:64]!r} is not written by the format {self.name}")
        return _iso(self._moment(match.groupdict()))

    def _instant(self, value: Value) -> datetime:
        found = parse_number(value.strip()) if isinstance(value, str) else value
        if not isinstance(found, Fraction):
            raise _malformed("must be a number, counted from 1970")
        micros = found * EPOCHS[self.name]
        if not 0 <= micros < _MICROS_MAX:
            raise _malformed(f"is out of range for {self.name}")
        return _EPOCH + timedelta(microseconds=micros.numerator // micros.denominator)

    def _iso_local(self, text: str, zone: ZoneInfo) -> str:
        if not _match_iso(text):
            return text  # the event's own reader says what is wrong with it
        try:
            moment = datetime.fromisoformat(text.upper())
        except ValueError:
            return text
        return text if moment.tzinfo is not None else _iso(_in_zone(moment, zone))

    def _moment(self, parts: Mapping[str, str]) -> datetime:
        try:
            read = datetime(
                _year(parts), _month(parts), int(parts["day"]), _hour(parts),
                int(parts.get("minute", "0")), int(parts.get("second", "0")),
                int(parts.get("fraction", "0").ljust(6, "0")[:6]), tzinfo=UTC,
            )  # fmt: skip
            if "offset" in parts:
                return read - _offset(parts["offset"])
        except (ValueError, OverflowError) as error:
            raise _malformed(f"is no time: {error}") from None
        assert self.zone is not None
        return _in_zone(read.replace(tzinfo=None), self.zone)


def _malformed(detail: str) -> InvalidInput:
    return InvalidInput("timestamp_malformed", detail)


def _iso(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat()}Z"


def _in_zone(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant of a local time, the first one where there are two."""
    try:
        instant = local.replace(tzinfo=zone).astimezone(UTC)
        is_there = instant.astimezone(zone).replace(tzinfo=None) == local
    except OverflowError:
        raise _malformed("is out of range") from None
    if not is_there:
        detail = f"the clocks of {zone.key} leave this time out"
        raise InvalidInput("timestamp_nonexistent", detail)
    return instant


def _year(parts: Mapping[str, str]) -> int:
    return int(parts["year"]) if "year" in parts else 2000 + int(parts["century_year"])


def _month(parts: Mapping[str, str]) -> int:
    for group, names in (("month_name", _MONTHS), ("month_short", _SHORT)):
        if group in parts:
            return names.index(parts[group].lower()) + 1
    return int(parts["month"])


def _hour(parts: Mapping[str, str]) -> int:
    if "half_hour" not in parts:
        return int(parts.get("hour", "0"))
    hour = int(parts["half_hour"])
    if not 1 <= hour <= 12:  # noqa: PLR2004 - a clock's face
        raise ValueError("hours with am or pm are from 1 to 12")
    return hour % 12 + (12 if parts["half"].lower() == "pm" else 0)


def _offset(text: str) -> timedelta:
    digits = text[1:].replace(":", "").ljust(4, "0")
    if text in "Zz":
        return timedelta()
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - a clock's face
        raise ValueError("the offset is out of range")
    away = timedelta(hours=hours, minutes=minutes)
    return -away if text[0] == "-" else away


# ---------------------------------------------------------------- patterns


def _compile(pattern: str) -> re.Pattern[str]:
    """Turn a pattern into a regular expression. Raises InvalidInput."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise _bad_pattern(f"must have at most {PATTERN_LENGTH_MAX} characters")
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        match = _split(pattern, at)
        if match is None:
            raise _bad_pattern("a quote is never closed")
        parts.append(_part(match))
        at = match.end()
    try:
        compiled = re.compile("".join(parts), re.IGNORECASE | re.ASCII)
    except re.error:
        raise _bad_pattern("a part comes twice") from None
    _check_parts(compiled.groupindex)
    return compiled


def _part(match: re.Match[str]) -> str:
    word = match[0]
    if match[1] is not None:
        return re.escape(match[1].replace("''", "'") or "'")
    if match[2] is None:
        return re.escape(word)
    if match[2] == "S" and len(word) <= _FRACTION_DIGITS_MAX:
        return rf"(?P<fraction>\d{{{len(word)}}})"
    if word not in PARTS:
        detail = f"{word!r} means nothing; letters that are no part of a time stand in 'quotes'"
        raise _bad_pattern(detail)
    return PARTS[word]


_NEEDED: Final[tuple[tuple[str, Callable[[Mapping[str, int]], bool]], ...]] = (
    ("a year, yyyy", lambda names: ("year" in names) != ("century_year" in names)),
    (
        "a month, MM",
        lambda names: sum(name in names for name in ("month", "month_name", "month_short")) == 1,
    ),
    ("a day, dd", lambda names: "day" in names),
    ("hours as HH, or as hh with a", lambda names: ("half_hour" in names) == ("half" in names)),
    ("hours once", lambda names: not ("hour" in names and "half_hour" in names)),
)


def _check_parts(names: Mapping[str, int]) -> None:
    for what, is_there in _NEEDED:
        if not is_there(names):
            raise _bad_pattern(f"needs {what}")


def _bad_pattern(detail: str) -> InvalidInput:
    others = ", ".join((ISO, *EPOCHS))
    remedy = f"a date format is one of {others}, or a pattern such as dd.MM.yyyy HH:mm:ss"
    return InvalidInput("date_format_malformed", f"{detail} ({remedy})", "/date_format")
