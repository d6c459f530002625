"""The log itself: transactional producers, gaps, and another log in the place of the old one."""

import asyncio
from datetime import date

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.topics import TOPIC_SETTINGS, USAGE_EVENTS
from tests.factories import (
    PER_UNIT,
    ask_to_close,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.rater.conftest import Bench
from tests.rating import Use, await_offsets, await_tasks, counters, eventually


async def test_aborted_and_control_records_are_skipped_and_noted(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 2, bench.partitions)
    pricing = await make_pricing(bench.connection, bench.tenant, [(meter, PER_UNIT)])
    contract = await make_contract(bench.connection, customer, [pricing])
    key, value = Use(customer, meter).record()
    producer = AIOKafkaProducer(
        bootstrap_servers=bench.kafka, transactional_id=bench.topic_prefix + "native"
    )
    await producer.start()
    try:
        for is_aborted in (False, True, False):
            await producer.begin_transaction()
            for _ in range(3):
                await producer.send_and_wait(bench.topic_prefix + USAGE_EVENTS, value, key=key)
            await (producer.abort_transaction() if is_aborted else producer.commit_transaction())
    finally:
        await producer.stop()
    async with bench.rater():
        await await_offsets(bench.connection, 12)  # nine records, three markers
        # Nothing follows the last marker, and yet the end of the log is reached.
        await ask_to_close(bench.connection, contract, date(2024, 1, 31))
        await await_tasks(bench.connection)
    assert await counters(bench.connection) == {"rated": 6, "skipped": 6}
    rows = await bench.connection.fetch("SELECT first_offset, end_offset FROM skipped_range")
    skipped = {offset for row in rows for offset in range(row["first_offset"], row["end_offset"])}
    assert skipped == {3, 4, 5, 6, 7, 11}


async def remake_topic(bench: Bench, records: int) -> None:
    """Put another log in the place of the one that was rated, longer than what was read of it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.kafka)
    await admin.start()
    topic = bench.topic_prefix + USAGE_EVENTS
    try:
        await admin.delete_topics([topic])

        async def made() -> bool:
            answer = await admin.create_topics(
                [
                    NewTopic(
                        name=topic,
                        num_partitions=bench.partitions,
                        replication_factor=1,
                        topic_configs=dict(TOPIC_SETTINGS[USAGE_EVENTS]),
                    )
                ]
            )
            return all(error[1] == 0 for error in answer.topic_errors)

        await eventually(made, "the topic is made anew")
    finally:
        await admin.close()
    if records:
        await bench.produce_raw(*[(None, b"other")] * records, partition=0)


@pytest.mark.parametrize("records", [0, 50])
async def test_a_log_made_anew_halts_its_partition_and_no_other(bench: Bench, records: int) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 0, bench.partitions)
    async with bench.rater():
        await bench.produce([Use(customer, meter, str(number)) for number in range(20)])
        await bench.rated()
    await remake_topic(bench, records)
    neighbour = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    async with bench.rater() as service:
        await bench.produce([Use(neighbour, meter)])

        async def answers() -> bool:
            reason = await service.checks()["partitions"]()
            return reason is not None and "partition 0 waits for a person" in reason

        await eventually(answers, "readiness says which partition is halted")

        async def neighbour_rated() -> bool:
            return bool(
                await bench.connection.fetchval(
                    "SELECT next_offset = 1 FROM rater_partition WHERE partition = 1"
                )
            )

        await eventually(neighbour_rated, "the other partition goes on")
    assert await counters(bench.connection) == {"unrated": 21}


async def test_an_event_read_again_is_the_same_event(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 3, bench.partitions)
    uses = [Use(customer, meter, "1", key=str(n) if n % 2 else None) for n in range(10)]
    async with bench.rater():
        await bench.produce(uses)
        await bench.rated()
    before = await bench.connection.fetch("SELECT * FROM usage_event ORDER BY event_ref")
    # As if an operator had set the partition back by hand.
    await bench.connection.execute(
        "UPDATE rater_partition SET next_offset = 0, unrated = 0, "
        "last_record_offset = NULL WHERE partition = 3"
    )
    async with bench.rater():
        await bench.rated()
    assert await counters(bench.connection) == {"duplicates": 10}
    assert await bench.connection.fetch("SELECT * FROM usage_event ORDER BY event_ref") == before


async def test_records_are_rated_while_others_arrive(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 0, bench.partitions)
    async with bench.rater(poll_records_max=5):
        await asyncio.gather(*(bench.produce([Use(customer, meter)] * 20) for _ in range(5)))
        await bench.rated()
    assert await counters(bench.connection) == {"unrated": 100}
