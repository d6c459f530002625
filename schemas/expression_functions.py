"""The functions of expressions. Each checks its values itself and says where it stands.

Places in texts count from 0, from the end when they are negative. Rounding is half away from zero.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil, floor
from typing import Final

import msgspec

from schemas.expression_values import (
    Run,
    Value,
    check_length,
    decimal_text,
    number,
    parse_number,
    refuse,
    text,
)
from schemas.money import round_ratio

ROUND_DIGITS_MAX: Final = 18
ARGUMENTS_MAX: Final = 50

Apply = Callable[[Run, int, tuple[Value, ...]], Value]


class Function(msgspec.Struct, frozen=True):
    """A function: how many values it takes, and what it does with them."""

    least: int
    most: int
    apply: Apply


def _abs(_run: Run, at: int, values: tuple[Value, ...]) -> Value:
    return abs(number(values[0], at))


def _min(_run: Run, at: int, values: tuple[Value, ...]) -> Value:
    return min(number(value, at) for value in values)


def _max(_run: Run, at: int, values: tuple[Value, ...]) -> Value:
    return max(number(value, at) for value in values)


def _half_away(value: Fraction) -> int:
    return round_ratio(value.numerator, value.denominator)


def _rounding(to_whole: Callable[[Fraction], int]) -> Apply:
    def apply(_run: Run, at: int, values: tuple[Value, ...]) -> Value:
        digits = _whole(values[1], at) if len(values) > 1 else 0
        if abs(digits) > ROUND_DIGITS_MAX:
            detail = f"digits must be from -{ROUND_DIGITS_MAX} to {ROUND_DIGITS_MAX}"
            refuse("expression_argument", at, detail)
        unit = Fraction(10) ** digits
        return Fraction(to_whole(number(values[0], at) * unit)) / unit

    return apply


def _whole(value: Value, at: int) -> int:
    found = number(value, at)
    if found.denominator != 1:
        refuse("expression_argument", at, "a whole number is needed")
    return found.numerator


def _number(_run: Run, at: int, values: tuple[Value, ...]) -> Value:
    if isinstance(values[0], Fraction):
        return values[0]
    found = parse_number(text(values[0], at).strip())
    if found is None:
        detail = f"{str(values[0])[:64]!r} is no decimal number such as -12.5"
        refuse("expression_no_number", at, detail)
    return found


def _text(_run: Run, at: int, values: tuple[Value, ...]) -> Value:
    if not isinstance(values[0], Fraction):
        return text(values[0], at)
    return _digits(values[0], at)


def _digits(value: Fraction, at: int) -> str:
    digits = decimal_text(value)
    if digits is None:
        refuse("expression_never_ends", at, "the number has digits without end: round(…, …) it")
    return digits


def _concat(run: Run, at: int, values: tuple[Value, ...]) -> Value:
    parts = [str(_text(run, at, (value,))) for value in values]
    check_length(sum(map(len, parts)), at)
    return "".join(parts)


def _plain(change: Callable[[str], str]) -> Apply:
    return lambda _run, at, values: change(text(values[0], at))


def _length(_run: Run, at: int, values: tuple[Value, ...]) -> Value:
    return Fraction(len(text(values[0], at)))


def _substring(_run: Run, at: int, values: tuple[Value, ...]) -> Value:
    source, start = text(values[0], at), _whole(values[1], at)
    start = max(start + len(source), 0) if start < 0 else start
    if len(values) == 2:  # noqa: PLR2004 - without a length
        return source[start:]
    length = _whole(values[2], at)
    if length < 0:
        refuse("expression_argument", at, "a length can't be negative")
    return source[start : start + length]


def _replace(run: Run, at: int, values: tuple[Value, ...]) -> Value:
    source, old, new = (text(value, at) for value in values)
    if not old:
        refuse("expression_argument", at, "an empty text can't be replaced")
    run.spend(source, at)
    check_length(len(source) + source.count(old) * (len(new) - len(old)), at)
    return source.replace(old, new)


def _split(run: Run, at: int, values: tuple[Value, ...]) -> Value:
    source, separator, place = text(values[0], at), text(values[1], at), _whole(values[2], at)
    if not separator:
        refuse("expression_argument", at, "the separator can't be empty")
    run.spend(source, at)
    parts = source.split(separator)
    return parts[place] if -len(parts) <= place < len(parts) else None


def _telling(tell: Callable[[str, str], bool]) -> Apply:
    return lambda _run, at, values: tell(text(values[0], at), text(values[1], at))


FUNCTIONS: Final[Mapping[str, Function]] = {
    "abs": Function(1, 1, _abs),
    "min": Function(1, ARGUMENTS_MAX, _min),
    "max": Function(1, ARGUMENTS_MAX, _max),
    "round": Function(1, 2, _rounding(_half_away)),
    "floor": Function(1, 2, _rounding(floor)),
    "ceil": Function(1, 2, _rounding(ceil)),
    "number": Function(1, 1, _number),
    "text": Function(1, 1, _text),
    "concat": Function(1, ARGUMENTS_MAX, _concat),
    "lower": Function(1, 1, _plain(str.lower)),
    "upper": Function(1, 1, _plain(str.upper)),
    "trim": Function(1, 1, _plain(str.strip)),
    "length": Function(1, 1, _length),
    "substring": Function(2, 3, _substring),
    "replace": Function(3, 3, _replace),
    "split": Function(3, 3, _split),
    "contains": Function(2, 2, _telling(lambda whole, part: part in whole)),
    "starts_with": Function(2, 2, _telling(str.startswith)),
    "ends_with": Function(2, 2, _telling(str.endswith)),
}
