"""How far the rater slows down as what it has rated grows: open charges, and rows of events.

`python -m benchmarks.rater_growth [--events N] [--charges N] [--rows N]` prints JSON. The same
traffic, uniform over 10,000 charges, is rated four times: when there are no other charges, when
there are so many open ones of the same tenant, and when there are a million and so many rows of
events in the same month. The rows are made by one INSERT, with random refs of customers who send
nothing: the shares are of the rate with no other charges, and of that beside a million rows.
"""

import argparse
import asyncio
import json
import os

from benchmarks.rater_site import (
    PARTITIONS,
    Drawing,
    Site,
    a_site,
    produce,
    queries,
    rate,
    raters,
    the_servers,
)
from deploy.local.servers import Servers

METERS = 40
HOT_CUSTOMERS = 250
FEW_ROWS = 1_000_000
POLLS = 4
MONTH = 288
"""January 2024, as refs count months."""


async def measure(site: Site, drawing: Drawing, events: int) -> dict[str, float]:
    """Rate the traffic; return its steady figures."""
    await produce(site, drawing.draw(events, customers=HOT_CUSTOMERS))
    # Several polls of each partition, so that there is a middle to measure.
    async with raters(site, poll_records_max=events // PARTITIONS // POLLS) as pids:
        return await rate(site, events, pids)


async def beside_charges(servers: Servers, events: int, charges: int) -> dict[str, float]:
    """Measure with so many charges open."""
    async with a_site(servers, customers=charges // METERS, meters=METERS) as site:
        drawing = await Drawing.of(site)
        uses = drawing.each()
        await produce(site, uses)
        async with raters(site) as pids:
            await rate(site, charges // METERS * METERS, pids)
        await site.connection.execute("ANALYZE")
        return await measure(site, drawing, events)


async def beside_rows(servers: Servers, events: int, rows: int) -> dict[str, float]:
    """Measure with so many rows of events in the same month."""
    async with a_site(servers, customers=HOT_CUSTOMERS, meters=METERS) as site:
        await site.connection.execute("SELECT ensure_usage_month($1)", MONTH)
        await site.connection.execute(queries.make_rows, rows, MONTH, timeout=3_600)
        await site.connection.execute("VACUUM ANALYZE usage_event", timeout=3_600)
        return await measure(site, await Drawing.of(site), events)


async def run(servers: Servers, args: argparse.Namespace) -> None:
    """Measure all four and print what came out."""
    few = await beside_charges(servers, args.events, HOT_CUSTOMERS * METERS)
    charges = await beside_charges(servers, args.events, args.charges)
    few_rows = await beside_rows(servers, args.events, FEW_ROWS)
    rows = await beside_rows(servers, args.events, args.rows)
    alone = few["rated_per_second"]
    result = {
        "benchmark": "rater_growth",
        "events": args.events,
        "processors": os.cpu_count(),
        "alone": few,
        f"beside_{args.charges}_charges": charges,
        f"beside_{FEW_ROWS}_rows": few_rows,
        f"beside_{args.rows}_rows": rows,
        "share_beside_charges": round(charges["rated_per_second"] / alone, 3),
        "share_beside_rows": round(rows["rated_per_second"] / few_rows["rated_per_second"], 3),
    }
    print(json.dumps(result, indent=2))


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=800_000)
    parser.add_argument("--charges", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    args = parser.parse_args()
    with the_servers() as servers:
        asyncio.run(run(servers, args))


if __name__ == "__main__":
    main()
