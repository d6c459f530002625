"""Two gateway processes behind one port, on a database and topics of their own."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import aiohttp
import argon2
import asyncpg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.event_ref import partition_of
from schemas.topics import USAGE_EVENTS
from tests.conftest import TEST_PARTITIONS
from tests.factories import MadeCustomer, MadeMeter, make_customer, make_meter, make_tenant
from tests.ground import NewGround

#: Hashing is not what most of these tests are about.
QUICK_HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse"
PROCESSES = 2


@dataclass
class Site:
    """Gateways with a tenant, a customer and a meter, and a client logged in."""

    url: str
    kafka: str
    database: str
    topic: str
    tenant_ref: str
    tenant_id: int
    customer: MadeCustomer
    meter: MadeMeter
    api_key: str
    session: aiohttp.ClientSession
    headers: dict[str, str]

    def event(self, **fields: object) -> dict[str, object]:
        """A good event, with some fields changed."""
        good = {
            "timestamp": "2024-02-05T12:00:00Z",
            "customer_ref": self.customer.ref,
            "usage_product_ref": self.meter.ref,
            "quantity": 10,
        }
        return good | fields

    async def post(
        self, path: str, body: object, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Post a body as it is when it is bytes, else as JSON; the status and the answer."""
        status, answer, _ = await self.exchange(path, body, headers)
        return status, answer

    async def exchange(
        self, path: str, body: object, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = self.headers | (headers or {})
        async with self.session.post(self.url + path, data=BytesIO(data), headers=sent) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    async def take(self, event: dict[str, object], **headers: str) -> dict[str, Any]:
        """Post an event that has to be taken; the answer."""
        status, answer = await self.post("/api/usage/event", event, headers)
        assert status == 202, answer
        assert isinstance(answer, dict)
        return answer

    async def record(self, receipt: dict[str, int]) -> ConsumerRecord:
        """Read the record that a receipt names."""
        records = await self.records([receipt])
        return records[0]

    async def records(self, receipts: Sequence[dict[str, int]]) -> list[ConsumerRecord]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka, auto_offset_reset="none")
        await consumer.start()
        try:
            found = []
            for receipt in receipts:
                place = TopicPartition(self.topic, receipt["partition"])
                consumer.assign([place])
                consumer.seek(place, receipt["offset"])
                found.append(await asyncio.wait_for(consumer.getone(), 10))
            return found
        finally:
            await consumer.stop()

    async def own_records(self) -> list[dict[str, Any]]:
        """Read what the log holds of this site's customer, from its beginning."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
        await consumer.start()
        try:
            places = [TopicPartition(self.topic, number) for number in range(TEST_PARTITIONS)]
            place = places[partition_of(self.customer.shard_key, TEST_PARTITIONS)]
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            end = (await consumer.end_offsets([place]))[place]
            found: list[ConsumerRecord] = []
            while await consumer.position(place) < end:
                records = await consumer.getmany(place, timeout_ms=500)
                found += records.get(place, [])
            own = self.customer.ref.encode()
            return [json.loads(record.value) for record in found if record.key == own]
        finally:
            await consumer.stop()

    async def log_size(self) -> int:
        """Count the records of the log."""
        return await count_records(self.kafka, self.topic)


async def count_records(kafka: str, topic: str) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
    await consumer.start()
    try:
        places = [TopicPartition(topic, partition) for partition in range(TEST_PARTITIONS)]
        return sum((await consumer.end_offsets(places)).values())
    finally:
        await consumer.stop()


async def add_key(
    connection: asyncpg.Connection, tenant_id: int, scopes: Sequence[str], **fields: object
) -> tuple[str, str]:
    """Make an API key with the password PASSWORD; its name and its ref."""
    name, ref = f"key-{uuid.uuid4()}", str(uuid.uuid4())
    await connection.execute(
        "INSERT INTO api_key (tenant_id, api_key_ref, api_key, password_hash, scopes, expires_at) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        *(tenant_id, ref, name, QUICK_HASHER.hash(PASSWORD), list(scopes)),
        fields.get("expires_at"),
    )
    return name, ref


async def log_in(session: aiohttp.ClientSession, url: str, api_key: str) -> str:
    body = json.dumps({"api_key": api_key, "password": PASSWORD})
    async with session.post(f"{url}/auth/login", data=body) as answer:
        assert answer.status == 200, await answer.text()
        token = await answer.json()
        assert isinstance(token, str)
        return token


@asynccontextmanager
async def new_site(url: str, kafka: str, database: str, prefix: str) -> AsyncIterator[Site]:
    """A tenant of its own on running gateways, and a client logged in."""
    connection = await asyncpg.connect(database)
    try:
        tenant = await make_tenant(connection, f"Tenant {uuid.uuid4()}")
        customer = await make_customer(connection, tenant, name="Northwind")
        meter = await make_meter(connection, tenant, name="Calls")
        api_key, _ = await add_key(connection, tenant.tenant_id, ["usage:write"])
    finally:
        await connection.close()
    async with aiohttp.ClientSession() as session:
        token = await log_in(session, url, api_key)
        yield Site(
            url=url,
            kafka=kafka,
            database=database,
            topic=prefix + USAGE_EVENTS,
            tenant_ref=tenant.ref,
            tenant_id=tenant.tenant_id,
            customer=customer,
            meter=meter,
            api_key=api_key,
            session=session,
            headers={"Authorization": f"Bearer {token}", "Version": "V0"},
        )


@dataclass
class Gateways:
    url: str
    kafka: str
    database: str
    topic_prefix: str


@pytest_asyncio.fixture(scope="session", params=["fast_lane", "aiohttp"])
async def gateways(
    request: pytest.FixtureRequest, new_ground: NewGround
) -> AsyncIterator[Gateways]:
    """Run two gateway processes that share a port: with the fast lane, and without."""
    lane = str(request.param == "fast_lane").lower()
    async with (
        new_ground("gateway") as ground,
        ground.gateways(PROCESSES, METERLINE_GATEWAY_FAST_LANE=lane) as services,
    ):
        yield Gateways(services[0].url, ground.kafka, ground.postgres, ground.topic_prefix)


@pytest_asyncio.fixture
async def site(gateways: Gateways) -> AsyncIterator[Site]:
    """Give a client of a new tenant."""
    async with new_site(
        gateways.url, gateways.kafka, gateways.database, gateways.topic_prefix
    ) as made:
        yield made


async def with_read(site: Site) -> Site:
    connection = await asyncpg.connect(site.database)
    try:
        key, _ = await add_key(connection, site.tenant_id, ["usage:write", "usage:read"])
    finally:
        await connection.close()
    token = await log_in(site.session, site.url, key)
    return replace(site, headers=site.headers | {"Authorization": f"Bearer {token}"})


@pytest_asyncio.fixture
async def reader(site: Site) -> Site:
    """A client that may send usage and read it."""
    return await with_read(site)


@pytest_asyncio.fixture
async def stranger(gateways: Gateways) -> AsyncIterator[Site]:
    """A client of another tenant."""
    place = (gateways.url, gateways.kafka, gateways.database, gateways.topic_prefix)
    async with new_site(*place) as made:
        yield await with_read(made)
