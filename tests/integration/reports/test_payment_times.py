"""Contracts billed before or during use, over HTTP: what is to come, and how they end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.reports.conftest import Reader, until
from tests.integration.reports.test_edited_contracts import amounts, await_version, pricing, proved
from tests.integration.reports.test_subscriptions import documents, month_after, today
from tests.rating import eventually

FEE = {"model": "FLAT", "price": "31", "usage_product_ref": None}
UNITS = {"model": "PER_UNIT", "price": "2"}


def subscribe(reader: Reader, payment_time: str, *lines: dict[str, Any], **terms: object) -> str:
    """Sell lines month by month, since the last month but one."""
    start = (today() - timedelta(days=40)).replace(day=1)
    body = {
        "customer_ref": reader.shop.customer_ref,
        "billing_start_date": str(start),
        "payment_time": payment_time,
        "products": [{"product_pricing_ref": pricing(reader, *lines, name=payment_time)}],
        **terms,
    }
    ref: str = reader.client.ok("POST", "/api/contracts/subscriptions", body)["subscription_ref"]
    return ref


async def is_opened(reader: Reader) -> None:
    """Wait until a part of the running period is billed ahead."""

    async def found() -> bool:
        opened = "SELECT 1 FROM period_cut WHERE tenant_id = $1 AND cut_number = 0"
        return bool(await reader.client.fetch(opened, reader.client.tenant_id))

    await eventually(found, "the running period is opened")


async def test_before_use_fees_are_due_now_and_usage_next(reader: Reader) -> None:
    ref = subscribe(reader, "BEFORE_PERIOD", FEE, UNITS)
    shown = reader.client.ok("GET", f"/api/contracts/{ref}")
    assert shown["products"][0]["payment_time"] == "BEFORE_USE"
    first = today(shown["products"][0]["timezone"]).replace(day=1)
    event = reader.send(timestamp=datetime.now(UTC).isoformat(), quantity=3)
    until(lambda: amounts(reader, event["event_ref"]) == [6], "the event is priced")
    [current] = documents(reader, "current", ref)
    [following] = documents(reader, "next", ref)
    assert (current["issue_date"], current["total"]) == (str(first), 31)
    assert (following["issue_date"], following["total"]) == (str(month_after(first)), 37)
    assert event["related_document_ref"] == following["invoice_ref"]
    # What had ended by then is not split: its document is its own month's.
    past = reader.send(timestamp=f"{first - timedelta(days=2)}T12:00:00Z", quantity=1)
    until(lambda: amounts(reader, past["event_ref"]) == [2], "the event is priced")
    whole = reader.client.ok("GET", f"/api/invoices/{past['related_document_ref']}")
    assert whole["total"] == 33
    assert await proved(reader)


async def test_a_contract_billed_ahead_ends_with_its_period_or_today(reader: Reader) -> None:
    ref = subscribe(reader, "BEFORE_USE", FEE, UNITS)
    await is_opened(reader)
    # From the next period on, another time of payment is as good as any other change.
    shown = reader.client.ok("GET", f"/api/contracts/{ref}")
    shown["products"][0]["payment_time"] = "AFTER_USE"
    edited = reader.client.ok("POST", f"/api/contracts/edit/{ref}", {"products": shown["products"]})
    assert edited["products"][0]["payment_time"] == "AFTER_USE"
    await_version(reader, ref)
    assert await proved(reader)
    reader.client.ok("POST", f"/api/contracts/cancel/{ref}", {"include_current_invoice": True})
    await_version(reader, ref)
    rows = await reader.client.fetch(
        "SELECT payment_time, until_date > coalesce(since_date, billing_start_date) "
        "FROM contract_product WHERE tenant_id = $1 ORDER BY version",
        reader.client.tenant_id,
    )
    # On the last day of a month the running period ends by itself.
    assert [tuple(row) for row in rows][:2] == [("BEFORE_USE", True), ("AFTER_USE", False)]
    assert {row[0] for row in rows[1:]} == {"AFTER_USE"}
    assert await proved(reader)


async def test_an_upgrade_within_a_period_is_settled_by_the_next_document(reader: Reader) -> None:
    ref = subscribe(reader, "BEFORE_USE", FEE, UNITS)
    shown = reader.client.ok("GET", f"/api/contracts/{ref}")
    first = today(shown["products"][0]["timezone"]).replace(day=1)
    event = reader.send(timestamp=datetime.now(UTC).isoformat(), quantity=3)
    until(lambda: amounts(reader, event["event_ref"]) == [6], "the event is priced")

    await is_opened(reader)
    # Twice, since the first try was too dear.
    for name, fee in (("Dear", "1000"), ("Better", "100")):
        better = pricing(reader, FEE | {"price": fee}, UNITS | {"price": "1"}, name=name)
        [sold] = reader.client.ok("GET", f"/api/contracts/{ref}")["products"]
        del sold["line_items"]  # those of the pricing before
        edited = reader.client.ok(
            "POST",
            f"/api/contracts/edit/{ref}",
            {"include_current_invoice": True, "products": [sold | {"pricing_ref": better}]},
        )
        assert [one["pricing_ref"] for one in edited["products"]] == [better]
        assert edited["products"][0]["in_force_from"] == str(first)
        await_version(reader, ref)
    assert amounts(reader, event["event_ref"]) == [3]
    [current] = documents(reader, "current", ref)
    # The period by the new terms, less what was billed ahead by the old, and the next one's fee.
    assert (current["issue_date"], current["total"]) == (str(month_after(first)), 103 - 31 + 100)
    [product] = [one for one in current["products"] if one["total"] < 0]
    assert (product["product_name"], product["total"]) == ("BEFORE_USE", -31)
    assert reader.read(event["event_ref"])["related_document_ref"] == current["invoice_ref"]
    assert reader.client.ok("GET", f"/api/invoices/{current['invoice_ref']}")["total"] == 172
    assert await proved(reader)


async def test_products_that_share_documents_are_rated_anew_together(reader: Reader) -> None:
    flats = [pricing(reader, FEE | {"price": fee}, name=fee) for fee in ("10", "20", "50")]
    products = [{"product_pricing_ref": ref} for ref in flats[:2]]
    ref = subscribe(reader, "BEFORE_USE", FEE, products=products)
    await is_opened(reader)
    path = f"/api/contracts/edit/{ref}"
    kept, sold = reader.client.ok("GET", f"/api/contracts/{ref}")["products"]
    dear = {**sold, "pricing_ref": flats[2], "line_items": None}
    first = today(sold["timezone"]).replace(day=1)
    # What has billed ahead can't be taken out of the running period.
    body: dict[str, Any] = {"include_current_invoice": True, "products": [kept]}
    answer = reader.client.send("POST", path, body)
    assert (answer.status_code, answer.json()["code"]) == (409, "period_closed")
    edited = reader.client.ok("POST", path, body | {"products": [kept, dear]})
    assert [one["in_force_from"] for one in edited["products"]] == [str(first)] * 2
    await_version(reader, ref)
    [current] = documents(reader, "current", ref)
    assert current["issue_date"] == str(month_after(first))
    assert current["total"] == (10 + 50) - (10 + 20) + (10 + 50)
    assert [one["total"] for one in current["products"]] == [10, 50, 10, 50, -10, -20]
    # Posted back as it is now, it changes nothing.
    again = reader.client.ok("POST", path, {"include_current_invoice": True, "po_number": "7"})
    assert again["products"] == edited["products"]
    assert await proved(reader)


@pytest.mark.parametrize(
    ("payment_time", "line", "terms"),
    [
        ("BEFORE_USE", UNITS, {"net_terms": "DUE_UPON_USAGE"}),
        ("DURING_USE", UNITS, {"net_terms": "DUE_UPON_USAGE"}),
        ("DURING_USE", {"model": "PERCENTAGE", "rate": "1", "fixed_fee": "0.1"}, {}),
    ],
)
def test_what_can_not_be_billed_ahead_is_refused(
    reader: Reader, payment_time: str, line: dict[str, Any], terms: dict[str, Any]
) -> None:
    body = {
        "customer_ref": reader.shop.customer_ref,
        "billing_start_date": str(today()),
        "payment_time": payment_time,
        "products": [{"product_pricing_ref": pricing(reader, line)}],
        **terms,
    }
    refused = reader.client.refused("POST", "/api/contracts/subscriptions", body)
    assert refused == {"/payment_time": "not_supported_yet"}
