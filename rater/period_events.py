"""The events of a charge's period, as they count now, for totals that have to be made again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

from rater.memory import Charge, micros
from rater.repository import queries
from runtime.postgres import Connection
from schemas.aggregation import Use
from schemas.event_ref import TIMESTAMP_MIN_MICROS, month_bounds, month_index
from schemas.meter_feed import times
from schemas.money import ONE, QUANTITY_DIGITS, Quantity, decimal_to_scaled

EVENTS_AHEAD: Final = 5_000
"""Events that are read at once, and in memory."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def uses_of(connection: Connection, charge: Charge) -> AsyncIterator[Use]:
    """Read the events of a charge's line and period in their order, each by what it counts as.

    What a back-fill of the contract has yet to rate is left out.
    """
    line, period = charge.line, charge.period
    first, last = (max(at, TIMESTAMP_MIN_MICROS) for at in (period.start, period.end - 1))
    feeds = line.feeds
    events = connection.cursor(
        queries.events_of_period,
        line.product.shard_key,
        line.product.contract_ref,
        list(feeds),
        *(_instant(period.start), _instant(period.end)),
        month_bounds(month_index(first))[0],
        month_bounds(month_index(last))[1],
        any(feed.formula is not None for feed in feeds.values()),
        line.product.version,
        prefetch=EVENTS_AHEAD,
    )
    async for row in events:
        feed = feeds[row["meter_id"]]
        if line.is_count:
            quantity = times(ONE, feed.factor)
        else:
            quantity = Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS))
            quantity = feed.counted(quantity, row["additional_data"])
        yield Use(micros(row["occurred_at"]), row["event_ref"].int, quantity)


def _instant(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)
