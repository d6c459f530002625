"""Meters, products and pricings over HTTP."""

from typing import Any

import pytest

from tests.integration.manage.clients import Client
from tests.integration.manage.shop import TIERS, make_shop, product_body


def make_meter(client: Client, name: str = "Units", **fields: object) -> str:
    body = {"name": name, **fields}
    ref: str = client.ok("POST", "/api/usage/products", body)["usage_product_ref"]
    return ref


def test_a_meter_adds_quantities_unless_it_counts(client: Client) -> None:
    summed = make_meter(client, unit="GB")
    counted = make_meter(client, "Messages", aggregation="COUNT")
    meter = client.ok("GET", f"/api/usage/products/{summed}")
    assert (meter["name"], meter["unit"], meter["aggregation"]) == ("Units", "GB", "SUM")
    assert client.ok("GET", f"/api/usage/products/{counted}")["aggregation"] == "COUNT"


def test_a_meter_may_aggregate_in_any_way(client: Client) -> None:
    for name in ("MAX", "LAST", "AVERAGE", "RUNNING_AVERAGE", "TIME_WEIGHTED"):
        path = f"/api/usage/products/{make_meter(client, name, aggregation=name)}"
        assert client.ok("GET", path)["aggregation"] == name
    path = f"/api/usage/products/{make_meter(client, aggregation='UNIQUE', unique_key='user')}"
    shown = client.ok("GET", path)
    assert (shown["aggregation"], shown["unique_key"]) == ("UNIQUE", "user")
    changed = client.ok("PUT", path, shown | {"unique_key": "seat"})
    assert changed["unique_key"] == "seat"
    assert client.ok("PUT", path, {"name": "Seats"})["unique_key"] == "seat"
    summed = client.ok("PUT", path, {"name": "Seats", "aggregation": "SUM"})
    assert (summed["aggregation"], summed["unique_key"]) == ("SUM", None)
    assert client.refused("PUT", path, {"name": "Seats", "unique_key": "user"}) == {
        "/unique_key": "field_not_applicable"
    }


def test_a_formula_is_settled_when_its_meter_is_made(client: Client) -> None:
    formula = "quantity * additional_report_data.minutes / 60"
    path = f"/api/usage/products/{make_meter(client, formula=formula)}"
    shown = client.ok("GET", path)
    assert shown["formula"] == formula
    assert client.ok("PUT", path, shown | {"aggregation": "MAX"})["formula"] == formula
    for change in ({"formula": "quantity"}, {"aggregation": "COUNT"}):
        answer = client.send("PUT", path, {"name": "Units", **change})
        assert (answer.status_code, answer.json()["code"]) == (409, "formula_settled")


def test_prices_of_events_and_cells_are_of_sums_and_counts(client: Client) -> None:
    meter_ref = make_meter(client, aggregation="LAST")
    fees = {"model": "PERCENTAGE", "rate": "1", "fixed_fee": "2"}
    body = product_body("", line_items=[{"item": "x", "usage_product_ref": meter_ref, **fees}])
    assert client.refused("POST", "/api/products", body) == {
        "/line_items/0/usage_product_ref": "aggregation_not_priced"
    }


def test_meters_are_listed_page_by_page(client: Client) -> None:
    refs = [make_meter(client, f"meter {number}") for number in range(5)]
    seen, cursor = [], None
    for _ in range(3):
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = client.ok("GET", "/api/usage/products", None, **query)
        seen += [meter["usage_product_ref"] for meter in page["usage_products"]]
        cursor = page["next_cursor"]
    assert seen == refs
    assert cursor is None


@pytest.mark.parametrize(
    "query", [{"cursor": "???"}, {"limit": "0"}, {"limit": "1001"}, {"of": "1"}]
)
def test_a_page_that_makes_no_sense_is_refused(client: Client, query: dict[str, str]) -> None:
    assert list(client.refused("GET", "/api/usage/products", None, **query)) == [
        f"/{name}" for name in query
    ]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"aggregation": "UNIQUE"}, {"/unique_key": "required"}),
        ({"aggregation": "UNIQUE", "unique_key": ""}, {"/unique_key": "required"}),
        ({"aggregation": "MAX", "unique_key": "user"}, {"/unique_key": "field_not_applicable"}),
        ({"unique_key": "user"}, {"/unique_key": "field_not_applicable"}),
        ({"aggregation": "MEDIAN"}, {"/aggregation": "value_unknown"}),
        ({"formula": "quantity +"}, {"/formula": "expression_malformed"}),
        ({"formula": "minutes * 2"}, {"/formula": "expression_name_unknown"}),
        ({"formula": "quantity * 2", "aggregation": "COUNT"}, {"/formula": "field_not_applicable"}),
        ({"agregation": "SUM"}, {"/agregation": "unknown_field"}),
        ({"name": None}, {"/name": "required"}),
    ],
)
def test_a_meter_that_cannot_be_is_refused(
    client: Client, fields: dict[str, object], wrong: dict[str, str]
) -> None:
    assert client.refused("POST", "/api/usage/products", {"name": "Units"} | fields) == wrong


