"""A customer's past months under another pricing, line by line beside what was billed."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from schemas.event_ref import derived_ref, shard_key
from tests.integration.manage.clients import Client
from tests.integration.manage.shop import Shop, contract_body, make_shop

PATH = "/api/pricings/simulate"
CHEAPER = {"item": "All calls", "model": "PER_UNIT", "price": "0.002"}

ADD_PERIOD = """INSERT INTO billing_period (shard_key, period_ref, tenant_id, contract_product_ref,
    period_index, start_at, end_at, start_date, end_date, full_start_date, full_end_date,
    issue_date, is_partial)
SELECT shard_key, $2, tenant_id, contract_product_ref, $3, $4::date, $5::date, $4, $5, $4, $5, $5,
    false
FROM contract_product WHERE contract_ref = $1"""
ADD_CHARGES = """INSERT INTO charge (shard_key, charge_ref, tenant_id, period_ref,
    contract_line_ref, pricing_line_id, quantity, event_count, amount)
SELECT l.shard_key, gen_random_uuid(), l.tenant_id, $2, l.contract_line_ref, l.pricing_line_id,
    $3, 7, 0
FROM contract_line l JOIN contract_product p USING (shard_key, contract_product_ref)
JOIN pricing_line i ON i.tenant_id = l.tenant_id AND i.pricing_line_id = l.pricing_line_id
WHERE p.contract_ref = $1 AND i.meter_id IS NOT NULL"""
CLOSE = (
    "INSERT INTO period_cut (shard_key, period_ref, cut_number, tenant_id, partition, cut_offset) "
    "SELECT shard_key, period_ref, 1, tenant_id, 0, 9 FROM billing_period WHERE period_ref = $1",
    "INSERT INTO charge_cut (shard_key, period_ref, cut_number, contract_line_ref, tenant_id, "
    "charge_ref, pricing_line_id, quantity, event_count, amount) "
    "SELECT shard_key, period_ref, 1, contract_line_ref, tenant_id, charge_ref, pricing_line_id, "
    "quantity, event_count, amount FROM charge WHERE period_ref = $1",
    "UPDATE billing_period SET last_cut_number = 1 WHERE period_ref = $1",
    "UPDATE charge SET quantity = quantity + 999 WHERE period_ref = $1",  # late: it was not billed
)


async def use(client: Client, contract: UUID, month: int, quantity: int, *, close: bool) -> None:
    """Write what the rater would for so many units in a month of 2023."""
    connection = await asyncpg.connect(client.postgres)
    period = uuid4()
    start, end = date(2023, month, 1), date(2023, month + 1, 1)
    try:
        await connection.execute(ADD_PERIOD, contract, period, month - 1, start, end)
        await connection.execute(ADD_CHARGES, contract, period, quantity)
        for statement in CLOSE if close else ():
            await connection.execute(statement, period)
    finally:
        await connection.close()


async def make_history(client: Client) -> Shop:
    """Sell two seats, calls and units; 1,000 are used in January (closed), 1,250 in February."""
    shop = make_shop(client)
    body = contract_body(shop, discount=10)
    contract = UUID(client.ok("POST", "/api/contracts", body)["contract_ref"])
    await use(client, contract, 1, 1_000, close=True)
    await use(client, contract, 2, 1_250, close=False)
    return shop


def asked(shop: Shop, **changes: object) -> dict[str, Any]:
    request = {"customer_ref": shop.customer_ref, "from": "2023-01-01", "to": "2023-03-31"}
    return request | changes


async def test_every_period_is_priced_beside_what_was_billed(client: Client) -> None:
    shop = await make_history(client)
    lines = [
        {"item": "Seats", "model": "FLAT", "price": 1000},
        CHEAPER | {"usage_product_ref": shop.meter_ref},
    ]
    answer = client.ok("POST", PATH, asked(shop, line_items=lines))
    january, february = answer["periods"]
    assert (january["start"], january["end"]) == ("2023-01-01", "2023-02-01")
    shown = [
        [line[name] for name in ("item", "quantity", "billed", "simulated", "difference")]
        for line in january["lines"]
    ]
    assert shown == [
        ["Seats", 1, 6000, 1000, -5000],
        ["All calls", 1000, 4, 2, -2],
        ["Units", 1000, 9555, None, -9555],
    ]
    assert january["billed"] == {
        "sub_total": 15559,
        "minimum_fee": None,
        "discount": 1555.9,
        "total": 14003.1,
    }
    assert january["simulated"]["total"] == 901.8
    assert january["difference"] == -13101.3
    assert [line["simulated"] for line in february["lines"]] == [1000, 2.5, None]
    (total,) = answer["totals"]
    assert total["currency"] == "USD"
    assert total["simulated"] == 901.8 + 902.25
    assert total["difference"] == round(total["simulated"] - total["billed"], 2)


async def test_its_own_pricing_makes_no_difference(client: Client) -> None:
    shop = await make_history(client)
    answer = client.ok("POST", PATH, asked(shop, pricing_ref=shop.pricing_ref))
    assert [period["difference"] for period in answer["periods"]] == [0, 0]
    assert {line["difference"] for line in answer["periods"][0]["lines"]} == {0}
    assert len(answer["periods"][0]["lines"][2]["tiers"]) == 2
    dear = client.ok("POST", PATH, asked(shop, pricing_ref=shop.pricing_ref, minimum_fee=20_000))
    assert dear["periods"][0]["simulated"]["total"] == 18_000  # the contract's discount stays


async def test_only_periods_within_the_days_are_shown(client: Client) -> None:
    shop = await make_history(client)
    for first, last, count in [
        ("2023-01-01", "2023-02-28", 2),
        ("2023-01-01", "2023-02-27", 1),
        ("2023-01-02", "2023-02-28", 1),
        ("2023-03-01", "2023-12-31", 0),
    ]:
        request = asked(shop, pricing_ref=shop.pricing_ref) | {"from": first, "to": last}
        assert len(client.ok("POST", PATH, request)["periods"]) == count


async def test_usage_that_no_contract_covered_is_not_guessed(client: Client) -> None:
    shop = await make_history(client)
    other = client.ok("POST", "/api/usage/products", {"name": "Other"})["usage_product_ref"]
    lines = [CHEAPER | {"usage_product_ref": other}]
    answer = client.ok("POST", PATH, asked(shop, line_items=lines))
    line = answer["periods"][0]["lines"][0]
    assert (line["usage_product_ref"], line["quantity"], line["simulated"]) == (other, None, None)


async def test_too_much_at_once_is_refused(client: Client) -> None:
    shop = await make_history(client)
    tiers = [{"up_to": bound, "unit_price": 1} for bound in range(1, 999)] + [{"unit_price": 1}]
    line = CHEAPER | {"model": "VOLUME", "price": None, "tiers": tiers}
    lines = [line | {"usage_product_ref": shop.meter_ref} for _ in range(11)]
    assert client.refused("POST", PATH, asked(shop, line_items=lines)) == {
        "/to": "simulation_too_large"
    }


async def test_what_cannot_be_asked_is_refused(client: Client, stranger: Client) -> None:
    shop = make_shop(client)
    theirs = make_shop(stranger)
    own = asked(shop, pricing_ref=shop.pricing_ref)
    assert client.refused("POST", PATH, {"customer_ref": "x", "form": 1}) == {
        "/customer_ref": "ref_malformed",
        "/from": "required",
        "/to": "required",
        "/pricing_ref": "required",
        "/form": "unknown_field",
    }
    assert client.refused("POST", PATH, own | {"to": "2022-01-01"}) == {"/to": "dates_crossed"}
    assert client.refused("POST", PATH, own | {"line_items": []})
    for name, code in [("customer_ref", "customer_unknown"), ("pricing_ref", "pricing_unknown")]:
        wrong = own | {name: getattr(theirs, name)}
        assert client.refused("POST", PATH, wrong) == {f"/{name}": code}


ADD_EVENT = """INSERT INTO usage_event_row (event_ref, occurred_at, fingerprint, rated_at,
    shard_key, tenant_id, customer_id, meter_id, quantity, additional_data)
