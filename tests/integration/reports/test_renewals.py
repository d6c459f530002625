"""Contracts that renew themselves go on behind their last day, until somebody says otherwise."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.reports.conftest import Reader, until
from tests.integration.reports.test_edited_contracts import amounts, await_version, pricing, proved
from tests.integration.reports.test_subscriptions import documents, today


async def test_a_contract_renews_itself_until_it_is_told_not_to(reader: Reader) -> None:
    start = today() - timedelta(days=25)
    product = {
        "product_pricing_ref": pricing(reader, {"model": "PER_UNIT", "price": "2"}),
        "billing_start_date": str(start),
        "billing_end_date": str(start + timedelta(days=9)),
    }
    customer = {"customer_ref": reader.shop.customer_ref}
    body = {**customer, "products": [product], "auto_renew": True}
    ref = reader.client.ok("POST", "/api/contracts", body)["contract_ref"]
    shown = reader.client.ok("GET", f"/api/contracts/{ref}")
    assert (shown["auto_renew"], shown["version"]) == (True, 1)
    [sold] = shown["products"]
    assert (sold["billing_end_date"], sold["in_force_through"]) == (
        product["billing_end_date"],
        None,
    )
    event = reader.send(timestamp=datetime.now(UTC).isoformat(), quantity=3)
    until(lambda: amounts(reader, event["event_ref"]) == [6], "what comes behind it is priced")
    [current] = documents(reader, "current", ref)
    assert current["invoice_ref"] == event["related_document_ref"]
    # What is shown can be posted back, and changes nothing.
    again = reader.client.ok("POST", f"/api/contracts/edit/{ref}", shown)
    assert again["version"] == 1
    # Without renewals it ends with the term that runs, or with its period where that ends later.
    ended = reader.client.ok("POST", f"/api/contracts/edit/{ref}", {"auto_renew": False})
    assert (ended["auto_renew"], ended["version"]) == (False, 2)
    [sold] = ended["products"]
    assert sold["billing_end_date"] == str(start + timedelta(days=29))
    await_version(reader, ref)
    assert documents(reader, "next", ref) == []
    assert await proved(reader)


@pytest.mark.parametrize(
    ("terms", "wrong"),
    [
        ({"billing_cycle": {"unit": "ONE_TIME"}}, "billing_cycle"),
        ({"commitments": [{"over": "CONTRACT", "amount": 5}]}, "commitments"),
    ],
)
def test_what_can_not_renew_itself_is_refused(
    reader: Reader, terms: dict[str, object], wrong: str
) -> None:
    product = {
        "product_pricing_ref": pricing(reader, {"model": "PER_UNIT", "price": "2"}),
        "billing_start_date": str(today()),
        "billing_end_date": str(today()),
        **terms,
    }
    customer = {"customer_ref": reader.shop.customer_ref}
    body = {**customer, "products": [product], "auto_renew": True}
    refused = reader.client.refused("POST", "/api/contracts", body)
    assert refused == {f"/products/0/{wrong}": "not_supported_yet"}
