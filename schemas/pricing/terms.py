"""What a pricing line says: the immutable values that every pricing model prices with."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from schemas.money import ONE, Amount, Price, Quantity

if TYPE_CHECKING:
    from schemas.pricing.reading import Reader

ModelName = Literal[
    "FLAT",
    "PER_UNIT",
    "GRADUATED",
    "VOLUME",
    "STAIRSTEP",
    "PACKAGE",
    "PERCENTAGE",
    "MATRIX",
    "FORMULA",
]

Basis = Literal["OWN_QUANTITY", "TOTAL", "EVENTS", "CELLS"]
"""What an amount is a function of: the quantity that the line itself states; the meter's total over
the period; its events, one by one; or the total of each cell."""

PackageRounding = Literal["UP", "DOWN"]


class Tier(msgspec.Struct, frozen=True):
    """One step of a tiered price.

    up_to: units; the last unit inside the tier, fractions included; None for the open last tier.
    unit_price: for each unit inside. flat_fee: once, when the tier is entered.
    """

    up_to: Quantity | None
    unit_price: Price
    flat_fee: Price


class EventFees(msgspec.Struct, frozen=True):
    """What a PERCENTAGE price takes for each event beside its rate.

    fixed_fee: added to the rate's amount. minimum, maximum: bounds of both together, None for no
    bound. included_events: how many of a period's events, its first ones, cost nothing.
    """

    fixed_fee: Price = Price(0)
    minimum: Price | None = None
    maximum: Price | None = None
    included_events: int = 0


class Cell(msgspec.Struct, frozen=True):
    """One cell of a MATRIX price: the values of its dimensions, in their order, and its price."""

    values: tuple[str, ...]
    unit_price: Price


class LinePrice(msgspec.Struct, frozen=True, dict=True):
    """The priced content of one pricing line, checked when it was read (`price.parse_line_price`).

    price: of one unit (FLAT, PER_UNIT), of a package (PACKAGE), of a unit in no cell (MATRIX); of a
    PERCENTAGE, a hundredth of its rate, so that it is the price of one unit too.
    tiers: ascending, the last one open; of every model with tiers.
    quantity: FLAT alone, e.g. seats. recurring: FLAT alone; False is charged in the first period.
    package_size, package_rounding: PACKAGE alone; units in a package, and what a started one costs.
    event_fees: PERCENTAGE alone; None for a price of the total.
    dimensions, cells: MATRIX alone; the keys of additional_report_data that choose a cell.
    expression: FORMULA alone; empty elsewhere.
    included_quantity: units free of charge, taken off before tiers.
    minimum_fee, maximum_fee: bounds of the line's amount for a whole period, None for no bound.
    discount_percent: 0 to 100, taken off after the bounds.
    currency: ISO 4217, None for that of the document.
    """

    model: ModelName
    price: Price = Price(0)
    tiers: tuple[Tier, ...] = ()
    quantity: Quantity = Quantity(ONE)
    recurring: bool = True
    package_size: Quantity = Quantity(ONE)
    package_rounding: PackageRounding = "UP"
    event_fees: EventFees | None = None
    dimensions: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    expression: str = ""
    included_quantity: Quantity = Quantity(0)
    minimum_fee: Price | None = None
    maximum_fee: Price | None = None
    discount_percent: Price = Price(0)
    currency: str | None = None

    @cached_property
    def bounds(self) -> list[int]:
        """The upper bounds of the tiers, the open one's left out."""
        return [int(tier.up_to) for tier in self.tiers if tier.up_to is not None]

    @cached_property
    def slopes(self) -> tuple[list[int], list[int]]:
        """The graduated tiers as straight lines: each one's intercept and unit price.

        A quantity q in tier i costs intercept[i] + q x unit_price[i], exactly: what the tiers below
        cost, their flat fees and the tier's own included.
        """
        intercepts, unit_prices = [], []
        below = lower = 0
        for tier in self.tiers:
            below += tier.flat_fee * ONE
            intercepts.append(below - lower * tier.unit_price)
            unit_prices.append(int(tier.unit_price))
            if tier.up_to is not None:
                below += (tier.up_to - lower) * tier.unit_price
                lower = tier.up_to
        return intercepts, unit_prices

    @cached_property
    def cell_prices(self) -> Mapping[tuple[str, ...], Price]:
        """The unit price of every cell, by its values."""
        return {cell.values: cell.unit_price for cell in self.cells}

    @cached_property
    def cell_names(self) -> Mapping[tuple[str, ...], str]:
        """Every cell by its values, as it is stored: their JSON array."""
        return {cell.values: msgspec.json.encode(cell.values).decode() for cell in self.cells}


class TierCharge(msgspec.Struct, frozen=True):
    """What one entered tier adds: amount = quantity x unit_price + flat_fee, all signed alike."""

    up_to: Quantity | None
    quantity: Quantity
    unit_price: Price
    flat_fee: Price
    amount: Amount


class PricingModel(msgspec.Struct, frozen=True):
    """One way to price; each module of this package defines one.

    required, optional: the fields of a line that belong to the model alone.
    read: those fields, as arguments of LinePrice; what is wrong is noted with the reader.
    write: the same fields for JSON, in a fixed order, defaults left out.
    amount: Amount of a billable Quantity >= 0, exact; plain ints, as it is called for every charge.
    ratio: money in the currency as a numerator and a denominator > 0, of the same quantity and the
    count of its events (None where it does not matter); for a model whose amounts may have digits
    without end, None for the others.
    basis: what the amount is of; a line with fees an event has the basis EVENTS all the same.
    has_unit_price: a unit costs the same wherever it falls, in a line without tiers.
    walk: the tiers that such a quantity enters, in order; None for a model without tiers.
    """

    required: frozenset[str]
    optional: frozenset[str]
    read: "Callable[[Reader], dict[str, Any]]"
    write: Callable[[LinePrice], dict[str, object]]
    amount: Callable[[LinePrice, int], int]
    ratio: Callable[[LinePrice, int, int | None], tuple[int, int]] | None = None
    basis: Basis = "TOTAL"
    has_unit_price: bool = False
    walk: Callable[[LinePrice, Quantity], list[TierCharge]] | None = None
