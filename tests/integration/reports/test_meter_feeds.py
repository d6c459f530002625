"""What clients read of events whose meters count toward others."""

from typing import Any

from tests.integration.manage.clients import make_tenant
from tests.integration.manage.shop import make_shop
from tests.integration.reports.conftest import Reader, Site, until
from tests.integration.reports.test_upon_usage import amount_of, document, remembered


def make(payer: Reader, name: str, **fields: object) -> str:
    body = {"name": name, **fields}
    ref: str = payer.client.ok("POST", "/api/usage/products", body)["usage_product_ref"]
    return ref


def send(payer: Reader, meter_ref: str, quantity: object, **fields: object) -> dict[str, Any]:
    """Send an event and wait for what becomes of it."""
    event = {
        "timestamp": "2023-03-15T12:00:00Z",
        "customer_ref": payer.shop.customer_ref,
        "usage_product_ref": meter_ref,
        "quantity": quantity,
        **fields,
    }
    answer = payer.client.send("POST", "/api/usage/event", event, Prefer="wait=30")
    assert answer.status_code == 202, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_an_event_of_a_child_is_rated_shown_and_summed_where_it_counts(
    reader: Reader,
) -> None:
    reader.sign()
    parent = reader.shop.meter_ref
    child = make(reader, "Dozens", parent_ref=parent, parent_factor=12)
    refund = make(reader, "Returned", relation="CREDIT", offsets_ref=child)
    own = remembered(reader, quantity=50)
    sent = send(reader, child, "7.5")
    assert (sent["outcome"], sent["quantity"]) == ("RATED", 7.5)
    assert sent["related_document_ref"] == own["related_document_ref"] is not None
    back = send(reader, refund, 1)
    assert {charge["item"]: charge["quantity"] for charge in back["charges"]} == {
        "Calls": 128,  # 50 + 12 * (7.5 - 1)
        "Units": 128,
    }
    assert back["charge_refs"] == sent["charge_refs"]
    wanted = {"validations": {"currency": "EUR"}}
    event = {"timestamp": "2023-03-15T12:00:00Z", "customer_ref": reader.shop.customer_ref}
    refused = reader.client.refused(
        "POST", "/api/usage/event", {**event, "usage_product_ref": child, "quantity": 1, **wanted}
    )
    assert refused == {"/validations/currency": "document_differs"}

    shown = reader.read(back["event_ref"])
    assert (shown["outcome"], shown["quantity"]) == ("RATED", 1)
    assert shown["related_document_ref"] == own["related_document_ref"]
    assert [charge["item"] for charge in shown["charges"]] == ["Calls", "Units"]

    # An event is its own meter's; what windows have cost adds up to the charges.
    query = {"customer_ref": reader.shop.customer_ref, "window": "month"}
    rows = reader.client.ok("GET", "/api/usage/summary", None, **query)["rows"]
    by_meter = {row["usage_product_ref"]: row for row in rows}
    assert {ref: by_meter[ref]["quantity"] for ref in (parent, child, refund)} == {
        parent: 50,
        child: 7.5,
        refund: 1,
    }
    amounts = {ref: row["amounts"][0]["amount"] for ref, row in by_meter.items()}
    assert amounts[parent] == 505 + 0.2
    assert round(sum(amounts.values()), 9) == round(5 + 1000 + 28 * 9.5 + 128 * 0.004, 9)
    one = reader.client.ok("GET", "/api/usage/summary", None, **query, usage_product_ref=child)
    assert one["rows"] == [by_meter[child]]

    # What is changed or deleted follows.
    change = {"event_ref": sent["event_ref"], "quantity": 1}
    reader.client.ok("POST", "/api/usage/event/update", change)
    until(lambda: reader.read(back["event_ref"])["charges"][0]["quantity"] == 50, "it is moved")
    reader.client.ok("DELETE", f"/api/usage/event/{back['event_ref']}")
    until(lambda: reader.read(sent["event_ref"])["charges"][0]["quantity"] == 62, "it is gone")


async def test_an_event_of_a_child_has_its_own_document_upon_usage(site: Site) -> None:
    client = await make_tenant(site.gateway)
    payer = Reader(client, make_shop(client, net_terms="DUE_UPON_USAGE"), site)
    payer.sign()
    parent = payer.shop.meter_ref
    child = make(payer, "Dozens", parent_ref=parent, parent_factor=12)
    refund = make(payer, "Returned", relation="CREDIT", offsets_ref=parent)
    remembered(payer, quantity=30)
    sent, back = send(payer, child, 10), send(payer, refund, 60)
    # 30 + 120 units climb into the second tier, and come back from there.
    own = document(payer, sent["related_document_ref"])
    assert amount_of(own, "Units") == 70 * 10 + 50 * 9.5
    returned = document(payer, back["related_document_ref"])
    assert amount_of(returned, "Units") == -(10 * 10 + 50 * 9.5)
    assert (returned["accounting_event_type"], amount_of(returned, "Calls")) == ("CREDIT", -0.24)
    whole = document(payer, sent["related_parent_document_ref"])
    assert amount_of(whole, "Units") == 5 + 90 * 10
