"""Whatever is sent is refused or stored as it was meant: never a 5xx, never something else."""

import asyncio
import json
import random
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.money import QUANTITY_DIGITS, scaled_to_text
from schemas.usage_event import UsageEvent, decode_record
from tests.conftest import TEST_PARTITIONS
from tests.integration.gateway.conftest import Site
from tests.strange_requests import SINGLE, Event, strange_request

AT_ONCE = 16
SEED = 20_240_205
Place = tuple[int, int]


async def send_strange_requests(site: Site, count: int) -> tuple[dict[Place, Event | None], int]:
    """Send so many; what was meant by place in the log (None: unknown), and how many were refused.

    A request that fails the test is named by its number: the seed makes it again.
    """
    stored: dict[Place, Event | None] = {}
    refused = 0
    good = site.event()

    async def worker(first: int) -> None:
        nonlocal refused
        for number in range(first, count, AT_ONCE):
            request = strange_request(random.Random(SEED + number), good)
            status, answer = await site.post(request.path, request.body, request.headers)
            assert status in (202, 400, 413, 415, 422), (number, status, answer)
            if status != 202:
                refused += 1
            for index, receipt in receipts(request.path, answer, status):
                place = (receipt["partition"], receipt["offset"])
                stored[place] = None if request.meant is None else request.meant[index]

    async with asyncio.TaskGroup() as group:
        for first in range(AT_ONCE):
            group.create_task(worker(first))
    return stored, refused


def receipts(path: str, answer: Any, status: int) -> Iterator[tuple[int, dict[str, int]]]:  # noqa: ANN401
    if status == 202:
        found = [answer["receipt"]] if path == SINGLE else answer["receipts"]
        yield from ((index, receipt) for index, receipt in enumerate(found) if receipt)


async def read_log(site: Site) -> dict[Place, bytes]:
    """Read every record of the log."""
    consumer = AIOKafkaConsumer(bootstrap_servers=site.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(site.topic, partition) for partition in range(TEST_PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        records: dict[Place, bytes] = {}
        while len(records) < sum(ends.values()):
            batches = await asyncio.wait_for(consumer.getmany(timeout_ms=5_000), 60)
            for batch in batches.values():
                records |= {(record.partition, record.offset): record.value for record in batch}
        return records
    finally:
        await consumer.stop()


def check_meaning(site: Site, meant: Event, event: UsageEvent) -> None:
    """Compare a stored event with what its sender said."""
    assert Decimal(scaled_to_text(event.quantity, QUANTITY_DIGITS)) == Decimal(
        str(meant["quantity"])
    )
    assert event.customer_ref == site.customer.ref
    assert event.usage_product_ref == site.meter.ref
    moment = datetime.fromisoformat(str(meant["timestamp"]).upper())
    assert event.occurred_at_micros == round(moment.timestamp()) * 1_000_000 + moment.microsecond
    assert event.idempotency_key == (meant.get("idempotency_key") or None)
    data = meant.get("additional_report_data")
    if isinstance(data, str):
        data = json.loads(data)
    stored = None if event.additional_data is None else json.loads(event.additional_data)
    assert stored == data


async def run(site: Site, count: int) -> None:
    before = await site.log_size()
    stored, refused = await send_strange_requests(site, count)
    assert len(stored) > count / 10, "enough of them were good"
    assert refused > count / 10, "enough of them were bad"
    assert await site.log_size() == before + len(stored), "nothing is stored without a receipt"
    records = await read_log(site)
    for place, meant in stored.items():
        event = decode_record(records[place])
        assert event.tenant_ref == site.tenant_ref
        if meant is not None:
            check_meaning(site, meant, event)


async def test_a_thousand_strange_requests_are_refused_or_stored_as_meant(site: Site) -> None:
    await run(site, 1_000)


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_a_hundred_thousand_strange_requests_are_refused_or_stored_as_meant(
    site: Site,
) -> None:
    await run(site, 100_000)
