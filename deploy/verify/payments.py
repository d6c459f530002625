"""Payments: every document stands where the money that came for it says."""

from typing import Final

import asyncpg

from deploy.verify.check import Check, Finding, Scope
from deploy.verify.journal import Stand, stands
from deploy.verify.oracle import exact
from runtime.postgres import Queries

queries = Queries.beside(__file__, "payments.sql")

_MAY_HAVE_MONEY: Final = ("PAID", "PARTIALLY_PAID", "LATE", "UNCOLLECTIBLE")


async def check_payments(scope: Scope, finding: Finding) -> None:
    """Hold the state and the day of every document against what has come for it."""
    finding.counted = await scope.count(queries.payments_counted, scope.tenant_id)
    async for family in stands(scope):
        for one in family:
            if _is_wrong(one, one.row):
                row = one.row
                finding.broken(
                    f"{one.name} is {row['state']}, paid on {row['paid_date'] or 'no day'}; "
                    f"{exact(one.due)} of {row['total']} is due, {row['paid']} has come, "
                    f"the last on {row['last_day'] or 'no day'}"
                )
    async for row in scope.rows(queries.payments_of_nothing, scope.tenant_id):
        finding.broken(row["witness"])


def _is_wrong(one: Stand, row: asyncpg.Record) -> bool:
    """Tell whether a document is called paid and isn't, or is paid and not called so."""
    is_paid = row["state"] == "PAID"
    if is_paid != (row["paid_date"] is not None):
        return True
    if is_paid:
        return bool(one.due) or row["last_day"] not in {None, row["paid_date"]}
    if row["state"] == "PARTIALLY_PAID":
        return not row["paid"] or not one.due
    return bool(row["paid"]) and row["state"] not in _MAY_HAVE_MONEY


CHECKS: Final = (
    Check(
        name="payments",
        sentence="every document is paid by the payments noted for it, and only then",
        unit="payments",
        run=check_payments,
    ),
)
