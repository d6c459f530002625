"""Whatever a body holds in whatever place, it never makes the gateway fail."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.integration.manage.clients import Client
from tests.integration.manage.shop import contract_body, make_shop, product_body
from tests.integration.manage.test_entities import FULL

STRANGE: list[object] = [
    None,
    True,
    -1,
    10**40,
    "",
    "0" * 5_000,
    "\0",
    "\u202e",
    "e\u0301",
    "1e999999999",
    "NaN",
    [],
    [[]],
    [None],
    {},
    {"": {}},
    {"a": [{}]},
    "[" * 2_000,
    "{",
]


def variants(value: object) -> Iterator[Any]:
    """Yield a JSON value with each of its parts replaced by each strange one, one at a time."""
    yield from STRANGE
    if isinstance(value, dict):
        for name, inner in value.items():
            for variant in variants(inner):
                yield value | {name: variant}
    elif isinstance(value, list) and value:
        for variant in variants(value[0]):
            yield [variant, *value[1:]]


def customer_body() -> dict[str, object]:
    return {
        "name": "Northwind",
        "email": "a@b.example",
        "tax": "1",
        "country": "Ireland",
        "entity_ref": "00000000-0000-4000-8000-000000000003",
        "entity_name": "US Entity",
        "phone": {"countryCode": "1", "phone": "2121234567"},
        "net_terms": 30,
        "billing_crypto_details": {"address": "0xaa", "tokens": ["BTC"]},
        "billing_online_payment_details": {"auto_charge": True},
        "settings": {"attach_usage_logs_csv": True},
        "icon_data": "x",
        "locale": "en",
        "timezone": "UTC",
    }


def bodies(client: Client) -> dict[str, object]:
    shop = make_shop(client)
    lines = [{"line_item_id": shop.line_refs["Calls"]}]
    terms: dict[str, Any] = {
        "line_items": lines,
        "billing_cycle": {"unit": "MONTHLY", "cycle": 1},
        "payment_time": "AFTER_USE",
        "issue_day": "2023-02-10",
        "net_terms": 30,
        "discount": 1,
        "draft": False,
    }
    return {
        "/api/customers": customer_body(),
        "/api/entities": FULL,
        "/api/usage/products": {"name": "M", "unit": "GB", "aggregation": "SUM", "formula": None},
        "/api/products": product_body(shop.meter_ref),
        "/api/contracts": contract_body(shop, **terms) | {"closing": "MANUAL", "po_number": "1"},
    }


@pytest.mark.parametrize(
    "path",
    [
        "/api/customers",
        "/api/entities",
        "/api/usage/products",
        "/api/products",
        "/api/contracts",
    ],
)
def test_no_part_of_a_body_makes_the_gateway_fail(client: Client, path: str) -> None:
    body = bodies(client)[path]
    with requests.Session() as session:
        session.headers.update(client.headers)
        for variant in variants(body):
            answer = session.post(client.url + path, json=variant, timeout=30)
            assert answer.status_code < 500, f"{variant!r:.3000} {answer.text}"
            assert answer.ok or answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/api/customers/names/filter?customer_name=%00",
        "/api/customers/names/filter?customer_name=%25_%5C",
        "/api/customers/names/filter?pageNumber=99999999999999999999",
        "/api/usage/products?cursor=%FF%FE",
        "/api/usage/products?cursor=LTE",
        "/api/products?include_drafts=maybe",
        "/api/contracts/filter?customer_ref=&pageSize=1&pageNumber=0",
        "/api/documents/filter?limit=1&page=1000000&customer_refs=,,,",
        "/api/invoices/%00",
        "/api/contracts/00000000-0000-4000-8000-00000000dead%2F..",
        "/api/contracts/ffffffff-ffff-ffff-ffff-ffffffffffff",
    ],
)
def test_no_query_makes_the_gateway_fail(client: Client, path: str) -> None:
    assert client.send("GET", path).status_code < 500
