"""Closing at a call: cuts the periods of a contract once everything before the request is rated.

A call closes whatever has ended by its day, whether or not something of the customer is unsettled;
and cuts again what usage that came late has moved.
"""

from collections.abc import Collection, Iterable, Iterator
from uuid import UUID

from rater import reference
from rater.cutting import Due, cut, load_unsettled, look_up, take_some
from rater.memory import Line, Product
from rater.metrics import PERIODS_CLOSED
from rater.opening import callable_openings, open_periods
from rater.opening_schedule import opened_periods
from rater.owner import Owner
from rater.repository import queries
from rater.schedule import closed_periods
from rater.tasks import Task
from runtime.crashpoints import crashpoint
from runtime.postgres import Connection
from schemas.periods import periods_ending_by


async def step(owner: Owner, task: Task) -> None:
    """Move a closing on: first note the end of the log, then cut what fits in one transaction."""
    if task.end_offset is None:
        await _note_end(owner, task)
    else:
        await _cut_some(owner, task)


async def _note_end(owner: Owner, task: Task) -> None:
    """Store the end of the log: what was acknowledged before the request lies before it."""
    partition = owner.state.partition
    end_offset = await owner.reader.end_offset()
    async with owner.step() as connection:
        progress = (partition, task.reference_version, end_offset)
        await connection.execute(queries.set_end_offset, *progress)
        await connection.execute(queries.step_partition, partition, 0)
    owner.state.steps += 1
    task.end_offset = end_offset


async def _cut_some(owner: Owner, task: Task) -> None:
    """Cut the first periods that are due; the task is done when they are all."""
    partition = owner.state.partition
    tenant = (await owner.customer(task.customer_ref)).tenant
    async with owner.step() as connection:
        contract = await reference.load_contract(
            connection,
            shard_key=task.shard_key,
            customer_id=task.customer_id,
            contract_ref=task.contract_ref,
            tenant=tenant,
            memory=owner.memory,
        )
        opened = await opened_periods(connection, [product for product, _ in contract])
        openings = list(callable_openings(contract, task, opened, owner.clock()))
        settled = await closed_periods(connection, contract) - await _late(connection, contract)
        remaining = due_periods(contract, task, settled)
        chosen, is_done = take_some(remaining, owner.settings.closing_lines_max)
        if openings:  # they come first, as by the clock
            chosen, is_done = [], False
            openings, _ = take_some(openings, owner.settings.closing_lines_max)
        await open_periods(connection, owner, openings)
        await look_up(connection, chosen)
        await cut(connection, owner, chosen, await load_unsettled(connection, chosen))
        progress = (partition, task.reference_version, len(chosen), is_done)
        await connection.execute(queries.move_closing, *progress)
        await connection.execute(queries.step_partition, partition, 0)
    crashpoint("rater.after_cut")
    owner.state.steps += 1
    task.is_done = is_done
    owner.has_undigested |= bool(chosen or openings)
    # The periods in memory do not know yet that they are closed.
    owner.memory.forget_customer(task.customer_id)
    PERIODS_CLOSED.inc(len(chosen))


async def _late(
    connection: Connection, contract: Iterable[tuple[Product, list[Line]]]
) -> set[UUID]:
    """Return the closed periods that have moved since."""
    keys = [(product.shard_key, product.ref) for product, _ in contract]
    places = [key for key, _ in keys], [ref for _, ref in keys]
    return {row["period_ref"] for row in await connection.fetch(queries.find_late_of, *places)}


def due_periods(
    contract: Iterable[tuple[Product, list[Line]]], task: Task, settled: Collection[UUID]
) -> Iterator[Due]:
    """Yield the periods that end by the day of the request, in order, but for settled ones.

    settled: what was cut and has not moved since.
    """
    assert task.close_through is not None
    for product, lines in contract:
        for period in periods_ending_by(product.terms, task.close_through):
            rated = product.rated(period)
            if rated.ref not in settled:
                yield Due(task.customer_ref, product, rated, lines)