SELECT $1, $2, 0, $3, c.shard_key, c.tenant_id, c.customer_id, m.meter_id, $4, coalesce($5, '')
FROM customer c JOIN meter m USING (tenant_id)
WHERE c.customer_ref = $6 AND m.usage_product_ref = $7"""
ADD_VERSION = """INSERT INTO usage_event_version (shard_key, event_ref, rated_at, origin_offset,
    occurred_at, recorded_at, origin_partition, tenant_id, customer_id, meter_id, kind, quantity,
    additional_data)
SELECT shard_key, event_ref, $2, $2, $3, now(), 0, tenant_id, customer_id, meter_id, $4, $5,
    additional_data FROM usage_event WHERE event_ref = $1"""
#: Rated at, day of January, quantity, region.
HAPPENED = [
    (1, 3, "40", "eu"), (2, 2, "10", None), (3, 4, "100.5", "us"), (4, 20, "7", "eu"),
    (5, 21, "1000", "eu"), (12, 5, "5000", "eu"),
]  # fmt: skip
#: Which event, rated at, day of January (or of February), quantity, kind.
AMENDED = [(3, 6, 22, "8", "UPDATE"), (4, 7, 21, "1000", "DELETE"), (0, 13, 3, "1", "UPDATE")]


async def write_events(client: Client, shop: Shop) -> None:
    """Write events of January, some changed; its cut at offset 9 does not hold the last of them."""
    place = shard_key(shop.customer_ref)
    connection = await asyncpg.connect(client.postgres)
    try:
        refs = []
        await connection.execute("SELECT ensure_usage_month($1)", 276)
        for rated_at, day, quantity, region in HAPPENED:
            ref = derived_ref("charge", 276, place, 0, str(uuid4()))
            refs.append(ref)
            data = None if region is None else json.dumps({"region": region})
            at = datetime(2023, 1, day, 12, tzinfo=UTC)
            row = (ref, at, rated_at, Decimal(quantity), data, shop.customer_ref, shop.meter_ref)
            await connection.execute(ADD_EVENT, *row)
        for index, rated_at, day, quantity, kind in AMENDED:
            at = datetime(2023, 1, day, 12, tzinfo=UTC)
            version = (refs[index], rated_at, at, kind, Decimal(quantity))
            await connection.execute(ADD_VERSION, *version)
    finally:
        await connection.close()


async def test_prices_of_events_and_of_cells_are_simulated_from_the_events_of_the_cut(
    client: Client,
) -> None:
    shop = await make_history(client)
    await write_events(client, shop)
    fees = {"item": "Cards", "model": "PERCENTAGE", "rate": "2.9", "fixed_fee": "0.3"}
    free = fees | {"item": "Free", "included_events": 1, "included_quantity": "50"}
    matrix = {
        "item": "Regions", "model": "MATRIX", "price": "0.5", "dimensions": ["region"],
        "cells": [{"values": ["eu"], "unit_price": "0.125"}], "minimum_fee": "1",
    }  # fmt: skip
    lines = [line | {"usage_product_ref": shop.meter_ref} for line in (fees, free, matrix)]
    body = asked(shop, line_items=lines) | {"to": "2023-01-31"}
    [january] = client.ok("POST", PATH, body)["periods"]
    # The cut holds 10, 40, 100.5 and, moved to the 22nd, 8: the 10 are free, 40 and 10 of the rest.
    rate, fee = Fraction("0.029"), Fraction("0.3")
    each = [Fraction(quantity) for quantity in ("10", "40", "100.5", "8")]
    by_hand = [
        sum(quantity * rate + fee for quantity in each),
        (Fraction("90.5") * rate + fee) + (8 * rate + fee),
        48 * Fraction("0.125") + Fraction("110.5") * Fraction("0.5"),
    ]
    shown = [(line["item"], line["quantity"], line["event_count"]) for line in january["lines"][:3]]
    assert shown == [("Cards", 158.5, 4), ("Free", 158.5, 4), ("Regions", 158.5, 4)]
    amounts = [line["simulated"] for line in january["lines"][:3]]
    assert amounts == [float(round(Decimal(float(one)), 2)) for one in by_hand]
    assert january["simulated"]["sub_total"] == float(round(Decimal(sum(amounts)), 2))
    assert client.ok("POST", PATH, body | {"to": "2023-02-28"})["periods"][1]["lines"]
