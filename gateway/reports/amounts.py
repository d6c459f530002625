"""What windows of usage have cost: by how much each has moved the charges that it counts in.

A window's amount is the price of its period's total at its end, less the price at its beginning,
which for the period's first use is nothing. So windows add up to the charges exactly, whatever
tiers they climb. It is what usage adds before minimum and maximum fees, discounts, rounding and
taxes.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
from msgspec import Raw, Struct

from gateway.reports.asking import Asked, Found, queries, refs_between
from runtime.postgres import Connection
from schemas.aggregation import PLAIN
from schemas.errors import InvalidInput
from schemas.money import (
    AMOUNT_DIGITS,
    QUANTITY_DIGITS,
    Quantity,
    decimal_to_scaled,
    scaled_to_text,
)
from schemas.price import LinePrice, basis_of, from_json, is_usage, price_total

STRETCHES_MAX: Final = 50_000
"""Sums that the amounts of one answer are computed from."""

Amounts = dict[tuple[datetime, int], dict[str, int] | None]
"""By a window's start and a meter: scaled amounts by currency; None where a window has no amount of
its own, because a line prices the meter otherwise."""


class PricedPeriod(Struct, frozen=True):
    """A line in one of its periods.

    meter_id: the meter that it prices. is_plain: the total is nothing but what the quantities of
    events add. is_count: it is the number of events.
    """

    meter_id: int
    is_plain: bool
    is_count: bool
    price: LinePrice
    currency: str
    start: datetime
    end: datetime


class Stretch(Struct, frozen=True):
    """A meter's usage between two bounds, in one window, as it counts in the lines of a meter.

    toward: that meter, mostly its own. begin: the bound before it. window: its window's start, None
    before the time asked for. units: what its events count as where events are counted.
    """

    toward: int
    meter_id: int
    begin: datetime
    window: datetime | None
    quantity: Quantity
    event_count: int
    units: Quantity


async def amounts_of(
    connection: Connection, tenant_id: int, asked: Asked, found: Found, window: str
) -> Amounts:
    """Compute what each window and meter has cost. Raises InvalidInput when there are too many."""
    rows = await connection.fetch(
        queries.list_priced_periods,
        *(tenant_id, asked.shard_key, found.customer_id, found.meter_id, asked.start, asked.end),
    )
    periods = [_priced_period(row) for row in rows if is_usage(from_json(row["price"]))]
    if not periods:
        return {}
    bounds = sorted({asked.start, *(p.start for p in periods), *(p.end for p in periods)})
    stretches = await connection.fetch(
        queries.list_stretches,
        *(tenant_id, asked.shard_key, found.customer_id, *refs_between(bounds[0], asked.end)),
        *(window, asked.start, asked.end, bounds, STRETCHES_MAX + 1),
        list({period.meter_id for period in periods}),
    )
    if len(stretches) > STRETCHES_MAX:
        detail = f"comes to more than {STRETCHES_MAX} sums: ask for less time or a longer window"
        raise InvalidInput("summary_too_long", detail, "/window")
    return add_up(periods, [_stretch(row, bounds) for row in stretches])


def _priced_period(row: asyncpg.Record) -> PricedPeriod:
    return PricedPeriod(
        meter_id=row["meter_id"],
        is_plain=row["aggregation"] in PLAIN and not row["is_computed"],
        is_count=row["aggregation"] == "COUNT",
        price=from_json(row["price"]),
        currency=row["currency"],
        start=row["start_at"],
        end=row["end_at"],
    )


def _stretch(row: asyncpg.Record, bounds: Sequence[datetime]) -> Stretch:
    return Stretch(
        toward=row["toward_id"],
        meter_id=row["meter_id"],
        begin=bounds[row["bound"] - 1],
        window=row["start_at"],
        quantity=Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS)),
        event_count=row["event_count"],
        units=Quantity(decimal_to_scaled(row["units"], QUANTITY_DIGITS)),
    )


def add_up(periods: Iterable[PricedPeriod], stretches: Sequence[Stretch]) -> Amounts:
    """Sum what each stretch adds to each line's amount, by window and meter.

    stretches: each within or outside a period as a whole; those toward a meter in order of time,
    where several meters count in a window its own first.
    """
    amounts: Amounts = {}
    for period in periods:
        inside = [
            stretch
            for stretch in stretches
            if stretch.toward == period.meter_id and period.start <= stretch.begin < period.end
        ]
        if period.is_plain and basis_of(period.price) == "TOTAL":
            _add_line(amounts, period, inside)
        else:
            for stretch in inside:
                if stretch.window is not None:
                    amounts[stretch.window, stretch.meter_id] = None
    return amounts


def _add_line(amounts: Amounts, period: PricedPeriod, stretches: Iterable[Stretch]) -> None:
    total = event_count = before = 0
    for stretch in stretches:
        total += stretch.units if period.is_count else stretch.quantity
        event_count += stretch.event_count
        after = price_total(period.price, Quantity(total), event_count)
        if stretch.window is not None:
            sums = amounts.setdefault((stretch.window, stretch.meter_id), {})
            if sums is not None:
                sums[period.currency] = sums.get(period.currency, 0) + after - before
        before = after


def amounts_answer(sums: dict[str, int] | None) -> list[dict[str, Any]] | None:
    """Show amounts, one a currency."""
    if sums is None:
        return None
    return [
        {"currency": currency, "amount": Raw(scaled_to_text(amount, AMOUNT_DIGITS).encode())}
        for currency, amount in sums.items()
    ]
