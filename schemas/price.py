"""The price of a pricing line: what a quantity costs, tier by tier, and how the price is stored.

The order on a line is fixed: the usage amount (`price_total`), then the minimum and the maximum
fee, then the line's discount (`bounded_amount`), then one rounding, which is not done here.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

import msgspec

from schemas.money import (
    AMOUNT_DIGITS,
    ONE,
    PRICE_DIGITS,
    QUANTITY_DIGITS,
    Amount,
    Price,
    Quantity,
    scaled_to_text,
)
from schemas.pricing import (
    flat,
    formula,
    graduated,
    matrix,
    package,
    per_unit,
    percentage,
    stairstep,
    volume,
)
from schemas.pricing.matrix import cell_price, cell_values
from schemas.pricing.parsing import read_line_price
from schemas.pricing.terms import Basis, LinePrice, ModelName, PricingModel, Tier, TierCharge

__all__ = [
    "MODELS",
    "LinePrice",
    "Tier",
    "TierCharge",
    "basis_of",
    "billable_quantity",
    "bounded_amount",
    "cell_price",
    "cell_values",
    "exact_total",
    "from_json",
    "is_usage",
    "needs_count",
    "parse_line_price",
    "price_cells",
    "price_events",
    "price_total",
    "tier_walk",
    "to_json",
    "unit_price",
]

MODELS: Final[Mapping[ModelName, PricingModel]] = {
    "FLAT": flat.MODEL,
    "PER_UNIT": per_unit.MODEL,
    "GRADUATED": graduated.MODEL,
    "VOLUME": volume.MODEL,
    "STAIRSTEP": stairstep.MODEL,
    "PACKAGE": package.MODEL,
    "PERCENTAGE": percentage.MODEL,
    "MATRIX": matrix.MODEL,
    "FORMULA": formula.MODEL,
}
"""A new model is one file in `schemas/pricing/` and one row here."""

_decoder: Final = msgspec.json.Decoder(dict[str, object])


def basis_of(price: LinePrice) -> Basis:
    """Tell what the line's amount is a function of."""
    return "EVENTS" if price.event_fees is not None else MODELS[price.model].basis


def is_usage(price: LinePrice) -> bool:
    """Tell whether a meter's usage is priced, rather than a quantity that the line itself fixes."""
    return MODELS[price.model].basis != "OWN_QUANTITY"


def needs_count(price: LinePrice) -> bool:
    """Tell whether a total's amount depends on how many events there were."""
    return bool(price.expression) and formula.needs_count(price)


def unit_price(price: LinePrice) -> Price | None:
    """Return what every unit costs, wherever it falls; None where there is no such price."""
    is_alike = MODELS[price.model].has_unit_price and not price.tiers and price.event_fees is None
    return price.price if is_alike else None


def price_total(price: LinePrice, quantity: Quantity, event_count: int | None = None) -> Amount:
    """Price a period's total, before fees, discount and rounding.

    quantity: the meter's total over the period; ignored where the line fixes its own.
    event_count: of the events in it; may be left out where the price does not name it.
    A negative total is priced by its magnitude and keeps its sign, the included quantity too.
    Exact, but that a FORMULA whose value never ends is cut off after an Amount's digits.
    A price of events or of cells has no amount of a total: `price_events`, `price_cells`.
    """
    model = MODELS[price.model]
    if model.basis == "OWN_QUANTITY":
        quantity = price.quantity
    magnitude = abs(quantity) - price.included_quantity
    units = magnitude if magnitude > 0 else 0
    if model.ratio is None:
        amount = model.amount(price, units)
    else:
        amount = formula.cut(*model.ratio(price, units, event_count))
    return Amount(-amount if quantity < 0 else amount)


def exact_total(price: LinePrice, quantity: Quantity, event_count: int | None = None) -> Fraction:
    """Price as `price_total` does, in the currency, with no digit cut off."""
    model = MODELS[price.model]
    if model.ratio is None:
        return Fraction(price_total(price, quantity, event_count), 10**AMOUNT_DIGITS)
    units = abs(billable_quantity(price, quantity))
    value = Fraction(*model.ratio(price, units, event_count))
    return -value if quantity < 0 else value


