"""Edited contracts over HTTP: the running period is rated anew, at once, and proved."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from deploy.local.find import StackAddress
from deploy.verify.report import run_checks
from tests.integration.reports.conftest import Reader, until

TODAY = datetime.now(UTC).date()
START = (TODAY - timedelta(days=40)).replace(day=1)  # every year has that day


def pricing(reader: Reader, *lines: dict[str, Any], name: str = "Corrected") -> str:
    """Make a product that prices the shop's meter."""
    body = {
        "product_name": name,
        "pricing_name": "List",
        "publish": True,
        "line_items": [
            {"item": f"Line {n}", "usage_product_ref": reader.shop.meter_ref, **line}
            for n, line in enumerate(lines)
        ],
    }
    ref: str = reader.client.ok("POST", "/api/products", body)["pricing_ref"]
    return ref


def product_of(pricing_ref: str, **terms: object) -> dict[str, Any]:
    """Return a contract product whose first period, of a year, is running."""
    return {
        "product_pricing_ref": pricing_ref,
        "billing_start_date": str(START),
        "billing_end_date": str(START + timedelta(days=1000)),
        "issue_day": str(START),
        "billing_cycle": {"unit": "YEARLY", "cycle": 1},
        **terms,
    }


def sign(reader: Reader, *products: dict[str, Any]) -> str:
    body = {"customer_ref": reader.shop.customer_ref, "products": list(products)}
    ref: str = reader.client.ok("POST", "/api/contracts", body)["contract_ref"]
    return ref


def edit(reader: Reader, contract_ref: str, **fields: object) -> dict[str, Any]:
    answer: dict[str, Any] = reader.client.ok("POST", f"/api/contracts/edit/{contract_ref}", fields)
    return answer


def await_version(reader: Reader, contract_ref: str) -> None:
    """Wait until the last version is in force."""

    def is_in_force() -> bool:
        contract = reader.client.ok("GET", f"/api/contracts/{contract_ref}")
        return bool(contract["history"][-1]["state"] == "IN_FORCE")

    until(is_in_force, "the edit is in force")


def amounts(reader: Reader, event_ref: str) -> list[Any]:
    return [charge["amount"] for charge in reader.read(event_ref)["charges"]]


async def proved(reader: Reader) -> bool:
    """Tell whether the tenant's books hold."""
    ((ref,),) = await reader.client.fetch(
        "SELECT tenant_ref::text FROM tenant WHERE tenant_id = $1", reader.client.tenant_id
    )
    address = StackAddress(kafka=reader.site.kafka, postgres=reader.site.gateway.postgres)
    report = await run_checks(address, tenant_ref=ref)
    assert not report.failed, [result for result in report.results if result.finding.witnesses]
    return True


async def test_a_running_period_is_rated_anew_by_another_pricing(reader: Reader) -> None:
    old, new = (pricing(reader, {"model": "PER_UNIT", "price": p}, name=p) for p in ("2", "3"))
    contract_ref = sign(reader, product_of(old))
    at = (datetime.now(UTC) - timedelta(days=5)).isoformat()
    events = [reader.send(timestamp=at, quantity=n) for n in (1, 2)]
    until(lambda: amounts(reader, events[1]["event_ref"]) == [6], "the events are priced")
    answer = edit(reader, contract_ref, include_current_invoice=True, products=[product_of(new)])
    assert [p["pricing_ref"] for p in answer["products"]] == [new]
    await_version(reader, contract_ref)
    assert amounts(reader, events[0]["event_ref"]) == [9]
    late = reader.send(timestamp=at, quantity=4)
    until(lambda: amounts(reader, late["event_ref"]) == [21], "the new price goes on")
    assert await proved(reader)


async def test_an_edit_from_the_next_period_on_leaves_the_running_one_alone(
    reader: Reader,
) -> None:
    old, new = (pricing(reader, {"model": "PER_UNIT", "price": p}, name=p) for p in ("2", "3"))
    contract_ref = sign(reader, product_of(old))
    at = (datetime.now(UTC) - timedelta(days=5)).isoformat()
    event = reader.send(timestamp=at, quantity=1)
    answer = edit(reader, contract_ref, products=[product_of(new)])
    assert answer["products"][0]["in_force_from"] == str(START.replace(year=START.year + 1))
    await_version(reader, contract_ref)
    again = reader.send(timestamp=at, quantity=2)
    assert again["related_document_ref"] == event["related_document_ref"]
    until(lambda: amounts(reader, again["event_ref"]) == [6], "the old price goes on")
    # What comes next takes the place of what was to come, from the running period on.
    edit(reader, contract_ref, include_current_invoice=True, products=[product_of(new, note="x")])
    await_version(reader, contract_ref)
    assert amounts(reader, again["event_ref"]) == [9]
    assert await proved(reader)


async def test_a_contract_that_ends_today_bills_its_days_and_its_usage(reader: Reader) -> None:
    lines = (
        {"model": "FLAT", "price": "73000", "usage_product_ref": None},
        {"model": "PER_UNIT", "price": "2"},
    )
    contract_ref = sign(reader, product_of(pricing(reader, *lines)))
    at = (datetime.now(UTC) - timedelta(days=5)).isoformat()
    event = reader.send(timestamp=at, quantity=1)
    before = reader.client.ok("GET", f"/api/invoices/{event['related_document_ref']}")
    assert not before["is_partial_period"]
    path = f"/api/contracts/cancel/{contract_ref}"
    answer = reader.client.ok("POST", path, {"include_current_invoice": True})
    await_version(reader, contract_ref)
    last = date.fromisoformat(answer["products"][0]["in_force_through"])
    again = reader.send(timestamp=at, quantity=2)
    assert again["related_document_ref"] != event["related_document_ref"]
    until(lambda: amounts(reader, again["event_ref"]) == [6], "usage goes on until then")
    document = reader.client.ok("GET", f"/api/invoices/{again['related_document_ref']}")
    assert document["is_partial_period"]
    assert document["issue_date"] == str(last + timedelta(days=1))
    days, whole = (last - START).days + 1, (START.replace(year=START.year + 1) - START).days
    fee = round(Decimal(73_000) * days / whole, 2)
    assert document["sub_total"] == pytest.approx(float(fee + 6), abs=0.011)
    gone = f"/api/invoices/{event['related_document_ref']}"
    assert reader.client.send("GET", gone).status_code == 404
    assert await proved(reader)
