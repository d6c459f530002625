"""Succession: an edited contract's charges take the place of those before, at once.

The swap is one transaction: the version's products begin to price, those that it ends stop at their
bound, and the charges of what they priced behind it go. No reader sees some of either. What no line
covers any more, because a line or the whole contract has ended, is found in the steps that follow,
and counts as unrated from then on.
"""

from datetime import date
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from rater.memory import Customer, micros
from rater.owner import Owner
from rater.repository import Fenced, queries
from rater.tasks import Task
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.event_ref import TIMESTAMP_MIN_MICROS, month_bounds, month_index
from schemas.periods import first_instant

REF_MIN: Final = UUID(int=0)
REF_MAX: Final = UUID(int=(1 << 128) - 1)


class Ended(msgspec.Struct, frozen=True):
    """What a version has ended: from which instant on, by meter, microseconds since 1970."""

    since: dict[int, int]

    def may_hold(self, row: asyncpg.Record) -> bool:
        """Tell whether an event was priced by what has ended, as far as its meter and time say."""
        since = self.since.get(row["meter_id"])
        return since is not None and micros(row["occurred_at"]) >= since

    @property
    def first_ref(self) -> UUID:
        """The bound, exclusive, below the refs of all events that it may hold."""
        first = month_index(max(min(self.since.values()), TIMESTAMP_MIN_MICROS))
        return UUID(int=max(month_bounds(first)[0].int - 1, 0))


async def swap(connection: Connection, task: Task) -> None:
    """Let a version's products price, and end what they take the place of, with its charges."""
    version = (task.shard_key, task.contract_ref, task.version)
    await connection.execute(queries.begin_version, *version)
    await connection.execute(queries.end_products, *version)
    rows = await connection.fetch(queries.ended_periods, *version)
    ended = [row["period_ref"] for row in rows]
    await connection.execute(queries.drop_values_of_periods, task.shard_key, ended)
    await connection.execute(queries.drop_charges_of_periods, task.shard_key, ended)
    await connection.execute(queries.drop_periods, task.shard_key, ended)


async def find_uncovered(owner: Owner, task: Task) -> None:
    """Look through one page of what ended products have priced; the last page ends the task."""
    customer = await owner.customer(task.customer_ref)
    partition, page_length = owner.state.partition, owner.settings.backfill_events_max
    async with owner.step() as connection:
        ended = await _ended(connection, task)
        page: list[asyncpg.Record] = []
        if ended.since:
            span = (task.shard_key, task.cursor or REF_MIN, ended.first_ref, REF_MAX, page_length)
            page = await connection.fetch(queries.page_of_events, *span, False)
        gone = [row for row in page if ended.may_hold(row) and _is_uncovered(customer, row)]
        unrated: int = await connection.fetchval(
            queries.add_unrated,
            *(task.shard_key, customer.tenant.tenant_id, customer.customer_id),
            *([row["event_ref"] for row in gone], [row["meter_id"] for row in gone]),
        )
        is_done = len(page) < page_length
        cursor = page[-1]["event_ref"] if page else task.cursor
        progress = (partition, task.reference_version, task.cursor, cursor, 0, is_done, True, True)
        if await connection.fetchval(queries.move_backfill, *progress) is None:
            raise Fenced("the page was looked through already")
        await connection.execute(queries.step_partition, partition, -unrated)
    crashpoint("rater.after_backfill_step")
    owner.state.steps += 1
    task.cursor, task.is_done = cursor, is_done


async def _ended(connection: Connection, task: Task) -> Ended:
    version = (task.shard_key, task.contract_ref, task.version)
    since: dict[int, int] = {}
    for row in await connection.fetch(queries.ended_meters, *version):
        from_date: date = row["from_date"]
        start = micros(first_instant(from_date, row["timezone"]))
        since[row["meter_id"]] = min(start, since.get(row["meter_id"], start))
    return Ended(since)


def _is_uncovered(customer: Customer, row: asyncpg.Record) -> bool:
    """Tell whether an event counts for the customer and no line has a period that holds it.

    Where a line has cells or fees does not matter: a period holds the event whatever its data.
    """
    if row["customer_id"] != customer.customer_id or row["kind"] == "DELETE":
        return False
    at = micros(row["occurred_at"])
    lines = [line for fed in customer.fed_by(row["meter_id"]) for line in (*fed.plain, *fed.others)]
    return all(line.product.period_at(at) is None for line in lines)
