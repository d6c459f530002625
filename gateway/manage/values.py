"""Readers of single values in management bodies: what each kind must be.

Each takes a decoded JSON value and returns it in one canonical form, or raises InvalidInput.
Whatever is a standard is judged by a library that knows it: currencies, countries and locales by
CLDR (babel), time zones by the tz database (zoneinfo).
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from babel import Locale, UnknownLocaleError

from gateway.manage.body import JsonNumber, Read
from schemas.additional_data import check_name
from schemas.countries import country_codes
from schemas.errors import InvalidInput
from schemas.event_ref import canonical_ref
from schemas.money import (
    PRICE_DIGITS,
    currency_digits,
    json_number_text,
    parse_price,
    scaled_to_decimal,
)
from schemas.usage_event import parse_timestamp

TEXT_LENGTH_MAX: Final = 2_000
ICON_LENGTH_MAX: Final = 1 << 20
EMAILS_MAX: Final = 20
EMAIL_LENGTH_MAX: Final = 320
NET_DAYS_MAX: Final = 3_650
PAGE_NUMBER_MAX: Final = 1_000_000
DATE_MIN: Final = date(2000, 1, 2)
"""The first day whose midnight is at or after 2000-01-01 in UTC in every time zone."""
DATE_MAX: Final = date(2299, 12, 31)
DUE_UPON_RECEIPT: Final = "DUE_UPON_RECEIPT"
DUE_UPON_USAGE: Final = "DUE_UPON_USAGE"
REVIEWS: Final = ("INHERITED", "REQUIRED", "NONE")
"""Whether documents wait for a person: as the next wider scope says, or so or so."""


#: A name of another field's value: a day, or an instant whose day a time zone picks.
DayOrInstant = date | datetime

Choice = TypeVar("Choice", bound=str)

_is_colour: Final = re.compile(r"#[0-9A-Fa-f]{6}").fullmatch
_match_email: Final = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*").fullmatch
_match_date: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII).fullmatch
_match_number_format: Final = re.compile(r"([^{}]|\{year\}|\{number(:0[1-9])?\})*").fullmatch
_TRUTH: Final[Mapping[object, bool]] = {True: True, False: False, "true": True, "false": False}


def text(value: object) -> str:
    """Read a text, kept as it is; numbers are taken as they are written."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidInput("type_string", "must be a text")
    return _checked_text(str(value), TEXT_LENGTH_MAX)


def _checked_text(value: str, length_max: int) -> str:
    if "\0" in value:
        raise InvalidInput("null_character", "must not contain U+0000")
    if len(value) > length_max:
        raise InvalidInput("text_too_long", f"must have at most {length_max} characters")
    return value


def name(value: object) -> str:
    """Read a name of something: 1 to 255 printable characters in form NFC, outer space cut off."""
    if not isinstance(value, str) or isinstance(value, JsonNumber):
        raise InvalidInput("type_string", "must be a text")
    stripped = value.strip()
    check_name(stripped)
    return stripped


def icon(value: object) -> str:
    """Read a picture as text that is not looked into."""
    if not isinstance(value, str):
        raise InvalidInput("type_string", "must be a text")
    return _checked_text(value, ICON_LENGTH_MAX)


def colour(value: object) -> str:
    """Read a colour such as #1f4e79, answered in lower case."""
    if not isinstance(value, str) or not _is_colour(value):
        raise InvalidInput("colour_malformed", "must be # and six hexadecimal digits")
    return value.lower()


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool | str) or value not in _TRUTH:
        raise InvalidInput("flag_malformed", "must be true or false")
    return _TRUTH[value]


def whole(least: int, most: int) -> Read[int]:
    """Make a reader of whole numbers within bounds."""

    def read(value: object) -> int:
        digits = json_number_text(value)
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > len(str(most)):
            raise InvalidInput("number_malformed", f"must be a whole number, {least} to {most}")
        if not least <= int(digits) <= most:
            raise InvalidInput("number_out_of_range", f"must be from {least} to {most}")
        return int(digits)

    return read


def choice(*known: Choice) -> Read[Choice]:
    """Make a reader of words from a fixed set."""
    words = ", ".join(known)

    def read(value: object) -> Choice:
        for word in known:
            if value == word:
                return word
        raise InvalidInput("value_unknown", f"must be one of {words}")

    return read


def ref(value: object) -> UUID:
    """Read a ref."""
    if not isinstance(value, str):
        raise InvalidInput("ref_malformed", "must be a ref of 8-4-4-4-12 hexadecimal digits")
    return UUID(canonical_ref(value))


def same_ref(named: UUID) -> Read[UUID]:
    """Make a reader of a ref that the path names already."""

    def read(value: object) -> UUID:
        if ref(value) != named:
            raise InvalidInput("ref_differs", f"must be {named}, as in the path, or left out")
        return named

    return read


