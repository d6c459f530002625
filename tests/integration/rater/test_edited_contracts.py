"""Edits while events flow: charges come to one fold under the last version, and never to a part."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from fractions import Fraction
from typing import Any

import pytest

from deploy.local.find import StackAddress
from deploy.verify import versions
from deploy.verify.check import Finding, Scope
from deploy.verify.replay.checks import replay_checks
from deploy.verify.report import run_checks
from tests.aggregating import by_month
from tests.editing import edit_contract, end_contract
from tests.factories import (
    GRADUATED,
    PER_UNIT,
    MadeContract,
    MadeMeter,
    MadePricing,
    ask_to_close,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.rater.conftest import Bench
from tests.integration.rater.test_single_events import (
    FEES,
    ORDERED,
    REGIONS,
    Rows,
    expected,
    rows_of,
    wild_story,
)
from tests.rating import Change, Use, await_tasks, charges, counters, expected_charges

JANUARY, FEBRUARY, MARCH = date(2024, 1, 1), date(2024, 2, 1), date(2024, 3, 1)


async def failed(bench: Bench) -> frozenset[str]:
    """Return the names of the checks that do not hold."""
    address = StackAddress(kafka=bench.kafka, postgres=bench.database)
    report = await run_checks(address, replay=replay_checks())
    assert not report.failed, [(r.check.name, r.finding.witnesses) for r in report.results]
    return report.failed


def named(step: Use | Change, prefix: str) -> Use | Change:
    """Return a step about an event whose key no other meter's has."""
    if isinstance(step, Use):
        return replace(step, key=f"{prefix}-{step.key}")
    return replace(step, use=replace(step.use, key=f"{prefix}-{step.use.key}"))


def meter_of(step: Use | Change) -> MadeMeter:
    return step.meter if isinstance(step, Use) else step.use.meter


async def tell(
    bench: Bench,
    story: Sequence[Use | Change],
    contract: MadeContract,
    edits: Sequence[tuple[list[MadePricing], date]],
    chance: random.Random,
    *,
    waits: bool,
) -> MadeContract:
    """Produce a story, and edit its contract while it comes in; what stands in the end.

    waits: until one is done before the next begins.
    """
    cuts = sorted(chance.sample(range(len(story)), len(edits) + 1))
    await bench.produce(story[: cuts[0]])
    final = contract
    for number, (pricings, day) in enumerate(edits):
        if waits:
            await bench.rated()
            await await_tasks(bench.connection)
        flowing = asyncio.create_task(bench.produce(story[cuts[number] : cuts[number + 1]]))
        final = await edit_contract(bench.connection, contract, pricings, day)
        await flowing
    await bench.produce(story[cuts[-1] :])
    return final


async def test_edits_among_any_events_come_to_one_fold_under_the_last_version(
    bench: Bench,
) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    lines = [FEES, ORDERED, REGIONS]
    first, second, last = [
        await make_pricing(bench.connection, bench.tenant, [(meter, one) for one in prices])
        for prices in ([PER_UNIT, FEES], [GRADUATED], lines)
    ]
    others = [
        await make_meter(bench.connection, bench.tenant, aggregation=name, **fields)
        for name, fields in (
            ("MAX", {}), ("LAST", {}), ("RUNNING_AVERAGE", {}), ("UNIQUE", {"unique_key": "plan"}),
            ("TIME_WEIGHTED", {}),
        )
    ]  # fmt: skip
    beside = [
        await make_pricing(bench.connection, bench.tenant, [(one, price) for one in others])
        for price in (PER_UNIT, GRADUATED)
    ]
    chance = random.Random(20240731)
    wanted: Rows = {}
    finals: list[MadeContract] = []
    async with bench.rater(poll_records_max=7, backfill_events_max=5):
        for round_ in range(4):
            customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
            own = wild_story(customer, meter, chance)
            story = list(own)
            for one in others:
                story += [named(step, one.ref) for step in wild_story(customer, one, chance)]
            chance.shuffle(story)
            own = [step for step in story if meter_of(step) == meter]
            contract = await make_contract(bench.connection, customer, [first, beside[0]])
            days = [FEBRUARY, JANUARY] if round_ < 3 else [JANUARY, JANUARY]
            edits = [([second, beside[1]], days[0]), ([last, beside[1]], days[1])]
            final = await tell(bench, story, contract, edits, chance, waits=round_ % 2 == 1)
            wanted |= expected(own, final, lines)
            finals.append(final)
        await bench.rated()
        await await_tasks(bench.connection)
    found = await rows_of(bench)
    priced = {ref for final in finals for ref in final.line_refs[0]}
    assert {place: row for place, row in found.items() if place[0] in priced} == wanted
    priced |= {ref for final in finals for ref in final.line_refs[1]}
    assert {line for line, _, _ in found} <= priced
    assert await failed(bench) == frozenset()


