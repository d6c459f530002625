"""The rater killed around an alert: it fires once, and is told of at least once."""

import asyncio
import json
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer

from deploy.local.servers import Servers
from schemas.event_ref import partition_of
from schemas.topics import BILLING_ALERTS
from tests.conftest import TEST_PARTITIONS
from tests.factories import (
    PER_UNIT,
    MadeCustomer,
    MadeMeter,
    make_contract,
    make_customer,
    make_meter,
    make_pricing,
    make_tenant,
)
from tests.processes import Service, running
from tests.rating import Use, await_offsets, await_tasks, eventually, produce

CRASH_POINTS = (
    "rater.after_firing:1",  # nothing is committed
    "rater.after_commit:1",  # nothing is published
    "rater.after_outbox_publish:1",  # it is, and the row is still there
)
FORGET = """
TRUNCATE usage_event_row, charge, billing_period, partition_task, closing_schedule, usage_tail,
    usage_rollup, rolled_customer, unrated_usage CASCADE;
UPDATE rater_partition SET next_offset = 0, steps = 0, changes_seen = 0, rated = 0, unrated = 0,
    last_record_offset = NULL, last_record_digest = NULL
"""


async def watch(
    connection: asyncpg.Connection, customer: MadeCustomer, meter: MadeMeter, threshold: int
) -> str:
    """Make an alert on a customer's meter, as the gateway does."""
    partition = partition_of(customer.shard_key, TEST_PARTITIONS)
    async with connection.transaction():
        version = await connection.fetchval(
            "UPDATE rater_partition SET reference_version = reference_version + 1 "
            "WHERE partition = $1 RETURNING reference_version",
            partition,
        )
        ref = await connection.fetchval(
            "INSERT INTO alert (shard_key, alert_ref, tenant_id, partition, partition_version, "
            "customer_id, meter_id, kind, threshold) SELECT shard_key, gen_random_uuid(), "
            "tenant_id, $3, $4, customer_id, $2, 'QUANTITY', $5 FROM customer "
            "WHERE customer_ref = $1 RETURNING alert_ref",
            *(customer.ref, meter.meter_id, partition, version, threshold),
        )
    return str(ref)


async def test_an_alert_fires_once_wherever_the_rater_is_killed(
    servers: Servers,
    database: str,
    topic_prefix: str,
    stack_env: dict[str, str],
    tmp_path: Path,
) -> None:
    connection = await asyncpg.connect(database)
    tenant = await make_tenant(connection)
    customer, meter = await make_customer(connection, tenant), await make_meter(connection, tenant)
    pricing = await make_pricing(connection, tenant, [(meter, PER_UNIT)])
    await make_contract(connection, customer, [pricing])
    alerts: list[str] = []
    rater = Service("rater", stack_env, tmp_path)
    with running(rater):
        for number, point in enumerate(CRASH_POINTS, 1):
            alerts.append(await watch(connection, customer, meter, number * 10))
            rater.start(is_awaited=False, METERLINE_CRASHPOINT=point)
            await produce(servers.kafka, topic_prefix, [Use(customer, meter, "10")])
            await asyncio.to_thread(rater.wait_killed)
            rater.start(METERLINE_CRASHPOINT="")
            await await_offsets(connection, number)
            assert rater.stop() == 0
        firings = "SELECT alert_ref::text, value::int FROM alert_firing ORDER BY value"
        once = [tuple(row) for row in await connection.fetch(firings)]
        assert once == list(zip(alerts, (10, 20, 30), strict=True))
        told = await messages(servers, topic_prefix, set(alerts))
        assert all(len(set(bodies)) == 1 for bodies in told.values()), "again is the same"
        # Read again from its beginning, the log fires nothing.
        await connection.execute(FORGET)
        rater.start()
        await await_offsets(connection, len(CRASH_POINTS))
        await await_tasks(connection)
        await eventually(lambda: is_empty(connection), "the outbox is empty")
        assert rater.stop() == 0
    assert [tuple(row) for row in await connection.fetch(firings)] == once
    assert await messages(servers, topic_prefix, set(alerts)) == told
    await connection.close()


async def is_empty(connection: asyncpg.Connection) -> bool:
    return not await connection.fetchval("SELECT count(*) FROM rater_outbox")


async def messages(servers: Servers, prefix: str, alerts: set[str]) -> dict[str, list[bytes]]:
    """Return all records of the topic by the alert that they tell of, once there is one of each."""
    found: dict[str, list[bytes]] = {}
    consumer = AIOKafkaConsumer(
        prefix + BILLING_ALERTS, bootstrap_servers=servers.kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        while found.keys() != alerts or sum(map(len, found.values())) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=5_000)).values():
                for record in records:
                    found.setdefault(json.loads(record.value)["alert_ref"], []).append(record.value)
    finally:
        await consumer.stop()
    return found
