"""Money, numbers and dates as a document writes them: exact, whatever their size."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Context, Decimal, localcontext
from typing import Final

from babel.dates import format_date
from babel.numbers import format_currency, format_decimal, get_currency_symbol

from schemas.money import PRICE_DIGITS, scaled_to_decimal

LOCALE: Final = "en"
"""The language of the templates, so numbers and dates follow it."""

_DIGITS_MAX: Final = 40
_PLAIN: Final = "#,##0." + "#" * _DIGITS_MAX
_CONTEXT: Final = Context(prec=240)
"""Wider than any number here: formatting must never round behind our back."""


@contextmanager
def exact_formatting() -> Iterator[None]:
    """Format whatever is inside the block with every digit; the functions below need it."""
    with localcontext(_CONTEXT):
        yield


def money(value: Decimal, currency: str) -> str:
    """Write rounded money with the currency's digits."""
    return str(format_currency(value, currency, f"{_symbol(currency)}#,##0.00", locale=LOCALE))


def exact_money(value: Decimal, currency: str, digits: int) -> str:
    """Write unrounded money or a price: every digit it has, at least the currency's."""
    pattern = f"{_symbol(currency)}#,##0.{'0' * digits}{'#' * (_DIGITS_MAX - digits)}"
    return str(format_currency(value, currency, pattern, locale=LOCALE, currency_digits=False))


def _symbol(currency: str) -> str:
    """Return the symbol's place in a pattern: one of letters keeps off the digits."""
    is_word = get_currency_symbol(currency, locale=LOCALE)[-1].isalpha()
    return "¤\N{NO-BREAK SPACE}" if is_word else "¤"


def number(value: int, digits: int) -> str:
    """Write a scaled number with every digit it has."""
    return str(format_decimal(scaled_to_decimal(value, digits), format=_PLAIN, locale=LOCALE))


def plain(value: Decimal) -> str:
    """Write a number with every digit it has."""
    return str(format_decimal(value, format=_PLAIN, locale=LOCALE))


def percent(value: int) -> str:
    """Write a percentage that is scaled as prices are."""
    return f"{number(value, PRICE_DIGITS)}%"


def day(value: date) -> str:
    """Write a day so that nobody takes the month for the day."""
    return str(format_date(value, "d MMMM y", locale=LOCALE))


def span(start: date, end: date) -> str:
    """Write a half-open span of days by its first and its last day."""
    return f"{day(start)} – {day(end - timedelta(days=1))}"
