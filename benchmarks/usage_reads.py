"""How long a report of a year's usage takes as history grows, and what its sums cost the rater.

`python -m benchmarks.usage_reads [--events N]` prints JSON. One customer has N events in 2024, and
another 10 N, written straight into the database of a site of its own; a gateway answers what each
has used and what it cost, by day and by hour, over HTTP. The ceilings are measured in the same run:
Postgres alone reading the same sums, and the events.

The cost of writing is that of the rater's own functions on polls of 50,000 events: the processor
time of summing up and packing, and the time in which Postgres takes and folds them. A poll of few
customers has a sum of many events; a wide one is drawn uniformly from 25,000 sums,
which is one of 8 partitions with 200,000 sums together.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import asyncpg

from benchmarks.serving import gateway, headers_of
from benchmarks.site import METER_REF, PARTITIONS, Site, customer_refs, running_site
from deploy.local.ports import LOOPBACK, free_port
from rater.arrivals import Arrival
from rater.fold import Accepted
from rater.memory import Customer
from rater.rollups import add_to_tail, entries_of, pack_tail
from rater.tenants import Tenant
from runtime.postgres import Queries
from schemas.money import Quantity
from schemas.usage_event import UsageEvent

READS = 15
POLL_EVENTS = 50_000
POLLS = 16
FOLDED_POLLS = 4
METERS = 40
WIDE_CUSTOMERS = 625
FEW_CUSTOMERS = 10

queries = Queries.beside(__file__, "usage_reads.sql")


def milliseconds(work: Callable[[], object]) -> float:
    """Return the median time of a few runs."""
    taken = []
    for _ in range(READS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return round(statistics.median(taken) * 1_000, 1)


def read(port: int, headers: Sequence[str], customer: str, window: str, until: str) -> Any:  # noqa: ANN401
    """Ask the gateway for a summary of 2024, or of its beginning."""
    query = f"customer_ref={customer}&window={window}&from=2024-01-01&to={until}"
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}/api/usage/summary?{query}")
    for header in headers:
        name, _, value = header.partition(": ")
        request.add_header(name, value)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["rows"]


def call(port: int, headers: Sequence[str], path: str, body: object) -> Any:  # noqa: ANN401
    """Make something over HTTP."""
    url = f"http://{LOOPBACK}:{port}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode())
    for header in headers:
        name, _, value = header.partition(": ")
        request.add_header(name, value)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def sell(port: int, headers: Sequence[str], customers: Sequence[str]) -> None:
    """Make a tiered price for the meter, and contracts over it."""
    tiers = [{"up_to": 1_000, "unit_price": "0.03"}, {"unit_price": "0.01"}]
    line = {"item": "Calls", "model": "GRADUATED", "tiers": tiers, "usage_product_ref": METER_REF}
    product = {"product_name": "Calls", "pricing_name": "Calls", "publish": True}
    made = call(port, headers, "/api/products", {**product, "line_items": [line]})
    terms = {
        "product_pricing_ref": made["pricing_ref"],
        "billing_start_date": "2024-01-01",
        "billing_end_date": "2024-12-31",
    }
    for customer in customers:
        call(port, headers, "/api/contracts", {"customer_ref": customer, "products": [terms]})


async def fill(dsn: str, histories: dict[str, int]) -> float:
    """Write the years, and their sums; return the bytes of sums an event of the longest."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(queries.make_months)
        await connection.execute(queries.make_periods)
        before = 0
        for customer, events in histories.items():
            before = await connection.fetchval(queries.rollup_bytes)
            await connection.execute(queries.make_year, customer, events, timeout=900)
            row = await connection.fetchrow(queries.roll_up, customer, events)
            assert row is not None
            place = row["shard_key"], row["customer_id"]
            await connection.execute(queries.roll_up_customer, *place, timeout=900)
        await connection.execute("VACUUM ANALYZE usage_event_row")
        await connection.execute("VACUUM ANALYZE usage_rollup")
        grown = await connection.fetchval(queries.rollup_bytes) - before
        return float(round(grown / max(histories.values()), 2))
    finally:
        await connection.close()


async def ceilings(dsn: str, customer: str) -> dict[str, float]:
    """Let Postgres alone read the sums, and the events, of a customer."""
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(queries.roll_up, customer, 0)
        assert row is not None
        found = {}
        for name in ("sum_rollup", "sum_events"):
            taken = []
            for _ in range(3):
                started = time.perf_counter()
                await connection.fetch(
                    getattr(queries, name), row["shard_key"], row["customer_id"], timeout=600
                )
                taken.append(time.perf_counter() - started)
            found[f"postgres_{name}_ms"] = round(min(taken) * 1_000, 1)
        return found
    finally:
        await connection.close()


