"""The rater killed where it hurts: what it comes to is what an undisturbed run comes to.

After each disturbed run everything that was rated is thrown away and the log is rated again in
peace. Every row must be the same, byte for byte: events and their versions, totals, cuts, what
waits, dead letters and gaps.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from deploy.local.servers import Servers
from tests.factories import (
    FLAT,
    GRADUATED,
    PER_UNIT,
    MadeContract,
    MadeCustomer,
    MadeMeter,
    MadePricing,
    ask_to_close,
    make_contract,
    make_customer,
    make_meter,
    make_pricing,
    make_tenant,
)
from tests.processes import Service, running
from tests.rating import (
    Change,
    Use,
    as_counted,
    await_offsets,
    await_tasks,
    broken_sums,
    charges,
    counters,
    eventually,
    expected_charges,
    produce,
    produce_raw,
    snapshot,
)

SMALL_STEPS = {
    "METERLINE_RATER_POLL_RECORDS_MAX": "40",
    "METERLINE_RATER_BACKFILL_EVENTS_MAX": "30",
    "METERLINE_RATER_CLOSING_LINES_MAX": "4",
    "METERLINE_RATER_HEARTBEAT_SECONDS": "0.2",
    "METERLINE_RATER_LEASE_SECONDS": "2",
    "METERLINE_RATER_ROLLUP_SECONDS": "0.05",
    "METERLINE_RATER_ROLLUP_EVENTS_MIN": "30",
    "METERLINE_RATER_TRANSACTION_SECONDS_MAX": "10",
}


class World:
    """Customers, some with a contract from the start, and a month and a half of their usage."""

    def __init__(self, servers: Servers, topic_prefix: str, connection: asyncpg.Connection) -> None:
        self.kafka = servers.kafka
        self.topic_prefix = topic_prefix
        self.connection = connection
        self.customers: list[MadeCustomer] = []
        self.contracts: list[MadeContract] = []
        self.lines: dict[str, tuple[MadeMeter, Mapping[str, Any]]] = {}
        self.story: list[Use | Change] = []
        self.produced = 0
        self._pricing: MadePricing | None = None
        self._priced: list[tuple[MadeMeter, Mapping[str, Any]]] = []

    async def prepare(self) -> None:
        tenant = await make_tenant(self.connection)
        calls = await make_meter(self.connection, tenant, aggregation="COUNT")
        sent = await make_meter(self.connection, tenant)
        self._priced = [(calls, PER_UNIT), (sent, GRADUATED)]
        lines = [*self._priced, (None, FLAT)]
        self._pricing = await make_pricing(self.connection, tenant, lines)
        self.customers = [await make_customer(self.connection, tenant) for _ in range(8)]
        for customer in self.customers[:4]:
            await self.sign(customer)
        chance = random.Random(11)
        for number in range(600):
            use = Use(
                customer=chance.choice(self.customers),
                meter=chance.choice([calls, sent]),
                quantity=f"{chance.randrange(1, 500)}.{chance.randrange(10**6):06}",
                at=f"2024-0{chance.randrange(1, 3)}-{chance.randrange(4, 26):02}T08:00:00Z",
                key=str(number) if number % 4 else None,
            )
            self.story += [use, use] if number % 50 == 1 else [use]
        self._amend(chance)

    def _amend(self, chance: random.Random) -> None:
        """Change and delete some of the uses, mostly after they came, and some that never come."""
        keyed = [step for step in self.story if isinstance(step, Use) and step.key is not None]
        for use in chance.sample(keyed, 150):
            month = chance.choice(["2023-12", "2024-01", "2024-02"])
            changes = [
                Change(use, quantity=str(chance.randrange(500))),
                Change(use, at=f"{month}-{chance.randrange(5, 25):02}T09:00:00Z", note="moved"),
                Change(use, is_delete=True),
            ]
            place = self.story.index(use)
            for change in chance.sample(changes, chance.randrange(1, 3)):
                place = max(0, place + chance.randrange(-20, 200))
                self.story.insert(place, change)
        never = [replace(use, key=f"never-{use.key}") for use in keyed[:5]]
        self.story += [Change(use, quantity="1") for use in never]

    async def sign(
        self,
        customer: MadeCustomer,
        *,
        closing: str = "MANUAL",
        end: date | None = None,
        payment_time: str = "AFTER_USE",
    ) -> MadeContract:
        assert self._pricing is not None
        terms: dict[str, Any] = {"closing": closing, "payment_time": payment_time}
        contract = await make_contract(self.connection, customer, [self._pricing], end=end, **terms)
        self.contracts.append(contract)
        self.lines |= dict(zip(contract.line_refs[0], self._priced, strict=False))
        return contract

    async def produce(self, part: slice) -> None:
        self.produced += await produce(self.kafka, self.topic_prefix, self.story[part])

    async def happen(self, first: int = 0) -> None:
        """Let everything happen that the rater has to do with, from the `first` record on."""
        await self.produce(slice(first, 300))
        self.produced += await produce_raw(
            self.kafka, self.topic_prefix, [(b"poison", b"not json")] * 3
        )
        for customer in self.customers[4:6]:
            await self.sign(customer)
        await self.produce(slice(300, None))
        for contract in self.contracts[:5]:
            await ask_to_close(self.connection, contract, date(2024, 1, 31))
        await self.sign(self.customers[6])

    async def done(self) -> None:
        await await_offsets(self.connection, self.produced)
        await await_tasks(self.connection)

    async def forget(self) -> None:
        """Throw away all that was rated; what was asked for stays."""
        await self.connection.execute(
            "TRUNCATE usage_event_row, usage_event_origin, usage_event_version, "
            "pending_amendment, unrated_usage, usage_conflict, dead_letter, partition_task, "
            "skipped_range, charge, charge_cut, period_cut, undigested_cut, billing_period, "
            "rater_outbox, late_period, closing_schedule, usage_tail, usage_rollup, rolled_customer"
        )
        await self.connection.execute(
            "UPDATE rater_partition SET next_offset = 0, steps = 0, changes_seen = 0, rated = 0, "
            "unrated = 0, duplicates = 0, conflicts = 0, dead_letters = 0, skipped = 0, "
            "amendments = 0, "
            "last_record_offset = NULL, last_record_digest = NULL"
        )

    async def check(self, peaceful: Service) -> None:
        """Compare with the oracle, and with the same log rated again in peace."""
        covered = [use for use in as_counted(self.story) if use.at >= "2024"]
        expected = expected_charges(covered, self.contracts, self.lines)
        assert await charges(self.connection) == expected
        assert (await counters(self.connection))["amendments"] > 150
        assert await self.connection.fetchval("SELECT count(*) FROM usage_rollup") > 0
        assert await broken_sums(self.connection) == []
        disturbed = await snapshot(self.connection)
        await self.forget()
        peaceful.start()
        await self.done()
        assert peaceful.stop() == 0
        assert await snapshot(self.connection) == disturbed
        assert await broken_sums(self.connection) == []


@pytest_asyncio.fixture
async def world(servers: Servers, database: str, topic_prefix: str) -> AsyncIterator[World]:
    connection = await asyncpg.connect(database)
    try:
        made = World(servers, topic_prefix, connection)
        await made.prepare()
        yield made
    finally:
        await connection.close()


@pytest.fixture
def env(stack_env: dict[str, str]) -> dict[str, str]:
    return stack_env | SMALL_STEPS


@pytest.mark.parametrize(
    "crash_point",
    [
        "rater.before_commit:2",
        "rater.after_commit:4",
        "rater.after_backfill_step:1",
        "rater.after_backfill_step:5",
        "rater.before_rollup_commit:3",
        "rater.after_cut:2",
        "rater.before_digests:2",
        pytest.param("rater.after_digests:1", marks=pytest.mark.long),
        "rater.after_outbox_publish:1",
    ],
)
async def test_killed_at_a_crash_point_and_started_again_it_comes_to_the_same(
    world: World, env: dict[str, str], tmp_path: Path, crash_point: str
) -> None:
    rater = Service("rater", env, tmp_path)
    with running(rater):
        rater.start(is_awaited=False, METERLINE_CRASHPOINT=crash_point)
        happening = asyncio.create_task(world.happen())
        await asyncio.to_thread(rater.wait_killed)
        rater.start(METERLINE_CRASHPOINT="")
        await happening
        await world.done()
        assert rater.stop() == 0
        await world.check(rater)


ONCE = """
SELECT contract_line_ref, period_ref, array_agg(cut_number) AS numbers,
       bool_and(events_digest IS NOT NULL) AS is_digested, sum(own.event_count) AS events
