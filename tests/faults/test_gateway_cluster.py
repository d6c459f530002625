"""Three brokers, some of which die or stall: no acknowledgement is lost, and no partition is stuck.

Each partition that has no leader fails by itself; the events of the others are taken meanwhile.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic

import asyncpg
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from deploy.local.bootstrap import prepare_log
from schemas.event_ref import partition_of, shard_key
from schemas.topics import TOPIC_SETTINGS, USAGE_EVENTS
from tests.clusters import NODES, Cluster
from tests.conftest import TEST_PARTITIONS
from tests.factories import make_customer
from tests.faults.gateway_sites import gateway_of, keys_in_log, tenant_of
from tests.integration.lane.conftest import LaneSite
from tests.own_servers import DEADLINE_SECONDS, Load
from tests.rating import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

STALLED_SECONDS = 50
LEADERLESS_SECONDS = 45
RECOVERY_SECONDS_MAX = 40.0
"""A cluster elects its controller, then its leaders: 15 s where three brokers and what sends to
them have cores of their own."""


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Run three brokers of this test's own."""
    directory = Path(tempfile.mkdtemp(prefix="meterline-tests-"))
    made = Cluster(directory)
    try:
        made.start()
        yield made
    finally:
        made.kill()
        shutil.rmtree(directory)


@dataclass
class Spread:
    """A tenant of a gateway on the cluster, with a customer in each partition."""

    cluster: Cluster
    lane: LaneSite
    customers: list[str]

    async def leaders(self) -> dict[int, int]:
        return await self.cluster.leaders(self.lane.site.topic)

    async def take(self, partition: int) -> None:
        site = self.lane.site
        await site.take(site.event(customer_ref=self.customers[partition]))

    async def post_to_all(self) -> dict[int, int]:
        """Send an event to each partition; the statuses."""
        site = self.lane.site
        events = [site.event(customer_ref=ref) for ref in self.customers]
        answers = await asyncio.gather(*[site.post("/api/usage/event", e) for e in events])
        return {partition: status for partition, (status, _) in enumerate(answers)}


@asynccontextmanager
async def spread_over(
    cluster: Cluster, database: str, logs: Path, *, replicas: int
) -> AsyncIterator[Spread]:
    """Make the topics and run a gateway. replicas: of usage events, an in-sync one fewer needed."""
    await make_topic(cluster, replicas)
    await prepare_log(cluster.bootstrap, database, "", partitions=TEST_PARTITIONS)
    env = {
        "METERLINE_KAFKA": cluster.bootstrap,
        "METERLINE_POSTGRES": database,
        "METERLINE_TOPIC_PREFIX": "",
    }
    async with (
        gateway_of(
            env, logs, publish_deadline_seconds=DEADLINE_SECONDS, producer_patience_seconds=1
        ) as service,
        tenant_of(service, env) as lane,
    ):
        yield Spread(cluster, lane, await customers_of(lane, database))


async def make_topic(cluster: Cluster, replicas: int) -> None:
    """Make the topic of usage events once all brokers know of each other."""
    settings = {**TOPIC_SETTINGS[USAGE_EVENTS], "min.insync.replicas": str(max(1, replicas - 1))}
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)

    async def is_whole() -> bool:
        try:
            await admin.start()
            return len((await admin.describe_cluster())["brokers"]) == NODES
        except KafkaError:
            return False

    try:
        await eventually(is_whole, "three brokers are up")
        topic = NewTopic(USAGE_EVENTS, TEST_PARTITIONS, replicas, topic_configs=settings)
        await admin.create_topics([topic])
    finally:
        await admin.close()


async def customers_of(lane: LaneSite, database: str) -> list[str]:
    """Make customers until each partition has one; their refs by partition."""
    found: dict[int, str] = {}
    connection = await asyncpg.connect(database)
    try:
        while len(found) < TEST_PARTITIONS:
            made = await make_customer(connection, lane.site.customer.tenant)
            found[partition_of(shard_key(made.ref), TEST_PARTITIONS)] = made.ref
    finally:
        await connection.close()
    for ref in found.values():
        await lane.site.take(lane.site.event(customer_ref=ref))
    return [found[partition] for partition in range(TEST_PARTITIONS)]


async def await_all_taken(spread: Spread) -> None:
    async def all_taken() -> bool:
        return set((await spread.post_to_all()).values()) == {202}

    await eventually(all_taken, "events of every partition are taken")


