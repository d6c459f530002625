"""What the rater's benchmarks stand on: a database with customers, a log of uses, and raters.

Each event has a key of its own and adds to one of customers x meters charges.
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer

from deploy.local.bootstrap import MIGRATIONS, prepare_log
from deploy.local.servers import Servers, running_servers, servers_in_environment
from runtime.migrations import migrate
from runtime.postgres import Queries
from schemas.event_ref import partition_of, shard_key
from schemas.topics import USAGE_EVENTS

PARTITIONS = 8
ZIPF_EXPONENT = 1.1
BATCH_RECORDS = 2_000
STEADY_FROM = 0.5
RATE_SECONDS_MAX = 600
STOP_SECONDS_MAX = 60
DROP_SECONDS_MAX = 600

queries = Queries.beside(__file__, "rater.sql")

#: The key and the value of each record, by partition.
Records = Sequence[Sequence[tuple[bytes, bytes]]]


class Site(msgspec.Struct):
    """A database, and topics of its own."""

    servers: Servers
    database: str
    topic_prefix: str
    connection: asyncpg.Connection

    @property
    def topic(self) -> str:
        """The topic of usage events."""
        return self.topic_prefix + USAGE_EVENTS


@contextmanager
def the_servers() -> Iterator[Servers]:
    """Give the servers of the environment, or ones of our own."""
    if (running := servers_in_environment()) is not None:
        yield running
        return
    with (
        tempfile.TemporaryDirectory(prefix="meterline-benchmark-") as directory,
        running_servers(Path(directory)) as servers,
    ):
        yield servers


@asynccontextmanager
async def a_database(server: str) -> AsyncIterator[str]:
    """Give a migrated database that is dropped at the end."""
    name = f"benchmark_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        dsn = f"{server.rpartition('/')[0]}/{name}"
        await migrate(dsn, MIGRATIONS)
        yield dsn
        await _drop(connection, name)
    finally:
        await connection.close()


async def _drop(connection: asyncpg.Connection, name: str) -> None:
    """Drop a database; waits for a worker of autovacuum in it, which we may not end."""
    deadline = time.monotonic() + DROP_SECONDS_MAX
    while True:
        try:
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        except asyncpg.InsufficientPrivilegeError:
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(1)
        else:
            return


@asynccontextmanager
async def a_site(servers: Servers, *, customers: int, meters: int) -> AsyncIterator[Site]:
    """Give a site with customers that each have a contract line for every meter; drop it then."""
    prefix = f"benchmark-{uuid.uuid4().hex[:8]}."
    async with a_database(servers.postgres) as dsn:
        await prepare_log(servers.kafka, dsn, prefix, partitions=PARTITIONS)
        connection = await asyncpg.connect(dsn)
        try:
            await _fill(connection, customers, meters)
            yield Site(servers, dsn, prefix, connection)
        finally:
            await connection.close()


async def _fill(connection: asyncpg.Connection, customers: int, meters: int) -> None:
    await connection.execute(queries.make_tenant)
    await connection.execute(queries.make_meters, meters)
    refs = [str(uuid.uuid4()) for _ in range(customers)]
    await connection.execute(queries.make_customers, refs, [shard_key(ref) for ref in refs])
    for statement in (queries.make_contracts, queries.make_products, queries.make_lines):
        await connection.execute(statement)
    await connection.execute("ANALYZE")


class Drawing:
    """Draws uses of a site's customers and meters; no key comes twice."""

    def __init__(self, tenant: str, customers: Sequence[str], meters: Sequence[str]) -> None:
        self.tenant = tenant
        self.customers = customers
        self.meters = meters
        self._chance = random.Random(1)
        self._count = 0

    @classmethod
    async def of(cls, site: Site) -> "Drawing":
        """Draw from all that a site has."""
        connection = site.connection
        tenant = await connection.fetchval("SELECT tenant_ref::text FROM tenant")
        customers = await connection.fetch("SELECT customer_ref::text FROM customer")
        meters = await connection.fetch("SELECT usage_product_ref::text FROM meter")
        return cls(tenant, [row[0] for row in customers], [row[0] for row in meters])

    def draw(self, events: int, *, zipf: bool = False, customers: int | None = None) -> Records:
        """Draw so many, of the first so many customers: uniformly, or by Zipf's law."""
        chosen = self.customers[:customers]
        weights = [1 / rank**ZIPF_EXPONENT for rank in range(1, len(chosen) + 1)] if zipf else None
        of = self._chance.choices(chosen, weights, k=events)
        return self._records(zip(of, self._chance.choices(self.meters, k=events), strict=True))

    def each(self) -> Records:
        """Draw one use for each charge."""
        return self._records((c, meter) for meter in self.meters for c in self.customers)

    def _records(self, uses: Iterator[tuple[str, str]]) -> Records:
        partitions: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]
        for customer, meter in uses:
            number = self._count
            self._count += 1
            day, second = number % 28 + 1, number % 60
            value = (
                f'{{"v":1,"kind":"USAGE","tenant_ref":"{self.tenant}","customer_ref":"{customer}",'
                f'"usage_product_ref":"{meter}","timestamp":"2024-01-{day:02}T12:00:{second:02}Z",'
                f'"quantity":"{number % 1_000}.{number % 97:02}","idempotency_key":"{number:x}"}}'
            )
            place = partition_of(shard_key(customer), PARTITIONS)
            partitions[place].append((customer.encode(), value.encode()))
        return partitions


