"""The events of a charge's period, as they count now, for totals that have to be made again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

from rater.memory import Charge, micros
from rater.repository import queries
from runtime.postgres import Connection
from schemas.aggregation import Use
from schemas.event_ref import TIMESTAMP_MIN_MICROS, month_bounds, month_index
from schemas.money import QUANTITY_DIGITS, Quantity, decimal_to_scaled

EVENTS_AHEAD: Final = 5_000
"""Events that are read at once, and in memory."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def uses_of(connection: Connection, charge: Charge) -> AsyncIterator[Use]:
    """Read the events of a charge's line and period in their order, with billable quantities.

    What a back-fill of the contract has yet to rate is left out.
    """
    line, period = charge.line, charge.period
    first, last = (max(at, TIMESTAMP_MIN_MICROS) for at in (period.start, period.end - 1))
    formula = line.formula
    events = connection.cursor(
        queries.events_of_period,
        line.product.shard_key,
        line.product.contract_ref,
        line.meter_id,
        *(_instant(period.start), _instant(period.end)),
        month_bounds(month_index(first))[0],
        month_bounds(month_index(last))[1],
        formula is not None,
        line.product.version,
        prefetch=EVENTS_AHEAD,
    )
    async for row in events:
        quantity = Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS))
        if formula is not None:
            quantity = formula.billable(quantity, row["additional_data"])
        yield Use(micros(row["occurred_at"]), row["event_ref"].int, quantity)


def _instant(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)
