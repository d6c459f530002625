"""How long it takes to close many periods that are due at once, digests included.

`python -m benchmarks.closing [--periods N] [--events N]` prints JSON. The periods, their charges
and events are written straight into the database of a site of its own; then one rater process
starts with nothing else to do, cuts every period, hashes the list of its events and tells of it.
Its start is in the time. The ceiling is measured in the same run: reading the same events in one
statement, and hashing them.
"""

import argparse
import asyncio
import json
import time
from datetime import UTC, datetime
from hashlib import sha256

import asyncpg

from benchmarks.rater_site import (
    PARTITIONS,
    Site,
    a_site,
    cpu_seconds,
    queries,
    raters,
    the_servers,
)
from deploy.local.servers import Servers
from rater import reference
from rater.memory import Memory
from schemas.event_ref import partition_of
from schemas.periods import period_at

JANUARY = datetime(2024, 1, 15, tzinfo=UTC)
CLOSE_SECONDS_MAX = 1_800
_PERIOD = (
    *("shard_key", "period_ref", "tenant_id", "contract_product_ref", "period_index", "start_at"),
    *("end_at", "start_date", "end_date", "full_start_date", "full_end_date", "issue_date"),
    "is_partial",
)
_CHARGE = (
    *("shard_key", "charge_ref", "tenant_id", "period_ref", "contract_line_ref"),
    *("pricing_line_id", "quantity", "event_count", "amount"),
)
_SCHEDULE = (
    *("shard_key", "contract_product_ref", "tenant_id", "partition", "customer_id"),
    *("contract_ref", "end_at", "look_at"),
)


async def fill(connection: asyncpg.Connection, events: int) -> None:
    """Write the January of every contract: its period, its charge and its events."""
    await connection.execute(queries.end_with_january)
    memory = Memory(charges_max=1_000)
    await reference.load_tenants(connection, memory)
    [tenant] = memory.tenants.values()
    customers = await connection.fetch("SELECT tenant_id, shard_key, customer_id FROM customer")
    contracts = await connection.fetch("SELECT contract_ref, customer_id FROM contract")
    ids = {row["contract_ref"]: row["customer_id"] for row in contracts}
    products = await reference.load_products_of(connection, memory, customers)
    periods, charges, schedule = [], [], []
    for product, [line] in products.values():
        found = period_at(product.terms, JANUARY)
        assert found is not None
        rated, place = product.rated(found), product.shard_key
        key = (place, rated.ref, tenant.tenant_id)
        dates = (found.start_date, found.end_date, found.full_start_date, found.full_end_date)
        bounds = (found.index, found.start, found.end, *dates, found.issue_date, found.is_partial)
        periods.append((*key, product.ref, *bounds))
        charge = line.charge_of(rated)
        total = (line.ref, line.pricing_line_id, events, events, 1)
        charges.append((place, charge.ref, tenant.tenant_id, rated.ref, *total))
        owner = (partition_of(place, PARTITIONS), ids[product.contract_ref], product.contract_ref)
        schedule.append((place, product.ref, tenant.tenant_id, *owner, found.end, found.end))
    copy = connection.copy_records_to_table
    await copy("billing_period", records=periods, columns=_PERIOD)
    await copy("charge", records=charges, columns=_CHARGE)
    await copy("closing_schedule", records=schedule, columns=_SCHEDULE)
    await connection.execute("SELECT ensure_usage_month(288)")
    await connection.execute(queries.make_january_events, events)
    await connection.execute("VACUUM ANALYZE")


async def close(site: Site, periods: int) -> dict[str, float]:
    """Run one rater until every period is cut, digested and told of."""
    async with raters(site, closing_look_seconds=0.1) as [pid]:
        started = time.monotonic()
        told, cpu = 0, 0.0
        while told < periods:
            assert time.monotonic() - started < CLOSE_SECONDS_MAX, f"{told} of {periods}"
            await asyncio.sleep(0.1)
            told = await site.connection.fetchval(queries.cuts_told)
            cpu = cpu_seconds(pid)
        seconds = time.monotonic() - started
    digests = "SELECT count(*) FROM charge_cut WHERE events_digest IS NULL"
    assert await site.connection.fetchval(digests) == 0
    return {
        "seconds": round(seconds, 1),
        "periods_per_second": round(periods / seconds),
        "rater_cpu_milliseconds_per_period": round(cpu / periods * 1e3, 3),
    }


async def ceiling(connection: asyncpg.Connection) -> float:
    """Read every event once, in order, and hash what it says; return the seconds."""
    started = time.monotonic()
    digest = sha256()
    async with connection.transaction():
        async for row in connection.cursor(queries.all_events, prefetch=20_000):
            digest.update(row["text"].encode())
    return time.monotonic() - started


async def run(servers: Servers, args: argparse.Namespace) -> None:
    """Print the figures."""
    async with a_site(servers, customers=args.periods, meters=1) as site:
        await fill(site.connection, args.events)
        bare = await ceiling(site.connection)
        figures = await close(site, args.periods)
        figures |= {
            "bare_read_and_hash_seconds": round(bare, 1),
            "share_of_bare": round(bare / figures["seconds"], 3),
        }
        print(json.dumps({"periods": args.periods, "events_each": args.events, **figures}))


def main() -> None:
    """Read the arguments, start the servers, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--periods", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=20)
    args = parser.parse_args()
    with the_servers() as servers:
        asyncio.run(run(servers, args))


if __name__ == "__main__":
    main()
