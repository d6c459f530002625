"""Records that can't be rated: each is passed by, kept, and told about; none stops the others."""

import base64
import json
import time

import pytest
from aiokafka import AIOKafkaConsumer

from schemas.event_ref import partition_of
from schemas.topics import DEAD_EVENTS
from tests.factories import make_customer, make_customer_in, make_meter
from tests.integration.rater.conftest import Bench
from tests.rating import Use, counters, eventually


async def test_poison_is_passed_by_with_its_reason(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    key, good = Use(customer, meter).record()
    ahead = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7_200))
    stamp, tenant = b"2024-01-15T12:00:00Z", customer.tenant.ref.encode()
    nobody = b"00000000-0000-0000-0000-000000000000"

    def bad(what: bytes, by: bytes) -> bytes:
        assert what in good
        return good.replace(what, by)

    poison: list[tuple[bytes | None, bytes | None, str]] = [
        (key, None, "INVALID_JSON"),
        (key, b"", "INVALID_JSON"),
        (key, b"\xff\xfe\x00not json", "INVALID_JSON"),
        (key, b"[" * 100_000, "EVENT_TOO_LARGE"),
        (key, b"[" * 10_000, "TYPE_OBJECT"),
        (key, bad(b'"quantity": "1"', b'"quantity": "1", "quantity": "1"'), "INVALID_JSON"),
        (key, bad(b'"v": 1', b'"v": 2'), "VERSION_UNKNOWN"),
        (key, bad(b"USAGE", b"REFUND"), "UNSUPPORTED_KIND"),
        (key, bad(b"USAGE", b"UPDATE"), "REQUIRED"),
        (key, bad(b'"quantity": "1"', b'"quantity": "NaN"'), "NUMBER_MALFORMED"),
        (key, bad(stamp, b"1999-12-31T23:59:59Z"), "TIMESTAMP_OUT_OF_RANGE"),
        (key, bad(stamp, ahead.encode()), "TIMESTAMP_OUT_OF_RANGE"),
        (key, bad(tenant, nobody), "UNKNOWN_TENANT"),
        (key, bad(meter.ref.encode(), nobody), "UNKNOWN_METER"),
        (key.upper(), good, "WRONG_PARTITION"),
        (None, good, "WRONG_PARTITION"),
    ]
    async with bench.rater():
        await bench.produce_raw(
            (key, good), *[(k, v) for k, v, _ in poison], (key, good), partition=1
        )
        await bench.rated()
        rows = await bench.connection.fetch("SELECT * FROM dead_letter ORDER BY record_offset")
        assert [row["reason"] for row in rows] == [reason for _, _, reason in poison]
        assert [(row["record_key"], row["value"]) for row in rows] == [(k, v) for k, v, _ in poison]
        assert await counters(bench.connection) == {"unrated": 2, "dead_letters": len(poison)}


async def test_a_record_of_another_partitioner_is_refused_where_it_lies(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer(bench.connection, bench.tenant)
    home = partition_of(customer.shard_key, bench.partitions)
    async with bench.rater():
        await bench.produce_raw(
            Use(customer, meter).record(), partition=(home + 1) % bench.partitions
        )
        await bench.produce([Use(customer, meter)])
        await bench.rated()
    row = await bench.connection.fetchrow("SELECT reason, detail FROM dead_letter")
    assert row is not None
    assert row["reason"] == "WRONG_PARTITION"
    assert f"partition {home} of {bench.partitions}" in row["detail"]
    assert await counters(bench.connection) == {"unrated": 1, "dead_letters": 1}


async def test_an_unknown_customer_is_a_dead_letter_that_is_published(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer(bench.connection, bench.tenant)
    key, value = Use(customer, meter).record()
    await bench.connection.execute("DELETE FROM customer")
    consumer = AIOKafkaConsumer(
        bench.topic_prefix + DEAD_EVENTS,
        bootstrap_servers=bench.kafka,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async with bench.rater():
            await bench.produce_raw((key, value))
            record = await consumer.getone()

            async def emptied() -> bool:
                return not await bench.connection.fetchval("SELECT count(*) FROM rater_outbox")

            await eventually(emptied, "the outbox is empty")
    finally:
        await consumer.stop()
    assert record.key == key
    told = json.loads(record.value)
    assert told["reason"] == "UNKNOWN_CUSTOMER"
    assert base64.b64decode(told["value"]) == value
    row = await bench.connection.fetchrow(
        "SELECT partition, record_offset, tenant_id FROM dead_letter"
    )
    assert row is not None
    assert (told["partition"], told["offset"]) == (row["partition"], row["record_offset"])
    assert row["tenant_id"] == bench.tenant.tenant_id


@pytest.mark.parametrize("size", [600_000, 1_000_000])
async def test_a_huge_record_is_kept_and_told_about_without_its_bytes(
    bench: Bench, size: int
) -> None:
    consumer = AIOKafkaConsumer(
        bench.topic_prefix + DEAD_EVENTS,
        bootstrap_servers=bench.kafka,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async with bench.rater():
            await bench.produce_raw((b"k", b"x" * size))
            told = json.loads((await consumer.getone()).value)
    finally:
        await consumer.stop()
    assert told["reason"] == "EVENT_TOO_LARGE"
    assert told["value"] is None
    assert len(await bench.connection.fetchval("SELECT value FROM dead_letter")) == size
