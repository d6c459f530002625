"""Meters that count toward others: any history comes to the sum over the tree, however it comes."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import pytest

from deploy.verify import digests, prices, single_events, totals
from deploy.verify.check import Finding, Scope
from deploy.verify.report import see_counted
from schemas.aggregation import AGGREGATIONS
from tests.aggregating import by_month, to_quantity
from tests.factories import (
    PER_UNIT,
    MadeContract,
    MadeCustomer,
    MadeMeter,
    ask_to_close,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.rater.conftest import Bench
from tests.rating import Change, Story, Use, as_counted, await_tasks, counters, eventually

FORMULA = "quantity * additional_report_data.size"
FEES: dict[str, Any] = {"model": "PERCENTAGE", "rate": "10", "fixed_fee": "1", "included_events": 2}
CELLS: dict[str, Any] = {
    "model": "MATRIX",
    "dimensions": ["user"],
    "cells": [{"values": ["a"], "unit_price": "2"}],
    "price": "3",
}


@dataclass(frozen=True)
class Tree:
    """A meter, and those that count toward it: each with the factor by hand."""

    root: MadeMeter
    factors: Mapping[MadeMeter, Fraction]
    computed: MadeMeter

    def in_root(self, uses: Iterable[Use]) -> list[Use]:
        """Return the uses that count in the root's lines, each with what it counts as there."""
        found = []
        for use in uses:
            if (factor := self.factors.get(use.meter)) is not None:
                if self.root.aggregation == "COUNT":
                    quantity = to_quantity(factor)
                else:
                    quantity = to_quantity(factor * self.billable(use))
                found.append(replace(use, quantity=str(quantity)))
        return found

    def billable(self, use: Use) -> Fraction:
        size = 1
        if use.meter == self.computed:
            assert use.data is not None
            size = use.data["size"]
        return Fraction(use.quantity) * size


async def a_tree(bench: Bench, aggregation: str) -> Tree:
    async def meter(parent: MadeMeter, factor: str, **fields: object) -> MadeMeter:
        place = {"parent_meter_id": parent.meter_id, "parent_factor": Decimal(factor)}
        return await make_meter(bench.connection, bench.tenant, **place, **fields)  # type: ignore[arg-type]

    key = "user" if aggregation == "UNIQUE" else None
    root = await make_meter(bench.connection, bench.tenant, aggregation=aggregation, unique_key=key)
    if aggregation == "UNIQUE":  # values are neither multiplied nor taken away
        child, computed = await meter(root, "1"), await meter(root, "1", formula=FORMULA)
        return Tree(root, {root: Fraction(1), child: Fraction(1), computed: Fraction(1)}, computed)
    child = await meter(root, "0.333333333333333333")
    computed = await meter(child, "2.5", formula=FORMULA)
    credit = await meter(root, "-1", relation="CREDIT")
    below = await meter(credit, "4", aggregation="MAX")
    third = Fraction("0.333333333333333333")
    factors = {root: Fraction(1), child: third, computed: third * Fraction(5, 2)}
    return Tree(root, {**factors, credit: Fraction(-1), below: Fraction(-4)}, computed)


def a_story(customer: MadeCustomer, trees: Iterable[Tree], seed: int) -> Story:
    """Return uses of all meters in any order, repeated, changed and deleted."""
    chance = random.Random(seed)
    story: list[Use | Change] = []
    for minute, meter in enumerate(meter for tree in trees for meter in tree.factors):

        def data() -> dict[str, Any]:
            return {"user": chance.choice(["a", "b", "c", None]), "size": chance.randint(-2, 3)}

        uses = [
            Use(
                customer,
                meter,
                chance.choice(["7", "-3", "0.000000000000000001", "12.5"]),
                f"2024-0{chance.randint(1, 2)}-{chance.choice(['01', '09', '28'])}T00:00:00Z",
                f"{meter.ref}-{number}",
                data(),
            )
            for number in range(5)
        ]
        first, second, third, *_ = uses
        changes = [
            Change(first, quantity="100.1"),
            # At an instant of its own: the ref of what is moved there says another month.
            Change(second, at=f"2024-02-15T00:{minute:02}:00Z", data=data()),
            Change(third, is_delete=True),
        ]
        story += [*uses, first, *changes]
    chance.shuffle(story)
    return story


