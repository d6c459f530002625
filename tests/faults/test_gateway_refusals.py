"""A batch that the broker refuses: it fails alone, and leaves no producer behind that is poisoned.

The topic is made to take less than one event's worth while the gateway runs, which is the only way
in which a batch of ours can be too large: at the start the gateway looks.
"""

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError

from schemas.event_ref import partition_of, shard_key
from schemas.topics import TOPIC_SETTINGS, USAGE_EVENTS
from tests.conftest import TEST_PARTITIONS
from tests.factories import make_customer
from tests.faults.gateway_sites import gateway_of, keys_in_log, tenant_of
from tests.integration.gateway.conftest import Site
from tests.integration.lane.conftest import LaneSite
from tests.rating import eventually

TOPIC_BYTES_MAX = 20_000
LARGE_BYTES = 50_000
CLIENTS_A_PARTITION = 3


async def set_batch_limit(site: Site, size: str) -> None:
    """Set how large a batch the topic takes, and nothing else."""
    settings = dict(TOPIC_SETTINGS[USAGE_EVENTS]) | {"max.message.bytes": size}
    admin = AIOKafkaAdminClient(bootstrap_servers=site.kafka)
    await admin.start()
    try:
        topic = ConfigResource(ConfigResourceType.TOPIC, site.topic, configs=settings)
        await admin.alter_configs([topic])
    finally:
        await admin.close()


async def customer_of_each_partition(site: Site) -> list[str]:
    """Make customers until each partition has one; their refs by partition."""
    found: dict[int, str] = {}
    connection = await asyncpg.connect(site.database)
    try:
        while len(found) < TEST_PARTITIONS:
            made = await make_customer(connection, site.customer.tenant)
            found[partition_of(shard_key(made.ref), TEST_PARTITIONS)] = made.ref
    finally:
        await connection.close()
    for ref in found.values():
        await site.take(site.event(customer_ref=ref))  # memory knows them from now on
    return [found[partition] for partition in range(TEST_PARTITIONS)]


def large_event(site: Site, customer_ref: str) -> dict[str, object]:
    """An event that is good, and larger than the topic takes however it is compressed."""
    data = {"noise": random.Random(3).randbytes(LARGE_BYTES // 2).hex()}
    return site.event(
        customer_ref=customer_ref, additional_report_data=data, idempotency_key=str(uuid.uuid4())
    )


@pytest_asyncio.fixture
async def lane(stack_env: dict[str, str], tmp_path: Path) -> AsyncIterator[LaneSite]:
    async with (
        gateway_of(stack_env, tmp_path) as service,
        tenant_of(service, stack_env) as made,
    ):
        yield made


async def refuse_large_batches(site: Site, customer_ref: str) -> None:
    """Have the topic take small batches only; the broker applies that a while after it said so.

    The event that is tried is one that counts, without a key, sent past the gateway.
    """
    await set_batch_limit(site, str(TOPIC_BYTES_MAX))
    event = large_event(site, customer_ref) | {"v": 1, "kind": "USAGE", "quantity": "1"}
    del event["idempotency_key"]
    place = partition_of(shard_key(customer_ref), TEST_PARTITIONS)
    producer = AIOKafkaProducer(bootstrap_servers=site.kafka, compression_type="zstd")
    await producer.start()

    async def is_refused() -> bool:
        try:
            await producer.send_and_wait(
                site.topic, json.dumps(event).encode(), customer_ref.encode(), partition=place
            )
        except MessageSizeTooLargeError:
            return True
        return False

    try:
        await eventually(is_refused, "the broker refuses large batches")
    finally:
        await producer.stop()


async def post_when_open(site: Site, path: str, body: object) -> tuple[int, Any]:
    """Post until there is a producer, which takes its time on a loaded machine."""
    answers: list[tuple[int, Any]] = []

    async def is_open() -> bool:
        answers.append(await site.post(path, body))
        return bool(answers[-1][1].get("code") != "log_unavailable")

    await eventually(is_open, "a producer is open")
    return answers[-1]


class Load:
    """Clients that send small events of every partition until they are told to stop."""

    def __init__(self, site: Site, customers: list[str]) -> None:
        self.site = site
        self.customers = customers
        self.taken: set[str] = set()
        self.refused: Counter[int] = Counter()
        self.is_over = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for partition in list(range(TEST_PARTITIONS)) * CLIENTS_A_PARTITION:
                group.create_task(self._client(partition))

    async def _client(self, partition: int) -> None:
        while not self.is_over:
            key = str(uuid.uuid4())
            event = self.site.event(customer_ref=self.customers[partition], idempotency_key=key)
            status, answer = await self.site.post("/api/usage/event", event)
            if status == 202:
                self.taken.add(key)
            elif answer["code"] != "log_unavailable":  # the next producer may be long in coming
                self.refused[partition] += 1


async def test_an_oversize_batch_fails_alone_and_poisons_no_producer(lane: LaneSite) -> None:
    site = lane.site
    customers = await customer_of_each_partition(site)
    await refuse_large_batches(site, customers[0])
    load = Load(site, customers)
    loading = asyncio.create_task(load.run())
    large = large_event(site, customers[0])
    for _ in range(5):
        status, answer = await post_when_open(site, "/api/usage/event", large)
        assert (status, answer["code"]) == (503, "outcome_unknown")
        small = site.event(customer_ref=customers[0])
        status, answer = await post_when_open(site, "/api/usage/event", small)
        assert status == 202, answer
    load.is_over = True
    await loading
    assert set(load.refused) <= {0}, "only who shared its batch can have been refused with it"
    found = await keys_in_log(site)
    assert load.taken <= set(found)
    assert large["idempotency_key"] not in found
    assert await lane.metric("gateway_batches_refused_total") >= 5
    assert await lane.metric("gateway_producers_rebuilt_total") >= 5


async def test_when_one_partition_fails_the_answer_says_which_events_are_recorded(
    lane: LaneSite,
) -> None:
    site = lane.site
    customers = await customer_of_each_partition(site)
    await refuse_large_batches(site, customers[0])
    events = [
        site.event(customer_ref=ref, idempotency_key=f"{number}-{partition}")
        for number in range(10)
        for partition, ref in enumerate(customers)
    ]
    events[4] = large_event(site, customers[0]) | {"idempotency_key": "large"}
    of_the_failed = [n for n, event in enumerate(events) if event["customer_ref"] == customers[0]]
    status, answer = await site.post("/api/usage/events", events)
    assert (status, answer["code"], answer["may_be_recorded"]) == (503, "outcome_unknown", True)
    assert answer["unknown"] == of_the_failed
    assert (answer["accepted"], answer["rejected"]) == (30, 0)
    assert nulls(answer["event_refs"]) == nulls(answer["receipts"]) == of_the_failed
    assert set(await keys_in_log(site)) - {""} == {
        str(event["idempotency_key"]) for n, event in enumerate(events) if n not in of_the_failed
    }

    await set_batch_limit(site, TOPIC_SETTINGS[USAGE_EVENTS]["max.message.bytes"])
    again: dict[str, Any] = {}

    async def is_complete() -> bool:
        status, found = await post_when_open(site, "/api/usage/events", events)
        again.update(found)
        return status == 202

    await eventually(is_complete, "the same request again completes it")
    assert again["accepted"] == 40
    known = [ref for ref in answer["event_refs"] if ref is not None]
    assert [ref for ref in again["event_refs"] if ref in set(known)] == known
    assert len(set(again["event_refs"])) == 40


def nulls(values: list[Any]) -> list[int]:
    return [index for index, value in enumerate(values) if value is None]
