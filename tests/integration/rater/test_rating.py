"""From records in Kafka to charges in Postgres."""

import random
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from rater import repeats
from tests.factories import (
    GRADUATED,
    PER_UNIT,
    MadeContract,
    MadeMeter,
    make_contract,
    make_customer,
    make_meter,
    make_pricing,
    make_tenant,
)
from tests.integration.rater.conftest import Bench
from tests.rating import Use, charges, counters, expected_charges


async def contract_over(bench: Bench, meter: MadeMeter) -> MadeContract:
    customer = await make_customer(bench.connection, bench.tenant)
    pricing = await make_pricing(bench.connection, bench.tenant, [(meter, PER_UNIT)])
    return await make_contract(bench.connection, customer, [pricing])


async def test_events_of_a_plain_kafka_client_become_exact_charges(bench: Bench) -> None:
    calls = await make_meter(bench.connection, bench.tenant, aggregation="COUNT")
    bytes_sent = await make_meter(bench.connection, bench.tenant)
    pricing = await make_pricing(
        bench.connection, bench.tenant, [(calls, PER_UNIT), (bytes_sent, GRADUATED)]
    )
    contracts = []
    for _ in range(5):
        customer = await make_customer(bench.connection, bench.tenant)
        contracts.append(await make_contract(bench.connection, customer, [pricing]))
    chance = random.Random(7)
    uses = [
        Use(
            customer=chance.choice(contracts).customer,
            meter=chance.choice([calls, bytes_sent]),
            quantity=f"{chance.randrange(-50, 300)}.{chance.randrange(10**18):018}",
            at=f"2024-0{chance.randrange(1, 4)}-{chance.randrange(4, 26):02}T12:00:00+02:00",
            key=str(number) if chance.random() < 0.7 else None,
            names_tenant=chance.random() < 0.5,
        )
        for number in range(1_500)
    ]
    repeated = [use for use in uses if use.key][:200]
    async with bench.rater():
        await bench.produce(uses + repeated)
        await bench.rated()
    lines = {
        ref: ((calls, PER_UNIT), (bytes_sent, GRADUATED))[position]
        for contract in contracts
        for position, ref in enumerate(contract.line_refs[0])
    }
    assert await charges(bench.connection) == expected_charges(uses, contracts, lines)
    assert await counters(bench.connection) == {"rated": 1_500, "duplicates": 200}


async def test_an_event_is_kept_with_every_digit_and_byte_that_was_sent(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    quantities = [
        *("99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999"),
        *("0", "-0.0", "1e3", "1E-18", "0.000000000000000001", "10000", "9999.9999", "12345.678"),
        *("1000000000000", "-0.5", "100000000.00000001"),
    ]
    data = {"b": [1, {"ü": "€"}], "a": 0.10}
    async with bench.rater():
        await bench.produce(Use(contract.customer, meter, q, data=data) for q in quantities)
        await bench.rated()
    rows = await bench.connection.fetch(
        "SELECT quantity, additional_data, occurred_at, rated_at, origin_offset, tenant_id "
        "FROM usage_event ORDER BY rated_at"
    )
    assert [row["quantity"] for row in rows] == [Decimal(q) for q in quantities]
    assert [f"{row['quantity']:f}" for row in rows[3:6]] == ["0", "1000", "0." + "0" * 17 + "1"]
    assert {row["additional_data"] for row in rows} == {
        '{"b": [1, {"\\u00fc": "\\u20ac"}], "a": 0.1}'
    }
    assert {row["occurred_at"].isoformat() for row in rows} == {"2024-01-15T12:00:00+00:00"}
    assert all(row["rated_at"] == row["origin_offset"] for row in rows)


async def test_a_copy_stamped_across_a_month_bound_is_a_duplicate(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)

    def use(at: str, key: str) -> Use:
        return Use(contract.customer, meter, "1", at, key)

    async with bench.rater():
        # Within one poll, and from one poll to the next; forwards and backwards in time.
        await bench.produce([use("2024-01-31T23:00:00Z", "a"), use("2024-02-01T01:00:00Z", "a")])
        await bench.produce([use("2024-03-01T01:00:00Z", "b")])
        await bench.rated()
        await bench.produce([use("2024-02-28T01:00:00Z", "b")])
        await bench.produce([use("2024-04-15T00:00:00Z", "b")])  # far away: another event
        await bench.rated()
    assert await counters(bench.connection) == {"rated": 3, "duplicates": 2}
    months = {month.month for _, month in await charges(bench.connection)}
    assert months == {1, 3, 4}


async def test_a_key_used_again_with_other_content_is_kept_as_a_conflict(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    other = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    first = Use(contract.customer, meter, "1", key="k", data={"a": 1, "b": 2})
    same = Use(contract.customer, meter, "1.00", key="k", data={"b": 2, "a": 1})
    differing = [
        Use(contract.customer, meter, "2", key="k", data={"a": 1, "b": 2}),
        Use(contract.customer, other, "1", key="k", data={"a": 1, "b": 2}),
        Use(contract.customer, meter, "1", key="k"),
    ]
    async with bench.rater():
        await bench.produce([first, same, *differing])
        await bench.rated()
        await bench.produce([same, *differing])
        await bench.rated()
    assert await counters(bench.connection) == {"rated": 1, "duplicates": 2, "conflicts": 6}
    rows = await bench.connection.fetch("SELECT value FROM usage_conflict ORDER BY record_offset")
    assert [row["value"] for row in rows] == [use.record()[1] for use in differing * 2]
    ((quantity, count, _),) = (await charges(bench.connection)).values()
    assert quantity == count == 1


async def test_repeats_are_refused_where_nobody_looked_for_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "TRUSTED_FROM", 1)
    surprises = []
    learn = repeats.Repeats.surprised

    def surprised(own: repeats.Repeats) -> None:
        surprises.append(own)
        learn(own)

    monkeypatch.setattr(repeats.Repeats, "surprised", surprised)
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)

    def use(key: str, quantity: str = "1", at: str = "2024-01-15T12:00:00Z") -> Use:
        return Use(contract.customer, meter, quantity, at, key)

    polls = [
        [use("near", at="2024-01-31T23:00:00Z"), use("a")],
        [use("b"), use("c", "2")],
        [use("d"), use("near", at="2024-02-01T01:00:00Z")],  # its own key refuses nothing
        [use("e"), use("a"), use("c", "3"), use("b")],
        [use("f")],
        [use("g")],
    ]
    async with bench.rater():
        for poll in polls:
            await bench.produce(poll)
            await bench.rated()
    assert len(surprises) == 1
    assert await counters(bench.connection) == {"rated": 8, "duplicates": 3, "conflicts": 1}
    assert sum(count for _, count, _ in (await charges(bench.connection)).values()) == 8


