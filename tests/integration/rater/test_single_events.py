"""Prices of single events and of cells: from any log to charges, documents and their proof."""

import random
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from deploy.verify import documents, prices, single_events, totals
from deploy.verify.check import Finding, Scope
from deploy.verify.report import see_counted
from invoicer.inputs import InputKey
from invoicer.intake import Intake
from runtime.postgres import open_pool
from tests.factories import (
    MadeContract,
    MadeCustomer,
    MadeMeter,
    ask_to_close,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.invoicer.conftest import make_intake
from tests.integration.rater.conftest import Bench
from tests.rating import Change, Story, Use, as_counted, await_tasks

FEES: dict[str, Any] = {
    "model": "PERCENTAGE", "rate": "2.9", "fixed_fee": "0.3", "maximum_per_event": "2",
}  # fmt: skip
ORDERED = FEES | {"included_events": 2, "included_quantity": "25", "discount": "10"}
REGIONS: dict[str, Any] = {
    "model": "MATRIX", "price": "0.5", "dimensions": ["region", "plan"],
    "cells": [
        {"values": ["eu", "gold"], "unit_price": "0.1"},
        {"values": ["us", "7"], "unit_price": "0.2"},
    ],
    "included_quantity": "3", "minimum_fee": "40", "discount": "5",
}  # fmt: skip
SET_UP = {"model": "FLAT", "price": "50", "recurring": False}
DATA: Sequence[dict[str, Any] | None] = [
    {"region": "eu", "plan": "gold"}, {"region": "us", "plan": 7}, {"plan": "gold"}, None,
]  # fmt: skip
MONTHS = ["2023-12", "2024-01", "2024-02"]


def wild_story(
    customer: MadeCustomer, meter: MadeMeter, chance: random.Random
) -> list[Use | Change]:
    """Make uses that come in any order, or twice, changed and deleted, some before they come."""
    uses = [
        Use(customer, meter, f"{chance.randrange(-9, 90)}.{chance.randrange(100):02}",
            a_time(chance), str(number), chance.choice(DATA))
        for number in range(24)
    ]  # fmt: skip
    story: list[Use | Change] = [*uses, *chance.sample(uses, 5)]
    for use in chance.sample(uses, 14):
        story += [
            Change(use, quantity=str(chance.randrange(50))),
            Change(use, at=a_time(chance)),
            Change(use, data=chance.choice(DATA[:3])),
            Change(use, is_delete=True),
        ][chance.randrange(4) :][: chance.randrange(1, 3)]
    chance.shuffle(story)
    return story


def a_time(chance: random.Random) -> str:
    return f"{chance.choice(MONTHS)}-{chance.randrange(10, 13)}T08:00:00Z"


Rows = dict[tuple[str, str, str], tuple[Fraction, int, Fraction]]


async def rows_of(bench: Bench, table: str = "charge") -> Rows:
    """Return totals by line, month and cell, those of nothing left out."""
    rows = await bench.connection.fetch(
        f"SELECT contract_line_ref::text, start_date, cell, quantity, event_count, amount "
        f"FROM {table} JOIN billing_period USING (shard_key, period_ref) WHERE event_count > 0"
    )
    return {(r[0], f"{r[1]:%Y-%m}", r[2]): (Fraction(r[3]), r[4], Fraction(r[5])) for r in rows}


def expected(story: Story, contract: MadeContract, prices: Sequence[dict[str, Any]]) -> Rows:
    """Fold what counts, line by line, by hand."""
    found: dict[tuple[str, str, str], list[Use]] = {}
    refs = {step.key: step.event_ref for step in story if isinstance(step, Use)}
    ordered = sorted(as_counted(story), key=lambda use: (use.at, refs[use.key]))
    for use in ordered:
        for ref, price in zip(contract.line_refs[0], prices, strict=True):
            if use.at >= "2024":
                cell = cell_by_hand(use) if price["model"] == "MATRIX" else ""
                found.setdefault((ref, use.at[:7], cell), []).append(use)
    by_line = dict(zip(contract.line_refs[0], prices, strict=True))
    return {
        place: (added(uses), len(uses), cost(by_line[place[0]], place[2], uses))
        for place, uses in found.items()
    }


def units(use: Use) -> Fraction:
    return Fraction(use.quantity)


def added(uses: Sequence[Use]) -> Fraction:
    return sum(map(units, uses), Fraction(0))


def cell_by_hand(use: Use) -> str:
    data = use.data or {}
    values = f"{data.get('region')} {data.get('plan')}"
    return {"eu gold": '["eu","gold"]', "us 7": '["us","7"]'}.get(values, "")


def cost(price: dict[str, Any], cell: str, uses: Sequence[Use]) -> Fraction:
    if price["model"] == "MATRIX":
        total = added(uses)
        each = Fraction({"": "0.5", '["eu","gold"]': "0.1", '["us","7"]': "0.2"}[cell])
        amount = max(abs(total) - 3, Fraction(0)) * each
        return amount if total >= 0 else -amount
    amount, left = Fraction(0), Fraction(price.get("included_quantity", 0))
    for place, use in enumerate(uses):
        if place < price.get("included_events", 0):
            continue
        size = abs(units(use))
        free = min(left, size)
        left -= free
        if not free or free < size:
            fee = min((size - free) * Fraction("0.029") + Fraction("0.3"), Fraction(2))
            amount += fee if units(use) >= 0 else -fee
    return amount


async def test_any_order_split_and_amendment_comes_to_one_fold_of_what_counts(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    lines = [FEES, ORDERED, REGIONS]
    pricing = await make_pricing(bench.connection, bench.tenant, [(meter, one) for one in lines])
    chance = random.Random(20240115)
    stories: list[tuple[MadeContract, Story]] = []
    async with bench.rater(poll_records_max=7, backfill_events_max=5):
        for round_ in range(4):
            customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
            story = wild_story(customer, meter, chance)
            await bench.produce(story[: len(story) // 2])
            if round_ % 2:
                await bench.rated()  # the contract covers usage of before it
            contract = await make_contract(bench.connection, customer, [pricing])
            await bench.produce(story[len(story) // 2 :])
            stories.append((contract, story))
        await bench.rated()
        await await_tasks(bench.connection)
    wanted: Rows = {}
    for contract, told in stories:
        wanted |= expected(told, contract, lines)
    assert await rows_of(bench) == wanted
    assert len({cell for _, _, cell in wanted}) == 3
    before = await bench.connection.fetch("SELECT * FROM charge ORDER BY charge_ref")
    await rate_anew(bench, [contract for contract, _ in stories])
    assert await bench.connection.fetch("SELECT * FROM charge ORDER BY charge_ref") == before


async def rate_anew(bench: Bench, contracts: Sequence[MadeContract]) -> None:
    """Rate the log from its beginning, in one poll, by contracts that are there already."""
    for table in ("charge", "billing_period", "usage_event_row", "usage_event_version",
                  "usage_tail", "usage_rollup", "rolled_customer", "unrated_usage",
                  "pending_amendment", "dead_letter"):  # fmt: skip
        await bench.connection.execute(f"TRUNCATE {table} CASCADE")
    await bench.connection.execute(
        "UPDATE rater_partition SET next_offset = 0, rated = 0, unrated = 0, duplicates = 0, "
        "conflicts = 0, amendments = 0, dead_letters = 0, skipped = 0, last_record_offset = NULL, "
        "last_record_digest = NULL"
    )
    async with bench.rater():
        await bench.rated()


async def test_documents_show_fees_and_cells_and_the_books_prove_them(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    lines = [(meter, FEES), (meter, ORDERED), (meter, REGIONS), (None, SET_UP)]
    pricing = await make_pricing(bench.connection, bench.tenant, lines)
    contract = await make_contract(bench.connection, customer, [pricing], end=date(2024, 2, 29))
    uses = [
        Use(customer, meter, "40", "2024-01-10T00:00:00Z", "a", DATA[0]),
        Use(customer, meter, "100", "2024-01-11T00:00:00Z", "b", DATA[1]),
        Use(customer, meter, "10.004", "2024-01-12T00:00:00Z", "c"),
        Use(customer, meter, "-2", "2024-01-09T00:00:00Z", "d", DATA[2]),
        Use(customer, meter, "200", "2024-02-09T00:00:00Z", "e", DATA[2]),
    ]
    async with bench.rater():
        await bench.produce(uses)
        await ask_to_close(bench.connection, contract, date(2024, 2, 29))
        await await_tasks(bench.connection)
    assert await rows_of(bench, "charge_cut") == await rows_of(bench)
    async with open_pool(bench.database, service="test") as pool:
        await take_cuts(make_intake(pool), bench)
    rows = await bench.connection.fetch(
        "SELECT issue_date, model, cell, quantity, amount, fees FROM document_line "
        "JOIN document USING (shard_key, document_ref) ORDER BY issue_date, position"
    )
    shown = [
        (f"{row['issue_date']:%m}", row["model"], row["cell"], *map(plain, tuple(row)[3:]))
        for row in rows
    ]
    assert shown == [
        # 1.46 + 2 + 0.590116 - 0.358
        ("02", "PERCENTAGE", "", 148.004, 3.69, 3.692116),
        # the first two are free, and 25 of the 100: 2 + 0.590116, less a tenth
        ("02", "PERCENTAGE", "", 148.004, 2.33, 2.590116),
        ("02", "MATRIX", '["eu","gold"]', 40, 3.52, None),  # 3.7 less 5 percent
        ("02", "MATRIX", '["us","7"]', 100, 18.43, None),
        ("02", "MATRIX", "", 8.004, 2.38, None),
        ("02", "MATRIX", "fee", 0, 13.67, None),  # 38 in all: a minimum of 40, less 5 percent
        ("02", "FLAT", "", 1, 50, None),
        ("03", "PERCENTAGE", "", 200, 2, 2),
        ("03", "PERCENTAGE", "", 200, 0, 0),
        ("03", "MATRIX", "", 200, 93.58, None),
    ]
    await see_counted(bench.connection)
    assert await broken(bench) == {}
    await assert_each_spoiling_is_seen(bench)


SPOILT: list[tuple[str, dict[str, int]]] = [
    (
        "UPDATE charge SET amount = amount + 0.000000001 WHERE pricing_line_id IN "
        "(SELECT pricing_line_id FROM pricing_line WHERE price ? 'fixed_fee') AND event_count > 1",
        {"event-prices": 2},
    ),
    (
        "UPDATE usage_event_row SET additional_data = '' WHERE quantity = 40",
        {"event-prices": 2, "event-cuts": 2},
    ),
    (
        "UPDATE usage_event SET occurred_at = occurred_at + interval '3 days' WHERE quantity = -2",
        {"event-prices": 1, "event-cuts": 1},
    ),
    (
        "UPDATE document_line SET fees = fees + 0.0001 WHERE quantity = 148.004",
        {"lines": 2},
    ),
    (
        "UPDATE document_line SET amount = amount - 0.01 WHERE cell = 'fee'",
        {"lines": 1, "documents": 2},
    ),
]


async def assert_each_spoiling_is_seen(bench: Bench) -> None:
    for spoiling, names in SPOILT:
        spoilt = bench.connection.transaction()
        await spoilt.start()
        await bench.connection.execute("ALTER TABLE document_line DISABLE TRIGGER USER")
        assert not (await bench.connection.execute(spoiling)).endswith(" 0"), spoiling
        assert await broken(bench) == names, spoiling
        await spoilt.rollback()


def plain(number: Decimal | None) -> float | None:
    return None if number is None else float(number)


async def take_cuts(intake: Intake, bench: Bench) -> None:
    keys = await bench.connection.fetch(
        "SELECT shard_key, contract_product_ref::text, period_ref::text, 'PERIOD_CUT', cut_number "
        "FROM period_cut JOIN billing_period USING (shard_key, period_ref) ORDER BY start_at"
    )
    await intake.take([InputKey(*key) for key in keys])


async def broken(bench: Bench) -> dict[str, int]:
    """Return how much is off, by the checks of prices, totals and documents."""
    found: dict[str, int] = {}
    async with bench.connection.transaction():
        scope = Scope(connection=bench.connection, tenant_id=None, kafka=bench.kafka)
        checks = (*totals.CHECKS, *prices.CHECKS, *single_events.CHECKS, *documents.CHECKS)
        for check in checks:
            if check.name in ("files", "invoiced"):
                continue
            finding = Finding(check.unit)
            await check.run(scope, finding)
            if finding.difference:
                found[check.name] = finding.difference
    return found
