"""Versions of a product's price over HTTP: drafts, copies, templates, and what never changes."""

import asyncpg
import pytest

from gateway.manage.pricing_templates import TEMPLATES, Template
from schemas.price import MODELS
from tests.integration.manage.clients import Client
from tests.integration.manage.shop import contract_body, make_shop, product_body

CALLS = {"item": "Calls", "model": "PER_UNIT", "price": "0.5"}


def draft_body(meter_ref: str, **changes: object) -> dict[str, object]:
    line = CALLS | {"usage_product_ref": meter_ref}
    return {"pricing_name": "Next year", "line_items": [line]} | changes


def prices(client: Client, pricing_ref: str) -> list[object]:
    listed = client.ok("GET", "/api/products", include_drafts="true")
    (found,) = [pricing for pricing in listed if pricing["pricing_ref"] == pricing_ref]
    return [line["price"] for line in found["line_items"]]


def test_a_product_gets_another_pricing_and_contracts_keep_theirs(client: Client) -> None:
    shop = make_shop(client)
    contract_ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    first, other = client.ok("GET", "/api/products"), draft_body(shop.meter_ref, publish=True)
    path = f"/api/products/{first[0]['product_ref']}/pricings"
    made = client.ok("POST", path, other)
    assert made["product_ref"] == first[0]["product_ref"]
    assert [line["item"] for line in made["line_items"]] == ["Calls"]
    listed = client.ok("GET", "/api/products")
    assert listed[0] == first[0]
    assert [row["pricing_ref"] for row in listed] == [shop.pricing_ref, made["pricing_ref"]]
    (product,) = client.ok("GET", f"/api/contracts/{contract_ref}")["products"]
    assert product["pricing_ref"] == shop.pricing_ref


def test_a_draft_is_edited_until_it_is_published_and_sold_only_then(client: Client) -> None:
    shop = make_shop(client)
    draft = client.ok("POST", f"/api/pricings/{shop.pricing_ref}/duplicate", {})
    path = f"/api/pricings/{draft['pricing_ref']}"
    assert prices(client, draft["pricing_ref"]) == prices(client, shop.pricing_ref)
    contract = contract_body(shop, product_pricing_ref=draft["pricing_ref"])
    assert client.refused("POST", "/api/contracts", contract) == {
        "/products/0/pricing_ref": "pricing_not_published"
    }
    edited = client.ok("PUT", path, draft_body(shop.meter_ref))
    assert edited["pricing_ref"] == draft["pricing_ref"]
    assert prices(client, draft["pricing_ref"]) == [0.5]
    client.ok("POST", path + "/publish", {})
    client.ok("POST", path + "/publish", {})
    client.ok("POST", "/api/contracts", contract)
    answer = client.send("PUT", path, draft_body(shop.meter_ref))
    assert (answer.status_code, answer.json()["code"]) == (409, "pricing_published")
    assert prices(client, draft["pricing_ref"]) == [0.5]


def test_a_copy_is_a_draft_of_the_same_product_under_refs_of_its_own(client: Client) -> None:
    shop = make_shop(client)
    path = f"/api/pricings/{shop.pricing_ref}/duplicate"
    copy = client.ok("POST", path, {"pricing_name": "Plans 2"})
    assert [line["item"] for line in copy["line_items"]] == list(shop.line_refs)
    assert not {line["line_item_ref"] for line in copy["line_items"]} & set(shop.line_refs.values())
    listed = client.ok("GET", "/api/products", include_drafts="true")
    named = {row["pricing_name"]: row for row in listed}
    assert named["Plans 2"]["is_published"] is False
    assert named["Plans 2"]["product_ref"] == copy["product_ref"]


def test_every_template_can_be_sent_as_it_stands(client: Client) -> None:
    meter_ref = client.ok("POST", "/api/usage/products", {"name": "Units"})["usage_product_ref"]
    templates = client.ok("GET", "/api/pricings/templates")["templates"]
    assert {template["model"] for template in templates} == set(MODELS)
    for template in templates:
        made = client.ok("POST", "/api/products", template["product_request"])
        client.ok("POST", f"/api/pricings/{made['pricing_ref']}/publish", {})
    assert len(client.ok("GET", "/api/products")) >= len(MODELS)
    for_meter = client.ok("GET", "/api/pricings/templates", None, usage_product_ref=meter_ref)
    assert for_meter["templates"] == templates
    nobodys = "00000000-0000-4000-8000-000000000000"
    assert client.refused("GET", "/api/pricings/templates", usage_product_ref=nobodys) == {
        "/usage_product_ref": "usage_product_unknown"
    }