FROM charge_cut own JOIN pricing_line USING (pricing_line_id) WHERE meter_id IS NOT NULL
GROUP BY 1, 2
"""


@pytest.mark.parametrize(
    "crash_point",
    [
        "rater.after_cuts:2",
        pytest.param("rater.before_cuts:2", marks=pytest.mark.long),
        pytest.param("rater.before_digests:1", marks=pytest.mark.long),
        pytest.param("rater.after_digests:1", marks=pytest.mark.long),
    ],
)
async def test_killed_while_it_closes_by_the_clock_it_cuts_every_period_once(
    world: World, env: dict[str, str], tmp_path: Path, crash_point: str
) -> None:
    closes = {
        "METERLINE_RATER_CLOSING_GRACE_SECONDS": "0",
        "METERLINE_RATER_CLOSING_LOOK_SECONDS": "0.1",
    }
    rater = Service("rater", env | closes, tmp_path)
    await world.produce(slice(0, 200))
    signed = [
        await world.sign(customer, closing="AUTOMATIC", end=date(2024, 2, 29))
        for customer in world.customers[4:]
    ]

    async def all_are_closed() -> bool:
        due = "SELECT (SELECT count(*) FROM undigested_cut) + (SELECT count(*) FROM "
        left = await world.connection.fetchval(due + "closing_schedule)")
        cuts = await world.connection.fetchval("SELECT count(*) FROM period_cut")
        return bool(left == 0 and cuts == 2 * len(signed))

    with running(rater):
        rater.start(is_awaited=False, METERLINE_CRASHPOINT=crash_point)
        await asyncio.to_thread(rater.wait_killed)
        rater.start(METERLINE_CRASHPOINT="")
        await world.done()
        await eventually(all_are_closed, "every period is closed")
    rows = await world.connection.fetch(ONCE)
    assert {tuple(row["numbers"]) for row in rows} == {(1,)}
    assert all(row["is_digested"] for row in rows)
    events = sum(count for _, count, _ in (await charges(world.connection)).values())
    closed = await world.connection.fetchval(
        "SELECT sum(c.event_count)::int FROM charge c JOIN charge_cut USING (charge_ref)"
    )
    assert closed == sum(row["events"] for row in rows) <= events


@pytest.mark.parametrize("crash_point", ["rater.before_opening:1", "rater.after_opening:2"])
async def test_killed_while_it_bills_ahead_it_opens_every_period_once(
    world: World, env: dict[str, str], tmp_path: Path, crash_point: str
) -> None:
    closes = {
        "METERLINE_RATER_CLOSING_GRACE_SECONDS": "0",
        "METERLINE_RATER_CLOSING_LOOK_SECONDS": "0.1",
        "METERLINE_RATER_CLOSING_LINES_MAX": "1",
    }
    rater = Service("rater", env | closes, tmp_path)
    await world.produce(slice(0, 200))
    end = date(2024, 2, 29)
    for when in ("BEFORE_USE", "DURING_USE"):
        await world.sign(world.customers[4], closing="AUTOMATIC", end=end, payment_time=when)

    async def all_are_closed() -> bool:
        due = "SELECT (SELECT count(*) FROM undigested_cut) + (SELECT count(*) FROM "
        left = await world.connection.fetchval(due + "closing_schedule)")
        cuts = await world.connection.fetchval("SELECT count(*) FROM period_cut")
        return bool(left == 0 and cuts == 2 * 2 * 2)

    with running(rater):
        rater.start(is_awaited=False, METERLINE_CRASHPOINT=crash_point)
        await asyncio.to_thread(rater.wait_killed)
        rater.start(METERLINE_CRASHPOINT="")
        await world.done()
        await eventually(all_are_closed, "every period is opened and closed")
    rows = await world.connection.fetch(
        "SELECT array_agg(cut_number ORDER BY cut_at) AS numbers FROM period_cut "
        "GROUP BY period_ref"
    )
    assert [row["numbers"] for row in rows] == [[0, 1]] * 4


async def test_raters_killed_stopped_and_started_at_random_come_to_the_same(
    world: World, env: dict[str, str], tmp_path: Path
) -> None:
    raters = [Service("rater", env, tmp_path) for _ in range(3)]
    chance = random.Random(5)
    watching = await asyncpg.connect(env["METERLINE_POSTGRES"])
    try:
        await disturb(raters, chance, world, watching)
    finally:
        await watching.close()


async def disturb(
    raters: Sequence[Service], chance: random.Random, world: World, watching: asyncpg.Connection
) -> None:
    steps = "SELECT sum(steps) FROM rater_partition"
    with running(*raters):
        for rater in raters:
            rater.start(is_awaited=False)
        happening = asyncio.create_task(world.happen())
        for _ in range(6):
            victim = chance.choice(raters)
            before = await watching.fetchval(steps)
            if chance.random() < 0.5:
                victim.kill()
            else:
                await asyncio.to_thread(victim.stop)
            victim.start(is_awaited=False)

            async def moved(before: int = before) -> bool:
                return happening.done() or await watching.fetchval(steps) > before

            await eventually(moved, "something is rated")
        await happening
        await world.done()
        for rater in raters:
            await asyncio.to_thread(rater.stop)
        await world.check(raters[0])


async def test_a_rater_that_wakes_up_after_its_lease_is_fenced(
    world: World, env: dict[str, str], tmp_path: Path
) -> None:
    # The sleeper would hear of the end of its lease at its next beat, which never comes: it goes on
    # until it is fenced. Its lease is not renewed, so that it doesn't call itself ready for long.
    slow = {"METERLINE_RATER_HEARTBEAT_SECONDS": "600"}
    sleeper, heir = Service("rater", env | slow, tmp_path), Service("rater", env, tmp_path)

    async def is_fenced() -> bool:
        return "partition_fenced" in sleeper.log_text

    with running(sleeper, heir):
        sleeper.start(is_awaited=False)
        await world.produce(slice(100))
        await await_offsets(world.connection, world.produced)
        os.kill(sleeper.child.pid, signal.SIGSTOP)
        try:
            heir.start()
            await world.produce(slice(100, 200))
            await await_offsets(world.connection, world.produced)
        finally:
            os.kill(sleeper.child.pid, signal.SIGCONT)
        happening = asyncio.create_task(world.happen(first=200))
        await eventually(is_fenced, "the sleeper learns that it is late")
        assert await asyncio.to_thread(sleeper.stop) == 0
        await happening
        await world.done()
        assert await asyncio.to_thread(heir.stop) == 0
        await world.check(heir)