async def produce(site: Site, partitions: Records) -> None:
    """Append the records, in batches as large as a gateway under load makes them."""
    producer = AIOKafkaProducer(
        bootstrap_servers=site.servers.kafka,
        enable_idempotence=True,
        compression_type="zstd",
        max_batch_size=900_000,
    )
    await producer.start()
    try:
        for partition, records in enumerate(partitions):
            for start in range(0, len(records), BATCH_RECORDS):
                batch = producer.create_batch()
                for key, value in records[start : start + BATCH_RECORDS]:
                    assert batch.append(key=key, value=value, timestamp=None) is not None
                await producer.send_batch(batch, site.topic, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


@asynccontextmanager
async def raters(site: Site, count: int = 1, **settings: object) -> AsyncIterator[list[int]]:
    """Run rater processes; gives their ids."""
    env = os.environ | {
        "METERLINE_KAFKA": site.servers.kafka,
        "METERLINE_POSTGRES": site.database,
        "METERLINE_TOPIC_PREFIX": site.topic_prefix,
        "METERLINE_RATER_PORT": "0",
        **{f"METERLINE_RATER_{name.upper()}": str(value) for name, value in settings.items()},
    }
    async with AsyncExitStack() as stops:
        pids = []
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "rater"), env=env, stdout=asyncio.subprocess.DEVNULL
            )
            stops.push_async_callback(_stop, process)
            pids.append(process.pid)
        yield pids


async def _stop(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)


async def rated(site: Site) -> int:
    """Return how many records were rated, over all partitions."""
    return int(await site.connection.fetchval("SELECT sum(next_offset) FROM rater_partition"))


async def rate(site: Site, events: int, pids: Sequence[int]) -> dict[str, float]:
    """Wait until raters have worked off so many more events; return rates and processor time.

    The steady figures are of the time from when half of them were rated.
    """
    first = await rated(site)
    seen: list[tuple[float, int, float]] = []
    deadline = time.monotonic() + RATE_SECONDS_MAX
    while not seen or seen[-1][1] < events:
        assert time.monotonic() < deadline, f"{seen[-1:]} of {events}"
        await asyncio.sleep(0.02)
        seen.append((time.monotonic(), await rated(site) - first, sum(map(cpu_seconds, pids))))
    steady = next(point for point in seen if point[1] >= STEADY_FROM * events)
    begun = max((point for point in seen if point[1] <= 0), default=seen[0])
    ended = seen[-1]
    return {
        "rated_per_second": round((events - steady[1]) / (ended[0] - steady[0])),
        "rater_cpu_microseconds_per_event": round(
            (ended[2] - steady[2]) / (events - steady[1]) * 1e6, 1
        ),
        "rated_per_second_from_cold": round(events / (ended[0] - begun[0])),
    }


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
