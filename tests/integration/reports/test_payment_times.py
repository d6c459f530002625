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

    async def is_opened() -> bool:
        opened = "SELECT 1 FROM period_cut WHERE tenant_id = $1 AND cut_number = 0"
        return bool(await reader.client.fetch(opened, reader.client.tenant_id))

    await eventually(is_opened, "the running period is opened")
    refused = reader.client.refused(
        "POST", f"/api/contracts/edit/{ref}", {"include_current_invoice": True, "po_number": "7"}
    )
    assert refused == {"/include_current_invoice": "not_supported_yet"}
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
