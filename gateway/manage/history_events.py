"""The events of a customer's past periods, for prices of single events and of cells.

An event counts as the period's last cut has it, or as it counts now where the period is not cut.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from gateway.reports.asking import EPOCH, MICRO, refs_between
from runtime.postgres import Connection, Queries
from schemas.drafting import CutLine
from schemas.errors import InvalidInput
from schemas.event_ref import month_index
from schemas.meter_formula import parse_formula
from schemas.money import ONE, QUANTITY_DIGITS, Quantity, decimal_to_scaled
from schemas.price import basis_of
from schemas.pricing.event_fees import FeeTally
from schemas.pricing.matrix import cell_name_of

EVENTS_MAX: Final = 20_000
"""Events that are priced in one answer."""

queries: Final = Queries.beside(__file__, "history.sql")


class Happened(msgspec.Struct, frozen=True):
    """An event as it counts. key: orders it. quantity: billable."""

    key: tuple[int, int]
    quantity: Quantity
    data: str | None


Events = Mapping[tuple[UUID, UUID], Sequence[Happened]]
"""By period and meter, in the order in which they happened."""


async def load_events(
    connection: Connection,
    customer: tuple[int, int, int],
    periods: Sequence[asyncpg.Record],
    meters: Collection[UUID],
) -> Events:
    """Read the events of some meters. customer: tenant, shard key and id.

    Raises InvalidInput where there are too many, or some have left for an archive.
    """
    found: dict[tuple[UUID, UUID], list[Happened]] = {}
    if not meters or not periods:
        return found
    kept_from: int = await connection.fetchval(queries.first_month_kept)
    left = EVENTS_MAX
    for period in periods:
        start, end = period["start_at"], period["end_at"]
        if month_index((start - EPOCH) // timedelta(microseconds=1)) < kept_from:
            detail = "the events of that time have left for an archive"
            raise InvalidInput("month_archived", detail, "/from")
        rows = await connection.fetch(
            queries.list_events_of_period,
            *customer,
            *refs_between(start, end),
            *(start, end, period["cut_offset"], list(meters), left + 1),
        )
        if len(rows) > left:
            detail = f"there are more than {EVENTS_MAX} events to price: ask for a shorter time"
            raise InvalidInput("simulation_too_large", detail, "/to")
        left -= len(rows)
        for row in rows:
            place = (period["period_ref"], row["usage_product_ref"])
            found.setdefault(place, []).append(_happened(row))
    return found


def _happened(row: asyncpg.Record) -> Happened:
    quantity = Quantity(decimal_to_scaled(row["quantity"], QUANTITY_DIGITS))
    if row["aggregation"] == "COUNT":
        quantity = Quantity(ONE)
    elif row["formula"] is not None:
        quantity = parse_formula(row["formula"]).billable(quantity, row["additional_data"])
    key = ((row["occurred_at"] - EPOCH) // MICRO, row["event_ref"].int)
    return Happened(key, quantity, row["additional_data"])


def price_line(line: CutLine, events: Sequence[Happened]) -> list[CutLine]:
    """Return a line as its events make it: with their fees, or cell by cell."""
    if basis_of(line.price) == "EVENTS":
        tally = FeeTally.start(line.price)
        for event in events:
            tally.count(line.price, event.key, event.quantity)
        return [_with_total(line, events, fees=tally.amount)]
    cells: dict[str, list[Happened]] = {"": []}
    for event in events:
        cells.setdefault(cell_name_of(line.price, event.data), []).append(event)
    return [_with_total(line, own, cell=cell) for cell, own in cells.items()]


def _with_total(
    line: CutLine,
    events: Sequence[Happened],
    **more: Any,  # noqa: ANN401 - fields of a line
) -> CutLine:
    quantity = Quantity(sum(event.quantity for event in events))
    return msgspec.structs.replace(
        line, quantity=quantity, event_count=len(events), exact_quantity=None, **more
    )
