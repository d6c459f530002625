"""Prices of quantities that no decimal number holds, such as a mean of 13/3 units. Pure.

Models price whole numbers of the smallest part of a unit. So the price is stretched by the
quantity's denominator, bounds of tiers, packages and fees alike; what the numerator costs by that,
divided again, is what the quantity costs, with no digit lost on the way.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Final

import msgspec

from schemas.expression import Path, Run, Value
from schemas.money import AMOUNT_DIGITS, ONE, QUANTITY_DIGITS, Amount, Price, Quantity, round_ratio
from schemas.price import MODELS, exact_total, is_usage, tier_walk
from schemas.pricing import formula, graduated, stairstep, volume
from schemas.pricing.formula_code import Given, named
from schemas.pricing.terms import LinePrice, Tier, TierCharge

_ONE_AMOUNT: Final = 10**AMOUNT_DIGITS
_BY_TIERS: Final[dict[str, Callable[[LinePrice, int], int]]] = {
    "graduated": graduated.amount,
    "volume": volume.amount,
    "stairstep": stairstep.amount,
}


def exact_amount(price: LinePrice, quantity: Fraction, event_count: int) -> Fraction:
    """Price a period's total as `price_total` does, in the currency, with no digit cut off.

    quantity: in units. A price of events or of cells has no amount of a total.
    """
    if not is_usage(price):
        return exact_total(price, Quantity(0))
    numerator, denominator = (abs(quantity) * ONE).as_integer_ratio()
    stretched = _stretched(price, denominator)
    units = max(numerator - stretched.included_quantity, 0)
    if price.expression:
        amount = _formula(price, stretched, units, denominator, event_count)
    else:
        amount = Fraction(MODELS[price.model].amount(stretched, units), denominator * _ONE_AMOUNT)
    return -amount if quantity < 0 else amount


def cut_amount(value: Fraction) -> Amount:
    """Cut money to an Amount, toward zero, as a formula's is."""
    return Amount(formula.cut(*value.as_integer_ratio()))


def nearest_quantity(quantity: Fraction) -> Quantity:
    """Return a quantity in units as it is shown: to 18 digits, a half away from zero."""
    numerator, denominator = quantity.as_integer_ratio()
    return Quantity(round_ratio(numerator * 10**QUANTITY_DIGITS, denominator))


def mean_walk(price: LinePrice, quantity: Fraction) -> list[TierCharge]:
    """Explain the price tier by tier as `tier_walk` does; numbers are cut as they are shown."""
    numerator, denominator = (quantity * ONE).as_integer_ratio()
    walk = tier_walk(_stretched(price, denominator), Quantity(numerator))
    return [
        TierCharge(
            up_to=None if one.up_to is None else Quantity(one.up_to // denominator),
            quantity=Quantity(round_ratio(one.quantity, denominator)),
            unit_price=one.unit_price,
            flat_fee=Price(one.flat_fee // denominator),
            amount=cut_amount(Fraction(one.amount, denominator * _ONE_AMOUNT)),
        )
        for one in walk
    ]


def _stretched(price: LinePrice, by: int) -> LinePrice:
    """Return the price of `by` times as many units, which is `by` times as much."""
    if by == 1:
        return price
    tiers = (
        Tier(
            None if tier.up_to is None else Quantity(tier.up_to * by),
            tier.unit_price,
            Price(tier.flat_fee * by),
        )
        for tier in price.tiers
    )
    return msgspec.structs.replace(
        price,
        tiers=tuple(tiers),
        included_quantity=Quantity(price.included_quantity * by),
        package_size=Quantity(price.package_size * by),
        price=Price(price.price * by) if price.model == "PACKAGE" else price.price,
    )


class _ProvedRun(Run):
    """An evaluation of a proved formula: a longer denominator is no reason to end it."""

    __slots__ = ()

    def spend(self, value: Value, at: int) -> None:
        """Pay nothing."""


def _formula(
    price: LinePrice, stretched: LinePrice, units: int, by: int, event_count: int
) -> Fraction:
    def find(path: Path) -> Fraction:
        name = str(path[0])
        if name == "q":
            return Fraction(units, ONE * by)
        if name in _BY_TIERS:
            return Fraction(_BY_TIERS[name](stretched, units), _ONE_AMOUNT * by)
        part = named(path, price.tiers)
        return Fraction(part.numerator(Given(price, 0, event_count)), part.denominator)

    return formula.evaluate(price, _ProvedRun(find))