def price_events(price: LinePrice, quantities: Sequence[Quantity]) -> list[Amount]:
    """Price a period's events one by one, in their order, as `price_total` does a total."""
    return percentage.event_amounts(price, quantities)


def price_cells(
    price: LinePrice, totals: Mapping[tuple[str, ...], Quantity]
) -> dict[tuple[str, ...], Amount]:
    """Price a period's totals by cell, as `price_total` does a total.

    totals: by the values of the dimensions; those of no cell listed come to the default one, ().
    """
    cells: dict[tuple[str, ...], Quantity] = {}
    for values, total in totals.items():
        cell = matrix.cell_of(price, values)
        cells[cell] = Quantity(cells.get(cell, 0) + total)
    return {cell: price_total(cell_price(price, cell), total) for cell, total in cells.items()}


def billable_quantity(price: LinePrice, quantity: Quantity) -> Quantity:
    """Return the signed units that are charged: those past the included quantity."""
    total = quantity if is_usage(price) else price.quantity
    magnitude = max(abs(total) - price.included_quantity, 0)
    return Quantity(-magnitude if total < 0 else magnitude)


def tier_walk(price: LinePrice, quantity: Quantity) -> list[TierCharge]:
    """Explain `price_total` tier by tier: amounts add up to it, quantities to the billable ones.

    Empty for a model without tiers. A negative total turns every sign but those of unit prices.
    """
    walk = MODELS[price.model].walk
    if walk is None:
        return []
    charges = walk(price, Quantity(abs(billable_quantity(price, quantity))))
    if quantity >= 0:
        return charges
    return [
        TierCharge(
            up_to=charge.up_to,
            quantity=Quantity(-charge.quantity),
            unit_price=charge.unit_price,
            flat_fee=Price(-charge.flat_fee),
            amount=Amount(-charge.amount),
        )
        for charge in charges
    ]


def bounded_amount(
    price: LinePrice, money: Fraction, minimum: Fraction | None, maximum: Fraction | None
) -> Fraction:
    """Apply a minimum and a maximum fee, then the line's discount; currency, exact.

    money: the usage amount, currency.
    minimum, maximum: the fees due for the period, prorated where it is partial; currency.
    """
    if minimum is not None:
        money = max(money, minimum)
    if maximum is not None:
        money = min(money, maximum)
    return money * Fraction(100 * ONE - price.discount_percent, 100 * ONE)


def parse_line_price(fields: Mapping[str, object], pointer: str = "") -> LinePrice:
    """Read the price of a line item as the API sends it, numbers exact.

    fields: decoded JSON; numbers as int, Decimal, text or msgspec.Raw, never float. The fields that
    say what is priced, not how (`item`, `usage_product_ref`, refs), are left to the caller.
    pointer: where `fields` stands in the request, put before each problem's own pointer.
    Raises InvalidInput that lists every wrong field, models and fields not supported yet included.
    """
    return read_line_price(fields, pointer, MODELS)


def to_json(price: LinePrice) -> str:
    """Write the price canonically: API field names, numbers as text, defaults left out."""
    fields: dict[str, object] = {"model": price.model, **MODELS[price.model].write(price)}
    if price.included_quantity:
        fields["included_quantity"] = scaled_to_text(price.included_quantity, QUANTITY_DIGITS)
    fees = {"minimum_fee": price.minimum_fee, "maximum_fee": price.maximum_fee}
    fields |= {
        name: scaled_to_text(fee, PRICE_DIGITS) for name, fee in fees.items() if fee is not None
    }
    if price.discount_percent:
        fields["discount"] = scaled_to_text(price.discount_percent, PRICE_DIGITS)
    if price.currency is not None:
        fields["currency"] = price.currency
    return msgspec.json.encode(fields).decode()


def from_json(text: str | bytes) -> LinePrice:
    """Read what `to_json` wrote. Raises InvalidInput as `parse_line_price` does."""
    return parse_line_price(_decoder.decode(text))