def test_two_meters_never_have_one_name(client: Client) -> None:
    make_meter(client)
    answer = client.send("POST", "/api/usage/products", {"name": " UNITS "})
    assert answer.status_code == 409


def test_products_are_listed_as_the_reference_lists_them(client: Client) -> None:
    shop = make_shop(client)
    (pricing,) = client.ok("GET", "/api/products")
    assert pricing["pricing_ref"] == shop.pricing_ref
    assert (pricing["product_name"], pricing["pricing_name"]) == ("Platform", "Plans")
    seats, calls, first, second = pricing["line_items"]
    assert seats["line_item_ref"] == shop.line_refs["Seats"]
    assert (seats["item"], seats["price"], seats["quantity"]) == ("Seats", 3000, 2)
    assert seats["amount"] == 6000
    assert (calls["item"], calls["price"], calls["quantity"]) == ("Calls", 0.004, 0)
    assert calls["amount"] == 0
    assert [(tier["item"], tier["price"], tier["up_to"]) for tier in (first, second)] == [
        ("Units", 10, 100),
        ("Units", 9.5, None),
    ]
    assert first["parent_line_item_ref"] == shop.line_refs["Units"]
    assert first["line_item_ref"] != second["line_item_ref"]
    again = client.ok("GET", "/api/products/")[0]["line_items"]
    assert [item["line_item_ref"] for item in again] == [
        item["line_item_ref"] for item in pricing["line_items"]
    ]


def test_prices_keep_every_digit(client: Client) -> None:
    line = {"item": "A", "model": "FLAT", "price": "12345678901234567890.000000000000000001"}
    client.ok("POST", "/api/products", product_body("", line_items=[line]))
    answer = client.send("GET", "/api/products")
    assert b'"price":12345678901234567890.000000000000000001,' in answer.content


def test_a_draft_is_hidden_until_it_is_published(client: Client) -> None:
    meter_ref = make_meter(client)
    made = client.ok("POST", "/api/products", product_body(meter_ref, publish=False))
    assert client.ok("GET", "/api/products") == []
    (draft,) = client.ok("GET", "/api/products", include_drafts="true")
    assert draft["is_published"] is False
    for _ in range(2):
        answer = client.ok("POST", f"/api/pricings/{made['pricing_ref']}/publish")
        assert answer == {"pricing_ref": made["pricing_ref"], "is_published": True}
    (published,) = client.ok("GET", "/api/products")
    assert published["is_published"] is True


EVERY_MODEL: list[dict[str, object]] = [
    {"item": "Volume", "model": "VOLUME", "tiers": TIERS, "included_quantity": 5},
    {
        "item": "Stairs",
        "model": "STAIRSTEP",
        "tiers": [{"up_to": "1.5", "flat_fee": "2"}, {"flat_fee": 3}],
    },
    {"item": "Packages", "model": "PACKAGE", "price": "2", "package_size": "10"},
    {"item": "Share", "model": "PERCENTAGE", "rate": "2.9"},
    {
        "item": "Shares",
        "model": "PERCENTAGE",
        "tiers": [{"up_to": 9, "rate": "2.5", "flat_fee": 1}, {"rate": 2}],
    },
    {"item": "Formula", "model": "FORMULA", "expression": "q * 2", "minimum_fee": "9.50"},
    {"item": "Cards", "model": "PERCENTAGE", "rate": "2.9", "fixed_fee": "0.3"},
    {
        "item": "Regions",
        "model": "MATRIX",
        "price": "5",
        "dimensions": ["region"],
        "cells": [{"values": ["eu"], "unit_price": "4"}],
    },
]


def sell_every_model(client: Client) -> dict[str, Any]:
    meter_ref = make_meter(client)
    lines = [line | {"usage_product_ref": meter_ref} for line in EVERY_MODEL]
    made: dict[str, Any] = client.ok("POST", "/api/products", product_body("", line_items=lines))
    return made


