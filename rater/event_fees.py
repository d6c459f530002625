"""The fees of single events in Postgres: what is known of charges, and counting them again."""

from rater.fold import Moves
from rater.memory import Charge
from rater.period_events import uses_of
from runtime.postgres import Connection
from schemas.pricing.event_fees import FeeTally, is_ordered, moved


async def count_fees(connection: Connection, moves: Moves) -> dict[Charge, FeeTally]:
    """Return what the events of charges come to once some were counted in or out.

    moves: the events and their versions are stored already, and the charges loaded.
    """
    tallies: dict[Charge, FeeTally] = {}
    for charge, own in moves.items():
        before = charge.fees or _tally_of(charge)
        after = None if before is None else moved(charge.price, before, own)
        tallies[charge] = await _count_again(connection, charge) if after is None else after
    return tallies


def _tally_of(charge: Charge) -> FeeTally | None:
    """Return how far a charge is counted that memory has just loaded, where its sum says all."""
    if charge.event_count == 0:
        return FeeTally.start(charge.price)
    return None if is_ordered(charge.price) else FeeTally(charge.amount, 0, 0)


async def _count_again(connection: Connection, charge: Charge) -> FeeTally:
    """Count all events of a charge in their order."""
    tally = FeeTally.start(charge.price)
    async for use in uses_of(connection, charge):
        tally.count(charge.price, (use.at, use.ref), use.quantity)
    return tally
