"""Sums of usage for reports: from roll-ups where a customer has them, from few events otherwise.

A sum holds an hour, or a quarter of one. Where a bound of what is asked for lies inside of it, its
events are read one by one: all of that month's have to be looked through, so there is a limit.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
from msgspec import Struct

from gateway.reports.asking import (
    MICRO,
    Asked,
    Found,
    check_not_archived,
    queries,
    refs_between,
)
from runtime.clock import to_micros
from runtime.postgres import Connection
from schemas.errors import InvalidInput
from schemas.rollup import DAY_SLOTS, HOUR_SLOTS, SLOT_MICROS, SLOT_SECONDS, places_of

EVENTS_READ_MAX: Final = 1_000_000
"""Events that one answer looks through: about a second's work."""
STRETCHES_MAX: Final = 50_000
"""Sums that one answer is made of."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Span = tuple[datetime, datetime]


class Sums(Struct, frozen=True):
    """Where a customer's sums are. grain: how many slots each holds."""

    tenant_id: int
    asked: Asked
    found: Found
    grain: int

    @property
    def place(self) -> tuple[int, int, int, list[int]]:
        """What they are found by."""
        shard_key = self.asked.shard_key
        return self.tenant_id, shard_key, self.found.customer_id, places_of(shard_key)


async def find_sums(
    connection: Connection, tenant_id: int, asked: Asked, found: Found
) -> Sums | None:
    """Find a customer's sums; None while they have so few events that there are none."""
    place = (tenant_id, asked.shard_key, found.customer_id)
    grain = await connection.fetchval(queries.find_grain, *place)
    return None if grain is None else Sums(tenant_id, asked, found, grain)


async def check_readable(
    connection: Connection,
    tenant_id: int,
    asked: Asked,
    found: Found,
    start: datetime,
    pointer: str = "/group_by",
) -> None:
    """Make sure that the events asked for, from an instant on, can be read one by one.

    Raises InvalidInput when some have left for an archive, or there are too many.
    """
    await check_not_archived(connection, start)
    sums = await find_sums(connection, tenant_id, asked, found)
    if sums is not None:
        [count] = await _count(connection, sums, [_months(start, asked.end)])
        if count > EVENTS_READ_MAX:
            detail = (
                f"events are looked at one by one, and there are {count:,} in these months: "
                f"ask for less time, of at most {EVENTS_READ_MAX:,} events"
            )
            raise InvalidInput("too_many_events", detail, pointer)


async def list_stretches(
    connection: Connection,
    tenant_id: int,
    asked: Asked,
    found: Found,
    window: str,
    bounds: Sequence[datetime],
) -> Sequence[asyncpg.Record]:
    """Sum up usage by meter and stretch of time, in order: windows and bounds end stretches.

    bounds: in order, with the beginning of what is asked for; sums begin at the first. Raises
    InvalidInput when it can't be done with what there is, or within the limits.
    """
    sums = await find_sums(connection, tenant_id, asked, found)
    span = (found.meter_id, window, asked.start, asked.end, bounds, STRETCHES_MAX + 1)
    if sums is None:
        await _check_events_there(connection, asked, found)
        place = (tenant_id, asked.shard_key, found.customer_id)
        refs = refs_between(bounds[0], asked.end)
        rows = await connection.fetch(queries.list_stretches, *place, *refs, *span)
    else:
        cuts = await _find_cuts(connection, sums, [*bounds, asked.end])
        refs_of_cuts = [refs_between(*cut) for cut in cuts]
        rows = await connection.fetch(
            queries.list_rolled_stretches,
            *(*sums.place, *span, sums.grain),
            *(_slot(bounds[0]), _slot_behind(asked.end)),
            HOUR_SLOTS if window == "hour" else DAY_SLOTS,
            [_slot_behind(bound) for bound in bounds],
            _cut_slots(sums, [*bounds, asked.end]),
            [start for start, _ in cuts],
            [end for _, end in cuts],
            [low for low, _ in refs_of_cuts],
            [high for _, high in refs_of_cuts],
        )
    _check_length(rows)
    return rows


