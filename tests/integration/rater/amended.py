"""What the tests of amendments share."""

from datetime import date

import asyncpg

from tests.factories import (
    PER_UNIT,
    MadeContract,
    MadeMeter,
    make_contract,
    make_customer_in,
    make_pricing,
)
from tests.integration.rater.conftest import Bench
from tests.rating import charges

JANUARY, FEBRUARY = date(2024, 1, 1), date(2024, 2, 1)


async def contract_over(bench: Bench, *meters: MadeMeter) -> MadeContract:
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    pricing = await make_pricing(bench.connection, bench.tenant, [(m, PER_UNIT) for m in meters])
    return await make_contract(bench.connection, customer, [pricing])


async def totals(bench: Bench) -> dict[date, tuple[object, object]]:
    """Return the quantity and the count of events of each month, of one line."""
    found = await charges(bench.connection)
    return {month: (quantity, count) for (_, month), (quantity, count, _) in found.items()}


async def versions(bench: Bench) -> list[asyncpg.Record]:
    return await bench.connection.fetch(
        "SELECT *, event_ref::text AS ref FROM usage_event_version ORDER BY rated_at"
    )


async def dead_reasons(bench: Bench) -> list[str]:
    rows = await bench.connection.fetch("SELECT reason FROM dead_letter ORDER BY record_offset")
    return [row["reason"] for row in rows]
