"""Fees of single events, summed up over a period whichever way its events come.

What an event costs depends on the others only while some of them are free: the first events, by
(timestamp, event_ref), and the units of an included quantity, which they use up in that order. Past
the last event that had a share in this, the frontier, every event costs its own fees, and sums may
be made in any order.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.money import ONE, Amount
from schemas.pricing.terms import EventFees, LinePrice

Key = tuple[int, int]
"""Orders events: when one happened, in microseconds since 1970, and its ref."""

Move = tuple[Key, int, int]
"""An event that is counted in, or no more: its key, its quantity, and 1 or -1."""

_BEFORE_ALL: Final[Key] = (-(1 << 63), -1)


class FeeTally(msgspec.Struct):
    """What a period's events come to.

    amount: their fees together, exact. free_events, free_units: how much is left of what is free.
    frontier: the last event that was counted while anything was left.
    """

    amount: Amount
    free_events: int
    free_units: int
    frontier: Key = _BEFORE_ALL

    @classmethod
    def start(cls, price: LinePrice) -> "FeeTally":
        """Return the tally of no events."""
        return cls(Amount(0), _fees(price).included_events, price.included_quantity)

    def count(self, price: LinePrice, key: Key, quantity: int) -> Amount:
        """Count an event from behind the frontier; return what it costs."""
        magnitude = abs(quantity)
        cost = 0
        if self.free_events or self.free_units:
            self.frontier = key
        if self.free_events:
            self.free_events -= 1
        else:
            taken = min(magnitude, self.free_units)
            self.free_units -= taken
            if not taken or taken < magnitude:
                cost = _cost(price, magnitude - taken)
        amount = Amount(-cost if quantity < 0 else cost)
        self.amount = Amount(self.amount + amount)
        return amount


def is_ordered(price: LinePrice) -> bool:
    """Tell whether it matters which events of a period come first."""
    return bool(_fees(price).included_events or price.included_quantity)


def moved(price: LinePrice, tally: FeeTally, moves: Iterable[Move]) -> FeeTally | None:
    """Return the tally after events were counted in or out; None when all must be counted again.

    That is so when one of them lies before the frontier, where others may have to pay instead.
    """
    net: Counter[tuple[Key, int]] = Counter()
    for key, quantity, sign in moves:
        net[key, quantity] += sign
    after = msgspec.structs.replace(tally)
    for (key, quantity), count in sorted(net.items()):
        if not count:
            continue
        if key <= tally.frontier or (count < 0 and (after.free_events or after.free_units)):
            return None
        if count > 0:
            after.count(price, key, quantity)
        else:
            cost = _cost(price, abs(quantity))
            after.amount = Amount(after.amount - (-cost if quantity < 0 else cost))
    return after


def _fees(price: LinePrice) -> EventFees:
    assert price.event_fees is not None, "priced by its total"
    return price.event_fees


def _cost(price: LinePrice, magnitude: int) -> int:
    """Price so many units of one event."""
    fees = _fees(price)
    cost = magnitude * price.price + fees.fixed_fee * ONE
    if fees.minimum is not None:
        cost = max(cost, fees.minimum * ONE)
    if fees.maximum is not None:
        cost = min(cost, fees.maximum * ONE)
    return cost