async def test_leaders_that_die_one_after_another_lose_nothing(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    async with spread_over(cluster, database, tmp_path, replicas=3) as spread:
        load = Load(spread.lane.site)
        loading = asyncio.create_task(load.run())
        own = partition_of(shard_key(spread.lane.site.customer.ref), TEST_PARTITIONS)
        for _ in range(NODES):
            leader = (await spread.leaders())[own]
            cluster.kill(leader)
            killed_at, taken = monotonic(), len(load.acknowledged)
            await eventually(partial(is_taken, load, taken + 50), "the next leader takes over")
            assert monotonic() - killed_at < RECOVERY_SECONDS_MAX
            assert (await spread.leaders())[own] not in {leader, -1}
            await asyncio.to_thread(cluster.start, leader)
            await await_all_taken(spread)
        load.is_over = True
        await loading
        assert load.acknowledged == set(await keys_in_log(spread.lane.site)) - {""}


async def is_taken(load: Load, count: int) -> bool:
    return len(load.acknowledged) >= count


async def test_no_leader_for_most_of_a_minute_leaves_no_producer_poisoned(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    async with spread_over(cluster, database, tmp_path, replicas=3) as spread:
        load = Load(spread.lane.site)
        loading = asyncio.create_task(load.run())
        await eventually(lambda: is_taken(load, 100), "events are taken")
        for node in (1, 2):
            os.kill(cluster.pid(node), signal.SIGSTOP)
        try:
            await asyncio.sleep(LEADERLESS_SECONDS)  # the fault itself
            assert set((await spread.post_to_all()).values()) == {503}
        finally:
            for node in (1, 2):
                os.kill(cluster.pid(node), signal.SIGCONT)
        woken_at = monotonic()
        await await_all_taken(spread)
        assert monotonic() - woken_at < RECOVERY_SECONDS_MAX
        load.is_over = True
        await loading
        assert load.acknowledged == set(await keys_in_log(spread.lane.site)) - {""}
        assert await spread.lane.metric("gateway_producers_rebuilt_total") > 0


async def test_one_broker_that_stalls_is_passed_over(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    async with spread_over(cluster, database, tmp_path, replicas=3) as spread:
        load = Load(spread.lane.site)
        loading = asyncio.create_task(load.run())
        own = partition_of(shard_key(spread.lane.site.customer.ref), TEST_PARTITIONS)
        await eventually(partial(is_taken, load, 100), "events are taken")
        leader = (await spread.leaders())[own]
        os.kill(cluster.pid(leader), signal.SIGSTOP)
        try:
            stalled_at = monotonic()
            await await_all_taken(spread)
            assert monotonic() - stalled_at < STALLED_SECONDS
        finally:
            os.kill(cluster.pid(leader), signal.SIGCONT)
        load.is_over = True
        await loading
        assert load.acknowledged == set(await keys_in_log(spread.lane.site)) - {""}
        assert await spread.lane.metric("gateway_producers_rebuilt_total") > 0


async def test_when_the_leader_of_some_partitions_dies_the_others_go_on(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    async with spread_over(cluster, database, tmp_path, replicas=1) as spread:
        site = spread.lane.site
        leaders = await spread.leaders()
        victim = leaders[0]
        dead = {partition for partition, leader in leaders.items() if leader == victim}
        assert 0 < len(dead) < TEST_PARTITIONS
        cluster.kill(victim)
        events = [
            site.event(customer_ref=ref, idempotency_key=f"{partition}-{number}")
            for number in range(5)
            for partition, ref in enumerate(spread.customers)
        ]
        of_the_dead = [n for n in range(len(events)) if n % TEST_PARTITIONS in dead]
        status, answer = await site.post("/api/usage/events", events)
        assert (status, answer["unknown"]) == (503, of_the_dead)
        assert answer["accepted"] == len(events) - len(of_the_dead)
        expected = {p: 503 if p in dead else 202 for p in range(TEST_PARTITIONS)}
        for _ in range(5):
            assert await spread.post_to_all() == expected
        await asyncio.to_thread(cluster.start, victim)
        await await_all_taken(spread)
        status, again = await site.post("/api/usage/events", events)
        assert (status, again["accepted"]) == (202, len(events))
        known = {ref for ref in answer["event_refs"] if ref is not None}
        assert known < set(again["event_refs"])
        assert set(await keys_in_log(site)) - {""} == {str(e["idempotency_key"]) for e in events}
