"""Prepaid credits: what documents were paid with was granted, in time, and never spent twice."""

import json
from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from itertools import groupby
from typing import Any, Final

import asyncpg

from deploy.verify.check import Check, Finding, Scope
from deploy.verify.oracle import exact, rounded
from deploy.verify.totals import billing_terms
from runtime.postgres import Queries
from schemas.money import currency_digits
from schemas.periods import Period, periods

queries = Queries.beside(__file__, "credits.sql")


async def check_credits(scope: Scope, finding: Finding) -> None:
    """Add every document's draws up, and walk through every credit that was drawn on."""
    finding.counted = await scope.count(queries.draws_counted, scope.tenant_id)
    for statement in (queries.draws_broken, queries.parts_broken, queries.overpaid):
        async for row in scope.rows(statement, scope.tenant_id):
            finding.broken(row["witness"])
    rows = await scope.connection.fetch(queries.draws, scope.tenant_id)
    for _, group in groupby(rows, key=lambda row: (row["contract_product_ref"], row["place"])):
        _walk(finding, list(group))


def _walk(finding: Finding, draws: Sequence[asyncpg.Record]) -> None:
    """Follow one credit from period to period."""
    head = draws[0]
    name = f"credit {head['place']} of contract product {head['contract_product_ref']}"
    terms = json.loads(head["credits"])
    if head["place"] >= len(terms):
        finding.broken(f"{name} was never granted")
        return
    grant, digits = terms[head["place"]], currency_digits(head["currency"])
    amount = rounded(Fraction(grant["amount"]), digits)
    renews = grant.get("every") == "PERIOD"
    kept = rounded(Fraction(grant.get("roll_over", 0)), digits) if renews else None
    drawn = {row["period_index"]: Fraction(row["amount"]) for row in draws}
    if min(drawn.values()) < 0:
        finding.broken(f"{name} was given back more than was drawn of it")
    left, is_granted = Fraction(0), False
    for period in periods(billing_terms(head)):
        if period.index > max(drawn):
            break
        left = left if kept is None else min(left, kept)
        if not _pays(grant, head["billing_start_date"], period):
            left = Fraction(0)
        elif renews or not is_granted:
            left, is_granted = left + amount, True
        left -= drawn.get(period.index, Fraction(0))
        if left < 0:
            finding.broken(
                f"{name} is overdrawn by {exact(-left)} in the period of {period.start_date}"
            )
            return


def _pays(grant: dict[str, Any], start: date, period: Period) -> bool:
    """Tell whether a credit is there on a day of a period."""
    starts = date.fromisoformat(grant["starts"]) if "starts" in grant else start
    if "expires" in grant and date.fromisoformat(grant["expires"]) < period.start_date:
        return False
    return starts < period.end_date


CHECKS: Final = (
    Check(
        name="credits",
        sentence="every document's credits were granted, were left and not expired, and add up",
        unit="draws",
        run=check_credits,
    ),
)
