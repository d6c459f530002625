"""Formulas of meters: the billable quantity of an event, from what it says. Pure.

    quantity * additional_report_data.minutes / 60
    if(additional_report_data.plan == 'free', 0, quantity)
    max(quantity - coalesce(additional_report_data.included, 0), 0)

The language is that of `schemas.expression`: exact, with bounds of time and size. A result whose
digits never end is taken to 18 of them, a half away from zero. What can't be computed for an event
is the event's fault: it is refused where it comes in, and never rated.
"""

from fractions import Fraction
from functools import lru_cache
from typing import Final

import msgspec

from schemas.errors import InvalidInput, InvalidUsageEvent
from schemas.expression import Expression, Path, Run, Value
from schemas.formats_source import Source
from schemas.mean_price import nearest_quantity
from schemas.money import INTEGER_DIGITS, ONE, Quantity

DATA: Final = "additional_report_data"
QUANTITY: Final = "quantity"

_QUANTITY_MAX: Final = 10**INTEGER_DIGITS * ONE

_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Formula(msgspec.Struct, frozen=True):
    """A formula that was read. names_data: it depends on the event's additional data."""

    expression: Expression
    names_data: bool

    def billable(self, quantity: int, data: str | None) -> Quantity:
        """Return an event's billable quantity. data: its additional data, checked.

        Raises InvalidUsageEvent for an event that has none, with the field that is to blame.
        """
        try:
            return _quantity_of(self.expression.evaluate(Run(_Finder(quantity, data))))
        except InvalidInput as error:
            pointer = f"/{DATA}" if self.names_data else f"/{QUANTITY}"
            detail = f"the usage product's formula has no value for it: {error.detail}"
            raise InvalidUsageEvent("formula_failed", detail, pointer) from error


@lru_cache(maxsize=1_024)
def parse_formula(text: str) -> Formula:
    """Read a formula. Raises InvalidInput."""
    expression = Expression.parse(text, names=(QUANTITY, DATA))
    for path in expression.paths:
        if (path[0] == QUANTITY) != (len(path) == 1):
            detail = (
                f"{QUANTITY} is a number, and {DATA} an object: name a key of it, as {DATA}.key"
            )
            raise InvalidInput("expression_name", detail)
    return Formula(expression, any(path[0] == DATA for path in expression.paths))


class _Finder:
    """Finds what names stand for; the data is decoded when it is asked for."""

    def __init__(self, quantity: int, data: str | None) -> None:
        self._quantity = quantity
        self._data = data
        self._source: Source | None = None

    def __call__(self, path: Path) -> Value:
        if path[0] == QUANTITY:
            return Fraction(self._quantity, ONE)
        if self._source is None:
            self._source = Source(_decode_fields(self._data or "{}"))
        return self._source.value(path[1:])


def _quantity_of(value: Value) -> Quantity:
    if not isinstance(value, Fraction):
        raise InvalidInput("expression_type", "it does not come to a number")
    quantity = nearest_quantity(value)
    if abs(quantity) >= _QUANTITY_MAX:
        detail = f"it comes to more than {INTEGER_DIGITS} digits before the point"
        raise InvalidInput("number_too_large", detail)
    return quantity
