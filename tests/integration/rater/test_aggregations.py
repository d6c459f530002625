"""Every aggregation, from records in Kafka to charges: any history comes to one plain fold."""

import random
from collections.abc import Mapping
from datetime import date
from fractions import Fraction

import pytest

from schemas.aggregation import AGGREGATIONS
from tests.aggregating import by_month
from tests.factories import (
    PER_UNIT,
    MadeContract,
    MadeMeter,
    ask_to_close,
    make_contract,
    make_customer_in,
    make_meter,
    make_pricing,
)
from tests.integration.rater.amended import FEBRUARY, JANUARY
from tests.integration.rater.conftest import Bench
from tests.rating import Change, Story, Use, as_counted, await_tasks

DAYS = ("01", "01", "09", "11", "11", "21", "28")
Found = Mapping[str, Mapping[date, tuple[Fraction, int]]]


async def meters_of(bench: Bench) -> dict[str, MadeMeter]:
    return {
        name: await make_meter(
            bench.connection,
            bench.tenant,
            aggregation=name,
            unique_key="user" if name == "UNIQUE" else None,
        )
        for name in AGGREGATIONS
    }


async def contract_over_all(bench: Bench, meters: Mapping[str, MadeMeter]) -> MadeContract:
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    lines = [(meter, PER_UNIT) for meter in meters.values()]
    return await make_contract(
        bench.connection, customer, [await make_pricing(bench.connection, bench.tenant, lines)]
    )


async def found_charges(bench: Bench, contract: MadeContract, names: list[str]) -> Found:
    """Return every charge by aggregation and month, its quantity exact; its price is checked."""
    line_names = dict(zip(contract.line_refs[0], names, strict=True))
    rows = await bench.connection.fetch(
        "SELECT c.*, p.start_date FROM charge c JOIN billing_period p USING (shard_key, period_ref)"
    )
    found: dict[str, dict[date, tuple[Fraction, int]]] = {name: {} for name in names}
    for row in rows:
        exact = Fraction(row["exact_quantity"] or row["quantity"])
        assert abs(exact - Fraction(row["quantity"])) <= Fraction(1, 2 * 10**18)
        amount = exact * Fraction(PER_UNIT["price"])
        assert abs(Fraction(row["amount"]) - amount) < Fraction(1, 10**36)
        name = line_names[str(row["contract_line_ref"])]
        found[name][row["start_date"]] = (exact, row["event_count"])
    return found


def a_story(contract: MadeContract, meters: Mapping[str, MadeMeter], seed: int) -> Story:
    """Return uses of all meters in any order, repeated, changed and deleted."""
    chance = random.Random(seed)
    story: list[Use | Change] = []
    for name, meter in meters.items():
        uses = [
            Use(
                contract.customer,
                meter,
                str(chance.randint(-9, 30)),
                f"2024-0{chance.randint(1, 3)}-{chance.choice(DAYS)}T00:00:00Z",
                f"{name}-{number}",
                chance.choice([None, {"user": chance.choice(["a", "b", 7, None, [1]])}]),
            )
            for number in range(12)
        ]
        changes = [
            chance.choice(
                [
                    Change(use, quantity=str(chance.randint(-9, 60))),
                    Change(use, at=use.at[:8] + "15T00:00:00Z"),
                    Change(use, at=f"2024-0{chance.randint(1, 3)}-05T00:00:00Z"),
                    Change(use, data={"user": chance.choice(["a", "c"])}),
                    Change(use, is_delete=True),
                ]
            )
            for use in chance.sample(uses, 5)
        ]
        story += [*uses, *uses[:2], *changes]
    chance.shuffle(story)
    return story


def expected(story: Story, meters: Mapping[str, MadeMeter]) -> Found:
    counted = as_counted(story)
    return {
        name: by_month(name, [use for use in counted if use.meter == meter], "user")
        for name, meter in meters.items()
    }


@pytest.mark.parametrize("poll_records_max", [20_000, 7])
async def test_any_history_comes_to_one_fold(bench: Bench, poll_records_max: int) -> None:
    meters = await meters_of(bench)
    contract = await contract_over_all(bench, meters)
    story = a_story(contract, meters, seed=poll_records_max)
    async with bench.rater(poll_records_max=poll_records_max):
        await bench.produce(story[:60])
        await bench.rated()
    async with bench.rater(poll_records_max=poll_records_max):  # with nothing in memory
        await bench.produce(story[60:])
        await bench.rated()
    found = await found_charges(bench, contract, list(meters))
    assert found == expected(story, meters)


async def test_the_documented_example(bench: Bench) -> None:
    meters = await meters_of(bench)
    contract = await contract_over_all(bench, meters)
    days = {"01": "5", "11": "3", "21": "4"}  # of April, which has 30
    async with bench.rater():
        await bench.produce(
            Use(contract.customer, meter, quantity, f"2024-04-{day}T00:00:00Z", data={"user": day})
            for meter in meters.values()
            for day, quantity in days.items()
        )
        await bench.rated()
    found = await found_charges(bench, contract, list(meters))
    assert {name: months[date(2024, 4, 1)][0] for name, months in found.items()} == {
        "SUM": 12,
        "COUNT": 3,
        "MAX": 5,
        "LAST": 4,
        "AVERAGE": 4,
        "RUNNING_AVERAGE": Fraction(13, 3),
        "TIME_WEIGHTED": 4,
        "UNIQUE": 3,
    }
    texts = await bench.connection.fetch("SELECT exact_quantity FROM charge")
    assert {row[0] for row in texts} == {None, "13/3"}


