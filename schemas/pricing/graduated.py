"""GRADUATED: every tier prices the units that fall inside it ("graduated", not "volume")."""

from bisect import bisect_left

from schemas.money import Quantity
from schemas.pricing.terms import LinePrice, TierCharge
from schemas.pricing.tiers import UNIT_PRICE, charge_of, tiered_model


def amount(price: LinePrice, quantity: int) -> int:
    """Price a quantity on its tier's straight line; what `walk` adds up to, without building it."""
    intercepts, unit_prices = price.slopes
    tier = bisect_left(price.bounds, quantity)
    return intercepts[tier] + quantity * unit_prices[tier]


def walk(price: LinePrice, quantity: Quantity) -> list[TierCharge]:
    """List the tiers entered, lowest first, each with the units inside it and their amount."""
    charges: list[TierCharge] = []
    lower = 0
    for tier in price.tiers:
        upper = quantity if tier.up_to is None else min(quantity, tier.up_to)
        charges.append(charge_of(tier, Quantity(upper - lower)))
        if upper == quantity:
            break
        lower = upper
    return charges


MODEL = tiered_model(amount, walk, UNIT_PRICE, "flat_fee")
