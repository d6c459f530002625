"""PUT: what was made is made anew, whole; what would change past charges is refused."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.integration.manage.clients import Client
from tests.integration.manage.shop import Shop, contract_body, make_shop, product_body
from tests.integration.manage.test_customers import SMALLEST
from tests.integration.manage.test_entities import FULL


async def last_entry(client: Client) -> Mapping[str, Any]:
    """Read what was written into the audit log last."""
    rows = await client.fetch(
        "SELECT entry FROM audit_entry WHERE tenant_id = $1 ORDER BY number DESC LIMIT 1",
        client.tenant_id,
    )
    found: Mapping[str, Any] = json.loads(rows[0]["entry"])
    return found


def paths(client: Client) -> dict[str, str]:
    """Make one of everything that can be changed; its path by what it is."""
    shop = make_shop(client)
    entity = client.ok("POST", "/api/entities", FULL)
    return {
        "entity": f"/api/entities/{entity['entity_ref']}",
        "customer": f"/api/customers/{shop.customer_ref}",
        "usage_product": f"/api/usage/products/{shop.meter_ref}",
    }


@pytest.mark.parametrize("kind", ["entity", "customer", "usage_product"])
async def test_what_get_answers_can_be_put_back_and_changes_nothing(
    client: Client, kind: str
) -> None:
    path = paths(client)[kind]
    before = client.ok("GET", path)
    assert client.ok("PUT", path, before) == before
    assert client.ok("GET", path) == before
    entry = await last_entry(client)
    assert entry["action"] == f"{kind}.changed"
    assert entry["before"] == entry["after"] == before


@pytest.mark.parametrize(
    ("kind", "body", "stays"),
    [
        ("customer", SMALLEST, {"entity_ref", "entity_name", "currency"}),
        (
            "entity",
            {"name": "Small"},
            {
                "legal_name",
                "timezone",
                "currency",
                "net_terms",
                "document_number_format",
                "review",
            },
        ),
        ("usage_product", {"name": "Bytes"}, {"aggregation", "relation"}),
    ],
)
async def test_what_is_left_out_is_emptied_but_for_what_is_always_there(
    client: Client, kind: str, body: dict[str, str], stays: set[str]
) -> None:
    path = paths(client)[kind]
    before = client.ok("GET", path)
    after = client.ok("PUT", path, body)
    assert client.ok("GET", path) == after
    fixed = stays | {f"{kind}_ref", "created_at"}
    assert {name: after[name] for name in fixed} == {name: before[name] for name in fixed}
    assert {name: after[name] for name in body} == body
    empty: list[object] = [None, False, {"billing_accounts": [], "payment_gateways": []}]
    assert all(after[name] in empty for name in after.keys() - fixed - body.keys()), after


@pytest.mark.parametrize("kind", ["entity", "customer", "usage_product"])
def test_a_body_names_what_its_path_names(client: Client, kind: str) -> None:
    path = paths(client)[kind]
    other = "00000000-0000-4000-8000-00000000dead"
    body = client.ok("GET", path) | {f"{kind}_ref": other, "nmae": "x"}
    assert client.refused("PUT", path, body) == {
        f"/{kind}_ref": "ref_differs",
        "/nmae": "unknown_field",
    }


def test_a_customer_moves_to_another_entity_by_name(client: Client) -> None:
    path = paths(client)["customer"]
    assert client.ok("PUT", path, SMALLEST | {"entity_name": "eu entity"})["currency"] == "USD"
    assert client.ok("GET", path)["entity_name"] == "EU Entity"
    wrong = client.refused("PUT", path, SMALLEST | {"entity_name": "Nobody Ltd"})
    assert wrong == {"/entity_name": "entity_unknown"}


@pytest.mark.parametrize("kind", ["entity", "usage_product"])
def test_a_name_that_another_has_is_refused(client: Client, kind: str) -> None:
    path = paths(client)[kind]
    collection = path.rpartition("/")[0]
    client.ok("POST", collection, {"name": "Taken"})
    answer = client.send("PUT", path, {"name": " TAKEN "})
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


def test_how_a_meter_adds_up_is_settled_once_it_is_priced(client: Client) -> None:
    made = client.ok("POST", "/api/usage/products", {"name": "Calls", "unit": "call"})
    path = f"/api/usage/products/{made['usage_product_ref']}"
    counted = client.ok("PUT", path, {"name": "Calls", "aggregation": "COUNT"})
    assert (counted["aggregation"], counted["unit"]) == ("COUNT", None)
    product = product_body(made["usage_product_ref"], product_name="Priced")
    client.ok("POST", "/api/products", product)
    answer = client.send("PUT", path, {"name": "Calls", "aggregation": "SUM"})
    assert (answer.status_code, answer.json()["code"]) == (409, "usage_product_priced")
    assert "another usage product" in answer.json()["detail"]
    renamed = client.ok("PUT", path, {"name": "Messages", "unit": "message"})
    assert (renamed["name"], renamed["aggregation"]) == ("Messages", "COUNT")


async def test_a_product_gets_another_name(client: Client) -> None:
    make_shop(client)
    (pricing,) = client.ok("GET", "/api/products")
    path = f"/api/products/{pricing['product_ref']}"
    answer = client.ok("PUT", path, {"product_name": "Suite"})
    assert answer == {"product_ref": pricing["product_ref"], "product_name": "Suite"}
    assert client.ok("GET", "/api/products") == [pricing | {"product_name": "Suite"}]
    assert (await last_entry(client))["before"] == answer | {"product_name": "Platform"}
    assert client.refused("PUT", path, {"pricing_name": "Plans"}) == {
        "/product_name": "required",
        "/pricing_name": "unknown_field",
    }


def test_contracts_keep_the_terms_that_they_were_signed_with(client: Client) -> None:
    shop = make_shop(client)
    contract_ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    before = client.ok("GET", f"/api/contracts/{contract_ref}")
    changes = {"currency": "EUR", "net_terms": 7, "tax": 20}
    client.ok("PUT", f"/api/customers/{shop.customer_ref}", SMALLEST | changes)
    entity_ref = client.ok("GET", "/api/entities/names")["entities"][0]["entity_ref"]
    moved = {"name": "US Entity", "timezone": "Asia/Tokyo", "net_terms": 9}
    client.ok("PUT", f"/api/entities/{entity_ref}", moved)
    assert client.ok("GET", f"/api/contracts/{contract_ref}") == before


def test_events_know_a_customer_and_a_meter_by_their_new_names(client: Client) -> None:
    shop: Shop = make_shop(client)
    client.ok("PUT", f"/api/customers/{shop.customer_ref}", SMALLEST | {"name": "Southwind"})
    client.ok("PUT", f"/api/usage/products/{shop.meter_ref}", {"name": "Bytes"})
    event = {
        "timestamp": "2023-03-15T12:00:00Z",
        "customer_name": "southwind",
        "usage_product_name": "bytes",
        "quantity": 1,
    }
    answer = client.ok("POST", "/api/usage/event", event)
    assert answer["customer_ref"] == shop.customer_ref
    assert answer["usage_product_name"] == "Bytes"
