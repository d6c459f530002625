"""What expressions compute with: exact numbers, texts, truths and null; and the bounds of it all.

Numbers are fractions: no operation loses a digit, a third is a third. Kinds are never guessed: a
text of digits is a text until `number` reads it.
"""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Final, NoReturn

from schemas.errors import InvalidInput

Value = Fraction | str | bool | None

Path = tuple[str | int, ...]
"""Where a value stands in the source: names of fields and, in lists, places from 0."""

Find = Callable[[Path], Value]
"""Finds the value of a name; None where there is none. Raises InvalidInput."""

LookUp = Callable[[str, str], str]
"""Finds a ref by a key and its value. Raises InvalidInput when there is not exactly one."""

STEPS_MAX: Final = 2_000
"""Steps of one run: a node is one, and so is each started stretch of what it makes."""

NUMBER_BITS_MAX: Final = 1_024
"""Bits of a number's numerator, and of its denominator: some 300 digits each."""

STRING_LENGTH_MAX: Final = 10_000
"""Characters of a text while it is computed with."""

NUMBER_LENGTH_MAX: Final = 100
"""Characters of a number that stands in a text."""

_STEP_BITS: Final = 128
_STEP_CHARACTERS: Final = 64

_match_number: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?").fullmatch


class Run:
    """One evaluation: where names and look-ups are found, and how much may still be done.

    Several expressions may share a run, and with it the bound of their work.
    """

    __slots__ = ("find", "look_ups", "steps_left")

    def __init__(self, find: Find, look_ups: Mapping[str, LookUp] | None = None) -> None:
        self.find = find
        self.look_ups = look_ups or {}
        self.steps_left = STEPS_MAX

    def spend(self, value: Value, at: int) -> None:
        """Pay for a value that is about to be used. Raises InvalidInput past a bound."""
        steps = 1
        if isinstance(value, str):  # asked first: it is the cheaper question
            check_length(len(value), at)
            steps += len(value) // _STEP_CHARACTERS
        elif isinstance(value, Fraction):
            bits = max(value.numerator.bit_length(), value.denominator.bit_length())
            if bits > NUMBER_BITS_MAX:
                refuse("expression_number_too_long", at, "a number gets too many digits")
            steps += bits // _STEP_BITS
        self.steps_left -= steps
        if self.steps_left < 0:
            refuse("expression_too_much_work", at, "there is too much to compute")


def refuse(code: str, at: int, detail: str) -> NoReturn:
    """Raise InvalidInput for what stands at a place of an expression, counted from 0."""
    raise InvalidInput(code, f"at character {at + 1} of the expression: {detail}")


def check_length(length: int, at: int) -> None:
    """Refuse a text before it is made. Raises InvalidInput."""
    if length > STRING_LENGTH_MAX:
        detail = f"a text gets more than {STRING_LENGTH_MAX} characters"
        refuse("expression_text_too_long", at, detail)


def kind_of(value: Value) -> str:
    """Name the kind of a value, for people."""
    if value is None:
        return "missing or null; coalesce(…, …) gives another value then"
    if isinstance(value, bool):
        return "true or false"
    return "a text; number(…) reads one" if isinstance(value, str) else "a number"


def number(value: Value, at: int) -> Fraction:
    """Return a value that has to be a number. Raises InvalidInput."""
    if not isinstance(value, Fraction):
        refuse("expression_type", at, f"a number is needed, and this is {kind_of(value)}")
    return value


def text(value: Value, at: int) -> str:
    """Return a value that has to be a text. Raises InvalidInput."""
    if not isinstance(value, str):
        kind = "a number; text(…) writes it" if isinstance(value, Fraction) else kind_of(value)
        refuse("expression_type", at, f"a text is needed, and this is {kind}")
    return value


def truth(value: Value, at: int) -> bool:
    """Return a value that has to be true or false. Raises InvalidInput."""
    if not isinstance(value, bool):
        kind = "a text" if isinstance(value, str) else kind_of(value)
        refuse("expression_type", at, f"true or false is needed, and this is {kind}")
    return value


def parse_number(digits: str) -> Fraction | None:
    """Read a decimal number as JSON writes one (a plus and zeros in front are free), or None.

    Its size is judged when it is used; the work here is bounded.
    """
    if len(digits) > NUMBER_LENGTH_MAX:
        return None
    if digits.isascii() and digits.isdecimal():
        return Fraction(int(digits))
    return Fraction(digits) if _match_number(digits) else None


def decimal_text(value: Fraction) -> str | None:
    """Write a number in full, without an exponent and zeros behind; None when it never ends."""
    numerator, denominator = value.as_integer_ratio()
    if denominator == 1:
        return str(numerator)
    twos = (denominator & -denominator).bit_length() - 1
    rest, fives = denominator >> twos, 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return None
    digits = max(twos, fives)
    scaled = abs(numerator) * 10**digits // denominator
    whole, fraction = divmod(scaled, 10**digits)
    return f"{'-' if numerator < 0 else ''}{whole}.{fraction:0{digits}d}"
