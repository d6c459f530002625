"""Prices: every unrounded amount is its total, priced by a second opinion (`oracle.py`)."""

from fractions import Fraction
from typing import Final

import asyncpg

from deploy.verify.check import Check, Finding, Scope
from deploy.verify.oracle import exact, read_price, rounded, stored, usage_amount
from runtime.postgres import Queries

QUANTITY_DIGITS: Final = 18

queries = Queries.beside(__file__, "prices.sql")


async def check_charges(scope: Scope, finding: Finding) -> None:
    """Price the running charges again."""
    async for row in scope.rows(queries.charges, scope.tenant_id):
        _check_amount(finding, f"charge {row['name']}", row)


async def check_cuts(scope: Scope, finding: Finding) -> None:
    """Price what was cut again."""
    async for row in scope.rows(queries.cut_lines, scope.tenant_id):
        _check_amount(finding, row["name"], row)


def _check_amount(finding: Finding, name: str, row: asyncpg.Record) -> None:
    finding.counted += 1
    if row["price"] is None or not row["is_own_price"]:
        finding.broken(f"{name} names another price than its line")
        return
    price = read_price(row["price"])
    quantity = Fraction(row["exact_quantity"] or row["quantity"])
    if Fraction(row["quantity"]) != rounded(quantity, QUANTITY_DIGITS):
        finding.broken(f"{name} shows {row['quantity']} where its total is {exact(quantity)}")
        return
    if not price.is_metered and (quantity != price.quantity or row["event_count"]):
        own = exact(price.quantity)
        finding.broken(f"{name} holds {exact(quantity)} where its price says {own}, without events")
        return
    if price.each is not None:
        return  # what single events cost is looked at with them
    expected = stored(usage_amount(price, quantity, row["event_count"], row["cell"]))
    if Fraction(row["amount"]) != expected:
        finding.broken(
            f"{name}: {exact(quantity)} cost {exact(expected)}, "
            f"not {exact(Fraction(row['amount']))}"
        )


CHECKS: Final = (
    Check(
        name="charge-prices",
        sentence="every charge's amount is its total at the price it names, unrounded",
        unit="charges",
        run=check_charges,
    ),
    Check(
        name="cut-prices",
        sentence="every cut line's amount is its total at the price it names, unrounded",
        unit="cut lines",
        run=check_cuts,
    ),
)
