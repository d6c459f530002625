"""How long the first of a month takes: periods that all close on one day, issued end to end.

`python -m benchmarks.issuing [--contracts N] [--invoicers N]` prints JSON. Every contract has a
customer and a price list of its own and one product of five lines; they belong to several entities,
whose series restart each year or never. Invoicer processes wait for messages; the clock runs from
the first message's sending to the commit of the last document. Files are drawn apart: those
processes draw none, and one run says what drawing on the same cores costs.

Three things in one run: the rate at full size beside a tenth of it, both in databases of their own
(flat means 1); the last tenth beside the first of the same run; and bare COPY of the same rows.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import asyncpg
from aiokafka import AIOKafkaProducer

from benchmarks.invoicer import FIVE_LINES, copy_bare
from benchmarks.rater_site import PARTITIONS, Site, a_database, cpu_seconds, the_servers
from deploy.local.bootstrap import prepare_log
from deploy.local.ports import free_port
from deploy.local.servers import Servers
from deploy.local.stack import answers_ready
from runtime.clock import system_clock
from schemas.event_ref import partition_of, shard_key
from schemas.topics import BILLING_PERIODS
from tests.closed_periods import Books, messages

FORMATS = ("INV-{year}-{number:06}", "{number}", "N{year}/{number}", "R-{number:08}")
ENTITIES = 8
WRITTEN_AT_ONCE = 5_000
BARE = 20_000
READY_SECONDS_MAX = 60
ISSUE_SECONDS_MAX = 1_800
STOP_SECONDS_MAX = 60
#: Old cuts count as lost: nothing is that old here, as nothing is where the invoicer keeps up.
SETTINGS = {"METERLINE_INVOICER_SCAN_GRACE_SECONDS": "3600"}

#: Due long after today: what is late is looked for, and is none of this.
SOLD = replace(FIVE_LINES, net_terms="365")

Message = tuple[bytes, bytes]


class Run(NamedTuple):
    """What one run came to. seen: seconds since the start, and documents issued by then."""

    seconds: float
    cpu: float
    seen: Sequence[tuple[float, int]]

    def rate(self, share_from: float, share_to: float) -> float:
        """Return the documents a second between two shares of the whole."""
        count = self.seen[-1][1]
        ends = [next(p for p in self.seen if p[1] >= s * count) for s in (share_from, share_to)]
        return (ends[1][1] - ends[0][1]) / (ends[1][0] - ends[0][0])


@asynccontextmanager
async def a_site(servers: Servers) -> AsyncIterator[Site]:
    """Give an empty database, and topics of its own."""
    prefix = f"benchmark-{uuid.uuid4().hex[:8]}."
    async with a_database(servers.postgres) as dsn:
        await prepare_log(servers.kafka, dsn, prefix, partitions=PARTITIONS)
        connection = await asyncpg.connect(dsn)
        try:
            yield Site(servers, dsn, prefix, connection)
        finally:
            await connection.close()


async def close(connection: asyncpg.Connection, contracts: int) -> list[Message]:
    """Write so many contracts with a closed period each; return the messages that tell of them."""
    books = Books(cut_at=system_clock())
    tenants = [books.issuer(number_format=FORMATS[0]) for _ in range(2)]
    issuers = [
        books.entity(tenants[number % 2], name=f"Entity {number}", number_format=number_format)
        for number, number_format in enumerate(FORMATS * (ENTITIES // len(FORMATS)))
    ]
    told: list[Message] = []
    for number in range(contracts):
        contract = books.contract(issuers[number % ENTITIES], SOLD)
        told += messages(books.close(*contract.products), contract.customer_ref)
        if number % WRITTEN_AT_ONCE == WRITTEN_AT_ONCE - 1:
            await books.write(connection)
    await books.write(connection)
    await connection.execute("VACUUM ANALYZE")
    return told


async def publish(site: Site, told: Iterable[Message]) -> None:
    """Send the messages, each customer's into its partition, as fast as Kafka takes them."""
    partitions: list[list[Message]] = [[] for _ in range(PARTITIONS)]
    for key, value in told:
        partitions[partition_of(shard_key(key.decode()), PARTITIONS)].append((key, value))
    producer = AIOKafkaProducer(bootstrap_servers=site.servers.kafka, enable_idempotence=True)
    await producer.start()
    try:
        topic = site.topic_prefix + BILLING_PERIODS
        await asyncio.gather(*(_send(producer, topic, n, p) for n, p in enumerate(partitions)))
    finally:
        await producer.stop()


async def _send(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Iterable[Message]
) -> None:
    left = iter(records)
    while part := list(islice(left, 50)):
        batch = producer.create_batch()
        for key, value in part:
            assert batch.append(key=key, value=value, timestamp=None) is not None
        await (await producer.send_batch(batch, topic, partition=partition))