async def found_lines(bench: Bench) -> dict[tuple[str, date], tuple[Fraction, int, Fraction]]:
    rows = await bench.connection.fetch(
        "SELECT c.contract_line_ref::text, p.start_date, sum(c.amount), sum(c.event_count)::int, "
        "sum(c.quantity), min(c.exact_quantity) "
        "FROM charge c JOIN billing_period p USING (shard_key, period_ref) GROUP BY 1, 2"
    )
    return {(r[0], r[1]): (Fraction(r[5] or r[4]), r[3], Fraction(r[2])) for r in rows}


def check_roots(
    found: Mapping[tuple[str, date], tuple[Fraction, int, Fraction]],
    lines: Mapping[str, Tree],
    uses: Iterable[Use],
) -> None:
    """Compare the lines of the roots with the fold of what counts in them."""
    uses = list(uses)
    for ref, tree in lines.items():
        aggregation = tree.root.aggregation
        own = tree.in_root(uses)
        expected = by_month("SUM" if aggregation == "COUNT" else aggregation, own, "user")
        months = {month: value[:2] for (line, month), value in found.items() if line == ref}
        assert months == expected, aggregation
        for (line, _), (quantity, _, amount) in found.items():
            if line == ref:
                exact = quantity * Fraction(PER_UNIT["price"])
                assert abs(amount - exact) < Fraction(1, 10**36)


def cells_and_fees(tree: Tree, uses: Iterable[Use]) -> dict[str, dict[date, Fraction]]:
    """Return what prices of cells and of single events come to, by hand."""
    months: dict[date, list[Use]] = {}
    for use in sorted(tree.in_root(uses), key=lambda use: (use.at, use.event_ref)):
        months.setdefault(date.fromisoformat(use.at[:10]).replace(day=1), []).append(use)
    cells, fees = {}, {}
    for month, own in months.items():
        prices = [2 if (use.data or {}).get("user") == "a" else 3 for use in own]
        quantities = [Fraction(use.quantity) for use in own]
        cells[month] = sum(map(Fraction.__mul__, quantities, map(Fraction, prices)), Fraction(0))
        fees[month] = sum((fee(quantity) for quantity in quantities[2:]), Fraction(0))
    return {"MATRIX": cells, "PERCENTAGE": fees}


def fee(quantity: Fraction) -> Fraction:
    amount = abs(quantity) / 10 + 1
    return -amount if quantity < 0 else amount


