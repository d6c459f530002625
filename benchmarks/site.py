"""Servers, a topic and a tenant for a benchmark; the workload's events."""

import asyncio
import json
import os
import random
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.bootstrap import Credentials, prepare
from deploy.local.servers import Servers, running_servers
from schemas.event_ref import shard_key
from schemas.topics import USAGE_EVENTS

PARTITIONS = 8
CUSTOMERS = 1_000
METER_REF = "00000000-0000-4000-8000-0000000000aa"
CREDENTIALS = Credentials(api_key="bench", api_password="bench")


@dataclass(frozen=True)
class Site:
    """What a benchmark works on."""

    servers: Servers
    tenant_ref: str
    directory: Path

    def end_offsets(self) -> int:
        """Count the records of the log."""
        return asyncio.run(end_offsets(self.servers.kafka))

    def log_bytes(self) -> int:
        """Count the bytes that the broker keeps of the log, as it keeps them."""
        segments = self.directory.glob(f"kafka/data/{USAGE_EVENTS}-*/*.log")
        return sum(segment.stat().st_size for segment in segments)


def pin(core: int) -> None:
    """Keep this process, and what it starts from now on, on one core where there are several."""
    cores = sorted(os.sched_getaffinity(0) | set(range(os.cpu_count() or 1)))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


def customer_refs() -> list[str]:
    """List the same customers in every run."""
    return [str(uuid.UUID(int=number + 1, version=4)) for number in range(CUSTOMERS)]


def events(count: int) -> list[bytes]:
    """Write keyed events of skewed customers, as a client sends them."""
    chance = random.Random(7)
    customers = customer_refs()
    found = []
    for number in range(count):
        event = {
            "timestamp": f"2026-10-{chance.randint(1, 28):02}T09:{number % 60:02}:27.279Z",
            "customer_ref": customers[int(CUSTOMERS * chance.random() ** 3)],
            "usage_product_ref": METER_REF,
            "quantity": chance.randint(1, 10_000) / 4,
            "idempotency_key": f"order-{number:010}",
        }
        found.append(json.dumps(event).encode())
    return found


def lifelike_events(count: int) -> list[bytes]:
    """Write events as an API's billing would send them: keys of 122 random bits, data of its own.

    Timestamps follow each other closely; quantities, regions and paths are skewed.
    """
    chance = random.Random(11)
    customers = customer_refs()
    regions = ("eu-west-1", "us-east-1", "us-east-1", "ap-south-1")
    paths = ("/v1/messages", "/v1/messages", "/v1/files", "/v1/batches", "/v1/models")
    found = []
    for number in range(count):
        seconds, milliseconds = divmod(number * 7 + chance.randint(0, 40), 1_000)
        minutes, seconds = divmod(seconds, 60)
        event = {
            "timestamp": f"2026-10-14T09:{minutes % 60:02}:{seconds:02}.{milliseconds:03}Z",
            "customer_ref": customers[int(CUSTOMERS * chance.random() ** 3)],
            "usage_product_ref": METER_REF,
            "quantity": int(chance.lognormvariate(6, 1.5)),
            "additional_report_data": {
                "region": chance.choice(regions),
                "path": chance.choice(paths),
                "status": 200 if chance.random() < 0.97 else 429,
            },
            "idempotency_key": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        }
        found.append(json.dumps(event).encode())
    return found


@contextmanager
def running_site() -> Iterator[Site]:
    """Start the servers, with a tenant, its customers and a meter."""
    with (
        tempfile.TemporaryDirectory(prefix="meterline-bench-") as directory,
        running_servers(Path(directory)) as servers,
    ):
        yield Site(servers, asyncio.run(_prepare(servers)), Path(directory))


async def _prepare(servers: Servers) -> str:
    await prepare(servers.kafka, servers.postgres, partitions=PARTITIONS, credentials=CREDENTIALS)
    connection = await asyncpg.connect(servers.postgres)
    try:
        tenant = await connection.fetchrow(
            "SELECT tenant_id, tenant_ref, default_entity_id FROM tenant"
        )
        assert tenant is not None
        await connection.executemany(
            "INSERT INTO customer (shard_key, customer_ref, tenant_id, entity_id, name, email, "
            "currency) VALUES ($1, $2, $3, $4, $5, 'a@example.com', 'USD')",
            [
                (shard_key(ref), ref, tenant["tenant_id"], tenant["default_entity_id"], ref)
                for ref in customer_refs()
            ],
        )
        await connection.execute(
            "INSERT INTO meter (tenant_id, usage_product_ref, name, aggregation) "
            "VALUES ($1, $2, 'Calls', 'SUM')",
            tenant["tenant_id"],
            METER_REF,
        )
        return str(tenant["tenant_ref"])
    finally:
        await connection.close()


async def end_offsets(kafka: str) -> int:
    """Count the records of the log."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
    await consumer.start()
    try:
        places = [TopicPartition(USAGE_EVENTS, partition) for partition in range(PARTITIONS)]
        return sum((await consumer.end_offsets(places)).values())
    finally:
        await consumer.stop()
