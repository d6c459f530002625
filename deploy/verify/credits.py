"""Prepaid credits: what documents were paid with was granted, in time, and never spent twice."""

import json
from collections.abc import Container, Iterator, Sequence
from datetime import date
from fractions import Fraction
from itertools import groupby
from typing import Any, Final
from uuid import UUID

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
    for statement in (
        *(queries.draws_broken, queries.parts_broken, queries.overpaid, queries.taken_back),
    ):
        async for row in scope.rows(statement, scope.tenant_id):
            finding.broken(row["witness"])
    draws = await scope.connection.fetch(queries.draws, scope.tenant_id)
    refs = sorted({row["lineage_ref"] for row in draws})
    lineages: dict[UUID, list[asyncpg.Record]] = {ref: [] for ref in refs}
    for row in await scope.connection.fetch(queries.lineages, refs):
        lineages[row["lineage_ref"]].append(row)
    for (ref, _), group in groupby(draws, key=lambda row: (row["lineage_ref"], row["place"])):
        _walk(finding, list(group), lineages[ref])


def _walk(
    finding: Finding, draws: Sequence[asyncpg.Record], lineage: Sequence[asyncpg.Record]
) -> None:
    """Follow one credit from period to period, over all products that have it in common."""
    place = draws[0]["place"]
    name = f"credit {place} of contract product {draws[0]['contract_product_ref']}"
    drawn = {(row["contract_product_ref"], row["period_index"]): row for row in draws}
    if min(row["amount"] for row in draws) < 0:
        finding.broken(f"{name} was given back more than was drawn of it")
    left, is_granted, found = Fraction(0), False, 0
    for terms, period in _periods(lineage, len(drawn), drawn.keys()):
        grants = json.loads(terms["credits"])
        draw = drawn.get((terms["contract_product_ref"], period.index))
        if place < len(grants):
            left, is_granted = _enter(grants[place], terms, period, left, is_granted)
        elif draw is not None:
            finding.broken(f"{name} was never granted")
            return
        left -= Fraction(0 if draw is None else draw["amount"])
        if left < 0:
            finding.broken(
                f"{name} is overdrawn by {exact(-left)} in the period of {period.start_date}"
            )
            return
        found += draw is not None
    if found < len(drawn):
        finding.broken(f"{name} has paid for a period that there is not")


def _enter(
    grant: dict[str, Any], terms: asyncpg.Record, period: Period, left: Fraction, is_granted: bool
) -> tuple[Fraction, bool]:
    """Return what is left of a credit at the beginning of a period, and whether it was granted."""
    digits = currency_digits(terms["currency"])
    renews = grant.get("every") == "PERIOD"
    if renews:
        left = min(left, rounded(Fraction(grant.get("roll_over", 0)), digits))
    if not _pays(grant, terms["billing_start_date"], period):
        return Fraction(0), is_granted
    if renews or not is_granted:
        return left + rounded(Fraction(grant["amount"]), digits), True
    return left, is_granted


def _periods(
    lineage: Sequence[asyncpg.Record], count: int, drawn: Container[tuple[UUID, int]]
) -> Iterator[tuple[asyncpg.Record, Period]]:
    """Yield the periods of a lineage in order, up to the last that was drawn for.

    count: for how many that was.
    """
    for terms in sorted(lineage, key=lambda one: billing_terms(one).first_day):
        for period in periods(billing_terms(terms)):
            yield terms, period
            count -= (terms["contract_product_ref"], period.index) in drawn
            if not count:
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
