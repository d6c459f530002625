"""The schedule: when each contract product's next period closes by itself. Pure, and its rows.

A product has one row, for the first of its periods that the clock is to close. It is written by the
step that ends a contract's back-fill, so a product on the schedule is rated to its full, and moved
on by the transaction that cuts the period.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from itertools import dropwhile
from uuid import UUID

from rater import reference
from rater.memory import Line, Product
from rater.opening_schedule import schedule_openings
from rater.owner import Owner
from rater.repository import queries
from rater.tasks import Task
from runtime.postgres import Connection
from schemas.periods import BillingTerms, Period, period_at, periods

_MOMENT = timedelta(microseconds=1)


def first_to_close(terms: BillingTerms, closes_after: datetime | None) -> Period | None:
    """Return the first period that the clock closes.

    closes_after: what had ended by then waits for a call; None: nothing does.
    """
    if closes_after is not None and (period := period_at(terms, closes_after)) is not None:
        return period
    open_periods = dropwhile(
        lambda period: closes_after is not None and period.end <= closes_after, periods(terms)
    )
    return next(open_periods, None)


def period_ending(terms: BillingTerms, end: datetime) -> Period:
    """Return the period that ends at an instant at which one does."""
    period = period_at(terms, end - _MOMENT)
    assert period is not None, f"no period ends at {end}"
    assert period.end == end, f"a period ends at {period.end}, not at {end}"
    return period


def period_after(terms: BillingTerms, period: Period) -> Period | None:
    """Return the next period, None after the last."""
    return period_at(terms, period.end)


def next_open(product: Product, period: Period | None, closed: Collection[UUID]) -> Period | None:
    """Return a period or the first after it that was not cut yet, None when all were."""
    while period is not None and product.rated(period).ref in closed:
        period = period_after(product.terms, period)
    return period


async def schedule_contract(connection: Connection, owner: Owner, task: Task) -> None:
    """Put the products of a contract on the schedule, or take them off it."""
    row = await connection.fetchrow(queries.load_closing, task.shard_key, task.contract_ref)
    if row is None:
        return
    tenant = (await owner.customer(task.customer_ref)).tenant
    contract = await reference.load_contract(
        connection,
        shard_key=task.shard_key,
        customer_id=task.customer_id,
        contract_ref=task.contract_ref,
        tenant=tenant,
        memory=owner.memory,
    )
    products = [product for product, _ in contract]
    await connection.execute(queries.unschedule, task.shard_key, task.contract_ref)
    await connection.execute(queries.unschedule_openings, task.shard_key, task.contract_ref)
    if row["closing"] != "AUTOMATIC":
        return
    await schedule_openings(connection, owner, task, products)
    closed = await closed_periods(connection, contract)
    for product in products:
        first = first_to_close(product.terms, row["closes_after"])
        if (period := next_open(product, first, closed)) is not None:
            place = (product.shard_key, product.ref, tenant.tenant_id, owner.state.partition)
            await connection.execute(
                queries.schedule, *place, task.customer_id, task.contract_ref, period.end
            )


async def closed_periods(
    connection: Connection, products: Iterable[tuple[Product, list[Line]]]
) -> set[UUID]:
    """Return the refs of all periods of some products that were cut."""
    keys = [(product.shard_key, product.ref) for product, _ in products]
    rows = await connection.fetch(
        queries.closed_periods, [key for key, _ in keys], [ref for _, ref in keys]
    )
    return {row["period_ref"] for row in rows}
