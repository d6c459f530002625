"""A rater that runs inside the test, on a database and topics of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import asyncpg
import msgspec
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from deploy.local.servers import Servers
from rater.service import RaterService
from rater.settings import RaterSettings
from runtime.clock import Clock, system_clock
from runtime.postgres import open_pool
from schemas.retrying import ORIGIN_HEADER, Origin, encode_origin
from schemas.topics import USAGE_EVENTS
from tests.conftest import TEST_PARTITIONS
from tests.factories import MadeTenant, make_tenant
from tests.rating import Change, Use, await_offsets, produce, produce_raw


@dataclass
class Bench:
    """A tenant, a log, and raters to start on it."""

    connection: asyncpg.Connection
    tenant: MadeTenant
    kafka: str
    database: str
    topic_prefix: str
    produced: int = 0
    partitions: int = TEST_PARTITIONS

    async def produce(self, story: Iterable[Use | Change]) -> None:
        count = await produce(self.kafka, self.topic_prefix, story)
        self.produced += count

    async def produce_raw(
        self, *records: tuple[bytes | None, bytes | None], partition: int | None = None
    ) -> None:
        count = await produce_raw(self.kafka, self.topic_prefix, records, partition)
        self.produced += count

    async def retry(self, partition: int, offset: int) -> None:
        """Send a dead letter again, as people do."""
        row = await self.connection.fetchrow(
            "SELECT record_key, value FROM dead_letter WHERE partition = $1 AND record_offset = $2",
            *(partition, offset),
        )
        assert row is not None
        key, value = row
        headers = [(ORIGIN_HEADER, encode_origin(Origin(partition, offset)))]
        async with AIOKafkaProducer(bootstrap_servers=self.kafka) as producer:
            await producer.send_and_wait(
                self.topic_prefix + USAGE_EVENTS, value, key=key, headers=headers
            )
        self.produced += 1

    async def rated(self) -> None:
        """Wait until everything produced so far is rated."""
        await await_offsets(self.connection, self.produced)

    def rater(self, **settings: float | str) -> AbstractAsyncContextManager[RaterService]:
        return self.rater_at(system_clock, **settings)

    def rater_at(
        self, clock: Clock, **settings: float | str
    ) -> AbstractAsyncContextManager[RaterService]:
        return running_rater(
            msgspec.convert(
                {
                    "kafka": self.kafka,
                    "postgres": self.database,
                    "topic_prefix": self.topic_prefix,
                    "heartbeat_seconds": 0.2,
                    "lease_seconds": 5.0,
                    **settings,
                },
                RaterSettings,
            ),
            clock,
        )


@asynccontextmanager
async def running_rater(
    settings: RaterSettings, clock: Clock = system_clock
) -> AsyncIterator[RaterService]:
    stopping = asyncio.Event()
    async with open_pool(settings.postgres, service="rater") as pool:
        service = RaterService(pool, settings, settings.member or "rater-in-test", clock)
        running = asyncio.create_task(service.run(stopping))
        try:
            yield service
        finally:
            stopping.set()
            await running


@pytest_asyncio.fixture
async def bench(servers: Servers, database: str, topic_prefix: str) -> AsyncIterator[Bench]:
    connection = await asyncpg.connect(database)
    try:
        tenant = await make_tenant(connection)
        yield Bench(connection, tenant, servers.kafka, database, topic_prefix)
    finally:
        await connection.close()
