"""How far the rater slows down as what it has rated grows: open charges, and rows of events.

`python -m benchmarks.rater_growth [--events N] [--charges N] [--rows N]` prints JSON. The same
traffic, uniform over 10,000 charges, is rated: when there are no other charges; when there are so
many open ones of the same tenant; and, by turns in two databases, beside a million and beside so
many rows of events in the same month. The rows are of customers who send nothing. The shares are of
the rate with no other charges, and of that beside a million rows, the middle one of the turns.
"""

import argparse
import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from statistics import median

from rich.console import Console
from rich.progress import track

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
PIECE_ROWS = 1_000_000
POLLS = 4
TURNS = 5
MONTH = 288
"""January 2024, as refs count months."""

Rates = list[dict[str, float]]
"""The figures of each turn."""


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


@asynccontextmanager
async def a_site_with_rows(servers: Servers, rows: int) -> AsyncIterator[Site]:
    """Give a site with so many rows of events in the month of the traffic."""
    async with a_site(servers, customers=HOT_CUSTOMERS, meters=METERS) as site:
        connection = site.connection
        await connection.execute("SELECT ensure_usage_month($1)", MONTH)
        for first in track(
            range(0, rows, PIECE_ROWS), f"{rows:,} rows", console=Console(stderr=True)
        ):
            count = min(PIECE_ROWS, rows - first)
            await connection.execute(queries.make_rows, rows, MONTH, first, count, timeout=600)
        await connection.execute("VACUUM ANALYZE usage_event_row", timeout=3_600)
        # A worker that begins by itself would be no part of either size, and hold up the drop.
        await connection.execute("ALTER TABLE usage_event_2024_01 SET (autovacuum_enabled = false)")
        yield site


async def beside_rows(servers: Servers, events: int, rows: int) -> tuple[Rates, Rates]:
    """Measure beside few rows and beside many, by turns."""
    of_few, of_many = [], []
    async with (
        a_site_with_rows(servers, FEW_ROWS) as few,
        a_site_with_rows(servers, rows) as many,
    ):
        drawings = await Drawing.of(few), await Drawing.of(many)
        for _ in range(TURNS):
            of_few.append(await measure(few, drawings[0], events))
            of_many.append(await measure(many, drawings[1], events))
    return of_few, of_many


def rate_of(figures: Mapping[str, float]) -> float:
    """Return what is compared."""
    return figures["rated_per_second"]


async def run(servers: Servers, args: argparse.Namespace) -> None:
    """Measure all and print what came out."""
    few = await beside_charges(servers, args.events, HOT_CUSTOMERS * METERS)
    charges = await beside_charges(servers, args.events, args.charges)
    of_few, of_many = await beside_rows(servers, args.events, args.rows)
    shares = [
        round(rate_of(many) / rate_of(few), 3) for few, many in zip(of_few, of_many, strict=True)
    ]
    result = {
        "benchmark": "rater_growth",
        "events": args.events,
        "processors": os.cpu_count(),
        "alone": few,
        f"beside_{args.charges}_charges": charges,
        f"beside_{FEW_ROWS}_rows": sorted(of_few, key=rate_of)[TURNS // 2],
        f"beside_{args.rows}_rows": sorted(of_many, key=rate_of)[TURNS // 2],
        "share_beside_charges": round(rate_of(charges) / rate_of(few), 3),
        "share_beside_rows": median(shares),
        "shares_beside_rows_of_turns": shares,
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
