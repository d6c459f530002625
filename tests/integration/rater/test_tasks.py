"""Back-fills and closings: what a contract comes to does not depend on when it was made."""

import asyncio
import json
import random
from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from schemas.topics import BILLING_PERIODS
from tests.factories import (
    FLAT,
    GRADUATED,
    PER_UNIT,
    MadeContract,
    MadeCustomer,
    MadeMeter,
    ask_to_close,
    make_contract,
    make_customer,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.rater.conftest import Bench
from tests.rating import Use, await_tasks, charges, counters, expected_charges

Priced = tuple[MadeMeter, Mapping[str, Any]]


async def test_a_contract_made_later_covers_what_came_before(bench: Bench) -> None:
    calls = await make_meter(bench.connection, bench.tenant, aggregation="COUNT")
    sent = await make_meter(bench.connection, bench.tenant)
    unpriced = await make_meter(bench.connection, bench.tenant)
    priced: list[Priced] = [(calls, PER_UNIT), (sent, GRADUATED)]
    pricing = await make_pricing(bench.connection, bench.tenant, priced)
    customers = [
        await make_customer_in(bench.connection, bench.tenant, 0, bench.partitions)
        for _ in range(2)
    ]
    chance = random.Random(3)
    uses = [
        Use(
            customer=chance.choice(customers),
            meter=chance.choice([calls, sent, unpriced]),
            quantity=str(chance.randrange(1, 99)),
            at=f"2024-0{chance.randrange(1, 4)}-{chance.randrange(5, 25):02}T08:00:00Z",
            key=str(number) if number % 3 else None,
        )
        for number in range(400)
    ]
    contracts = []
    async with bench.rater(backfill_events_max=13, poll_records_max=20):
        await bench.produce(uses[:200])
        await bench.rated()
        # The first contract comes between events, the second while they flow.
        contracts.append(await make_contract(bench.connection, customers[0], [pricing]))
        contracts.append(await make_contract(bench.connection, customers[0], [pricing]))
        flowing = asyncio.create_task(bench.produce(uses[200:]))
        contracts.append(await make_contract(bench.connection, customers[1], [pricing]))
        await flowing
        await bench.rated()
        await await_tasks(bench.connection)
    lines = {
        ref: priced[position]
        for contract in contracts
        for position, ref in enumerate(contract.line_refs[0])
    }
    assert await charges(bench.connection) == expected_charges(uses, contracts, lines)
    unrated = sum(use.meter == unpriced for use in uses)
    assert await counters(bench.connection) == {"rated": 400 - unrated, "unrated": unrated}
    assert await bench.connection.fetchval("SELECT count(*) FROM unrated_usage") == unrated


async def test_a_backfill_reads_the_months_in_force_alone(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer(bench.connection, bench.tenant)
    pricing = await make_pricing(bench.connection, bench.tenant, [(meter, PER_UNIT)])
    days = ["2024-01-31T23:59:59Z", "2024-02-10T00:00:00Z", "2024-03-01T00:00:00Z"]
    async with bench.rater():
        await bench.produce(Use(customer, meter, at=day) for day in days)
        await bench.rated()
        await make_contract(
            bench.connection, customer, [pricing], start=date(2024, 2, 1), end=date(2024, 2, 29)
        )
        await await_tasks(bench.connection)
    assert [month for _, month in await charges(bench.connection)] == [date(2024, 2, 1)]
    assert await counters(bench.connection) == {"rated": 1, "unrated": 2}


async def test_a_contract_without_lines_or_usage_is_done_at_once(bench: Bench) -> None:
    customer = await make_customer(bench.connection, bench.tenant)
    empty = await make_pricing(bench.connection, bench.tenant, [])
    async with bench.rater():
        await make_contract(bench.connection, customer, [empty])
        await await_tasks(bench.connection)
    assert await charges(bench.connection) == {}


async def usual_contract(bench: Bench) -> tuple[MadeCustomer, MadeContract, list[Use]]:
    meter = await make_meter(bench.connection, bench.tenant)
    idle = await make_meter(bench.connection, bench.tenant)
    pricing = await make_pricing(
        bench.connection,
        bench.tenant,
        [(meter, PER_UNIT), (idle, GRADUATED), (None, FLAT)],
    )
    customer = await make_customer(bench.connection, bench.tenant)
    contract = await make_contract(bench.connection, customer, [pricing, pricing])
    months = ("01", "02", "02", "03")
    uses = [Use(customer, meter, "100", at=f"2024-{m}-10T00:00:00Z") for m in months]
    return customer, contract, uses


@pytest.mark.parametrize("lines_max", [1, 7, 1_000])
async def test_closing_cuts_every_line_of_every_period_that_is_due(
    bench: Bench, lines_max: int
) -> None:
    customer, contract, uses = await usual_contract(bench)
    consumer = AIOKafkaConsumer(
        bench.topic_prefix + BILLING_PERIODS,
        bootstrap_servers=bench.kafka,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async with bench.rater(closing_lines_max=lines_max):
            await bench.produce(uses)
            await ask_to_close(bench.connection, contract, date(2024, 3, 30))
            await await_tasks(bench.connection)
            messages = [await consumer.getone() for _ in range(4)]
    finally:
        await consumer.stop()
    rows = await bench.connection.fetch(
        "SELECT cut.*, p.contract_product_ref::text AS product, p.start_date, p.last_cut_number "
        "FROM charge_cut cut JOIN billing_period p USING (shard_key, period_ref) "
        "JOIN contract_line l USING (shard_key, contract_line_ref) "
        "ORDER BY p.start_date, product, l.position"
    )
    per_period = [
        [
            (Fraction(r["quantity"]), r["event_count"], Fraction(r["amount"]))
            for r in rows[i : i + 3]
        ]
        for i in range(0, len(rows), 3)
    ]
    zero, seats = (Fraction(0), 0, Fraction(5)), (Fraction(3), 0, Fraction(147))
    january = [(Fraction(100), 1, Fraction(2)), zero, seats]
    february = [(Fraction(200), 2, Fraction(4)), zero, seats]
    assert per_period == [january, january, february, february]
    assert {row["last_cut_number"] for row in rows} == {1}
    cuts = await bench.connection.fetch("SELECT * FROM period_cut")
    offset = await bench.connection.fetchval(
        "SELECT next_offset FROM rater_partition WHERE partition = $1", cuts[0]["partition"]
    )
    assert len(cuts) == 4
    assert {cut["cut_offset"] for cut in cuts} == {offset}
    told = [json.loads(message.value) for message in messages]
    assert {message.key for message in messages} == {customer.ref.encode()}
    assert {(t["contract_product_ref"], t["period_ref"]) for t in told} == {
        (row["product"], str(row["period_ref"])) for row in rows
    }
    assert {(t["v"], t["trigger"], t["cut_number"]) for t in told} == {(1, "PERIOD_CUT", 1)}
    closed = "SELECT periods_closed FROM partition_task WHERE kind = 'CLOSE'"
    assert await bench.connection.fetchval(closed) == 4


async def test_closing_waits_for_what_was_acknowledged_and_for_backfills(bench: Bench) -> None:
    _, contract, uses = await usual_contract(bench)
    await bench.produce(uses * 50)  # in the log before the request; nothing of it is rated
    await ask_to_close(bench.connection, contract, date(2024, 2, 29))
    async with bench.rater(poll_records_max=7, backfill_events_max=3):
        await await_tasks(bench.connection)
        cut = await bench.connection.fetchval("SELECT sum(event_count) FROM charge_cut")
    assert cut == 2 * 3 * 50


async def test_closing_again_cuts_only_what_is_new(bench: Bench) -> None:
    _, contract, uses = await usual_contract(bench)
    async with bench.rater():
        await bench.produce(uses)
        for day in (date(2024, 1, 31), date(2024, 1, 31), date(2024, 3, 31)):
            await ask_to_close(bench.connection, contract, day)
            await await_tasks(bench.connection)
    closed = await bench.connection.fetch(
        "SELECT periods_closed FROM partition_task WHERE kind = 'CLOSE' ORDER BY reference_version"
    )
    assert [row["periods_closed"] for row in closed] == [2, 0, 4]


async def test_usage_that_comes_after_the_cut_adds_to_the_charge_and_not_to_the_cut(
    bench: Bench,
) -> None:
    _, contract, uses = await usual_contract(bench)
    async with bench.rater():
        await bench.produce(uses)
        await ask_to_close(bench.connection, contract, date(2024, 1, 31))
        await await_tasks(bench.connection)
        await bench.produce(uses)
        await bench.rated()
    assert await bench.connection.fetchval("SELECT max(quantity) FROM charge_cut") == 100
    totals = {quantity for quantity, _, _ in (await charges(bench.connection)).values()}
    assert totals == {200, 400}
    assert await bench.connection.fetchval("SELECT max(last_cut_number) FROM billing_period") == 1


async def test_raters_take_over_tasks_from_one_another(bench: Bench) -> None:
    _, contract, uses = await usual_contract(bench)
    async with bench.rater(member="a", heartbeat_seconds=0.1), bench.rater(member="b"):
        await bench.produce(uses * 10)
    async with bench.rater(member="c"):
        await ask_to_close(bench.connection, contract, date(2024, 3, 31))
        await await_tasks(bench.connection)
    cut = await bench.connection.fetchval("SELECT sum(event_count) FROM charge_cut")
    assert cut == 2 * len(uses) * 10
