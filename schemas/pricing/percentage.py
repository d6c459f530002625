"""PERCENTAGE: a share of what the meter measures, such as money moved; of it all, or an event.

With a `rate` alone, or with `tiers` of rates (graduated), it is a price of the period's total. With
`fixed_fee`, `minimum_per_event`, `maximum_per_event` or `included_events` it is one of each event:
its rate plus the fixed fee, within the bounds. An event below zero takes back what the same event
above zero costs.

A rate is kept as the price of one unit: 2.9 percent is 0.029.
"""

from collections.abc import Sequence
from typing import Any, Final

from schemas.money import PRICE_DIGITS, Amount, Price, Quantity, scaled_to_text
from schemas.pricing import graduated
from schemas.pricing.event_fees import FeeTally
from schemas.pricing.reading import RATE_DIGITS, Reader
from schemas.pricing.terms import EventFees, LinePrice, PricingModel, TierCharge
from schemas.pricing.tiers import RATE, read_tiers, write_tiers

_EVENT_FIELDS: Final = ("fixed_fee", "minimum_per_event", "maximum_per_event", "included_events")


def amount(price: LinePrice, quantity: int) -> int:
    """Price a total, whose events don't matter."""
    assert price.event_fees is None, "priced by its events"
    return graduated.amount(price, quantity) if price.tiers else quantity * price.price


def walk(price: LinePrice, quantity: Quantity) -> list[TierCharge]:
    """List the tiers entered."""
    return graduated.walk(price, quantity) if price.tiers else []


def event_amounts(price: LinePrice, quantities: Sequence[Quantity]) -> list[Amount]:
    """Price every event of a period, in their order; exact.

    The first `included_events` cost nothing. The included quantity is used up by one event after
    another: one that lies in it whole costs nothing, one that goes past it is charged for the rest.
    """
    tally = FeeTally.start(price)
    return [tally.count(price, (at, 0), quantity) for at, quantity in enumerate(quantities)]


def _read(reader: Reader) -> dict[str, Any]:
    if "tiers" in reader.present:
        for name in sorted(reader.present & {RATE, *_EVENT_FIELDS}):
            detail = "has no place beside tiers, which price the period's total"
            reader.add("field_not_applicable", detail, name)
        return {"tiers": read_tiers(reader, RATE, "flat_fee")}
    if RATE not in reader.present:
        reader.add("required", "PERCENTAGE needs a rate, or tiers of rates", RATE)
    return {"price": reader.rate(RATE) or Price(0), "event_fees": _read_event_fees(reader)}


def _read_event_fees(reader: Reader) -> EventFees | None:
    if reader.present.isdisjoint(_EVENT_FIELDS):
        return None
    fees = EventFees(
        fixed_fee=reader.price("fixed_fee") or Price(0),
        minimum=reader.fee("minimum_per_event"),
        maximum=reader.fee("maximum_per_event"),
        included_events=reader.count("included_events"),
    )
    if fees.minimum is not None and fees.maximum is not None and fees.minimum > fees.maximum:
        reader.add("fees_crossed", "must not be below minimum_per_event", "maximum_per_event")
    return None if fees == EventFees() else fees


def _write(price: LinePrice) -> dict[str, object]:
    if price.tiers:
        return {"tiers": write_tiers(price, RATE, "flat_fee")}
    fields: dict[str, object] = {RATE: scaled_to_text(price.price, RATE_DIGITS)}
    fees = price.event_fees
    if fees is None:
        return fields
    money = {
        "fixed_fee": fees.fixed_fee or None,
        "minimum_per_event": fees.minimum,
        "maximum_per_event": fees.maximum,
    }
    fields |= {
        name: scaled_to_text(fee, PRICE_DIGITS) for name, fee in money.items() if fee is not None
    }
    return fields | ({"included_events": fees.included_events} if fees.included_events else {})


MODEL = PricingModel(
    required=frozenset(),
    optional=frozenset({RATE, "tiers", *_EVENT_FIELDS}),
    read=_read,
    write=_write,
    amount=amount,
    has_unit_price=True,
    walk=walk,
)
