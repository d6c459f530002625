"""Rows: whose each is, where each lives, and the periods that time is cut into."""

from typing import Final

import asyncpg
from aiokafka.partitioner import murmur2
from msgspec.structs import replace

from deploy.verify.check import Check, Finding, Scope, by_statements
from deploy.verify.totals import billing_terms
from runtime.postgres import Queries
from schemas.event_ref import tenant_bits
from schemas.periods import Period, period_at

queries = Queries.beside(__file__, "rows.sql")

_SIGN_CLEARED: Final = 0x7FFF_FFFF


async def check_refs(scope: Scope, finding: Finding) -> None:
    """Look for rows under another shard key than their customer's, in every table that grows."""
    finding.counted = await scope.count(queries.refs_counted, scope.tenant_id)
    tenants = await scope.connection.fetch(queries.tenants)
    ids = [row["tenant_id"] for row in tenants]
    bits = [tenant_bits(row["tenant_ref"]) for row in tenants]
    async for row in scope.rows(queries.refs_broken, scope.tenant_id, ids, bits):
        finding.broken(row["witness"])
    async for row in scope.rows(queries.customers, scope.tenant_id):
        # Kafka's client hashes: the product's own murmur2 is not asked about itself.
        expected = murmur2(row["customer_ref"].encode()) & _SIGN_CLEARED
        if row["shard_key"] != expected:
            finding.broken(
                f"customer {row['customer_ref']} has shard key {row['shard_key']}, not {expected}"
            )


async def check_periods(scope: Scope, finding: Finding) -> None:
    """Compute every stored period again, and look for neighbours that overlap."""
    previous: asyncpg.Record | None = None
    async for row in scope.rows(queries.periods, scope.tenant_id):
        finding.counted += 1
        if previous is not None and _overlap(previous, row):
            finding.broken(f"periods {previous['period_ref']} and {row['period_ref']} overlap")
        previous = row
        terms = billing_terms(row)
        computed = period_at(terms, row["start_at"])
        if computed is None and row["is_opened"]:  # a shorter one has taken its place since
            computed = period_at(replace(terms, until=None), row["start_at"])
        if computed is None:
            finding.broken(f"period {row['period_ref']} lies outside of its contract")
            continue
        wrong = [name for name, value in _fields(computed).items() if row[name] != value]
        if wrong:
            finding.broken(f"period {row['period_ref']} has another {', '.join(wrong)}")


def _overlap(earlier: asyncpg.Record, later: asyncpg.Record) -> bool:
    same_product = earlier["contract_product_ref"] == later["contract_product_ref"]
    return bool(same_product and later["start_at"] < earlier["end_at"])


def _fields(period: Period) -> dict[str, object]:
    """Return what the row of a period must say."""
    return {
        "period_index": period.index,
        "start_at": period.start,
        "end_at": period.end,
        "start_date": period.start_date,
        "end_date": period.end_date,
        "full_start_date": period.full_start_date,
        "full_end_date": period.full_end_date,
        "issue_date": period.issue_date,
        "rest_date": period.rest_date if period.is_ahead else None,
        "is_partial": period.is_partial,
    }


CHECKS: Final = (
    Check(
        name="periods",
        sentence="every period is the one its contract's terms give, and none overlap",
        unit="periods",
        run=check_periods,
    ),
    Check(
        name="meter-feeds",
        sentence="every meter counts toward those above it, times the factors on the way",
        unit="ways up",
        run=by_statements(queries.feeds_counted, queries.feeds_broken),
    ),
    Check(
        name="months",
        sentence="every event's ref names its month, and none is counted again in the next",
        unit="events",
        run=by_statements(queries.events_counted, queries.months_broken, queries.twins),
    ),
    Check(
        name="refs",
        sentence="every ref names the customer and the tenant that its row is of",
        unit="customers and events",
        run=check_refs,
    ),
    Check(
        name="tenants",
        sentence="every row belongs to rows that exist, of its own tenant",
        unit="rows",
        run=by_statements(queries.relations_counted, queries.relations_broken),
    ),
)
