"""Formulas of meters: billable quantities from records in Kafka to charges, however they come."""

from fractions import Fraction
from functools import partial
from typing import Any

from tests.factories import (
    PER_UNIT,
    MadeCustomer,
    MadeMeter,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.rater.amended import dead_reasons
from tests.integration.rater.conftest import Bench
from tests.rating import Change, Use, await_tasks, counters

FORMULA = "quantity * additional_report_data.minutes / 60"
FEES: dict[str, Any] = {"model": "PERCENTAGE", "rate": "10", "fixed_fee": "1", "included_events": 1}


async def quantities(bench: Bench) -> dict[str, tuple[Fraction, int, Fraction]]:
    rows = await bench.connection.fetch(
        "SELECT contract_line_ref::text AS ref, quantity, event_count, amount FROM charge"
    )
    return {
        r["ref"]: (Fraction(r["quantity"]), r["event_count"], Fraction(r["amount"])) for r in rows
    }


async def computed(bench: Bench, aggregation: str) -> MadeMeter:
    return await make_meter(
        bench.connection, bench.tenant, aggregation=aggregation, formula=FORMULA
    )


def use_of(
    customer: MadeCustomer, meter: MadeMeter, key: str, day: int, quantity: str, minutes: object
) -> Use:
    at = f"2024-01-{day:02}T00:00:00Z"
    return Use(customer, meter, quantity, at, f"{key}-{meter.ref}", {"minutes": minutes})


async def test_billable_quantities_are_charged_whenever_they_come(bench: Bench) -> None:
    summed, greatest = await computed(bench, "SUM"), await computed(bench, "MAX")
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)

    use = partial(use_of, customer)
    async with bench.rater():
        for meter in (summed, greatest):
            first = use(meter, "a", 10, "2", 90)
            second = use(meter, "b", 5, "7", 20)
            gone = use(meter, "c", 6, "100", 60)
            bad = use(meter, "bad", 7, "1", "sixty")
            await bench.produce([first, first, gone, bad])
            await bench.rated()
            await bench.produce(
                [
                    Change(gone, is_delete=True),
                    second,
                    Change(first, data={"minutes": 30}),
                    Change(second, data={"hours": 1}),
                ]
            )
            await bench.rated()
        assert await dead_reasons(bench) == ["FORMULA_FAILED"] * 4
        lines: list[tuple[MadeMeter, dict[str, Any]]] = [
            (summed, PER_UNIT),
            (summed, FEES),
            (greatest, PER_UNIT),
        ]
        pricing = await make_pricing(bench.connection, bench.tenant, lines)
        contract = await make_contract(bench.connection, customer, [pricing])
        await await_tasks(bench.connection)
        refs, per_unit = contract.line_refs[0], Fraction(PER_UNIT["price"])
        third = Fraction(2_333_333_333_333_333_333, 10**18)  # 7 * 20 / 60, to 18 digits
        assert await quantities(bench) == {
            refs[0]: (1 + third, 2, (1 + third) * per_unit),
            # By time the second one is the first, and free.
            refs[1]: (1 + third, 2, Fraction(11, 10)),
            refs[2]: (third, 2, third * per_unit),
        }
        await bench.produce([use(summed, "d", 1, "3", 60), use(greatest, "d", 1, "9", 1)])
        await bench.rated()
    assert await quantities(bench) == {
        refs[0]: (4 + third, 3, (4 + third) * per_unit),
        refs[1]: (4 + third, 3, Fraction(11, 10) + third / 10 + 1),
        refs[2]: (third, 3, third * per_unit),
    }
    assert (await counters(bench.connection))["rated"] == 8