async def list_fed_stretches(
    connection: Connection,
    tenant_id: int,
    asked: Asked,
    found: Found,
    window: str,
    bounds: Sequence[datetime],
    meter_ids: Sequence[int],
) -> Sequence[asyncpg.Record]:
    """Sum up what counts in the lines of those meters that others count toward, in order.

    From the events one by one: each counts as its quantity times a factor, rounded by itself.
    Raises InvalidInput as `list_stretches` and `check_readable` do.
    """
    toward = [row[0] for row in await connection.fetch(queries.list_fed, tenant_id, meter_ids)]
    if not toward:
        return []
    await check_readable(connection, tenant_id, asked, found, bounds[0], "/from")
    rows = await connection.fetch(
        queries.list_fed_stretches,
        *(tenant_id, asked.shard_key, found.customer_id, *refs_between(bounds[0], asked.end)),
        *(window, asked.start, asked.end, bounds, STRETCHES_MAX + 1, toward),
    )
    _check_length(rows)
    return rows


def _check_length(rows: Sequence[asyncpg.Record]) -> None:
    if len(rows) > STRETCHES_MAX:
        detail = f"comes to more than {STRETCHES_MAX} sums: ask for less time or a longer window"
        raise InvalidInput("summary_too_long", detail, "/window")


def _slot(instant: datetime) -> int:
    """Return the slot that an instant lies in."""
    return to_micros(instant) // SLOT_MICROS


def _slot_behind(instant: datetime) -> int:
    """Return the first slot that begins at an instant or after it."""
    return -(-to_micros(instant) // SLOT_MICROS)


def _cut_slots(sums: Sums, bounds: Sequence[datetime]) -> list[int]:
    """Return the first slots of the sums that bounds cut."""
    width = sums.grain * SLOT_MICROS
    return sorted({to_micros(b) // width * sums.grain for b in bounds if to_micros(b) % width})


async def _find_cuts(connection: Connection, sums: Sums, bounds: Sequence[datetime]) -> list[Span]:
    """Return the sums that bounds cut and that have something in them.

    Raises InvalidInput when their events are in an archive, or among too many.
    """
    slots = _cut_slots(sums, bounds)
    if not slots:
        return []
    step = sums.grain * SLOT_SECONDS
    spans = [(at, at + timedelta(seconds=step)) for at in map(_instant, slots)]
    counts = await _count(connection, sums, spans)
    cuts = [span for span, count in zip(spans, counts, strict=True) if count]
    months = sorted({_months(*cut) for cut in cuts})
    if months:
        await check_not_archived(connection, months[0][0], "give full hours, or ask")
        count = sum(await _count(connection, sums, months))
        if count > EVENTS_READ_MAX:
            detail = (
                "begins, ends or has a billing period that begins within a full hour: "
                f"{count:,} events would be read to split it, and at most {EVENTS_READ_MAX:,} "
                "are: give full hours, or less time"
            )
            raise InvalidInput("too_many_events", detail, "/from")
    return cuts


def _instant(slot: int) -> datetime:
    return _EPOCH + timedelta(seconds=slot * SLOT_SECONDS)


def _months(start: datetime, end: datetime) -> Span:
    """Return the whole months that hold a span."""
    first = datetime(start.year, start.month, 1, tzinfo=UTC)
    last = max(end - MICRO, start)
    return first, datetime(last.year + last.month // 12, last.month % 12 + 1, 1, tzinfo=UTC)


async def _count(connection: Connection, sums: Sums, spans: Sequence[Span]) -> list[int]:
    """Return how many events there are in each span, of all meters."""
    rows = await connection.fetch(
        queries.count_usage,
        *(*sums.place, sums.grain),
        [_slot(start) for start, _ in spans],
        [_slot_behind(end) for _, end in spans],
    )
    return [row["event_count"] for row in rows]


async def _check_events_there(connection: Connection, asked: Asked, found: Found) -> None:
    """Refuse to sum up a customer's events some of which have left: a part would pass for all."""
    place = (asked.shard_key, found.customer_id, found.meter_id)
    if await connection.fetchval(queries.has_archived_usage, *place):
        await check_not_archived(connection, asked.start)
