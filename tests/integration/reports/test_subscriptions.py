"""A subscription goes on until it is cancelled; its documents can be looked at beforehand."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.integration.reports.conftest import Reader, until
from tests.integration.reports.test_edited_contracts import (
    amounts,
    await_version,
    pricing,
    proved,
    sign,
)

LONG_AGO = timedelta(days=40)


def today(zone: str = "UTC") -> date:
    return datetime.now(ZoneInfo(zone)).date()


def month_after(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def documents(reader: Reader, which: str, contract_ref: str) -> list[dict[str, Any]]:
    path = f"/api/contracts/invoices/{which}/{contract_ref}"
    found: list[dict[str, Any]] = reader.client.ok("GET", path)
    return found


async def test_a_subscription_is_billed_month_by_month_until_it_is_cancelled(
    reader: Reader,
) -> None:
    start = today() - LONG_AGO
    refs = [
        pricing(reader, {"model": "PER_UNIT", "price": "2"}, name="Usage"),
        pricing(
            reader, {"model": "FLAT", "price": "10", "usage_product_ref": None}, name="Base fee"
        ),
    ]
    body = {
        "customer_ref": reader.shop.customer_ref,
        "billing_start_date": str(start),
        "issue_day": str(month_after(start)),
        "tax": 10,
        "closing": "MANUAL",
        "products": [{"product_pricing_ref": ref} for ref in refs],
    }
    answer = reader.client.ok("POST", "/api/contracts/subscriptions", body)
    ref = answer["subscription_ref"]
    contract = reader.client.ok("GET", f"/api/contracts/{ref}")
    assert [p["billing_end_date"] for p in contract["products"]] == [None, None]
    assert {p["tax"] for p in contract["products"]} == {10}
    first = today(contract["products"][0]["timezone"]).replace(day=1)

    event = reader.send(timestamp=datetime.now(UTC).isoformat(), quantity=3)
    until(lambda: amounts(reader, event["event_ref"]) == [6], "the event is priced")
    [current] = documents(reader, "current", ref)
    assert current["invoice_ref"] == event["related_document_ref"]
    assert current == reader.client.ok("GET", f"/api/invoices/{current['invoice_ref']}")
    assert (current["state"], current["total"]) == ("DRAFT", 17.6)
    assert current["period"] == {"start": str(first), "end": str(month_after(first))}
    [following] = documents(reader, "next", ref)
    assert (following["total"], following["issue_date"]) == (
        11,
        str(month_after(month_after(first))),
    )

    # What GET answers can be posted back, and an open end stays open.
    edited = reader.client.ok("POST", f"/api/contracts/edit/{ref}", contract)
    assert edited["products"][0]["billing_end_date"] is None
    answer = reader.client.ok("POST", f"/api/contracts/cancel/{ref}", {})
    assert answer["products"][0]["in_force_through"] == str(month_after(first) - timedelta(days=1))
    await_version(reader, ref)
    assert documents(reader, "current", ref) == [current]
    assert documents(reader, "next", ref) == []
    assert await proved(reader)


async def test_a_contract_to_come_has_its_first_documents_next(reader: Reader) -> None:
    ref = pricing(reader, {"model": "FLAT", "price": "10", "usage_product_ref": None})
    begins = month_after(today())
    terms = {"billing_start_date": str(begins), "billing_end_date": str(begins)}
    contract_ref = sign(reader, {"product_pricing_ref": ref, **terms})
    assert documents(reader, "current", contract_ref) == []
    assert [found["total"] for found in documents(reader, "next", contract_ref)] != []


def test_an_end_is_needed_where_there_is_one_period_and_of_contracts(reader: Reader) -> None:
    ref = pricing(reader, {"model": "PER_UNIT", "price": "2"})
    product = {"product_pricing_ref": ref}
    terms = {"billing_start_date": str(today() - LONG_AGO)}
    customer = {"customer_ref": reader.shop.customer_ref}
    asked = [
        ("/api/contracts", {**customer, "products": [{**product, **terms}]}),
        (
            "/api/contracts/subscriptions",
            {**customer, **terms, "billing_cycle": {"unit": "ONE_TIME"}, "products": [product]},
        ),
    ]
    pointers = []
    for path, body in asked:
        problem = reader.client.send("POST", path, body)
        assert problem.status_code == 422
        pointers += [error["pointer"] for error in problem.json()["errors"]]
    assert pointers == ["/products/0/billing_end_date", "/billing_end_date"]
    missing = reader.client.send("GET", f"/api/contracts/invoices/next/{ref}")
    assert missing.status_code == 404
