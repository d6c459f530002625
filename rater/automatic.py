"""Closing by the clock: cuts the periods whose grace is over, and those that came late has moved.

A round begins when something is due. It notes the instant and the end of the log, waits until the
log is rated up to there, and then cuts in bounded steps what was due at that instant: so nothing
that was acknowledged before it can miss its invoice, and events keep flowing meanwhile.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from rater import opening, reference
from rater.cutting import Due, Unsettled, cut, load_unsettled, look_up, take_some
from rater.memory import Line, Product
from rater.metrics import CLOSINGS_HELD, PERIODS_CLOSED
from rater.owner import Owner
from rater.repository import queries
from rater.schedule import period_after, period_ending
from rater.tasks import Task
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.periods import period_at

HELD_FOR: Final = timedelta(minutes=1)
"""After so long a period that is held is looked at again."""


class Round(msgspec.Struct):
    """Closing what was due at an instant, once the log is rated up to its end at that instant."""

    now: datetime
    end_offset: int
    is_done: bool = False


class Look(msgspec.Struct):
    """What a step has found. is_all: there is no more in this round."""

    scheduled: list[tuple[asyncpg.Record, Due]]
    late: list[Due]
    is_all: bool


async def begin(owner: Owner, tasks: Sequence[Task]) -> Round | None:
    """Begin a round when something is due now."""
    now = owner.clock()
    is_due = any(await _find(owner.pool, owner, now, tasks, 1))
    if not is_due and not await opening.is_due(owner, now, tasks):
        return None
    return Round(now, await owner.reader.end_offset())


async def step(owner: Owner, current: Round, tasks: Sequence[Task]) -> None:
    """Cut what fits in one transaction; the round is done when nothing is left.

    What is billed ahead comes first.
    """
    if await opening.open_some(owner, current.now, tasks):
        return
    async with owner.step() as connection:
        look = await _look(connection, owner, current, tasks)
        await look_up(connection, [due for _, due in look.scheduled] + look.late)
        unsettled = await load_unsettled(connection, [due for _, due in look.scheduled])
        held = [
            bool(row["waits"] and known)
            for (row, _), known in zip(look.scheduled, unsettled, strict=True)
        ]
        chosen = _to_cut(look, unsettled, held)
        chosen += zip(look.late, await load_unsettled(connection, look.late), strict=True)
        await cut(connection, owner, [due for due, _ in chosen], [known for _, known in chosen])
        await _move_schedule(connection, look, held, current.now)
        await connection.execute(queries.step_partition, owner.state.partition, 0)
        crashpoint("rater.before_cuts")
    crashpoint("rater.after_cuts")
    owner.state.steps += 1
    current.is_done = look.is_all
    owner.has_undigested |= bool(chosen)
    for customer_ref in {due.customer_ref for due, _ in chosen}:
        # The periods in memory do not know yet that they are closed.
        owner.memory.forget(customer_ref)
    CLOSINGS_HELD.inc(sum(held))
    PERIODS_CLOSED.inc(len(chosen))


async def _find(
    source: asyncpg.Pool | Connection,
    owner: Owner,
    now: datetime,
    tasks: Sequence[Task],
    limit: int,
) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
    """Return what is due: of the schedule, and late."""
    settings, partition = owner.settings, owner.state.partition
    busy = [task.customer_id for task in tasks if task.kind == "CONTRACT"]
    scheduled = await source.fetch(
        queries.find_due, partition, now, settings.closing_grace_seconds, busy, limit
    )
    before = now - timedelta(seconds=settings.late_seconds)
    late = await source.fetch(queries.find_late, partition, before, busy, limit)
    return scheduled, late


async def _look(
    connection: Connection, owner: Owner, current: Round, tasks: Sequence[Task]
) -> Look:
    """Load what is due, a bounded number of lines in all."""
    lines_max = owner.settings.closing_lines_max
    rows, late_rows = await _find(connection, owner, current.now, tasks, lines_max)
    products = await reference.load_products_of(connection, owner.memory, rows + late_rows)
    due = [_due(row, products) for row in rows + late_rows]
    chosen, is_all = take_some(due, lines_max)
    return Look(
        scheduled=list(zip(rows, chosen, strict=False)),
        late=chosen[len(rows) :],
        is_all=is_all and max(len(rows), len(late_rows)) < lines_max,
    )


def _due(row: asyncpg.Record, products: dict[UUID, tuple[Product, list[Line]]]) -> Due:
    """Find the period of a row of either list."""
    product, lines = products[row["contract_product_ref"]]
    if (end := row.get("end_at")) is not None:
        period = period_ending(product.terms, end)
    else:
        found = period_at(product.terms, row["start_at"])
        assert found is not None, "a stored period stays"
        period = found
    return Due(row["customer_ref"], product, product.rated(period), lines)


def _to_cut(
    look: Look, unsettled: Sequence[Unsettled], held: Sequence[bool]
) -> list[tuple[Due, Unsettled]]:
    """Choose what is neither held nor cut already, at a call."""
    return [
        (due, known)
        for (_, due), known, is_held in zip(look.scheduled, unsettled, held, strict=True)
        if not is_held and not due.period.last_cut_number
    ]


async def _move_schedule(
    connection: Connection, look: Look, held: Sequence[bool], now: datetime
) -> None:
    """Go on to the next period of each product, or put off what is held."""
    moved, ended = [], []
    for (row, due), is_held in zip(look.scheduled, held, strict=True):
        key = (row["shard_key"], row["contract_product_ref"])
        if is_held:
            moved.append((*key, row["end_at"], now - row["grace"] + HELD_FOR, True))
        elif (period := period_after(due.product.terms, due.period.period)) is not None:
            moved.append((*key, period.end, period.end, False))
        else:
            ended.append(key)
    if moved:
        await connection.execute(queries.move_schedule, *map(list, zip(*moved, strict=True)))
    if ended:
        await connection.execute(queries.end_schedule, *map(list, zip(*ended, strict=True)))
