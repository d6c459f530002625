"""What windows of usage have cost: by how much each has moved the charges that it counts in.

A window's amount is the price of its period's total at its end, less the price at its beginning,
which for the period's first use is nothing. So windows add up to the charges exactly, whatever
tiers they climb. It is what usage adds before minimum and maximum fees, discounts, rounding and
taxes.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import asyncpg
from msgspec import Raw, Struct

from gateway.reports.asking import Asked, Found, queries
from runtime.postgres import Connection
from schemas.aggregation import PLAIN
from schemas.money import (
    AMOUNT_DIGITS,
    ONE,
    QUANTITY_DIGITS,
    Quantity,
    decimal_to_scaled,
    scaled_to_text,
)
from schemas.price import LinePrice, basis_of, from_json, is_usage, price_total

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


async def load_priced_periods(
    connection: Connection, tenant_id: int, asked: Asked, found: Found
) -> list[PricedPeriod]:
    """Read which lines price the usage asked for, each with its periods."""
    rows = await connection.fetch(
        queries.list_priced_periods,
        *(tenant_id, asked.shard_key, found.customer_id, found.meter_id, asked.start, asked.end),
    )
    return [_priced_period(row) for row in rows if is_usage(from_json(row["price"]))]


def bounds_of(asked: Asked, periods: Iterable[PricedPeriod]) -> list[datetime]:
    """Return the instants that stretches end at, besides windows; the first is where they begin."""
    return sorted({asked.start, *(p.start for p in periods), *(p.end for p in periods)})


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


def stretches_of(
    own: Sequence[asyncpg.Record], fed: Sequence[asyncpg.Record], bounds: Sequence[datetime]
) -> list[Stretch]:
    """Build from rows of lists of stretches between such bounds.

    own: of each meter, which counts in its own lines; fed: of those that others count toward.
    """
    toward = {row["toward_id"] for row in fed}
    stretches = [
        _stretch(row, bounds, row["meter_id"], row["event_count"] * ONE)
        for row in own
        if row["meter_id"] not in toward
    ]
    for row in fed:
        units = decimal_to_scaled(row["units"], QUANTITY_DIGITS)
        stretches.append(_stretch(row, bounds, row["toward_id"], units))
    return stretches


def _stretch(row: asyncpg.Record, bounds: Sequence[datetime], toward: int, units: int) -> Stretch:
    return Stretch(
        toward=toward,
        meter_id=row["meter_id"],
        begin=bounds[row["bound"] - 1],
        window=row["start_at"],
        quantity=Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS)),
        event_count=row["event_count"],
        units=Quantity(units),
    )


def add_up(periods: Iterable[PricedPeriod], stretches: Sequence[Stretch]) -> Amounts:
    """Sum what each stretch adds to each line's amount, by window and meter.

    stretches: each within or outside a period as a whole; those toward a meter in order of time,
    where several meters count in a window its own first.
    """
    amounts: Amounts = {}
    by_meter: dict[int, list[Stretch]] = {}
    for stretch in stretches:
        by_meter.setdefault(stretch.toward, []).append(stretch)
    for period in periods:
        own = by_meter.get(period.meter_id, [])
        first = bisect_left(own, period.start, key=_begin)
        inside = own[first : bisect_left(own, period.end, lo=first, key=_begin)]
        if period.is_plain and basis_of(period.price) == "TOTAL":
            _add_line(amounts, period, inside)
        else:
            for stretch in inside:
                if stretch.window is not None:
                    amounts[stretch.window, stretch.meter_id] = None
    return amounts


def _begin(stretch: Stretch) -> datetime:
    return stretch.begin


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
