"""Exact numbers: quantities, prices and money as scaled integers. The only place that rounds.

Three scales, all plain `int` inside, so that no operation can lose a digit:

    Quantity   units    x 10**18
    Price      currency x 10**18   (a percentage or rate uses the same scale)
    Amount     currency x 10**36   unrounded money: a Quantity times a Price

Rounded money is an `int` in the currency's minor unit (cents; yen have none; Kuwaiti dinars three
digits), called `minor`. Rounding is half away from zero. `Decimal` appears at the edges alone:
the database's driver speaks it.
"""

import re
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final, NewType

from babel.numbers import get_currency_precision, list_currencies

from schemas.errors import InvalidInput

Quantity = NewType("Quantity", int)
Price = NewType("Price", int)
Amount = NewType("Amount", int)

QUANTITY_DIGITS: Final = 18
PRICE_DIGITS: Final = 18
AMOUNT_DIGITS: Final = 36
INTEGER_DIGITS: Final = 20
"""Digits allowed before the point in quantities and prices: 38 with those after it."""

ONE: Final = 10**QUANTITY_DIGITS
"""One unit as a Quantity, and one of the currency as a Price."""

assert AMOUNT_DIGITS == QUANTITY_DIGITS + PRICE_DIGITS, "an Amount is a Quantity times a Price"

_POWERS: Final[tuple[int, ...]] = tuple(10**exponent for exponent in range(128))
_NUMBER_LENGTH_MAX: Final = 1_000
_EXPONENT_MAX: Final = 10_000
_DECIMAL_EXPONENT_MAX: Final = 1_000

assert _EXPONENT_MAX > _NUMBER_LENGTH_MAX + INTEGER_DIGITS, "no mantissa makes up for it"

_match_number: Final = re.compile(r"([+-]?[0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?").fullmatch


def parse_scaled(text: str | bytes, *, fraction_digits: int, integer_digits: int) -> int:
    """Read a decimal number exactly, as value x 10**fraction_digits.

    The grammar is JSON's, with a plus sign and leading zeros allowed: no spaces, no separators, no
    digits but ASCII ones, no NaN, no Infinity. Bounds count significant digits: zeros in front and
    behind are free. Work is bounded by the text's length, whatever the exponent says.
    Raises InvalidInput: `number_malformed`, `number_too_large`, `number_too_precise`.
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")  # never fails, and the grammar knows ASCII alone
    if text.isascii():  # most numbers are plain, and a pattern costs as much as the rest together
        whole, point, fraction = text.partition(".")
        if whole.isdecimal() and len(whole) <= integer_digits:
            if not point:
                return int(whole) * _POWERS[fraction_digits]
            if fraction.isdecimal() and len(fraction) <= fraction_digits:
                return int(whole + fraction) * _POWERS[fraction_digits - len(fraction)]
    return _parse_unusual(text, fraction_digits, integer_digits)


def _parse_unusual(text: str, fraction_digits: int, integer_digits: int) -> int:
    """Read what has a sign, an exponent or more digits than its value needs, or refuse it."""
    match = _match_number(text)
    if match is None or len(text) > _NUMBER_LENGTH_MAX:
        raise InvalidInput("number_malformed", "must be a decimal number, such as -12.5 or 3e2")
    whole, fraction, exponent = match.groups("")
    digits = (whole + fraction).lstrip("+-0")
    significant = digits.rstrip("0")
    if not significant:
        return 0
    shift = _bounded_exponent(exponent) - len(fraction) + len(digits) - len(significant)
    if len(significant) + shift > integer_digits:
        detail = f"must have at most {integer_digits} digits before the point"
        raise InvalidInput("number_too_large", detail)
    if -shift > fraction_digits:
        raise _too_precise(fraction_digits)
    value = int(significant) * _POWERS[fraction_digits + shift]
    return -value if whole.startswith("-") else value


def _bounded_exponent(text: str) -> int:
    """Read an exponent of any length; one past the bound is out of every range as the bound is."""
    magnitude = text.lstrip("+-").lstrip("0") or "0"
    value = int(magnitude) if len(magnitude) < len(str(_EXPONENT_MAX)) else _EXPONENT_MAX
    return -value if text.startswith("-") else value


def _too_precise(digits: int) -> InvalidInput:
    return InvalidInput("number_too_precise", f"must have at most {digits} digits after the point")


def parse_quantity(text: str | bytes) -> Quantity:
    """Read a quantity of units. Raises InvalidInput, see `parse_scaled`."""
    return Quantity(
        parse_scaled(text, fraction_digits=QUANTITY_DIGITS, integer_digits=INTEGER_DIGITS)
    )


def parse_price(text: str | bytes) -> Price:
    """Read a price in the currency, or a percentage. Raises InvalidInput, see `parse_scaled`."""
    return Price(parse_scaled(text, fraction_digits=PRICE_DIGITS, integer_digits=INTEGER_DIGITS))


def json_number_text(value: object) -> str:
    """Return the digits of a number that came in JSON, as a number or as a string.

    value: int, Decimal or str as decoded. A float has lost its digits already and is refused like
    anything else that is no number, and so are true and false.
    Raises InvalidInput: `number_malformed`.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _POWERS[-1]:
        return str(value)
    raise InvalidInput("number_malformed", "must be a number, or a number as text")


