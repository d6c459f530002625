"""A draft rates nothing; published, it prices what was used since its first day, and is proved."""

from datetime import UTC, datetime

from tests.integration.reports.conftest import Reader, until
from tests.integration.reports.test_edited_contracts import amounts, pricing, product_of, proved


async def test_usage_of_a_draft_is_unrated_until_it_is_published(reader: Reader) -> None:
    sold = product_of(pricing(reader, {"model": "PER_UNIT", "price": "2"}))
    body = {"customer_ref": reader.shop.customer_ref, "products": [sold], "draft": True}
    ref = reader.client.ok("POST", "/api/contracts", body)["contract_ref"]
    event = reader.send(timestamp=datetime.now(UTC).isoformat(), quantity=3)
    assert event["related_document_ref"] is None
    until(lambda: reader.read(event["event_ref"])["event_ref"] != "", "the event is rated")
    assert amounts(reader, event["event_ref"]) == []
    assert await proved(reader)

    reader.client.ok("POST", f"/api/contracts/publish/{ref}", {})
    until(lambda: amounts(reader, event["event_ref"]) == [6], "the back-fill has priced it")
    (current,) = reader.client.ok("GET", f"/api/contracts/invoices/current/{ref}")
    assert (current["state"], current["total"]) == ("DRAFT", 6)
    later = reader.send(timestamp=datetime.now(UTC).isoformat(), quantity=4)
    until(lambda: amounts(reader, later["event_ref"]) != [], "usage goes on")
    (current,) = reader.client.ok("GET", f"/api/contracts/invoices/current/{ref}")
    assert current["total"] == 14
    assert await proved(reader)