async def test_past_usage_is_folded_once_a_contract_covers_it(bench: Bench) -> None:
    meters = await meters_of(bench)
    customer = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    past = MadeContract("", customer, (), ())
    story = a_story(past, meters, seed=1)
    async with bench.rater(backfill_events_max=10):
        await bench.produce(story)
        await bench.rated()
        lines = [(meter, PER_UNIT) for meter in meters.values()]
        pricing = await make_pricing(bench.connection, bench.tenant, lines)
        contract = await make_contract(bench.connection, customer, [pricing])
        await await_tasks(bench.connection)
        found = await found_charges(bench, contract, list(meters))
        assert found == expected(story, meters)
        more = [
            Use(customer, meter, "2", "2024-02-20T00:00:00Z", f"more-{name}", {"user": "new"})
            for name, meter in meters.items()
        ]
        await bench.produce(more)
        await bench.rated()
    found = await found_charges(bench, contract, list(meters))
    assert found == expected([*story, *more], meters)
    unrated = "SELECT count(*) FROM unrated_usage"
    assert await bench.connection.fetchval(unrated) == 0


async def test_the_value_of_a_late_event_is_carried_into_later_periods(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant, aggregation="TIME_WEIGHTED")
    contract = await contract_over_all(bench, {"TIME_WEIGHTED": meter})
    later = Use(contract.customer, meter, "4", "2024-02-15T12:00:00Z", "later")
    early = Use(contract.customer, meter, "10", "2024-01-31T00:00:00Z", "early")
    async with bench.rater():
        await bench.produce([later])
        await bench.rated()
        await bench.produce([early])
        await bench.rated()
        found = await found_charges(bench, contract, ["TIME_WEIGHTED"])
        assert found["TIME_WEIGHTED"] == by_month("TIME_WEIGHTED", [later, early])
        assert found["TIME_WEIGHTED"][FEBRUARY] == (Fraction(7), 1)
        await bench.produce([Change(early, is_delete=True)])
        await bench.rated()
    found = await found_charges(bench, contract, ["TIME_WEIGHTED"])
    assert found["TIME_WEIGHTED"] == {FEBRUARY: (Fraction(2), 1)}
    assert JANUARY not in found["TIME_WEIGHTED"]


async def test_a_charge_that_is_emptied_at_once_takes_no_period_of_others_away(
    bench: Bench,
) -> None:
    plain = await make_meter(bench.connection, bench.tenant)
    weighted = await make_meter(bench.connection, bench.tenant, aggregation="TIME_WEIGHTED")
    contract = await contract_over_all(bench, {"SUM": plain, "TIME_WEIGHTED": weighted})
    gone = Use(contract.customer, plain, "1", "2024-01-20T00:00:00Z", "gone")
    kept = [
        Use(contract.customer, weighted, "4", f"2024-0{month}-11T00:00:00Z", f"kept-{month}")
        for month in (1, 2)
    ]
    async with bench.rater():  # all in one transaction
        await bench.produce([gone, Change(gone, is_delete=True), *kept])
        await bench.rated()
    found = await found_charges(bench, contract, ["SUM", "TIME_WEIGHTED"])
    assert found == {"SUM": {}, "TIME_WEIGHTED": by_month("TIME_WEIGHTED", kept)}


async def test_a_period_without_an_event_is_cut_with_what_is_carried_in(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant, aggregation="TIME_WEIGHTED")
    contract = await contract_over_all(bench, {"TIME_WEIGHTED": meter})
    cuts = (
        "SELECT start_date, cut_number, own.quantity, event_count, own.amount FROM charge_cut own "
        "JOIN billing_period p USING (shard_key, period_ref) ORDER BY 1, 2"
    )
    async with bench.rater():
        await bench.produce([Use(contract.customer, meter, "4", "2024-02-01T00:00:00Z", "a")])
        await bench.rated()
        await ask_to_close(bench.connection, contract, date(2024, 3, 31))
        await await_tasks(bench.connection)
        price = Fraction(PER_UNIT["price"])
        expected_cuts = [
            (JANUARY, 1, 0, 0, 0),
            (FEBRUARY, 1, 4, 1, 4 * price),
            (date(2024, 3, 1), 1, 4, 0, 4 * price),
        ]
        assert [tuple(row) for row in await bench.connection.fetch(cuts)] == expected_cuts
        # What comes late for January is carried through February until its event.
        await bench.produce([Use(contract.customer, meter, "9", "2024-02-29T00:00:00Z", "b")])
        await bench.rated()
    found = (await found_charges(bench, contract, ["TIME_WEIGHTED"]))["TIME_WEIGHTED"]
    assert found[FEBRUARY] == (Fraction(4 * 28 + 9, 29), 2)
    assert found[date(2024, 3, 1)] == (Fraction(9), 0)