@asynccontextmanager
async def invoicers(site: Site, count: int, **settings: str) -> AsyncIterator[list[int]]:
    """Run invoicer processes that have joined their group; gives their ids."""
    env = os.environ | SETTINGS | settings
    env |= {"METERLINE_KAFKA": site.servers.kafka, "METERLINE_POSTGRES": site.database}
    env |= {"METERLINE_TOPIC_PREFIX": site.topic_prefix}
    async with AsyncExitStack() as stops:
        pids = []
        for _ in range(count):
            port = free_port()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "invoicer"),
                env=env | {"METERLINE_INVOICER_PORT": str(port)},
                stdout=asyncio.subprocess.DEVNULL,
            )
            stops.push_async_callback(_stop, process)
            pids.append(process.pid)
            deadline = time.monotonic() + READY_SECONDS_MAX
            while not await asyncio.to_thread(answers_ready, port):
                assert time.monotonic() < deadline, "an invoicer doesn't get ready"
                await asyncio.sleep(0.1)
        yield pids


async def _stop(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)


async def issue(site: Site, told: Sequence[Message], pids: Sequence[int]) -> Run:
    """Send the messages; wait until every document is issued."""
    before = sum(map(cpu_seconds, pids))
    started = time.monotonic()
    sending = asyncio.create_task(publish(site, told))
    seen = [(0.0, 0)]
    while seen[-1][1] < len(told):
        assert seen[-1][0] < ISSUE_SECONDS_MAX, f"{seen[-1][1]} of {len(told)}"
        await asyncio.sleep(0.05)
        issued = await site.connection.fetchval(
            "SELECT coalesce(sum(next_number - 1), 0)::integer FROM document_sequence"
        )
        seen.append((time.monotonic() - started, issued))
    await sending
    await check(site.connection, len(told))
    return Run(seen[-1][0], sum(map(cpu_seconds, pids)) - before, seen)


async def check(connection: asyncpg.Connection, documents: int) -> None:
    """Make sure that every document is issued, and every series whole."""
    rows = await connection.fetch(
        "SELECT entity_id, series, count(*) AS documents, count(DISTINCT number) AS numbers, "
        "max(number) AS last FROM document GROUP BY 1, 2"
    )
    assert sum(row["documents"] for row in rows) == documents
    for row in rows:
        assert row["documents"] == row["numbers"] == row["last"], dict(row)


async def run(
    servers: Servers, contracts: int, processes: int, *, drawing: bool = False, bare: bool = False
) -> tuple[Run, float]:
    """Issue in a database of its own; return that, and bare COPY's documents a second.

    bare: whether that is measured; else 0.
    """
    async with a_site(servers) as site:
        told = await close(site.connection, contracts)
        threads = "2" if drawing else "0"
        async with invoicers(site, processes, METERLINE_INVOICER_RENDER_THREADS=threads) as pids:
            found = await issue(site, told, pids)
        if not bare:
            return found, 0.0
        count, seconds = await copy_bare(site.connection, 500, documents=BARE)
        return found, count / seconds


async def measure(servers: Servers, contracts: int, processes: int) -> dict[str, object]:
    """Return what all came to."""
    tenth = contracts // 10
    small, _ = await run(servers, tenth, processes)
    drawn, _ = await run(servers, tenth, processes, drawing=True)
    whole, bare = await run(servers, contracts, processes, bare=True)
    rate, small_rate = contracts / whole.seconds, tenth / small.seconds
    return {
        "contracts": contracts,
        "lines_each": len(SOLD.lines),
        "entities": ENTITIES,
        "invoicers": processes,
        "minutes": round(whole.seconds / 60, 2),
        "issued_per_second": round(rate),
        "issued_per_second_at_a_tenth": round(small_rate),
        "full_size_beside_a_tenth": round(rate / small_rate, 2),
        "last_tenth_beside_first": round(whole.rate(0.9, 1) / whole.rate(0, 0.1), 2),
        "issued_per_second_at_a_tenth_while_drawing": round(tenth / drawn.seconds),
        "invoicer_cpu_microseconds_each": round(whole.cpu / contracts * 1e6),
        "ceiling_bare_copy_per_second": round(bare),
        "share_of_ceiling": round(rate / bare, 3),
        "cpus": os.cpu_count(),
        "python": sys.version.split()[0],
    }


def main() -> None:
    """Run on the servers of the environment, or on ones of our own; print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contracts", type=int, default=100_000)
    parser.add_argument("--invoicers", type=int, default=1)
    arguments = parser.parse_args()
    with the_servers() as servers:
        result = asyncio.run(measure(servers, arguments.contracts, arguments.invoicers))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