@pytest.mark.parametrize("poll_records_max", [20_000, 7])
async def test_any_history_comes_to_the_sum_over_the_tree(
    bench: Bench, poll_records_max: int
) -> None:
    trees = [await a_tree(bench, name) for name in AGGREGATIONS]
    summed = trees[0]
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    child = next(meter for meter, factor in summed.factors.items() if 0 < factor < Fraction(1, 2))
    story = a_story(customer, trees, seed=poll_records_max)
    half = len(story) // 2

    async with bench.rater(poll_records_max=poll_records_max, backfill_events_max=40):
        await bench.produce(story[:half])
        await bench.rated()
        assert not await found_lines(bench)
        lines: list[tuple[MadeMeter, dict[str, Any]]] = [(tree.root, PER_UNIT) for tree in trees]
        lines += [(summed.root, CELLS), (summed.root, FEES), (child, PER_UNIT)]
        pricing = await make_pricing(bench.connection, bench.tenant, lines)
        contract = await make_contract(bench.connection, customer, [pricing])
        await await_tasks(bench.connection)
        # A meter that is made now counts toward a meter that memory knows.
        place = {"parent_meter_id": child.meter_id, "parent_factor": Decimal(2)}
        late = await make_meter(bench.connection, bench.tenant, **place)  # type: ignore[arg-type]
        summed = replace(summed, factors={**summed.factors, late: 2 * summed.factors[child]})
        newest = Use(customer, late, "3", "2024-01-05T00:00:00Z", "newest", {"user": "a"})
        await bench.produce([newest, *story[half:], Change(newest, quantity="4")])
        await bench.rated()
        await check_all(bench, contract, [summed, *trees[1:]], [*as_counted(story), newest], child)
    async with bench.rater(poll_records_max=poll_records_max):  # with nothing in memory
        more = [Change(use, quantity="5") for use in as_counted(story)[::7]]
        await bench.produce(more)
        await bench.rated()
        await ask_to_close(bench.connection, contract, date(2024, 2, 29))
        await await_tasks(bench.connection)
        await eventually(partial(is_digested, bench), "all digests are made")
    whole = [*story, newest, *more]
    await check_all(bench, contract, [summed, *trees[1:]], as_counted(whole), child)
    await see_counted(bench.connection)
    assert await broken(bench) == set()
    spoilt = bench.connection.transaction()
    await spoilt.start()
    await bench.connection.execute(
        "UPDATE meter SET parent_factor = 9 WHERE meter_id = $1", child.meter_id
    )
    assert await broken(bench) == {
        *("charges", "cuts", "event-prices", "event-cuts", "digests"),
    }
    await spoilt.rollback()


async def is_digested(bench: Bench) -> bool:
    return not await bench.connection.fetchval("SELECT count(*) FROM undigested_cut")


async def broken(bench: Bench) -> set[str]:
    """Let `verify` fold, price and list everything again; return the checks that are red."""
    scope = Scope(connection=bench.connection, tenant_id=None, kafka=bench.kafka)
    red: set[str] = set()
    async with bench.connection.transaction():
        for check in (*totals.CHECKS, *prices.CHECKS, *single_events.CHECKS, *digests.CHECKS):
            finding = Finding(check.unit)
            await check.run(scope, finding)
            assert finding.counted, check.name
            if finding.difference:
                red.add(check.name)
    return red


async def check_all(
    bench: Bench,
    contract: MadeContract,
    trees: list[Tree],
    uses: list[Use],
    child: MadeMeter,
) -> None:
    """Check every line of the contract, and that every event counts as rated once."""
    uses = [replace(use, quantity="4") if use.key == "newest" else use for use in uses]
    refs = contract.line_refs[0]
    found = await found_lines(bench)
    check_roots(found, dict(zip(refs[: len(trees)], trees, strict=True)), uses)
    by_hand = cells_and_fees(trees[0], uses)
    for ref, model in zip(refs[len(trees) :], ("MATRIX", "PERCENTAGE"), strict=False):
        assert {m: v[2] for (line, m), v in found.items() if line == ref} == by_hand[model], model
    up = {child: Fraction(1), trees[0].computed: Fraction(5, 2)}
    up |= {meter: Fraction(2) for meter in trees[0].factors if meter.ref == uses_late(uses)}
    own = [
        replace(use, quantity=str(to_quantity(up[use.meter] * trees[0].billable(use))))
        for use in uses
        if use.meter in up
    ]
    months = {month: value[:2] for (line, month), value in found.items() if line == refs[-1]}
    assert months == by_month("SUM", own)
    counted = await counters(bench.connection)
    assert "unrated" not in counted
    stored = await bench.connection.fetchval("SELECT count(*) FROM usage_event")
    assert counted["rated"] == stored
    assert await bench.connection.fetchval("SELECT count(*) FROM unrated_usage") == 0


def uses_late(uses: Iterable[Use]) -> str:
    return next(use.meter.ref for use in uses if use.key == "newest")
