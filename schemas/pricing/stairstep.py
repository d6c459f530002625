"""STAIRSTEP: the flat fee of the tier that the total falls in, whatever its units."""

from schemas.money import ONE, Quantity
from schemas.pricing.terms import LinePrice, TierCharge
from schemas.pricing.tiers import charge_of, tier_at, tiered_model


def amount(price: LinePrice, quantity: int) -> int:
    """Charge the fee of the tier."""
    return tier_at(price, quantity).flat_fee * ONE


def walk(price: LinePrice, quantity: Quantity) -> list[TierCharge]:
    """Show the one tier whose fee is due."""
    return [charge_of(tier_at(price, quantity), quantity)]


MODEL = tiered_model(amount, walk, "flat_fee")
