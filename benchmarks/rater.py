"""How many events one rater turns into charges a second, beside what its parts could do alone.

`python -m benchmarks.rater [--events N] [--customers N] [--meters N] [--raters N]` prints JSON.
Raters work through a log of eight partitions on real servers: those that METERLINE_KAFKA and
METERLINE_POSTGRES name, or their own. Each event has a key of its own and belongs to one of
customers x meters charges; the customers are drawn uniformly, then by Zipf's law. Then again by
Zipf's law with two raters side by side, and with one where each fiftieth event comes twice.

rated_per_second and the processor time are steady: from the moment when half of the log is rated
to its end, when nearly every charge has been met. From cold counts from the start of the process,
which then learns every customer, contract line and charge. The two ceilings are measured in the
same run on the same bytes: `getmany` alone, and a COPY of the rows of one poll after another, each
in a transaction, into a table with the same key, over the same half of the run. Postgres' bytes are
those of the events' tables with their indexes, and of all that grows with charges.
"""

import argparse
import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.rater_site import (
    PARTITIONS,
    STEADY_FROM,
    Drawing,
    Records,
    Site,
    a_site,
    produce,
    queries,
    rate,
    raters,
    the_servers,
)
from deploy.local.servers import Servers
from rater.arrivals import Log, Record
from rater.decoding import decode
from rater.fold import Accepted
from rater.memory import Customer
from rater.packing import USAGE_EVENT_COLUMNS, pack_events
from rater.tenants import Tenant

POLLS = 4
REPEATED = 50


async def read_all(site: Site, events: int) -> tuple[float, dict[int, list[Record]]]:
    """Read the log with nothing but `getmany`; return the rate and the records."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=site.servers.kafka,
        isolation_level="read_committed",
        max_partition_fetch_bytes=8_388_608,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        places = [TopicPartition(site.topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(places)
        records: dict[int, list[Record]] = {place.partition: [] for place in places}
        started, count = time.monotonic(), 0
        while count < events:
            taken = await consumer.getmany(timeout_ms=1_000, max_records=20_000)
            for place, more in taken.items():
                records[place.partition] += more
                count += len(more)
        return round(events / (time.monotonic() - started)), records
    finally:
        await consumer.stop()


def copy_streams(records: dict[int, list[Record]], rows_max: int) -> Iterator[tuple[int, bytes]]:
    """Give the COPY streams that a rater would make of its polls, and how many rows each has.

    The partitions take turns, as when rating; what comes twice is left out.
    """
    tenant = Tenant(1, "", 0)
    customers: dict[int, Customer] = {}
    known: set[int] = set()
    for start in range(0, max(map(len, records.values())), rows_max):
        for partition, read in records.items():
            if not (part := read[start : start + rows_max]):
                continue
            log = Log(str(uuid.uuid4()), partition, PARTITIONS)
            decoded = decode(part, log, part[0].offset, part[-1].offset + 1, None).arrivals
            for place in {arrival.shard_key for arrival in decoded} - customers.keys():
                customers[place] = Customer(
                    customer_id=1, customer_ref="", shard_key=place, tenant=tenant
                )
            new = {arrival.ref: arrival for arrival in decoded if arrival.ref not in known}
            known |= new.keys()
            rows = [Accepted(own, customers[own.shard_key], 1) for own in new.values()]
            yield len(rows), b"".join(pack_events(rows))


async def copy_all(connection: asyncpg.Connection, streams: list[tuple[int, bytes]]) -> float:
    """Copy rows into a table with the key of the events' own; return the rate.

    Like the raters', it is of the time from when half of the rows are there.
    """
    await connection.execute(queries.make_copy_target)

    async def one(stream: bytes) -> AsyncIterator[bytes]:
        yield stream

    seen = [(time.monotonic(), 0)]
    for count, stream in streams:
        await connection.copy_to_table(
            "copy_target", source=one(stream), columns=USAGE_EVENT_COLUMNS, format="binary"
        )
        seen.append((time.monotonic(), seen[-1][1] + count))
    ended, total = seen[-1]
    begun, copied = next(point for point in seen if point[1] >= STEADY_FROM * total)
    return round((total - copied) / (ended - begun))


def with_repeats(partitions: Records) -> Records:
    """Let every so many of the records come again, some records later."""
    repeated = []
    for records in partitions:
        stretches = [records[at : at + REPEATED] for at in range(0, len(records), REPEATED)]
        repeated.append([record for own in stretches for record in (*own, own[0])])
    return repeated


async def measure(
    servers: Servers,
    args: argparse.Namespace,
    *,
    zipf: bool,
    count: int | None = None,
    repeats: bool = False,
) -> dict[str, float]:
    """Measure one distribution of customers on a database and topics of its own.

    count: of raters.
    """
    async with a_site(servers, customers=args.customers, meters=args.meters) as site:
        drawing = await Drawing.of(site)
        drawn = drawing.draw(args.events, zipf=zipf)
        if repeats:
            drawn = with_repeats(drawn)
        await produce(site, drawn)
        # Several polls of each partition, so that there is a middle to measure.
        polls = min(50_000, args.events // PARTITIONS // POLLS)
        async with raters(site, count or args.raters, poll_records_max=polls) as pids:
            rates = await rate(site, sum(map(len, drawn)), pids)
        amount = await site.connection.fetchrow(queries.what_came_of_it)
        assert amount is not None
        assert amount["rated"] == amount["counted"] == args.events, dict(amount)
        read_rate, records = await read_all(site, args.events)
        copy_rate = await copy_all(site.connection, list(copy_streams(records, polls)))
    return {
        **rates,
        "share_of_copy": round(rates["rated_per_second"] / copy_rate, 3),
        "charges": amount["charges"],
        "postgres_bytes_per_event": round(amount["event_bytes"] / args.events, 1),
        "postgres_bytes_per_charge": round(amount["charge_bytes"] / amount["charges"], 1),
        "ceiling_getmany_per_second": read_rate,
        "ceiling_copy_per_second": copy_rate,
    }


async def run(servers: Servers, args: argparse.Namespace) -> None:
    """Measure both distributions and print what came out."""
    result = {
        "benchmark": "rater",
        "events": args.events,
        "customers": args.customers,
        "meters": args.meters,
        "raters": args.raters,
        "processors": os.cpu_count(),
        "uniform": await measure(servers, args, zipf=False),
        "zipf": await measure(servers, args, zipf=True),
        "zipf_two_raters": await measure(servers, args, zipf=True, count=2),
        "zipf_with_repeats": await measure(servers, args, zipf=True, repeats=True),
    }
    print(json.dumps(result, indent=2))


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_600_000)
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--meters", type=int, default=40)
    parser.add_argument("--raters", type=int, default=1)
    args = parser.parse_args()
    with the_servers() as servers:
        asyncio.run(run(servers, args))


if __name__ == "__main__":
    main()
