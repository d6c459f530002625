"""A customer's past months under another pricing, line by line beside what was billed."""

from datetime import date
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from tests.integration.manage.clients import Client
from tests.integration.manage.shop import Shop, contract_body, make_shop, product_body

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
    matrix = product_body(shop.meter_ref)["line_items"][1] | {
        "model": "MATRIX",
        "dimensions": ["region"],
        "cells": [{"values": ["eu"], "unit_price": 1}],
    }
    assert client.refused("POST", PATH, asked(shop, line_items=[matrix])) == {
        "/line_items": "price_not_supported_yet"
    }
