"""Contracts whose products are to share documents, or no more, from the next document on."""

from datetime import timedelta

from tests.integration.reports.conftest import Reader
from tests.integration.reports.test_edited_contracts import await_version, pricing, proved
from tests.integration.reports.test_subscriptions import documents, today


async def groups(reader: Reader, version: int) -> list[int]:
    rows = await reader.client.fetch(
        "SELECT document_group FROM contract_product WHERE tenant_id = $1 AND version = $2 "
        "ORDER BY position",
        *(reader.client.tenant_id, version),
    )
    return [row["document_group"] for row in rows]


async def test_another_invoice_mode_counts_from_the_next_document_on(reader: Reader) -> None:
    fees = [{"model": "FLAT", "price": price, "usage_product_ref": None} for price in ("10", "7")]
    refs = [pricing(reader, fee, name=f"Fee {fee['price']}") for fee in fees]
    body = {
        "customer_ref": reader.shop.customer_ref,
        "billing_start_date": str((today() - timedelta(days=40)).replace(day=1)),
        "products": [{"product_pricing_ref": ref} for ref in refs],
    }
    ref = reader.client.ok("POST", "/api/contracts/subscriptions", body)["subscription_ref"]
    path = f"/api/contracts/edit/{ref}"
    assert [found["total"] for found in documents(reader, "next", ref)] == [17]

    apart = reader.client.ok("POST", path, {"invoice_mode": "PER_PRODUCT"})
    assert (apart["invoice_mode"], apart["version"]) == ("PER_PRODUCT", 2)
    await_version(reader, ref)
    assert [found["total"] for found in documents(reader, "current", ref)] == [17]
    assert await groups(reader, 1) == [0, 0]
    # Those of before are no more on documents of after than the other way round.
    assert await groups(reader, 2) == [1, 2]
    # Said once more, it changes nothing.
    assert reader.client.ok("POST", path, {"invoice_mode": "PER_PRODUCT"})["version"] == 2

    together = reader.client.ok(
        "POST", path, {"invoice_mode": "COLLECTIVE", "include_current_invoice": True}
    )
    assert (together["invoice_mode"], together["version"]) == ("COLLECTIVE", 3)
    await_version(reader, ref)
    [group, same] = await groups(reader, 3)
    assert group == same > max(await groups(reader, 2))
    assert [found["total"] for found in documents(reader, "current", ref)] == [17]
    assert await proved(reader)