async def test_usage_that_no_line_covers_is_kept_unrated(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    unpriced = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    stranger = await make_customer(bench.connection, bench.tenant)
    async with bench.rater():
        await bench.produce(
            [
                Use(contract.customer, meter),
                Use(contract.customer, meter, at="2023-12-31T23:59:59.999999Z"),
                Use(contract.customer, unpriced),
                Use(stranger, meter),
            ]
        )
        await bench.rated()
    assert await counters(bench.connection) == {"rated": 1, "unrated": 3}
    assert await bench.connection.fetchval("SELECT count(*) FROM unrated_usage") == 3
    assert await bench.connection.fetchval("SELECT count(*) FROM usage_event") == 4


async def test_every_line_that_prices_a_meter_is_charged(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer(bench.connection, bench.tenant)
    pricing = await make_pricing(
        bench.connection, bench.tenant, [(meter, PER_UNIT), (meter, GRADUATED)]
    )
    contracts = [await make_contract(bench.connection, customer, [pricing]) for _ in range(2)]
    async with bench.rater():
        await bench.produce([Use(customer, meter, "10")])
        await bench.rated()
    amounts = {
        place[0]: amount for place, (_, _, amount) in (await charges(bench.connection)).items()
    }
    assert amounts == {
        ref: amount
        for contract in contracts
        for ref, amount in zip(contract.line_refs[0], (Fraction("0.2"), Fraction(15)), strict=True)
    }
    assert await counters(bench.connection) == {"rated": 1}


async def test_a_customer_made_after_the_first_refusal_is_found(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    async with bench.rater():
        await bench.produce([Use(contract.customer, meter)])
        await bench.rated()
        newcomer = await contract_over(bench, await make_meter(bench.connection, bench.tenant))
        await bench.produce([Use(newcomer.customer, meter), Use(contract.customer, meter)])
        await bench.rated()
    assert await counters(bench.connection) == {"rated": 2, "unrated": 1}


async def test_tenants_never_share_a_key_a_customer_or_a_meter(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contract = await contract_over(bench, meter)
    rival = await make_tenant(bench.connection, "Rival")
    rival_meter = await make_meter(bench.connection, rival)
    rival_customer = await make_customer(bench.connection, rival)
    async with bench.rater():
        await bench.produce(
            [
                Use(contract.customer, meter, key="k"),
                Use(rival_customer, rival_meter, key="k"),
                Use(contract.customer, rival_meter),
                Use(rival_customer, meter),
                Use(rival_customer, rival_meter, names_tenant=False),
            ]
        )
        await bench.rated()
    assert await counters(bench.connection) == {"rated": 1, "unrated": 1, "dead_letters": 3}
    reasons = await bench.connection.fetch("SELECT reason FROM dead_letter ORDER BY reason")
    assert [row["reason"] for row in reasons] == [
        "UNKNOWN_METER",
        "UNKNOWN_METER",
        "UNKNOWN_TENANT",
    ]


async def test_totals_survive_a_restart_and_a_small_memory(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    contracts = [await contract_over(bench, meter) for _ in range(6)]
    for number in range(4):
        async with bench.rater(charges_max=1_000, poll_records_max=7):
            await bench.produce(
                Use(contract.customer, meter, "1.5", at=f"2024-0{number % 2 + 1}-10T00:00:00Z")
                for contract in contracts
                for _ in range(5)
            )
            await bench.rated()
    found = await charges(bench.connection)
    assert len(found) == 12
    assert set(found.values()) == {(Fraction(15), 10, Fraction("0.3"))}
    assert {month for _, month in found} == {date(2024, 1, 1), date(2024, 2, 1)}
