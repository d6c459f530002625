"""VOLUME: the tier that the total falls in prices all of its units, and charges its flat fee."""

from schemas.money import ONE, Quantity
from schemas.pricing.terms import LinePrice, TierCharge
from schemas.pricing.tiers import UNIT_PRICE, charge_of, tier_at, tiered_model


def amount(price: LinePrice, quantity: int) -> int:
    """Price every unit by the tier that all of them reach together."""
    tier = tier_at(price, quantity)
    return quantity * tier.unit_price + tier.flat_fee * ONE


def walk(price: LinePrice, quantity: Quantity) -> list[TierCharge]:
    """Show the one tier that prices it all."""
    return [charge_of(tier_at(price, quantity), quantity)]


MODEL = tiered_model(amount, walk, UNIT_PRICE, "flat_fee")
