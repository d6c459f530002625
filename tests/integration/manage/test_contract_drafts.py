"""Draft contracts over HTTP: kept apart, edited freely, dropped or published."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.manage.clients import Client
from tests.integration.manage.shop import Shop, contract_body, make_shop

NOWHERE = "00000000-0000-4000-8000-00000000dead"
COUNTED = ("contract", "contract_version", "contract_product", "partition_change")


def draft(client: Client, shop: Shop, **product: object) -> str:
    body = contract_body(shop, **product) | {"draft": True}
    ref: str = client.ok("POST", "/api/contracts", body)["contract_ref"]
    return ref


def shown(client: Client, ref: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.ok("GET", f"/api/contracts/{ref}")
    return answer


def listed(client: Client, shop: Shop, size: int, page: int) -> list[dict[str, Any]]:
    query = {"customer_ref": shop.customer_ref, "pageSize": str(size), "pageNumber": str(page)}
    answer: list[dict[str, Any]] = client.ok("GET", "/api/contracts/filter", **query)
    return answer


async def rows(client: Client) -> list[int]:
    """Count the tenant's rows in the tables that rating and billing start from."""
    counts = []
    for table in COUNTED:
        statement = f"SELECT count(*) FROM {table} WHERE tenant_id = $1"
        ((count,),) = await client.fetch(statement, client.tenant_id)
        counts.append(count)
    return counts


async def test_a_draft_is_shown_like_its_contract_and_nothing_else_knows_of_it(
    client: Client,
) -> None:
    shop = make_shop(client, tax="8.875")
    override = {"line_item_ref": shop.line_refs["Calls"], "price": "0.0050"}
    terms = {
        "discount": "10.5",
        "minimum_fee": 99.95,
        "issue_day": "2023-02-10",
        "overrides": [override],
        "credits": [{"amount": 50.25, "every": "ONCE"}],
        "billing_crypto_details": {"address": "0xabc", "tokens": ["BTC"]},
    }
    ref = draft(client, shop, **terms)
    found = shown(client, ref)
    assert (found["state"], found["contract_number"], found["history"]) == ("DRAFT", None, [])
    assert await rows(client) == [0, 0, 0, 0]
    twin = client.ok("POST", "/api/contracts", contract_body(shop, **terms))["contract_ref"]
    assert found["products"] == shown(client, twin)["products"]


async def test_publishing_makes_the_contract_that_the_draft_shows(client: Client) -> None:
    shop = make_shop(client, tax="8.875")
    ref = draft(client, shop, discount="10.5", line_items=[])
    before = shown(client, ref)
    published = client.ok("POST", f"/api/contracts/publish/{ref}/", {"contract_ref": ref})
    assert published == shown(client, ref)
    assert (published["state"], published["contract_number"]) == ("ACTIVE", 1)
    assert [entry["kind"] for entry in published["history"]] == ["MADE"]
    assert published["products"] == before["products"]
    assert await rows(client) == [1, 1, 1, 1]
    again = client.send("POST", f"/api/contracts/publish/{ref}", {})
    assert (again.status_code, again.json()["code"]) == (409, "contract_published")
    problem = client.send("POST", f"/api/contracts/publish/{NOWHERE}", {})
    assert problem.status_code == 404


def test_a_draft_changes_freely_and_keeps_what_is_left_out(client: Client) -> None:
    shop = make_shop(client)
    ref = draft(client, shop, discount=10, note="offer")
    product = {"pricing_ref": shop.pricing_ref, "billing_start_date": "2023-01-01"}
    edited = client.ok(
        "POST",
        f"/api/contracts/edit/{ref}",
        {"po_number": "PO-2", "invoice_mode": "PER_PRODUCT", "products": [product | {"tax": 7}]},
    )
    assert edited == shown(client, ref)
    (one,) = edited["products"]
    assert (one["tax"], one["discount"], one["note"]) == (7, 10, "offer")
    assert (edited["po_number"], edited["invoice_mode"]) == ("PO-2", "PER_PRODUCT")
    assert client.ok("POST", f"/api/contracts/edit/{ref}", edited) == edited  # posted back
    moved = product | {"billing_start_date": "2022-06-01", "billing_end_date": "2022-06-30"}
    client.ok("POST", f"/api/contracts/edit/{ref}", {"products": [moved]})
    published = client.ok("POST", f"/api/contracts/publish/{ref}", {})
    assert [p["billing_start_date"] for p in published["products"]] == ["2022-06-01"]
    assert published["invoice_mode"] == "PER_PRODUCT"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"draft": False}, {"/draft": "draft_not_published"}),
        ({"customer_ref": NOWHERE}, {"/customer_ref": "customer_fixed"}),
        ({"contract_ref": NOWHERE}, {"/contract_ref": "ref_differs"}),
        ({"products": []}, {"/products": "required"}),
    ],
)
def test_what_a_draft_cannot_become_is_refused(
    client: Client, change: dict[str, Any], wrong: dict[str, str]
) -> None:
    ref = draft(client, make_shop(client))
    before = shown(client, ref)
    assert client.refused("POST", f"/api/contracts/edit/{ref}", change) == wrong
    assert shown(client, ref) == before


