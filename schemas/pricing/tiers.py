"""Tiers, which several models price with: how they are read, written, and found for a quantity.

Bounds are inclusive and continuous: 100.5 units with a bound at 100 lie in the next tier. The first
tier is entered at zero, so its flat fee is due without any usage; a later tier is entered by the
first part of a unit past the bound below it. The last tier is open.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.money import ONE, PRICE_DIGITS, QUANTITY_DIGITS, Amount, Price, Quantity
from schemas.money import scaled_to_text as text
from schemas.pricing.reading import RATE_DIGITS, Reader
from schemas.pricing.terms import LinePrice, PricingModel, Tier, TierCharge

TIERS_MAX: Final = 1_000

UNIT_PRICE: Final = "unit_price"
RATE: Final = "rate"


def tiered_model(
    amount: Callable[[LinePrice, int], int],
    walk: Callable[[LinePrice, Quantity], list[TierCharge]],
    *prices: str,
) -> PricingModel:
    """Return a model that is told by its tiers alone. prices: what a tier says beside `up_to`."""

    def read(reader: Reader) -> dict[str, Any]:
        return {"tiers": read_tiers(reader, *prices)}

    def write(price: LinePrice) -> dict[str, object]:
        return {"tiers": write_tiers(price, *prices)}

    return PricingModel(
        required=frozenset({"tiers"}),
        optional=frozenset(),
        read=read,
        write=write,
        amount=amount,
        walk=walk,
    )


def tier_at(price: LinePrice, quantity: int) -> Tier:
    """Return the tier that a quantity >= 0 falls in; on a bound, the lower one."""
    return price.tiers[bisect_left(price.bounds, quantity)]


def charge_of(tier: Tier, quantity: Quantity) -> TierCharge:
    """Charge so many units inside a tier."""
    amount = Amount(quantity * tier.unit_price + tier.flat_fee * ONE)
    return TierCharge(tier.up_to, quantity, tier.unit_price, tier.flat_fee, amount)


def read_tiers(reader: Reader, *prices: str) -> tuple[Tier, ...]:
    """Read the tiers: ascending, at least one, the last one open.

    prices: what a tier may say beside `up_to`, of which it needs one at least.
    """
    items = reader.items("tiers", "tiers", TIERS_MAX)
    tiers: list[Tier] = []
    lower = Quantity(0)
    for index, item in enumerate(items):
        path = f"tiers/{index}"
        if not isinstance(item, Mapping):
            reader.add("tier_malformed", "must be an object", path)
            continue
        inner = reader.inner(item, path)
        inner.refuse_unknown(frozenset({"up_to", *prices}))
        if inner.present.isdisjoint(prices):
            inner.add("required", f"a tier needs a {' or a '.join(prices)}", prices[0])
        up_to = _read_bound(inner, lower, is_last=index == len(items) - 1)
        unit_price = inner.rate(RATE) if RATE in prices else inner.price(UNIT_PRICE)
        tiers.append(Tier(up_to, unit_price or Price(0), inner.price("flat_fee") or Price(0)))
        lower = lower if up_to is None else up_to
    return tuple(tiers)


def _read_bound(reader: Reader, lower: Quantity, *, is_last: bool) -> Quantity | None:
    """Read a tier's upper bound, which must lie above the one before it."""
    if "up_to" not in reader.present:
        if not is_last:
            reader.add("tier_open", "only the last tier may be open", "up_to")
        return None
    if is_last:
        reader.add("tier_closed", "the last tier must be open: leave up_to out or null", "up_to")
    up_to = reader.quantity("up_to")
    if up_to is not None and up_to <= lower:
        reader.add("tiers_not_ascending", "must lie above the tier before it, and above 0", "up_to")
    return up_to


def write_tiers(price: LinePrice, *prices: str) -> list[dict[str, str | None]]:
    """Write the tiers for JSON. prices: as they were read."""
    return [_tier_fields(tier, prices) for tier in price.tiers]


def _tier_fields(tier: Tier, prices: tuple[str, ...]) -> dict[str, str | None]:
    fields = {
        "up_to": None if tier.up_to is None else text(tier.up_to, QUANTITY_DIGITS),
        UNIT_PRICE: text(tier.unit_price, PRICE_DIGITS),
        RATE: text(tier.unit_price, RATE_DIGITS),
        "flat_fee": text(tier.flat_fee, PRICE_DIGITS),
    }
    return {name: value for name, value in fields.items() if name in ("up_to", *prices)}