SHOWN = """
SELECT sum(c.amount) AS amount, count(DISTINCT p.version) AS versions
FROM charge c JOIN billing_period b USING (shard_key, period_ref)
JOIN contract_product p USING (shard_key, contract_product_ref) WHERE NOT p.is_pending
"""


async def test_no_moment_shows_a_part_of_what_is_rated_anew(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    pricings = [
        await make_pricing(bench.connection, bench.tenant, [(meter, {**PER_UNIT, "price": price})])
        for price in ("1", "10")
    ]
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    contract = await make_contract(bench.connection, customer, pricings[:1])
    seen: list[tuple[int, int]] = []

    async def watch() -> None:
        while not seen or seen[-1][0] != 1_000:
            row = await bench.connection.fetchrow(SHOWN)
            assert row is not None
            seen.append((int(row["amount"]), row["versions"]))

    async with bench.rater(backfill_events_max=3):
        await bench.produce(
            Use(customer, meter, at=f"2024-01-{number % 28 + 1:02}T00:00:00Z")
            for number in range(100)
        )
        await bench.rated()
        await await_tasks(bench.connection)
        await edit_contract(bench.connection, contract, pricings[1:], JANUARY)
        await asyncio.wait_for(watch(), 60)
        await await_tasks(bench.connection)
    assert set(seen) == {(100, 1), (1_000, 1)}
    assert len(await charges(bench.connection)) == 1
    assert len(seen) > 3, "the swap was waited for"
    assert await counters(bench.connection) == {"rated": 100}
    assert await failed(bench) == frozenset()


#: Ways to spoil the books of edited contracts; the check `versions` notices each.
SPOILT = (
    "UPDATE contract_product SET until_date = NULL WHERE version = 1",
    "UPDATE contract_product SET is_pending = true WHERE version = 2",
    "UPDATE contract_product SET since_date = since_date - 1 WHERE version = 2",
    "UPDATE contract SET version = version + 1",
    "DELETE FROM contract_version",
    "UPDATE partition_task SET is_swapped = false, state = 'PENDING' WHERE contract_version = 2",
)


async def assert_versions_are_proved(bench: Bench) -> None:
    (check,) = versions.CHECKS
    for spoiling in ("SELECT 1", *SPOILT):
        spoilt = bench.connection.transaction()
        await spoilt.start()
        await bench.connection.execute(spoiling)
        finding = Finding(check.unit)
        scope = Scope(connection=bench.connection, tenant_id=None, kafka=bench.kafka)
        await check.run(scope, finding)
        assert bool(finding.difference) == (spoiling in SPOILT), spoiling
        await spoilt.rollback()


async def test_what_no_line_covers_any_more_is_unrated(bench: Bench) -> None:
    kept, dropped = [await make_meter(bench.connection, bench.tenant) for _ in range(2)]
    both, one = [
        await make_pricing(bench.connection, bench.tenant, [(meter, PER_UNIT) for meter in meters])
        for meters in ([kept, dropped], [kept])
    ]
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    contract = await make_contract(bench.connection, customer, [both])
    uses = [
        Use(customer, meter, at=f"2024-0{month}-05T00:00:00Z", key=f"{meter.ref}-{month}-{number}")
        for meter in (kept, dropped)
        for month in (1, 2, 3)
        for number in range(9)
    ]
    async with bench.rater(backfill_events_max=4):
        await bench.produce(uses)
        await bench.rated()
        edited = await edit_contract(bench.connection, contract, [one], FEBRUARY)
        await await_tasks(bench.connection)
        assert await counters(bench.connection) == {"rated": 36, "unrated": 18}
        await end_contract(bench.connection, edited, MARCH)
        await bench.produce([Use(customer, kept, at="2024-03-06T00:00:00Z")])
        await bench.rated()
        await await_tasks(bench.connection)
        assert await counters(bench.connection) == {"rated": 27, "unrated": 28}
        assert await failed(bench) == frozenset()
        await assert_versions_are_proved(bench)
        # A contract that comes to cover it rates it like any other.
        again = await make_contract(bench.connection, customer, [both], start=MARCH)
        await await_tasks(bench.connection)
    assert await counters(bench.connection) == {"rated": 46, "unrated": 9}
    months: Sequence[tuple[str, date, int]] = [
        (contract.line_refs[0][0], JANUARY, 9),
        (contract.line_refs[0][1], JANUARY, 9),
        (edited.line_refs[0][0], FEBRUARY, 9),
        (again.line_refs[0][0], MARCH, 10),
        (again.line_refs[0][1], MARCH, 9),
    ]
    assert await charges(bench.connection) == {
        (ref, month): (Fraction(count), count, count * Fraction("0.02"))
        for ref, month, count in months
    }
    assert await failed(bench) == frozenset()


@pytest.mark.parametrize("is_late", [False, True])
async def test_what_is_weighted_by_time_goes_on_through_edits(bench: Bench, is_late: bool) -> None:
    meter = await make_meter(bench.connection, bench.tenant, aggregation="TIME_WEIGHTED")
    first, second, third = [
        await make_pricing(bench.connection, bench.tenant, [(meter, {**PER_UNIT, "price": price})])
        for price in ("1", "10", "100")
    ]
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    contract = await make_contract(bench.connection, customer, [first], end=date(2024, 5, 31))
    early = Use(customer, meter, "4", "2024-01-21T00:00:00Z", "early")
    late = Use(customer, meter, "6", "2024-01-31T00:00:00Z", "late")
    later = Use(customer, meter, "8", "2024-02-15T12:00:00Z", "later")
    async with bench.rater(backfill_events_max=2):
        await bench.produce([early, later] if is_late else [early, late, later])
        await bench.rated()
        await edit_contract(bench.connection, contract, [second], FEBRUARY)
        await await_tasks(bench.connection)
        await edit_contract(bench.connection, contract, [third], MARCH)
        await await_tasks(bench.connection)
        await ask_to_close(bench.connection, contract, date(2024, 4, 30))
        await await_tasks(bench.connection)
        if is_late:  # for a period that is closed, under a version that has ended
            await bench.produce([late])
            await bench.rated()
    rows = await bench.connection.fetch(
        "SELECT start_date, coalesce(exact_quantity, quantity::text) AS quantity, event_count, "
        "amount FROM charge JOIN billing_period USING (shard_key, period_ref) ORDER BY start_date"
    )
    found = {row["start_date"]: (Fraction(row["quantity"]), row["event_count"]) for row in rows}
    by_day = by_month("TIME_WEIGHTED", [early, late, later])
    assert {JANUARY: found[JANUARY], FEBRUARY: found[FEBRUARY]} == by_day
    assert found[FEBRUARY] == (Fraction(7), 1)
    assert found[MARCH] == found[date(2024, 4, 1)] == (Fraction(8), 0)
    assert [row["amount"] for row in rows][1:] == [70, 800, 800]
    assert await failed(bench) == frozenset()


async def test_a_closing_waits_for_an_edit_and_a_closed_period_keeps_its_version(
    bench: Bench,
) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    old, new = [
        await make_pricing(bench.connection, bench.tenant, [(meter, price)])
        for price in (PER_UNIT, GRADUATED)
    ]
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    contract = await make_contract(bench.connection, customer, [old], end=date(2024, 3, 31))
    uses = [
        Use(customer, meter, "7", f"2024-0{month}-{day:02}T00:00:00Z", f"{month}-{day}")
        for month in (1, 2, 3)
        for day in range(5, 20)
    ]
    async with bench.rater(backfill_events_max=2):
        await bench.produce(uses)
        await bench.rated()
        await ask_to_close(bench.connection, contract, date(2024, 1, 31))
        await await_tasks(bench.connection)
        late = Use(customer, meter, "1", "2024-01-25T00:00:00Z", "late")
        await bench.produce([late])
        await bench.rated()
        edited = await edit_contract(bench.connection, contract, [new], FEBRUARY)
        await ask_to_close(bench.connection, contract, date(2024, 2, 29))
        await await_tasks(bench.connection)
    uses.append(late)
    prices: dict[str, tuple[MadeMeter, Mapping[str, Any]]] = {
        contract.line_refs[0][0]: (meter, PER_UNIT),
        edited.line_refs[0][0]: (meter, GRADUATED),
    }
    wanted = {
        place: total
        for place, total in expected_charges(uses, [contract, edited], prices).items()
        if (place[1] == JANUARY) == (place[0] == contract.line_refs[0][0])
    }
    assert await charges(bench.connection) == wanted
    cuts = await bench.connection.fetch(
        "SELECT contract_line_ref::text, start_date, event_count FROM charge_cut "
        "JOIN billing_period USING (shard_key, period_ref) ORDER BY start_date, cut_number"
    )
    assert [tuple(cut) for cut in cuts] == [
        (contract.line_refs[0][0], JANUARY, 15),
        (contract.line_refs[0][0], JANUARY, 16),
        (edited.line_refs[0][0], FEBRUARY, 15),
    ]
    assert await failed(bench) == frozenset()
