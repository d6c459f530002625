"""The events of a charge's period, as they count now, for totals that have to be made again."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from rater.memory import Charge, Product, micros
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
    feeds = line.feeds
    span = (_instant(period.start), _instant(period.end))
    wants_data = any(feed.formula is not None for feed in feeds.values())
    rows = events_between(connection, line.product, list(feeds), span, wants_data=wants_data)
    async for row in rows:
        feed = feeds[row["meter_id"]]
        if line.is_count:
            quantity = times(ONE, feed.factor)
        else:
            quantity = Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS))
            quantity = feed.counted(quantity, row["additional_data"])
        yield Use(micros(row["occurred_at"]), row["event_ref"].int, quantity)


def events_between(
    connection: Connection,
    product: Product,
    meters: Sequence[int],
    span: tuple[datetime, datetime],
    *,
    wants_data: bool,
) -> AsyncIterator[asyncpg.Record]:
    """Read the events of meters of a product's customer in a half-open span, in their order."""
    first, last = (max(at, TIMESTAMP_MIN_MICROS) for at in (micros(span[0]), micros(span[1]) - 1))
    events: AsyncIterator[asyncpg.Record] = connection.cursor(
        queries.events_of_period,
        product.shard_key,
        product.contract_ref,
        meters,
        *span,
        month_bounds(month_index(first))[0],
        month_bounds(month_index(last))[1],
        wants_data,
        product.version,
        prefetch=EVENTS_AHEAD,
    ).__aiter__()
    return events


def _instant(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)
