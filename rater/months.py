"""The tables of usage events, one a month: made ahead of time, and when events of others come."""

from collections.abc import Iterable
from typing import Final

from rater.owner import Owner
from rater.repository import queries
from runtime.clock import to_micros
from schemas.event_ref import month_index

MONTHS_AHEAD: Final = 2
"""How many months behind this one have their tables: making one takes a lock that rating waits for,
and the first of a month is when everybody has something to do."""


async def ensure_months(owner: Owner, months: Iterable[int]) -> None:
    """Make sure that events of these months have their tables."""
    for month in set(months) - owner.months:
        await owner.pool.execute(queries.ensure_month, month)
        owner.months.add(month)


async def make_ahead(owner: Owner) -> None:
    """Make the tables of this month and those to come, by the clock."""
    first = month_index(to_micros(owner.clock()))
    await ensure_months(owner, range(first, first + 1 + MONTHS_AHEAD))
