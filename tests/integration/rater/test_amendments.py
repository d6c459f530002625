"""Events that are changed and deleted: what they add to charges moves, and their past is kept."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import asyncpg
import pytest

from schemas.amendment import encode_amendment
from tests.factories import (
    GRADUATED,
    ask_to_close,
    make_contract,
    make_customer,
    make_customer_in,
    make_meter,
    make_pricing,
    make_tenant,
)
from tests.integration.rater.amended import (
    FEBRUARY,
    JANUARY,
    contract_over,
    dead_reasons,
    totals,
    versions,
)
from tests.integration.rater.conftest import Bench
from tests.rating import (
    Change,
    Totals,
    Use,
    as_counted,
    await_tasks,
    charges,
    counters,
    expected_charges,
)


@pytest.mark.parametrize("is_one_poll", [True, False])
async def test_what_an_event_adds_moves_with_its_time_and_quantity(
    bench: Bench, is_one_poll: bool
) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10", "2024-01-10T00:00:00Z", "k", data={"a": 1})
    other = Use(contract.customer, meter, "1", "2024-01-10T00:00:00Z", "other")
    async with bench.rater(poll_records_max=20_000 if is_one_poll else 1):
        await bench.produce(
            [
                use,
                other,
                Change(use, quantity="2.5", note="read twice", by="key-1"),
                Change(use, at="2024-02-03T00:00:00+02:00"),
                Change(use, data={"b": [1.50]}),
            ]
        )
        await bench.rated()
    assert await totals(bench) == {JANUARY: (1, 1), FEBRUARY: (Fraction("2.5"), 1)}
    assert await counters(bench.connection) == {"rated": 2, "amendments": 3}
    rows = await versions(bench)
    assert {(row["ref"], row["kind"]) for row in rows} == {(use.event_ref, "UPDATE")}
    assert [row["rated_at"] for row in rows] == [row["origin_offset"] for row in rows] == [2, 3, 4]
    assert {row["origin_partition"] for row in rows} == {1}
    assert [row["quantity"] for row in rows] == [Decimal("2.5")] * 3
    assert [row["additional_data"] for row in rows] == ['{"a": 1}', '{"a": 1}', '{"b": [1.5]}']
    second = datetime(2024, 2, 2, 22, tzinfo=UTC)
    assert [row["occurred_at"].day for row in rows] == [10, 2, 2]
    assert rows[1]["occurred_at"] == second
    assert (rows[0]["note"], rows[0]["made_by"]) == ("read twice", "key-1")
    first = await bench.connection.fetchrow("SELECT * FROM usage_event WHERE rated_at = 0")
    assert first is not None
    assert (first["quantity"], first["occurred_at"].month) == (10, 1)  # the first version stays


async def test_a_deleted_event_counts_no_more_and_its_retry_is_a_duplicate(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10", key="k")
    kept = Use(contract.customer, meter, "1", key="kept")
    async with bench.rater():
        await bench.produce([use, kept])
        await bench.rated()
        await bench.produce([Change(use, is_delete=True, note="never happened"), use])
        await bench.rated()
        assert await totals(bench) == {JANUARY: (1, 1)}
        # Said again it changes nothing; what is deleted can't be updated.
        await bench.produce([Change(use, is_delete=True), Change(use, quantity="3")])
        await bench.rated()
    assert await totals(bench) == {JANUARY: (1, 1)}
    assert [row["kind"] for row in await versions(bench)] == ["DELETE", "DELETE"]
    assert await dead_reasons(bench) == ["EVENT_DELETED"]
    expected = {"rated": 2, "duplicates": 1, "amendments": 2, "dead_letters": 1}
    assert await counters(bench.connection) == expected


async def test_a_version_is_never_changed(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, key="k")
    async with bench.rater():
        await bench.produce([use, Change(use, quantity="3")])
        await bench.rated()
    for spoiling in ("UPDATE usage_event_version SET note = ''", "DELETE FROM usage_event_version"):
        with pytest.raises(asyncpg.RestrictViolationError, match="never changed"):
            await bench.connection.execute(spoiling)


async def test_a_repeat_is_judged_by_the_first_version(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10", key="k")
    async with bench.rater():
        await bench.produce([use, Change(use, quantity="3")])
        await bench.rated()
        await bench.produce([use, Use(contract.customer, meter, "3", key="k")])
        await bench.rated()
    assert await totals(bench) == {JANUARY: (3, 1)}
    expected = {"rated": 1, "amendments": 1, "duplicates": 1, "conflicts": 1}
    assert await counters(bench.connection) == expected


async def test_an_event_may_leave_all_contracts_and_come_back(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    inside, before = "2024-01-10T00:00:00Z", "2023-12-10T00:00:00Z"
    leaving = Use(contract.customer, meter, "1", inside, "leaving")
    coming = Use(contract.customer, meter, "2", before, "coming")
    both = Use(contract.customer, meter, "4", before, "both")
    gone = Use(contract.customer, meter, "8", before, "gone")
    unrated = "SELECT event_ref::text FROM unrated_usage"
    async with bench.rater():
        await bench.produce([leaving, coming, both, gone])
        await bench.rated()
        await bench.produce(
            [
                Change(leaving, at=before),
                Change(coming, at=inside),
                Change(both, at=inside),
                Change(both, at=before),
                Change(gone, is_delete=True),
            ]
        )
        await bench.rated()
    assert await totals(bench) == {JANUARY: (2, 1)}
    assert await counters(bench.connection) == {"rated": 2, "unrated": 2, "amendments": 5}
    found = {row[0] for row in await bench.connection.fetch(unrated)}
    assert found == {leaving.event_ref, both.event_ref}


async def test_a_charge_that_all_events_have_left_is_gone(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "1", key="k")
    periods = "SELECT start_date FROM billing_period"
    async with bench.rater():
        await bench.produce([use, Change(use, at="2024-02-10T00:00:00Z")])
        await bench.rated()
        assert await totals(bench) == {FEBRUARY: (1, 1)}
        await bench.produce([Change(use, at="2024-01-10T00:00:00Z")])
        await bench.rated()
        assert await totals(bench) == {JANUARY: (1, 1)}
        assert [row[0] for row in await bench.connection.fetch(periods)] == [JANUARY]
        await bench.produce([Use(contract.customer, meter, "7", "2024-02-10T00:00:00Z")])
        await bench.rated()
    assert await totals(bench) == {JANUARY: (1, 1), FEBRUARY: (7, 1)}


async def test_an_event_is_found_under_the_ref_of_its_copy_beyond_the_month(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10", "2024-01-31T23:00:00Z", "k")
    copy = Use(contract.customer, meter, "10", "2024-02-01T01:00:00Z", "k")
    assert use.event_ref != copy.event_ref
    async with bench.rater():
        await bench.produce([use, copy, Change(copy, quantity="3")])
        await bench.rated()
        await bench.produce([Change(copy, at="2024-02-01T01:00:00Z")])
        await bench.rated()
    assert await totals(bench) == {FEBRUARY: (3, 1)}
    assert {row["ref"] for row in await versions(bench)} == {use.event_ref}


async def test_an_event_without_a_key_is_amended_by_the_ref_of_its_place(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant, aggregation="COUNT")
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10")
    async with bench.rater():
        await bench.produce([use, use])
        await bench.rated()
        ref = await bench.connection.fetchval("SELECT max(event_ref::text) FROM usage_event")
        keyed = Use(contract.customer, meter, key="any")
        await bench.produce([Change(keyed, quantity="7", event_ref=ref)])
        await bench.rated()
        assert await totals(bench) == {JANUARY: (2, 2)}  # a count looks at no quantity
        await bench.produce([Change(keyed, is_delete=True, event_ref=ref)])
        await bench.rated()
    assert await totals(bench) == {JANUARY: (1, 1)}


async def test_an_amendment_that_can_be_nobodys_is_a_dead_letter(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    other = await make_customer_in(bench.connection, bench.tenant, 1, bench.partitions)
    rival = await make_tenant(bench.connection, "Rival")
    use = Use(contract.customer, meter, "10", key="k")
    key, value = Change(use, quantity="3").record()
    theirs = Change(Use(other, meter, key="k"), quantity="3", event_ref=use.event_ref).record()
    foreign = value.replace(bench.tenant.ref.encode(), rival.ref.encode())
    nobody = b"00000000-0000-0000-0000-000000000000"
    async with bench.rater():
        await bench.produce([use])
        await bench.produce_raw(
            theirs,
            (key, foreign),
            (key, value.replace(bench.tenant.ref.encode(), nobody)),
            (key, value.replace(b'"3"', b'"NaN"')),
            (key, value.replace(b'"UPDATE"', b'"DELETE"')),
            (key, value.replace(b'"quantity": "3"', b'"timestamp": "1999-12-31T23:00:00Z"')),
            (key, value.replace(b'"quantity": "3"', b'"note": "why"')),
            partition=1,
        )
        await bench.produce_raw((key, value), partition=2)
        await bench.rated()
    rows = await bench.connection.fetch(
        "SELECT * FROM dead_letter ORDER BY partition, record_offset"
    )
    reasons = [row["reason"] for row in rows]
    # A ref has few bits of its tenant: a stranger's may be the same, then the names tell.
    assert reasons[1] in {"WRONG_CUSTOMER", "UNKNOWN_CUSTOMER"}
    assert reasons[2] in {"WRONG_CUSTOMER", "UNKNOWN_TENANT"}
    assert reasons[:1] + reasons[3:] == [
        "WRONG_CUSTOMER",
        "NUMBER_MALFORMED",
        "UNKNOWN_FIELD",
        "TIMESTAMP_OUT_OF_RANGE",
        "NOTHING_TO_CHANGE",
        "WRONG_PARTITION",
    ]
    assert rows[-1]["value"] == value
    assert await totals(bench) == {JANUARY: (10, 1)}


async def test_a_backfill_rates_amended_events_as_they_are(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer(bench.connection, bench.tenant)
    pricing = await make_pricing(bench.connection, bench.tenant, [(meter, GRADUATED)])
    chance = random.Random(4)
    story = wild_story([Use(customer, meter) for _ in range(60)], 240, chance)
    contracts = []
    async with bench.rater(backfill_events_max=7, poll_records_max=9):
        for part in range(4):
            await bench.produce(story[part * 60 : part * 60 + 60])
            if part % 2:
                await bench.rated()
            # The last months alone: events of before come in by being moved.
            start = date(2024, part + 1, 1)
            contracts.append(
                await make_contract(bench.connection, customer, [pricing], start=start)
            )
        await bench.rated()
        await await_tasks(bench.connection)
    counted = as_counted(story)
    expected: Totals = {}
    for part, contract in enumerate(contracts):
        lines = {contract.line_refs[0][0]: (meter, GRADUATED)}
        since = [use for use in counted if use.at >= f"2024-{part + 1:02}"]
        expected |= expected_charges(since, [contract], lines)
    assert await charges(bench.connection) == expected
    unrated = sum(use.at < "2024" for use in counted)
    assert await bench.connection.fetchval("SELECT count(*) FROM unrated_usage") == unrated


def wild_story(uses: Sequence[Use], length: int, chance: random.Random) -> list[Use | Change]:
    """Make a story in which uses come once or more, and are changed before and after that."""
    keyed = [
        Use(
            use.customer,
            use.meter,
            f"{chance.randrange(-50, 300)}.{chance.randrange(10**6):06}",
            a_day(chance),
            str(number),
        )
        for number, use in enumerate(uses)
    ]
    story: list[Use | Change] = list(keyed)
    while len(story) < length:
        use = chance.choice(keyed)
        quantity = str(chance.randrange(100)) if chance.random() < 0.6 else None
        at = a_day(chance) if quantity is None or chance.random() < 0.5 else None
        is_delete = chance.random() < 0.1
        step = use if chance.random() < 0.2 else Change(use, quantity=quantity, at=at)
        story.append(Change(use, is_delete=True) if is_delete else step)
    chance.shuffle(story)
    return story


def a_day(chance: random.Random) -> str:
    month = chance.choice(["2023-12", "2024-01", "2024-02", "2024-03", "2024-04"])
    return f"{month}-{chance.randrange(5, 25):02}T08:00:00Z"


async def test_an_amendment_of_a_closed_period_moves_the_charge_and_not_the_cut(
    bench: Bench,
) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10", key="k")
    sole = Use(contract.customer, meter, "10", "2024-02-10T00:00:00Z", key="sole")
    async with bench.rater():
        await bench.produce([use, sole])
        await ask_to_close(bench.connection, contract, date(2024, 2, 29))
        await await_tasks(bench.connection)
        await bench.produce([Change(use, quantity="3"), Change(sole, is_delete=True)])
        await bench.rated()
    assert await totals(bench) == {JANUARY: (3, 1), FEBRUARY: (0, 0)}
    cut = await bench.connection.fetch("SELECT quantity, event_count FROM charge_cut")
    assert [tuple(row) for row in cut] == [(10, 1), (10, 1)]


async def test_a_record_that_the_gateway_writes_is_applied(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10", key="k", data={"a": 1})
    value = encode_amendment(
        kind="UPDATE",
        tenant_ref=bench.tenant.ref,
        customer_ref=contract.customer.ref,
        event_ref=use.event_ref,
        quantity="0.000000000000000001",
        additional_data="null",
        made_by="key-1",
    )
    assert json.loads(value)["by"] == "key-1"
    async with bench.rater():
        await bench.produce([use])
        await bench.produce_raw((contract.customer.ref.encode(), value))
        await bench.rated()
    (version,) = await versions(bench)
    assert version["additional_data"] is None
    assert await totals(bench) == {JANUARY: (Fraction(1, 10**18), 1)}
