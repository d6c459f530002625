"""Totals: every charge and every cut is the fold of its events, and no event is left out.

The folds here share nothing with the rater's: they are sums in SQL over the stored events, and for
other aggregations than sums and counts those of `aggregates.py`.
"""

from typing import Final

import asyncpg

from deploy.verify.aggregates import check_aggregates
from deploy.verify.check import Check, Finding, Scope, by_statements, plural
from runtime.postgres import Queries
from schemas.periods import BillingTerms, period_at

queries = Queries.beside(__file__, "totals.sql")


async def check_charges(scope: Scope, finding: Finding) -> None:
    """Fold all events again and compare with the running charges."""
    finding.counted = await scope.count(queries.charges_counted, scope.tenant_id)
    async for row in scope.rows(queries.totals_broken, scope.tenant_id, True):
        finding.broken(row["witness"])
    await check_aggregates(scope, finding, are_charges=True)
    if waiting := await scope.count(queries.waiting_counted, scope.tenant_id):
        finding.notes.append(
            f"{plural(waiting, 'contracts')} still rating past usage, not looked at"
        )


async def check_cuts(scope: Scope, finding: Finding) -> None:
    """Fold the events rated before each cut and compare with what it stored."""
    finding.counted = await scope.count(queries.cuts_counted, scope.tenant_id)
    async for row in scope.rows(queries.totals_broken, scope.tenant_id, False):
        finding.broken(row["witness"])
    await check_aggregates(scope, finding, are_charges=False)
    async for row in scope.rows(queries.cuts_incomplete, scope.tenant_id):
        finding.broken(row["witness"])
    if moved := await scope.count(queries.cuts_moved, scope.tenant_id):
        finding.notes.append(f"{plural(moved, 'cut lines')} moved since by what came late")


async def check_coverage(scope: Scope, finding: Finding) -> None:
    """Look for rated events outside every period, and for unrated ones inside a contract."""
    finding.counted = await scope.count(queries.events_counted, scope.tenant_id)
    async for row in scope.rows(queries.rated_uncovered, scope.tenant_id):
        finding.broken(row["witness"])
    async for row in scope.rows(queries.unrated_candidates, scope.tenant_id):
        if period_at(billing_terms(row), row["occurred_at"]) is not None:
            finding.broken(
                f"event {row['event_ref']} counts as unrated, "
                f"but contract {row['contract_ref']} covers it"
            )


def billing_terms(row: asyncpg.Record) -> BillingTerms:
    """Read the terms of a contract product from its row."""
    return BillingTerms(
        start_date=row["billing_start_date"],
        end_date=row["billing_end_date"],
        unit=row["cycle_unit"],
        cycle=row["cycle_length"],
        issue_day=row["issue_day"],
        payment_time=row["payment_time"],
        timezone=row["timezone"],
        since=row["since_date"],
        until=row["until_date"],
        ahead_since=row["ahead_since"],
    )


CHECKS: Final = (
    Check(
        name="charges",
        sentence="every charge's total is the fold of its events as they count now",
        unit="charges",
        run=check_charges,
    ),
    Check(
        name="cuts",
        sentence="every cut holds all its lines, each the fold of its events as they were before",
        unit="cut lines",
        run=check_cuts,
    ),
    Check(
        name="amendments",
        sentence="what was deleted stays so, unchanged, and no amendment waits for a known event",
        unit="amendments",
        run=by_statements(
            queries.amendments_counted,
            queries.amendments_broken,
            queries.deleted_unrated,
            queries.waiting_for_known,
        ),
    ),
    Check(
        name="coverage",
        sentence="every rated event is in a period of a contract, no unrated one is in any",
        unit="events",
        run=check_coverage,
    ),
)