def emails(value: object) -> str:
    """Read one address or several with commas between."""
    parts = text(value).split(",")
    if len(parts) > EMAILS_MAX:
        raise InvalidInput("emails_too_many", f"must be at most {EMAILS_MAX} addresses")
    addresses = [part.strip() for part in parts]
    for address in addresses:
        if len(address) > EMAIL_LENGTH_MAX or not _match_email(address):
            detail = f"{address[:64]!r} is not an e-mail address"
            raise InvalidInput("email_malformed", detail)
    return ", ".join(addresses)


def currency(value: object) -> str:
    """Read an ISO 4217 code."""
    code = text(value)
    currency_digits(code)
    return code


def timezone(value: object) -> str:
    """Read a name of the tz database."""
    key = text(value)
    if key not in _timezones():
        nearest = get_close_matches(key[:64], _timezones(), n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise InvalidInput("timezone_unknown", f"is no time zone such as Europe/Berlin{hint}")
    return key


@lru_cache(maxsize=1)
def _timezones() -> frozenset[str]:
    """Return the names that are the same on every machine."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def locale(value: object) -> str:
    """Read a locale such as en-US, answered as BCP 47 writes it."""
    tag = text(value)
    try:
        return str(Locale.parse(tag.replace("-", "_"))).replace("_", "-")
    except (ValueError, UnknownLocaleError):
        raise InvalidInput("locale_unknown", "is no locale such as en-US") from None


def country(value: object) -> str:
    """Read an English name of a country or an ISO 3166 code; kept as it is sent."""
    sent = text(value).strip()
    if sent.casefold() not in country_codes():
        nearest = get_close_matches(sent.casefold()[:64], country_codes(), n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        detail = f"is neither a country's English name nor an ISO 3166 code{hint}"
        raise InvalidInput("country_unknown", detail)
    return sent


def country_code(named: str) -> str:
    """Return the ISO 3166 code of what `country` has read."""
    return country_codes()[named.strip().casefold()]


def percent(most: int) -> Read[Decimal]:
    """Make a reader of percentages from 0 to a bound, exact."""

    def read(value: object) -> Decimal:
        scaled = parse_price(json_number_text(value))
        if not 0 <= scaled <= most * 10**PRICE_DIGITS:
            raise InvalidInput("percent_out_of_range", f"must be a percentage from 0 to {most}")
        return scaled_to_decimal(scaled, PRICE_DIGITS)

    return read


def fee(value: object) -> Decimal:
    """Read money that can't be negative, exact, in the currency."""
    scaled = parse_price(json_number_text(value))
    if scaled < 0:
        raise InvalidInput("number_negative", "must not be negative")
    return scaled_to_decimal(scaled, PRICE_DIGITS)


def net_terms(*, upon_usage: bool) -> Read[str]:
    """Make a reader of payment terms: positive days or a word, as text."""
    words = (DUE_UPON_RECEIPT, DUE_UPON_USAGE) if upon_usage else (DUE_UPON_RECEIPT,)
    days = whole(1, NET_DAYS_MAX)

    def read(value: object) -> str:
        if value in words:
            return str(value)
        try:
            return str(days(value))
        except InvalidInput:
            detail = f"must be from 1 to {NET_DAYS_MAX} days or {' or '.join(words)}"
            raise InvalidInput("net_terms_malformed", detail) from None

    return read


def number_format(value: object) -> str:
    """Read the form of document numbers: {number} or {number:03}, and {year} where wanted."""
    form = text(value)
    if _match_number_format(form) is None or form.count("{number") != 1 or len(form) > 64:  # noqa: PLR2004
        detail = "must have {number} or {number:03} once, {year} if wanted, and plain text"
        raise InvalidInput("number_format_malformed", detail)
    return form


def plain_date(value: object) -> date:
    """Read a date, YYYY-MM-DD."""
    try:
        if not isinstance(value, str) or not _match_date(value):
            raise _date_malformed()
        day = date.fromisoformat(value)
    except ValueError:
        raise _date_malformed() from None
    return _checked_date(day)


def _date_malformed() -> InvalidInput:
    return InvalidInput("date_malformed", "must be a date, YYYY-MM-DD")


def _checked_date(day: date) -> date:
    if not DATE_MIN <= day <= DATE_MAX:
        raise InvalidInput("date_out_of_range", f"must be from {DATE_MIN} to {DATE_MAX}")
    return day


def day_or_instant(value: object) -> DayOrInstant:
    """Read a date, or a time with an offset whose day a time zone picks later (`day_in`)."""
    if isinstance(value, str) and "T" in value:
        micros = parse_timestamp(value)
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return plain_date(value)


def instant(value: object) -> datetime:
    """Read a time with an offset, or a day, which stands for its first instant in UTC."""
    when = day_or_instant(value)
    if isinstance(when, datetime):
        return when
    return datetime(when.year, when.month, when.day, tzinfo=UTC)


def day_in(when: DayOrInstant, zone: str) -> date:
    """Return the day, in a time zone, of what `day_or_instant` read."""
    if isinstance(when, datetime):
        return _checked_date(when.astimezone(ZoneInfo(zone)).date())
    return when
