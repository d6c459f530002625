"""Several raters: they share the partitions, and who is wrong or lost changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from rater.consumer import PartitionWorker
from rater.fetching import Answer
from rater.metrics import FENCED, READERS_STUCK, STALLED_ENDED
from rater.repository import queries
from rater.settings import RaterSettings
from runtime.postgres import open_pool
from tests.factories import PER_UNIT, make_contract, make_customer_in, make_meter, make_pricing
from tests.integration.rater.conftest import Bench
from tests.rating import Use, charges, counters, eventually


async def shares(bench: Bench) -> dict[str, list[int]]:
    rows = await bench.connection.fetch("SELECT member, partitions FROM rater_member")
    return {row["member"]: row["partitions"] for row in rows}


async def test_partitions_are_shared_and_taken_over(bench: Bench) -> None:
    async def are(**expected: int) -> None:
        async def agreed() -> bool:
            held = await shares(bench)
            everything = sorted(p for partitions in held.values() for p in partitions)
            return (
                everything == list(range(bench.partitions))
                and {name: len(partitions) for name, partitions in held.items()} == expected
            )

        await eventually(agreed, f"shares of {expected}")

    quick = {"heartbeat_seconds": 0.05}
    async with bench.rater(member="a", **quick):
        await are(a=4)
        async with bench.rater(member="b", **quick):
            await are(a=2, b=2)
            async with bench.rater(member="c", **quick):
                await are(a=2, b=1, c=1)
        await are(a=4)
    assert await shares(bench) == {}


async def test_a_member_that_says_nothing_is_dropped_after_its_lease(bench: Bench) -> None:
    await bench.connection.execute(
        "INSERT INTO rater_member VALUES ('dead', '{0,1,2,3}', now() + interval '1 second')"
    )
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 0, bench.partitions)
    async with bench.rater(member="alive", heartbeat_seconds=0.1):
        await bench.produce([Use(customer, meter)])
        await bench.rated()
    assert await counters(bench.connection) == {"unrated": 1}


async def test_two_owners_of_one_partition_come_to_the_right_totals(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 0, bench.partitions)
    pricing = await make_pricing(bench.connection, bench.tenant, [(meter, PER_UNIT)])
    await make_contract(bench.connection, customer, [pricing])
    settings = RaterSettings(
        kafka=bench.kafka,
        postgres=bench.database,
        topic_prefix=bench.topic_prefix,
        poll_records_max=5,
    )
    fenced = FENCED._value.get()
    async with open_pool(bench.database, service="rater") as pool:
        workers = [PartitionWorker(pool, settings, 0) for _ in range(2)]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        try:
            for _ in range(10):
                await bench.produce([Use(customer, meter)] * 20)
                await bench.rated()
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.gather(*running)
    assert [worker.halted for worker in workers] == [None, None]
    assert FENCED._value.get() > fenced
    ((quantity, count, _),) = (await charges(bench.connection)).values()
    assert quantity == count == 200


async def test_a_client_that_gives_nothing_of_a_log_that_has_records_is_replaced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 0, bench.partitions)
    stuck = READERS_STUCK._value.get()

    async def give_nothing(_offset: int) -> Answer:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async with bench.rater(stuck_seconds=0.5) as service:
        await bench.produce([Use(customer, meter)])
        await bench.rated()
        worker, _ = service._workers[0]
        assert worker.owner is not None
        monkeypatch.setattr(worker.owner.reader._client, "fetch", give_nothing)
        for _ in range(2):  # what was asked for before gives one more
            await bench.produce([Use(customer, meter)])
            await bench.rated()
    assert READERS_STUCK._value.get() > stuck
    assert await counters(bench.connection) == {"unrated": 3}


async def test_an_owner_that_freezes_in_the_midst_of_a_copy_is_ended(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 0, bench.partitions)
    ended = STALLED_ENDED._value.get()
    is_copying, never = asyncio.Event(), asyncio.Event()

    async def data_that_never_comes() -> AsyncIterator[bytes]:
        is_copying.set()
        await never.wait()
        yield b""

    async def freeze() -> None:
        async with (
            open_pool(bench.database, service="rater") as pool,
            pool.acquire() as frozen,
            frozen.transaction(),
        ):
            await frozen.fetch(queries.lock_partition, 0)
            await frozen.copy_to_table("skipped_range", source=data_that_never_comes())

    freezing = asyncio.create_task(freeze())
    try:
        await asyncio.wait_for(is_copying.wait(), 30)
        async with bench.rater(transaction_seconds_max=1):
            await bench.produce([Use(customer, meter)])
            await bench.rated()
    finally:
        never.set()
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await freezing
    assert STALLED_ENDED._value.get() > ended
    assert await counters(bench.connection) == {"unrated": 1}