def polls(customers: int) -> list[list[Accepted]]:
    """Draw polls of one partition, all of the present hour."""
    chance = random.Random(3)
    tenant = Tenant(1, "", 0)
    own = [
        Customer(
            customer_id=number,
            customer_ref="",
            shard_key=chance.getrandbits(28) * PARTITIONS,
            tenant=tenant,
        )
        for number in range(customers)
    ]
    start = 1_767_225_600_000_000
    drawn = []
    for _ in range(POLLS):
        accepted = []
        for number in range(POLL_EVENTS):
            instant = start + chance.randrange(900_000_000)
            quantity = Quantity(chance.randrange(1, 10**6) * 10**12)
            event = UsageEvent(None, "", "", instant, quantity, None, None)
            arrival = Arrival(number, 0, 0, 0, 0, 0, event, b"", None)
            accepted.append(Accepted(arrival, chance.choice(own), chance.randrange(METERS)))
        drawn.append(accepted)
    return drawn


async def write_cost(dsn: str, customers: int) -> dict[str, float]:
    """Measure what polls cost the rater and Postgres, an event."""
    drawn = polls(customers)
    connection = await asyncpg.connect(dsn)
    try:
        processor = time.process_time()
        streams = [pack_tail(entries_of(accepted, ()), 0, 0) for accepted in drawn]
        processor = time.process_time() - processor
        entries = sum(len(entries_of(accepted, ()).sums) for accepted in drawn) / POLLS
        taken = folding = 0.0
        for number, accepted in enumerate(drawn):
            started = time.perf_counter()
            await add_to_tail(connection, 0, number, accepted, ())
            taken += time.perf_counter() - started
            if number % FOLDED_POLLS == FOLDED_POLLS - 1:
                if number == FOLDED_POLLS - 1:  # all customers are known, and have sums
                    await connection.execute("SELECT fold_usage_tail(0, 1000000000)")
                    await connection.execute("UPDATE rolled_customer SET grain = 4")
                    continue
                started = time.perf_counter()
                await connection.execute("SELECT fold_usage_tail(0, 1000000000)")
                folding += time.perf_counter() - started
    finally:
        await connection.close()
    events = POLL_EVENTS * POLLS
    packed = processor / events * 1e6
    return {
        "sums_touched_per_poll": round(entries),
        "rater_cpu_microseconds_per_event": round(packed, 2),
        "tail_bytes_per_event": round(sum(map(len, streams)) / events, 1),
        "postgres_tail_microseconds_per_event": round(taken / events * 1e6 - packed, 2),
        "postgres_fold_microseconds_per_event": round(
            folding / (events - FOLDED_POLLS * POLL_EVENTS) * 1e6, 2
        ),
    }


def measure_reads(site: Site, events: int) -> dict[str, Any]:
    """Measure how long a year takes at N and 10 N events."""
    port = free_port()
    customers = customer_refs()[:2]
    histories = dict(zip(customers, (events, 10 * events), strict=True))
    dsn = site.servers.postgres
    found: dict[str, Any] = {}
    with gateway(site, port):
        headers = headers_of(port)
        sell(port, headers, customers)
        found["rollup_bytes_per_event"] = asyncio.run(fill(dsn, histories))
        for name, customer in zip(("n", "ten_n"), customers, strict=True):
            rows = read(port, headers, customer, "day", "2025-01-01")
            assert sum(row["event_count"] for row in rows) == histories[customer]
            assert all(row["amounts"] for row in rows)
            found[name] = {
                "events": histories[customer],
                "days_of_a_year_ms": milliseconds(
                    partial(read, port, headers, customer, "day", "2025-01-01")
                ),
                "hours_of_a_month_ms": milliseconds(
                    partial(read, port, headers, customer, "hour", "2024-02-01")
                ),
                **asyncio.run(ceilings(dsn, customer)),
            }
    return found


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    args = parser.parse_args()
    with running_site() as site:
        result = {
            "benchmark": "usage_reads",
            **measure_reads(site, args.events),
            "writing_few": asyncio.run(write_cost(site.servers.postgres, FEW_CUSTOMERS)),
            "writing_wide": asyncio.run(write_cost(site.servers.postgres, WIDE_CUSTOMERS)),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