def scaled_to_text(value: int, digits: int) -> str:
    """Write value / 10**digits in full: no exponent, no trailing zeros, never "-0"."""
    whole, fraction = divmod(abs(value), _POWERS[digits])
    sign = "-" if value < 0 else ""
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:0{digits}d}".rstrip("0")


def scaled_to_decimal(value: int, digits: int) -> Decimal:
    """Return value / 10**digits for the database's driver: exact, whatever the decimal context."""
    return Decimal(scaled_to_text(value, digits))


def decimal_to_scaled(value: Decimal, digits: int) -> int:
    """Return value x 10**digits, exactly.

    Raises InvalidInput when it is not finite, out of all proportion, or has more digits than that.
    """
    if not value.is_finite() or abs(value.adjusted()) > _DECIMAL_EXPONENT_MAX:
        raise InvalidInput("number_malformed", "must be a finite number of a sane size")
    numerator, denominator = value.as_integer_ratio()
    scaled, rest = divmod(numerator * _POWERS[digits], denominator)
    if rest:
        raise InvalidInput(
            "number_too_precise", f"must have at most {digits} digits after the point"
        )
    return scaled


def round_ratio(numerator: int, denominator: int) -> int:
    """Round numerator / denominator to a whole number, half away from zero. denominator > 0."""
    assert denominator > 0
    magnitude = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -magnitude if numerator < 0 else magnitude


def round_fraction(value: Fraction, digits: int) -> int:
    """Round money in the currency to `minor` with so many digits, half away from zero."""
    return round_ratio(value.numerator * _POWERS[digits], value.denominator)


def round_amount(amount: Amount, digits: int) -> int:
    """Round unrounded money to `minor` with so many digits, half away from zero."""
    return round_ratio(amount, _POWERS[AMOUNT_DIGITS - digits])


def round_percent(minor: int, percent: Price) -> int:
    """Return that percentage of rounded money as `minor`, half away from zero."""
    return round_ratio(minor * percent, 100 * ONE)


@lru_cache(maxsize=1_024)
def currency_digits(code: str) -> int:
    """Return how many digits the minor unit of an ISO 4217 currency has, as CLDR lists them.

    Raises InvalidInput when there is no such currency; codes are upper case.
    """
    if code not in list_currencies():
        detail = f"{code[:16]!r} is not an ISO 4217 currency code"
        raise InvalidInput("currency_unknown", detail)
    return get_currency_precision(code)
