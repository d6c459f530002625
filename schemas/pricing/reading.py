"""Reads the fields of one JSON object of a price; what is wrong is noted, each with its pointer."""

from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Final, TypeVar

import msgspec

from schemas.errors import InvalidInput, Problem
from schemas.money import (
    ONE,
    PRICE_DIGITS,
    Price,
    Quantity,
    currency_digits,
    json_number_text,
    parse_price,
    parse_quantity,
    parse_scaled,
)

RATE_DIGITS: Final = PRICE_DIGITS - 2
"""Digits of a rate after the point: a hundredth of it is a Price, exactly."""

RATE_INTEGER_DIGITS: Final = 20

_TRUTH: Final[Mapping[object, bool]] = {True: True, False: False, "true": True, "false": False}

Choice = TypeVar("Choice", bound=str)

_decoder: Final = msgspec.json.Decoder(float_hook=Decimal)


def plain(value: object) -> object:
    """Decode what was kept as raw JSON text, numbers exact."""
    return _decoder.decode(value) if isinstance(value, msgspec.Raw) else value


class Reader:
    """The fields of one JSON object, and the problems met while reading them.

    A reading method answers a default for a wrong field, so that the rest is read too; `finish`
    raises before such a value can get out.
    """

    def __init__(self, fields: Mapping[str, object], pointer: str) -> None:
        self.fields = {name: plain(value) for name, value in fields.items()}
        self.pointer = pointer
        self.problems: list[Problem] = []
        self.present = {name for name, value in self.fields.items() if value is not None}

    def add(self, code: str, detail: str, name: str) -> None:
        """Note that a field is wrong. name: of the field, or a path below it."""
        self.problems.append(Problem(code, detail, f"{self.pointer}/{name}"))

    def finish(self) -> None:
        """Raise InvalidInput with all that was noted, if anything was."""
        if self.problems:
            raise InvalidInput.of(self.problems)

    def inner(self, fields: Mapping[str, object], path: str) -> "Reader":
        """Return a reader of an object inside, which notes its problems here."""
        reader = Reader(fields, f"{self.pointer}/{path}")
        reader.problems = self.problems
        return reader

    def refuse_unknown(self, known: frozenset[str]) -> None:
        """Note each field that is not known, with the nearest that is."""
        for field in sorted(self.present - known):
            self.add_unknown(field, known)

    def add_unknown(self, field: str, known: frozenset[str]) -> None:
        """Note a field that is not known, with the nearest that is."""
        nearest = get_close_matches(field, sorted(known), n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        self.add("field_unknown", f"is not a known field{hint}", escaped(field))

    def price(self, name: str) -> Price | None:
        """Read money in the currency; None when absent or wrong."""
        if name not in self.present:
            return None
        try:
            return parse_price(json_number_text(self.fields[name]))
        except InvalidInput as error:
            self.add(error.code, error.detail, name)
            return None

    def fee(self, name: str) -> Price | None:
        """Read money that can't be negative; None when absent."""
        fee = self.price(name)
        if fee is not None and fee < 0:
            self.add("number_negative", "must not be negative", name)
        return fee

    def rate(self, name: str) -> Price | None:
        """Read a percentage of any size as the price of one unit; None when absent or wrong."""
        if name not in self.present:
            return None
        try:
            return Price(
                parse_scaled(
                    json_number_text(self.fields[name]),
                    fraction_digits=RATE_DIGITS,
                    integer_digits=RATE_INTEGER_DIGITS,
                )
            )
        except InvalidInput as error:
            self.add(error.code, error.detail, name)
            return None

    def quantity(self, name: str) -> Quantity | None:
        """Read units that can't be negative; None when absent or wrong."""
        if name not in self.present:
            return None
        try:
            quantity = parse_quantity(json_number_text(self.fields[name]))
        except InvalidInput as error:
            self.add(error.code, error.detail, name)
            return None
        if quantity < 0:
            self.add("number_negative", "must not be negative", name)
        return quantity

    def count(self, name: str) -> int:
        """Read a whole number that can't be negative; 0 when absent or wrong."""
        whole, part = divmod(self.quantity(name) or 0, ONE)
        if part:
            self.add("number_not_whole", "must be a whole number", name)
        return max(whole, 0)

    def percent(self, name: str) -> Price:
        """Read a percentage from 0 to 100, 0 when absent."""
        percent = self.price(name) or Price(0)
        if not 0 <= percent <= 100 * ONE:
            self.add("percent_out_of_range", "must be a percentage from 0 to 100", name)
        return percent

    def flag(self, name: str, *, default: bool) -> bool:
        """Read true or false, as JSON or as text."""
        value = self.fields[name] if name in self.present else default
        if not isinstance(value, bool | str) or value not in _TRUTH:
            self.add("flag_malformed", "must be true or false", name)
            return default
        return _TRUTH[value]

    def choice(self, name: str, first: Choice, *others: Choice) -> Choice:
        """Read a word from a fixed set; the first one when absent or wrong."""
        if name not in self.present:
            return first
        for word in (first, *others):
            if self.fields[name] == word:
                return word
        self.add("value_unknown", f"must be one of {', '.join((first, *others))}", name)
        return first

    def currency(self) -> str | None:
        """Read the line's own currency; None when absent."""
        if "currency" not in self.present:
            return None
        code = self.fields["currency"]
        try:
            currency_digits(str(code))
        except InvalidInput as error:
            self.add(error.code, error.detail, "currency")
        return str(code)

    def items(self, name: str, noun: str, count_max: int) -> list[object]:
        """Read a list of 1 to so many items; empty when absent or wrong."""
        if name not in self.present:
            return []
        items = self.fields[name]
        if not isinstance(items, list | tuple) or not 1 <= len(items) <= count_max:
            self.add(f"{name}_malformed", f"must be a list of 1 to {count_max} {noun}", name)
            return []
        return [plain(item) for item in items]


def escaped(name: str) -> str:
    """Write a name as a JSON Pointer's token (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
