"""Edits and ends of contracts over HTTP: what changes, from which day, and what is refused."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.integration.manage.clients import Client, codes
from tests.integration.manage.shop import Shop, contract_body, make_shop, product_body
from tests.integration.manage.test_changes import last_entry

NOWHERE = "00000000-0000-4000-8000-00000000dead"
TODAY = datetime.now(UTC).date()
LONG_AGO = (TODAY - timedelta(days=400)).replace(day=12)


def running(shop: Shop, **terms: object) -> dict[str, Any]:
    """Return a product that has run for a while, in periods of 10 years."""
    return {
        "product_pricing_ref": shop.pricing_ref,
        "billing_start_date": str(LONG_AGO),
        "billing_end_date": str(TODAY + timedelta(days=9000)),
        "issue_day": str(LONG_AGO),
        "billing_cycle": {"unit": "YEARLY", "cycle": 10},
        **terms,
    }


def sign(client: Client, shop: Shop, *products: dict[str, Any], **fields: object) -> str:
    body = {"customer_ref": shop.customer_ref, "products": list(products), **fields}
    ref: str = client.ok("POST", "/api/contracts", body)["contract_ref"]
    return ref


def get(client: Client, ref: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.ok("GET", f"/api/contracts/{ref}")
    return answer


def edit(client: Client, ref: str, **fields: object) -> dict[str, Any]:
    answer: dict[str, Any] = client.ok("POST", f"/api/contracts/edit/{ref}", fields)
    return answer


def other_pricing(client: Client, shop: Shop, **fields: object) -> str:
    body = product_body(shop.meter_ref, product_name="Other", **fields)
    ref: str = client.ok("POST", "/api/products", body)["pricing_ref"]
    return ref


def end_of_decade() -> date:
    return date(LONG_AGO.year + 10, LONG_AGO.month, LONG_AGO.day)


FULL = {
    "issue_day": "2023-02-10",
    "tax": 17,
    "discount": 10.5,
    "net_terms": "DUE_UPON_RECEIPT",
    "minimum_fee": 99.95,
    "note": "special offer",
    "commitments": [{"over": "CONTRACT", "amount": 1000}],
    "credits": [{"amount": 50, "every": "PERIOD", "roll_over": 1}],
    "billing_bank_transfer_details": {"billing_account_id": "account-1"},
    "billing_crypto_details": {"address": "0xaa", "tokens": ["USDC"]},
}


async def test_what_get_answers_can_be_posted_back_and_changes_nothing(client: Client) -> None:
    shop = make_shop(client)
    ref = sign(client, shop, contract_body(shop, **FULL)["products"][0], po_number="7")
    before, entry = get(client, ref), await last_entry(client)
    for body in (before, {}, {"po_number": None, "products": json.dumps(before["products"])}):
        for flag in ({}, {"include_current_invoice": "true"}):
            assert edit(client, ref, **body | flag) == before
    assert await last_entry(client) == entry
    changes = "SELECT count(*)::int FROM partition_change WHERE contract_ref = $1"
    assert [tuple(row) for row in await client.fetch(changes, ref)] == [(1,)]


async def test_an_edit_counts_from_the_next_period_and_keeps_what_it_leaves_out(
    client: Client,
) -> None:
    shop = make_shop(client)
    ref = sign(client, shop, running(shop, discount=5, note="kept"), po_number="1")
    before = get(client, ref)
    start = {"pricing_ref": shop.pricing_ref.upper(), "billing_start_date": f"{LONG_AGO}T12:00:00Z"}
    line_items = [{"line_item_id": shop.line_refs["Calls"]}]
    after = edit(client, ref + "/", po_number="2", products=[start | {"line_items": line_items}])
    (product,) = after["products"]
    assert (after["po_number"], after["version"]) == ("2", 2)
    assert [line["item"] for line in product["line_items"]] == ["Calls"]
    assert product["in_force_from"] == str(end_of_decade())
    unchanged = before["products"][0].keys() - {"line_items", "in_force_from"}
    assert {n: product[n] for n in unchanged} == {n: before["products"][0][n] for n in unchanged}
    assert [entry["kind"] for entry in after["history"]] == ["MADE", "EDITED"]
    assert {entry["made_by"] for entry in after["history"]} == {f"key {client.api_key}"}
    assert get(client, ref) == after
    entry = await last_entry(client)
    assert (entry["action"], entry["before"]["po_number"]) == ("contract.edited", "1")
    rows = await client.fetch(
        "SELECT p.version, since_date, until_date, is_pending, from_date "
        "FROM contract_product p LEFT JOIN contract_succession USING (contract_product_ref) "
        "WHERE p.contract_ref = $1 ORDER BY p.version",
        ref,
    )
    bound = end_of_decade()
    assert [tuple(row) for row in rows] == [
        (1, None, None, False, bound),
        (2, bound, None, True, None),
    ]


async def test_another_pricing_takes_the_place_of_the_one_that_measures_the_same(
    client: Client,
) -> None:
    shop = make_shop(client)
    other = other_pricing(client, shop)
    ref = sign(client, shop, running(shop), running(shop, note="stays", discount=1))
    replaced = running(shop, product_pricing_ref=other, billing_start_date=str(TODAY))
    products = [replaced, running(shop)]
    path = f"/api/contracts/edit/{ref}"
    body = {"include_current_invoice": True, "products": products}
    assert client.refused("POST", path, body) == {
        "/products/0/billing_start_date": "starts_too_late"
    }
    replaced["billing_start_date"] = str(LONG_AGO)
    after = client.ok("POST", path, body)
    assert {p["pricing_ref"] for p in after["products"]} == {other, shop.pricing_ref}
    assert {p["in_force_from"] for p in after["products"]} == {str(LONG_AGO)}
    rows = await client.fetch(
        "SELECT p.position, s.from_date, s.successor_ref IS NOT NULL FROM contract_succession s "
        "JOIN contract_product p USING (contract_product_ref) WHERE s.contract_ref = $1",
        ref,
    )
    assert [tuple(row) for row in rows] == [(1, LONG_AGO, True)]


def test_what_cannot_be_edited_is_named(client: Client) -> None:
    shop = make_shop(client)
    ref = sign(client, shop, running(shop))
    path = f"/api/contracts/edit/{ref}"
    wrong = {
        "customer_ref": NOWHERE,
        "contract_ref": NOWHERE,
        "products": [running(shop, tax=101), running(shop, product_pricing_ref=NOWHERE)],
    }
    assert client.refused("POST", path, wrong) == {
        "/customer_ref": "customer_fixed",
        "/contract_ref": "ref_differs",
        "/products/0/tax": "percent_out_of_range",
    }
    unknown = {"products": [running(shop, product_pricing_ref=NOWHERE)]}
    assert client.refused("POST", path, unknown) == {"/products/0/pricing_ref": "pricing_unknown"}
    assert client.refused("POST", path, {"products": []}) == {"/products": "required"}
    once = {"item": "Set-up", "model": "FLAT", "price": 9, "recurring": False}
    set_up = other_pricing(client, shop, line_items=[once])
    replaced = {"products": [running(shop, product_pricing_ref=set_up)]}
    assert client.refused("POST", path, replaced) == {"/products/0/line_items": "due_once"}
    assert client.send("POST", f"/api/contracts/edit/{NOWHERE}", {}).status_code == 404
    assert get(client, ref)["version"] == 1


async def test_credits_go_on_in_what_takes_their_products_place(client: Client) -> None:
    shop = make_shop(client)
    welcome = {"amount": 100, "name": "Welcome"}
    ref = sign(client, shop, running(shop, credits=[welcome]))
    path, other = f"/api/contracts/edit/{ref}", other_pricing(client, shop)
    fixed = {"/products/0/credits": "credits_fixed"}
    for taken_back in ([{"amount": 99, "name": "Welcome"}], [{"amount": 5}, welcome]):
        wrong = {"products": [running(shop, credits=taken_back)]}
        assert client.refused("POST", path, wrong) == fixed
    without = {"products": [running(shop, product_pricing_ref=other)]}
    assert client.refused("POST", path, without) == fixed
    more = [welcome, {"amount": 5}]
    after = edit(client, ref, products=[running(shop, product_pricing_ref=other, credits=more)])
    starts = [one["starts"] for one in after["products"][0]["credits"]]
    assert starts == [str(LONG_AGO), str(end_of_decade())]
    assert edit(client, ref, products=after["products"])["version"] == 2
    counted = "SELECT count(*), count(DISTINCT lineage_ref) FROM contract_product"
    lineage = await client.fetch(f"{counted} WHERE contract_ref = $1", ref)
    assert [tuple(row) for row in lineage] == [(2, 1)]
    shown = client.ok("GET", f"/api/contracts/credits/{ref}")["credits"]
    assert [(one["name"], one["granted"], one["left"]) for one in shown] == [
        ("Welcome", 100, 100),
        (None, 0, 0),
    ]


def test_a_product_with_credits_may_end_within_a_period(client: Client) -> None:
    shop = make_shop(client)
    commitments = [{"over": "CONTRACT", "amount": 500}]
    ref = sign(client, shop, running(shop, credits=[{"amount": 100}], commitments=commitments))
    edit(client, ref, products=[running(shop, tax=3)])
    body = {"include_current_invoice": True}
    assert client.ok("POST", f"/api/contracts/cancel/{ref}", body)["state"] == "CANCELLED"


def test_a_commitment_that_was_settled_is_not_reopened(client: Client) -> None:
    shop = make_shop(client)
    commitments = [{"over": "CONTRACT", "amount": 500}]
    ended = contract_body(shop, commitments=commitments)["products"]
    ref = sign(client, shop, *ended)
    longer = {"products": contract_body(shop, billing_end_date="2030-12-31")["products"]}
    refused = client.refused("POST", f"/api/contracts/edit/{ref}", longer)
    assert refused == {"/products/0/commitments": "contract_ended"}


def test_a_period_whose_events_are_billed_one_by_one_is_not_rated_anew(client: Client) -> None:
    shop = make_shop(client)
    ref = sign(client, shop, running(shop, net_terms="DUE_UPON_USAGE"))
    now = {"include_current_invoice": True}
    refused = {"/include_current_invoice": "not_supported_yet"}
    edited = now | {"products": [running(shop, net_terms=30)]}
    assert client.refused("POST", f"/api/contracts/edit/{ref}", edited) == refused
    assert client.refused("POST", f"/api/contracts/cancel/{ref}", now) == refused
    plain = sign(client, shop, running(shop))
    upon_usage = now | {"products": [running(shop, net_terms="DUE_UPON_USAGE")]}
    assert client.refused("POST", f"/api/contracts/edit/{plain}", upon_usage) == refused
    answer = client.ok("POST", f"/api/contracts/cancel/{ref}", {})
    assert answer["state"] == "CANCELLED", "from the next period on it may change"


async def test_a_closed_period_keeps_its_terms(client: Client) -> None:
    shop = make_shop(client)
    ref = sign(client, shop, *contract_body(shop)["products"])
    ((product_ref, place),) = await client.fetch(
        "SELECT contract_product_ref, shard_key FROM contract_product WHERE contract_ref = $1", ref
    )
    await client.fetch(
        "INSERT INTO billing_period VALUES ($1, gen_random_uuid(), $2, $3, 11, '2023-12-01', "
        "'2024-01-01', '2023-12-01', '2024-01-01', '2023-12-01', '2024-01-01', '2024-01-01', "
        "false, 1)",
        *(place, client.tenant_id, product_ref),
    )
    body = {"include_current_invoice": True, "products": contract_body(shop, tax=3)["products"]}
    refused = client.send("POST", f"/api/contracts/edit/{ref}", body)
    assert (refused.status_code, refused.json()["code"]) == (409, "period_closed")
    longer = contract_body(shop, billing_end_date="2024-12-31")["products"]
    after = edit(client, ref, products=longer)
    assert after["products"][0]["in_force_from"] == "2024-01-01"


def test_a_cancelled_contract_ends_and_cannot_be_changed_again(client: Client) -> None:
    shop = make_shop(client)
    for include, last in ((False, end_of_decade() - timedelta(days=1)), (True, None)):
        ref = sign(client, shop, running(shop))
        path = f"/api/contracts/cancel/{ref}"
        wrong = {"contract_ref": NOWHERE}
        assert codes(client.send("POST", path, wrong)) == {"/contract_ref": "ref_differs"}
        answer = client.ok("POST", path + "/", {"include_current_invoice": include})
        assert (answer["state"], answer["version"]) == ("CANCELLED", 2)
        (product,) = answer["products"]
        through = date.fromisoformat(product["in_force_through"])
        assert through == last or (last is None and abs(through - TODAY) <= timedelta(days=1))
        assert product["in_force_from"] == str(LONG_AGO)
        assert get(client, ref) == answer
        for again in (path, f"/api/contracts/edit/{ref}"):
            refused = client.send("POST", again, {})
            assert (refused.status_code, refused.json()["code"]) == (409, "contract_cancelled")


async def test_a_line_item_is_overridden_by_a_price_version_of_the_contract(
    client: Client,
) -> None:
    shop = make_shop(client)
    tiers = {"model": "GRADUATED", "tiers": [{"up_to": None, "unit_price": "1.50"}]}
    overrides = [
        {"line_item_id": shop.line_refs["Calls"], "price": "0.0050", "discount": 0},
        {"line_item_ref": shop.line_refs["Seats"], "item": "Desks", "quantity": 7},
        {"line_item_ref": shop.line_refs["Units"], **tiers, "minimum_fee": "12"},
    ]
    ref = sign(client, shop, running(shop, overrides=overrides[:1]))
    first = get(client, ref)
    assert first["products"][0]["overrides"] == [
        {"line_item_ref": shop.line_refs["Calls"], "discount": 0, "price": 0.0050}
    ]
    assert edit(client, ref, **first) == first
    after = edit(
        client, ref, include_current_invoice=True, products=[running(shop, overrides=overrides)]
    )
    (product,) = after["products"]
    assert [line["item"] for line in product["line_items"]] == ["Desks", "Calls", "Units"]
    assert {line["line_item_ref"] for line in product["line_items"]} == {*shop.line_refs.values()}
    assert len(product["overrides"]) == 3
    assert edit(client, ref, **after) == after
    rows = await client.fetch(
        "SELECT l.item, l.price, l.contract_ref::text FROM contract_line c "
        "JOIN pricing_line l USING (pricing_line_id) JOIN contract_product p "
        "USING (contract_product_ref) WHERE p.contract_ref = $1 AND p.version = 2 "
        "ORDER BY c.position",
        ref,
    )
    priced = {row["item"]: json.loads(row["price"]) for row in rows}
    assert {row["contract_ref"] for row in rows} == {ref}
    assert priced["Calls"] == {"model": "PER_UNIT", "price": "0.005"}
    assert priced["Desks"] == {"model": "FLAT", "price": "3000", "quantity": "7"}
    assert (priced["Units"]["minimum_fee"], len(priced["Units"]["tiers"])) == ("12", 1)
    # What is sold to others stays as it is.
    listed = client.ok("GET", "/api/products")
    assert {line["item"] for line in listed[0]["line_items"]} == {"Seats", "Calls", "Units"}


def test_an_override_names_a_line_item_and_fields_that_there_are(client: Client) -> None:
    shop = make_shop(client)
    path = f"/api/contracts/edit/{sign(client, shop, running(shop))}"
    calls, seats = ({"line_item_ref": shop.line_refs[item]} for item in ("Calls", "Seats"))
    wrong: list[tuple[list[dict[str, Any]], str, str]] = [
        ([{"line_item_ref": NOWHERE, "price": 1}], "line_item_ref", "line_item_unknown"),
        ([{"price": 1}], "line_item_ref", "required"),
        ([calls | {"prise": 1}], "prise", "field_unknown"),
        ([calls | {"usage_product_ref": NOWHERE}], "usage_product_ref", "usage_product_unknown"),
        ([seats | {"model": "PER_UNIT", "price": 1}], "usage_product_ref", "required"),
        ([seats | {"model": "CHEAP"}], "model", "value_unknown"),
    ]
    for overrides, name, code in wrong:
        body = {"products": [running(shop, overrides=overrides)]}
        found = client.refused("POST", path, body)
        assert found[f"/products/0/overrides/0/{name}"] == code, found
    twice = {"products": [running(shop, overrides=[calls | {"price": 1}, calls | {"price": 2}])]}
    assert client.refused("POST", path, twice) == {
        "/products/0/overrides/1/line_item_ref": "line_item_repeated"
    }