def test_every_model_is_listed_with_its_own_fields(client: Client) -> None:
    sell_every_model(client)
    (pricing,) = client.ok("GET", "/api/products")
    shared = {"line_item_ref", "usage_product_ref", "parent_line_item_ref"}
    rows = [
        {name: value for name, value in row.items() if name not in shared}
        for row in pricing["line_items"]
    ]
    unused = {"quantity": 0, "amount": 0}
    volume = unused | {"item": "Volume", "model": "VOLUME", "included_quantity": 5}
    stairs = unused | {"item": "Stairs", "model": "STAIRSTEP", "price": None}
    share = unused | {"model": "PERCENTAGE", "price": None}
    assert rows == [
        volume | {"price": 10, "up_to": 100, "flat_fee": 5},
        volume | {"price": 9.5, "up_to": None, "flat_fee": 0},
        stairs | {"up_to": 1.5, "flat_fee": 2},
        stairs | {"up_to": None, "flat_fee": 3},
        unused | {"item": "Packages", "model": "PACKAGE", "price": 2, "package_size": 10},
        share | {"item": "Share", "rate": 2.9},
        share | {"item": "Shares", "rate": 2.5, "up_to": 9, "flat_fee": 1},
        share | {"item": "Shares", "rate": 2, "up_to": None, "flat_fee": 0},
        unused
        | {"item": "Formula", "model": "FORMULA", "price": None}
        | {"expression": "q * 2", "minimum_fee": 9.5},
        share | {"item": "Cards", "rate": 2.9, "fixed_fee": 0.3},
        unused
        | {"item": "Regions", "model": "MATRIX", "price": None, "default_price": 5}
        | {"dimensions": ["region"], "cells": [{"values": ["eu"], "unit_price": 4}]},
    ]


def test_formulas_have_a_bound_all_together(client: Client) -> None:
    meter_ref = make_meter(client)
    line = {"item": "A", "model": "FORMULA", "usage_product_ref": meter_ref}
    lines = [line | {"expression": "q" + " + 1" * 100} for _ in range(50)]
    assert client.refused("POST", "/api/products", product_body("", line_items=lines)) == {
        "/line_items": "expressions_too_long"
    }
    client.ok("POST", "/api/products", product_body("", line_items=lines[:49]))


def test_a_contract_upon_usage_takes_every_model(client: Client) -> None:
    made = sell_every_model(client)
    customer = client.ok("POST", "/api/customers", {"name": "Northwind", "email": "a@b.example"})
    terms = {
        "product_pricing_ref": made["pricing_ref"],
        "net_terms": "DUE_UPON_USAGE",
        "billing_start_date": "2023-01-01",
        "billing_end_date": "2023-12-31",
    }
    body = {"customer_ref": customer["customer_ref"], "products": [terms]}
    assert client.ok("POST", "/api/contracts", body)["contract_ref"]
    body["products"] = [terms | {"net_terms": 30}]
    assert client.ok("POST", "/api/contracts", body)["contract_ref"]


def test_one_answer_names_every_wrong_line_item(client: Client) -> None:
    meter_ref = make_meter(client)
    wrong = client.refused(
        "POST",
        "/api/products",
        {
            "product_name": "Platform",
            "minimum_fee": "-1",
            "line_items": [
                {"item": "A", "model": "PER_UNIT", "usage_product_ref": meter_ref},
                {"item": "B", "model": "PER_UNIT", "price": "1"},
                {"item": "C", "model": "FLAT", "price": "1", "usage_product_ref": meter_ref},
                {"model": "GRADUATED", "tiers": [TIERS[0]], "usage_product_ref": meter_ref},
                {"item": "E", "model": "VOLUME", "usage_product_ref": meter_ref},
                {"item": "F", "model": "FLAT", "price": "1", "prise": "2"},
            ],
        },
    )
    assert set(wrong) == {
        "/pricing_name",
        "/minimum_fee",
        "/line_items/0/price",
        "/line_items/1/usage_product_ref",
        "/line_items/2/usage_product_ref",
        "/line_items/3/item",
        "/line_items/3/tiers/0/up_to",
        "/line_items/4/tiers",
        "/line_items/5/prise",
    }


def test_a_line_item_needs_a_meter_of_the_tenant(client: Client, stranger: Client) -> None:
    body = product_body(make_meter(stranger))
    assert client.refused("POST", "/api/products", body) == {
        "/line_items/1/usage_product_ref": "usage_product_unknown",
        "/line_items/2/usage_product_ref": "usage_product_unknown",
    }
    assert client.ok("GET", "/api/products", include_drafts="true") == []


def test_two_products_never_have_one_name(client: Client) -> None:
    shop = make_shop(client)
    answer = client.send("POST", "/api/products", product_body(shop.meter_ref))
    assert answer.status_code == 409