def test_wrong_drafts_are_refused_and_a_contract_becomes_none_again(client: Client) -> None:
    shop = make_shop(client)
    body = contract_body(shop, product_pricing_ref=NOWHERE) | {"draft": True}
    wrong = client.refused("POST", "/api/contracts", body)
    assert "pricing_unknown" in wrong.values()
    ref = client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"]
    wrong = client.refused("POST", f"/api/contracts/edit/{ref}", {"draft": True})
    assert wrong == {"/draft": "draft_published"}


async def test_a_dropped_draft_is_gone_and_the_audit_log_has_it(client: Client) -> None:
    ref = draft(client, make_shop(client, tax="8.875"))
    before = shown(client, ref)
    dropped = client.ok("POST", f"/api/contracts/cancel/{ref}", {"contract_ref": ref})
    assert dropped == before | {"state": "CANCELLED"}
    assert client.send("GET", f"/api/contracts/{ref}").status_code == 404
    assert client.send("POST", f"/api/contracts/publish/{ref}", {}).status_code == 404
    entries = await client.fetch(
        "SELECT entry::jsonb ->> 'action' AS action FROM audit_entry "
        "WHERE tenant_id = $1 AND entry::jsonb ->> 'subject' = $2 ORDER BY number",
        client.tenant_id,
        ref,
    )
    assert [row["action"] for row in entries] == ["contract.drafted", "contract.draft_dropped"]


def test_drafts_come_last_in_the_pages_of_a_customer_each_once(client: Client) -> None:
    shop = make_shop(client)
    drafts = [draft(client, shop) for _ in range(3)]
    signed = [
        client.ok("POST", "/api/contracts", contract_body(shop))["contract_ref"] for _ in range(2)
    ]
    for size in (1, 2, 3, 4, 5, 6):
        pages = [listed(client, shop, size, page) for page in range(7)]
        found = [one["contract_ref"] for page in pages for one in page]
        assert found == signed + drafts, size
        assert all(len(page) <= size for page in pages)


def test_a_subscription_may_be_a_draft(client: Client) -> None:
    shop = make_shop(client)
    body = {
        "customer_ref": shop.customer_ref,
        "billing_start_date": "2023-01-01",
        "products": [{"product_pricing_ref": shop.pricing_ref}],
        "draft": "true",
    }
    ref = client.ok("POST", "/api/contracts/subscriptions", body)["subscription_ref"]
    published = client.ok("POST", f"/api/contracts/publish/{ref}", {})
    assert published["products"][0]["billing_end_date"] is None


@pytest.mark.parametrize(
    ("closing", "edits", "waits"),
    [
        (None, {}, True),
        (None, {"closing": "AUTOMATIC"}, True),  # posted back as it was shown
        ("AUTOMATIC", {"po_number": "PO-9"}, False),
    ],
)
async def test_periods_that_have_ended_wait_for_a_call_unless_the_draft_says_automatic(
    client: Client, closing: str | None, edits: dict[str, Any], waits: bool
) -> None:
    body = contract_body(make_shop(client)) | {"draft": True}
    ref = client.ok("POST", "/api/contracts", body | ({"closing": closing} if closing else {}))[
        "contract_ref"
    ]
    client.ok("POST", f"/api/contracts/edit/{ref}", edits)
    client.ok("POST", f"/api/contracts/publish/{ref}", {})
    ((after,),) = await client.fetch(
        "SELECT closes_after FROM contract WHERE tenant_id = $1", client.tenant_id
    )
    assert (after is not None) == waits


async def test_of_many_who_publish_at_once_one_does(client: Client) -> None:
    ref = draft(client, make_shop(client))
    with ThreadPoolExecutor(8) as pool:
        path = f"/api/contracts/publish/{ref}"
        answers = list(pool.map(lambda _: client.send("POST", path, {}), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert await rows(client) == [1, 1, 1, 1]
