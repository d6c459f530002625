"""The schedule of openings: when part of the next period is billed ahead. Pure, and its rows.

A product has one row, for the first of its periods that is still to be opened. It is written by the
step that ends a contract's back-fill, and moved on by the transaction that opens the period.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from rater.memory import Product
from rater.owner import Owner
from rater.repository import queries
from rater.tasks import Task
from runtime.postgres import Connection
from schemas.periods import BillingTerms, Period, periods


def has_usage(terms: BillingTerms, period: Period) -> bool:
    """Tell whether a period's usage so far is billed ahead, too."""
    return terms.payment_time == "DURING_USE" and period.start < period.issued_at < period.end


def next_ahead(
    product: Product, opened: Iterable[UUID], after: Period | None = None
) -> Period | None:
    """Return the first period that is billed ahead and was not opened; after: behind this one."""
    known = set(opened)
    if product.terms.payment_time == "AFTER_USE":
        return None
    for period in periods(product.terms):
        is_passed = after is not None and period.start <= after.start
        if period.is_ahead and not is_passed and product.rated(period).ref not in known:
            return period
    return None


async def schedule_openings(
    connection: Connection, owner: Owner, task: Task, products: Sequence[Product]
) -> None:
    """Put the products of a contract that the clock closes on the schedule of openings."""
    ahead = [one for one in products if one.terms.payment_time != "AFTER_USE"]
    if not ahead:
        return
    opened = await opened_periods(connection, ahead)
    for product in ahead:
        if (period := next_ahead(product, opened)) is not None:
            place = (product.shard_key, product.ref, product.tenant.tenant_id)
            moment = (period.start, period.issued_at, has_usage(product.terms, period))
            await connection.execute(
                queries.schedule_opening,
                *(*place, owner.state.partition, task.customer_id, task.contract_ref, *moment),
            )


async def opened_periods(connection: Connection, products: Iterable[Product]) -> set[UUID]:
    """Return the refs of the periods of products that were opened, or closed without."""
    keys = [(product.shard_key, product.ref) for product in products]
    places, refs = [key for key, _ in keys], [ref for _, ref in keys]
    rows = await connection.fetch(queries.opened_periods, places, refs)
    return {row["period_ref"] for row in rows}
