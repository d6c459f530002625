"""Amendments that come before their events, and those that are sent again."""

import pytest

from tests.factories import make_customer_in, make_meter, make_tenant
from tests.integration.rater.amended import (
    FEBRUARY,
    JANUARY,
    contract_over,
    dead_reasons,
    totals,
    versions,
)
from tests.integration.rater.conftest import Bench
from tests.rating import Change, Use, counters


@pytest.mark.parametrize("polls", ["one", "many"])
async def test_amendments_wait_for_their_event_and_are_applied_in_order(
    bench: Bench, polls: str
) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10", "2024-01-31T23:30:00Z", "k")
    copy = Use(contract.customer, meter, "10", "2024-02-01T00:30:00Z", "k")
    gone = Use(contract.customer, meter, "1", key="gone")
    early = [
        Change(copy, quantity="3"),
        Change(use, quantity="4", at="2024-02-20T00:00:00Z"),
        Change(gone, is_delete=True, note="a mistake"),
    ]
    async with bench.rater(poll_records_max=1 if polls == "many" else 20_000):
        await bench.produce(early)
        await bench.rated()
        assert await counters(bench.connection) == {"amendments": 3}
        assert await bench.connection.fetchval("SELECT count(*) FROM pending_amendment") == 3
    async with bench.rater():  # they are remembered by whoever comes next
        await bench.produce([use, gone, gone])
        await bench.rated()
    assert await totals(bench) == {FEBRUARY: (4, 1)}
    assert await bench.connection.fetchval("SELECT count(*) FROM pending_amendment") == 0
    rows = await versions(bench)
    assert [(row["ref"], row["quantity"]) for row in rows] == [
        (use.event_ref, 3),
        (use.event_ref, 4),
        (gone.event_ref, 1),
    ]
    assert await counters(bench.connection) == {"rated": 2, "amendments": 3, "duplicates": 1}


async def test_an_amendment_waits_for_a_bounded_time_by_the_logs_clock(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10", key="k")
    async with bench.rater(pending_seconds_max=0.001):
        await bench.produce([Change(use, quantity="3"), Change(use, is_delete=True)])
        await bench.rated()
        # Any later record of the partition tells that time has passed.
        await bench.produce([Use(contract.customer, meter, "1", key="tick")])
        await bench.rated()
        await bench.produce([use])
        await bench.rated()
    assert await dead_reasons(bench) == ["EVENT_UNKNOWN", "EVENT_UNKNOWN"]
    assert await totals(bench) == {JANUARY: (11, 2)}
    assert await counters(bench.connection) == {"rated": 2, "dead_letters": 2}


async def test_a_tenant_has_a_bounded_number_of_amendments_waiting(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    rival = await make_tenant(bench.connection, "Rival")
    rivals = await make_customer_in(bench.connection, rival, 1, bench.partitions)
    uses = [Use(contract.customer, meter, "1", key=str(number)) for number in range(3)]
    async with bench.rater(pending_amendments_max=2):
        await bench.produce(Change(use, quantity="5") for use in uses[:2])
        await bench.rated()
        await bench.produce([Change(uses[2], quantity="5")])
        await bench.produce([Change(Use(rivals, meter, key="own"), quantity="5")])
        await bench.produce([uses[0], Change(uses[2], quantity="6"), *uses[1:]])
        await bench.rated()
    assert await dead_reasons(bench) == ["TOO_MANY_PENDING"]
    assert await totals(bench) == {JANUARY: (16, 3)}
    assert await bench.connection.fetchval("SELECT count(*) FROM pending_amendment") == 1


async def test_a_retried_amendment_is_applied_once(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10", key="k")
    key, value = Change(use, quantity="3").record()
    async with bench.rater(pending_amendments_max=0):
        await bench.produce_raw((key, value))
        await bench.rated()
        assert await dead_reasons(bench) == ["TOO_MANY_PENDING"]
        await bench.produce([use])
        await bench.retry(1, 0)
        await bench.retry(1, 0)
        await bench.rated()
        await bench.retry(1, 0)
        await bench.rated()
    assert await totals(bench) == {JANUARY: (3, 1)}
    (version,) = await versions(bench)
    assert (version["rated_at"], version["origin_offset"]) == (2, 0)
    expected = {"rated": 1, "amendments": 1, "duplicates": 2, "dead_letters": 1}
    assert await counters(bench.connection) == expected


async def test_a_retried_amendment_waits_once(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    use = Use(contract.customer, meter, "10", key="k")
    async with bench.rater(pending_amendments_max=0):
        await bench.produce([Change(use, quantity="3")])
        await bench.rated()
    async with bench.rater():
        await bench.retry(1, 0)
        await bench.rated()
        await bench.retry(1, 0)
        await bench.produce([use])
        await bench.rated()
    assert await totals(bench) == {JANUARY: (3, 1)}
    expected = {"rated": 1, "amendments": 1, "duplicates": 1, "dead_letters": 1}
    assert await counters(bench.connection) == expected
