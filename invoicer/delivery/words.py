"""Labels, money, numbers and dates as a document writes them: exact, whatever their size.

A document is written in one locale, that of the block `writing` around it: numbers and dates follow
the whole of it, labels its language, or English where there are none in that language.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime, timedelta
from decimal import Context, Decimal, localcontext
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal, get_currency_symbol

from schemas.money import PRICE_DIGITS, scaled_to_decimal

ENGLISH: Final = Locale("en")

_LABELS: Final[Mapping[str, Mapping[str, str]]] = {
    path.stem: msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    for path in sorted((Path(__file__).parent / "labels").glob("*.json"))
}
_DIGITS_MAX: Final = 40
_DAY: Final = "d MMMM y"
"""For English: nobody takes the month for the day. Other languages have their own long form."""

_SHORT_DAY: Final = "d MMM y"

_CONTEXT: Final = Context(prec=240)
"""Wider than any number here: formatting must never round behind our back."""

_locale: ContextVar[Locale] = ContextVar("locale", default=ENGLISH)
_MARKS: Final = {ord("\N{LEFT-TO-RIGHT MARK}"): None, ord("\N{RIGHT-TO-LEFT MARK}"): None}
_fraction: Final = re.compile(r"0\.0+")


@contextmanager
def writing(locale: Locale = ENGLISH) -> Iterator[None]:
    """Write whatever is inside the block in a locale, with every digit of its numbers."""
    token = _locale.set(locale)
    try:
        with localcontext(_CONTEXT):
            yield
    finally:
        _locale.reset(token)


@cache
def find_locale(name: str) -> Locale | None:
    """Return the locale of a name such as de-CH, None where there is none."""
    try:
        return Locale.parse(name, sep="-")
    except (UnknownLocaleError, ValueError):
        return None


def language() -> str:
    """Return the language of the labels."""
    return _locale.get().language if _locale.get().language in _LABELS else ENGLISH.language


def is_rtl() -> bool:
    """Whether the labels are written from right to left."""
    return Locale(language()).text_direction == "rtl"


def say(label: str, **values: str) -> str:
    """Write a label, given in English, with the values that its braces name."""
    written = {name: entered(value) for name, value in values.items()}
    return _LABELS.get(language(), {}).get(label, label).format(**written)


def entered(text: str) -> str:
    """Return what people entered so that it keeps its own direction among right-to-left labels."""
    return (
        f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}" if text and is_rtl() else text
    )


def _isolated(number: str) -> str:
    """Return a number so that its sign stays before it among right-to-left labels."""
    if not is_rtl():
        return number
    plain = number.translate(_MARKS)
    return f"\N{LEFT-TO-RIGHT ISOLATE}{plain}\N{POP DIRECTIONAL ISOLATE}"


def money(value: Decimal, currency: str) -> str:
    """Write rounded money with the currency's digits."""
    pattern = _money_pattern(currency)
    return _isolated(format_currency(value, currency, pattern, locale=_locale.get()))


def exact_money(value: Decimal, currency: str, digits: int) -> str:
    """Write unrounded money or a price: every digit it has, at least the currency's."""
    fraction = f"0.{'0' * digits}{'#' * (_DIGITS_MAX - digits)}"
    pattern = _fraction.sub(fraction, _money_pattern(currency))
    locale = _locale.get()
    return _isolated(
        format_currency(value, currency, pattern, locale=locale, currency_digits=False)
    )


def _money_pattern(currency: str) -> str:
    """Return the locale's way to write money; a symbol of letters keeps off the digits."""
    pattern = str(_locale.get().currency_formats["standard"].pattern)
    if get_currency_symbol(currency, locale=_locale.get())[-1].isalpha():
        return re.sub(r"¤(?=[#0])", "¤\N{NO-BREAK SPACE}", pattern)
    return pattern


def number(value: int, digits: int) -> str:
    """Write a scaled number with every digit it has."""
    return plain(scaled_to_decimal(value, digits))


def plain(value: Decimal) -> str:
    """Write a number with every digit it has."""
    grouping = str(_locale.get().decimal_formats[None].pattern).partition(".")[0]
    pattern = f"{grouping}.{'#' * _DIGITS_MAX}"
    return _isolated(format_decimal(value, format=pattern, locale=_locale.get()))


def percent(value: int) -> str:
    """Write a percentage that is scaled as prices are."""
    return f"{number(value, PRICE_DIGITS)}%"


def day(value: date) -> str:
    """Write a day with the month's name."""
    form = _DAY if _locale.get().language == ENGLISH.language else "long"
    return str(format_date(value, form, locale=_locale.get()))


def short_day(value: date) -> str:
    """Write a day for a table."""
    form = _SHORT_DAY if _locale.get().language == ENGLISH.language else "medium"
    return str(format_date(value, form, locale=_locale.get()))


def clock(local: datetime) -> str:
    """Write the time of day of an aware instant to the second, with its offset from UTC."""
    return _isolated(f"{local:%H:%M:%S} {local.isoformat()[-6:]}")


def span(start: date, end: date) -> str:
    """Write a half-open span of days by its first and its last day."""
    return f"{day(start)} – {day(end - timedelta(days=1))}"