def test_a_stranger_reaches_none_of_it(client: Client, stranger: Client) -> None:
    shop = make_shop(client)
    product_ref = client.ok("GET", "/api/products")[0]["product_ref"]
    flat = {"pricing_name": "Mine", "line_items": [{"item": "A", "model": "FLAT", "price": 1}]}
    for verb, path, body in (
        ("POST", f"/api/products/{product_ref}/pricings", flat),
        ("PUT", f"/api/pricings/{shop.pricing_ref}", flat),
        ("POST", f"/api/pricings/{shop.pricing_ref}/duplicate", {}),
    ):
        assert stranger.send(verb, path, body).status_code == 404
    assert shop.meter_ref not in stranger.send("GET", "/api/pricings/templates").text
    named = {"usage_product_ref": shop.meter_ref}
    assert stranger.refused("GET", "/api/pricings/templates", None, **named) == {
        "/usage_product_ref": "usage_product_unknown"
    }


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pricing SET minimum_fee = 1 WHERE pricing_ref = $1",
        "UPDATE pricing SET is_published = false WHERE pricing_ref = $1",
        "DELETE FROM pricing WHERE pricing_ref = $1",
        "UPDATE pricing_line l SET item = 'X' FROM pricing p "
        "WHERE p.pricing_id = l.pricing_id AND p.pricing_ref = $1",
        "DELETE FROM pricing_line l USING pricing p "
        "WHERE p.pricing_id = l.pricing_id AND p.pricing_ref = $1",
        "INSERT INTO pricing_line (tenant_id, line_item_ref, pricing_id, position, item, price) "
        "SELECT tenant_id, gen_random_uuid(), pricing_id, 9, 'X', '{}' FROM pricing "
        "WHERE pricing_ref = $1",
    ],
)
async def test_no_statement_changes_what_is_published(client: Client, statement: str) -> None:
    shop = make_shop(client)
    with pytest.raises(asyncpg.RestrictViolationError):
        await client.fetch(statement, shop.pricing_ref)


async def test_a_drafts_lines_are_free_until_it_is_published(client: Client) -> None:
    shop = make_shop(client)
    body = product_body(shop.meter_ref, product_name="Other", publish=False)
    draft = client.ok("POST", "/api/products", body)["pricing_ref"]
    await client.fetch("UPDATE pricing SET minimum_fee = 1 WHERE pricing_ref = $1", draft)
    client.ok("POST", f"/api/pricings/{draft}/publish", {})
    with pytest.raises(asyncpg.RestrictViolationError):
        await client.fetch("UPDATE pricing SET minimum_fee = 2 WHERE pricing_ref = $1", draft)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.line["model"])
def test_a_contract_may_sell_a_line_item_by_any_model_and_any_of_its_fields(
    client: Client, template: Template
) -> None:
    shop = make_shop(client)
    own = dict(template.line) | {"item": "Its own", "minimum_fee": "1.5", "maximum_fee": "900"}
    own |= {"discount": "12.5", "currency": "USD"}
    if template.prices_usage:
        own["included_quantity"] = "3"
    for item in ("Calls", "Units", "Seats"):
        override = own | {"line_item_ref": shop.line_refs[item]}
        if template.prices_usage:
            override["usage_product_ref"] = shop.meter_ref
        body = contract_body(shop, overrides=[override])
        ref = client.ok("POST", "/api/contracts", body)["contract_ref"]
        (product,) = client.ok("GET", f"/api/contracts/{ref}")["products"]
        (shown,) = product["overrides"]
        assert set(override) <= set(shown), item
        assert (shown["model"], shown["item"]) == (template.line["model"], "Its own")
        assert (shown["discount"], shown["minimum_fee"], shown["maximum_fee"]) == (12.5, 1.5, 900)
    listed = client.ok("GET", "/api/products")
    assert [row["item"] for row in listed[0]["line_items"]][:2] == ["Seats", "Calls"]
