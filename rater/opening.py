"""Opening: what a period is billed ahead, copied into rows that are never changed: its cut 0.

Fixed fees as they are, and of a product that is billed during use what was used before the issue
instant. The clock opens periods by a schedule of its own, a call what is issued by its day. Usage
that comes for the time before the instant later on is the final cut's.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from rater import reference
from rater.backfill import add_event
from rater.charges import load_charges
from rater.cutting import CHARGE_CUT, Due, line_cut, look_up, take_some
from rater.memory import Charge, Line, Product, fed_by_meters
from rater.metrics import PERIODS_OPENED
from rater.opening_schedule import has_usage, next_ahead, opened_periods
from rater.owner import Owner
from rater.period_events import events_between
from rater.repository import queries
from rater.shares import Shares
from rater.tasks import Task
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.event_ref import shard_key_of
from schemas.money import Quantity
from schemas.periods import period_at, periods
from schemas.price import is_usage
from schemas.topics import BILLING_PERIODS

_PERIOD_CUT = (
    *("shard_key", "period_ref", "cut_number", "tenant_id", "partition", "cut_offset"),
    "until_at",
)
_UNDIGESTED = ("shard_key", "period_ref", "cut_number", "tenant_id", "partition")


async def is_due(owner: Owner, now: datetime, tasks: Sequence[Task]) -> bool:
    """Tell whether the clock has a period to open."""
    return bool(await _find(owner.pool, owner, now, tasks, 1))


async def open_some(owner: Owner, now: datetime, tasks: Sequence[Task]) -> bool:
    """Open what fits in one transaction of what is due; tell whether there was anything."""
    if not await is_due(owner, now, tasks):
        return False
    lines_max = owner.settings.closing_lines_max
    async with owner.step() as connection:
        rows = await _find(connection, owner, now, tasks, lines_max)
        products = await reference.load_products_of(connection, owner.memory, rows)
        found = [_due(row, products) for row in rows]
        chosen, _ = take_some(found, lines_max)
        await open_periods(connection, owner, chosen)
        await _move_schedule(connection, chosen)
        await connection.execute(queries.step_partition, owner.state.partition, 0)
        crashpoint("rater.before_opening")
    crashpoint("rater.after_opening")
    owner.state.steps += 1
    _forget(owner, chosen)
    return True


def _forget(owner: Owner, opened: Sequence[Due]) -> None:
    """Forget what memory has of periods that have rows now, and look for digests to make."""
    owner.has_undigested = True
    for due in opened:
        owner.memory.forget(due.customer_ref)


async def _find(
    source: asyncpg.Pool | Connection,
    owner: Owner,
    now: datetime,
    tasks: Sequence[Task],
    limit: int,
) -> list[asyncpg.Record]:
    busy = [task.customer_id for task in tasks if task.kind == "CONTRACT"]
    grace = owner.settings.closing_grace_seconds
    rows: list[asyncpg.Record] = await source.fetch(
        queries.find_openings, owner.state.partition, now, grace, busy, limit
    )
    return rows


def _due(row: asyncpg.Record, products: dict[UUID, tuple[Product, list[Line]]]) -> Due:
    product, lines = products[row["contract_product_ref"]]
    period = period_at(product.terms, row["start_at"])
    assert period is not None, "what is on the schedule is in force"
    return Due(row["customer_ref"], product, product.rated(period), lines)


async def _move_schedule(connection: Connection, opened: Sequence[Due]) -> None:
    """Go on to the next period of each product."""
    for due in opened:
        product = due.product
        key = (product.shard_key, product.ref)
        following = next_ahead(product, (), due.period.period)
        if following is None:
            await connection.execute(queries.end_openings, *key)
        else:
            moment = (following.start, following.issued_at, has_usage(product.terms, following))
            await connection.execute(queries.move_opening, *key, *moment)


def callable_openings(
    contract: Iterable[tuple[Product, list[Line]]], task: Task, opened: set[UUID], now: datetime
) -> Iterator[Due]:
    """Yield the periods that a call opens: those issued by the day after its own, and by now."""
    assert task.close_through is not None
    for product, lines in contract:
        if product.terms.payment_time == "AFTER_USE":
            continue
        for period in periods(product.terms):
            is_by_day = (period.issue_date - task.close_through).days <= 1
            if not is_by_day or period.issued_at > now:
                break
            rated = product.rated(period)
            if period.is_ahead and rated.ref not in opened:
                yield Due(task.customer_ref, product, rated, lines)


async def open_periods(connection: Connection, owner: Owner, due: Sequence[Due]) -> None:
    """Make the first cuts of periods that are not opened yet, and tell of them.

    Those with usage are told of with their digests.
    """
    if not due:
        return
    await look_up(connection, due)
    known = await opened_periods(connection, {one.product.ref: one.product for one in due}.values())
    due = [one for one in due if one.period.ref not in known]
    state = owner.state
    cuts, charges, undigested, messages = [], [], [], []
    for one in due:
        period, product = one.period.period, one.product
        with_usage = has_usage(product.terms, period) and any(
            is_usage(line.price) for line in one.lines
        )
        key = (product.shard_key, one.period.ref, 0)
        tenant_id = product.tenant.tenant_id
        until = period.issued_at if with_usage else None
        cuts.append((*key, tenant_id, state.partition, state.next_offset, until))
        own = await _ahead(connection, one, with_usage=with_usage)
        charges += [(*key, *line_cut(charge)) for charge in own]
        if with_usage:
            undigested.append((*key, tenant_id, state.partition))
        else:
            messages.append(_message(one))
    for table, names, rows in (
        ("period_cut", _PERIOD_CUT, cuts),
        ("charge_cut", CHARGE_CUT, charges),
        ("undigested_cut", _UNDIGESTED, undigested),
        ("rater_outbox", ("shard_key", "topic", "record_key", "value"), messages),
    ):
        if rows:
            await connection.copy_records_to_table(table, columns=names, records=rows)
    PERIODS_OPENED.inc(len(due))


async def _ahead(connection: Connection, due: Due, *, with_usage: bool) -> list[Charge]:
    """Return the charges that are billed ahead, with what they have come to by the instant."""
    lines = [
        line
        for line in due.lines
        if (with_usage or not is_usage(line.price))
        and (line.price.recurring or due.period.period.index == 0)
    ]
    charges = [line.charge_of(due.period) for line in lines]
    metered = [charge for charge in charges if charge.line.feeds]
    if with_usage and metered:
        await load_charges(connection, metered)
        await _take_off_later(connection, due, metered)
    return charges


async def _take_off_later(connection: Connection, due: Due, charges: Sequence[Charge]) -> None:
    """Take off charges what their events from the issue instant on have added.

    They are sums and counts: what is left is what those before have come to.
    """
    own = [charge.line for charge in charges]
    by_meter = fed_by_meters(own)
    totals: dict[Charge, list[int]] = {}
    span = (due.period.period.issued_at, due.period.period.end)
    meters = sorted({meter for line in own for meter in line.feeds})
    async for row in events_between(connection, due.product, meters, span, wants_data=True):
        add_event(by_meter[row["meter_id"]], row, totals, {}, Shares.empty())
    for charge, (quantity, count) in totals.items():
        charge.quantity = Quantity(charge.quantity - quantity)
        charge.event_count -= count


def _message(due: Due) -> tuple[int, str, bytes, bytes]:
    """Return the row of the outbox that tells of a period without usage."""
    value = {
        "v": 1,
        "trigger": "PERIOD_OPENED",
        "contract_product_ref": str(due.product.ref),
        "period_ref": str(due.period.ref),
        "cut_number": 0,
    }
    place = shard_key_of(due.product.ref.int)
    return place, BILLING_PERIODS, due.customer_ref.encode(), msgspec.json.encode(value)
