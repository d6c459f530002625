"""Customers who are billed upon usage: every event has a document of its own under the period's."""

from typing import Any

import pytest_asyncio

from tests.integration.manage.clients import make_tenant
from tests.integration.manage.shop import make_shop
from tests.integration.reports.conftest import Reader, Site, until


@pytest_asyncio.fixture
async def payer(site: Site) -> Reader:
    """Give a client whose customer is billed upon usage, under contract."""
    client = await make_tenant(site.gateway)
    payer = Reader(client, make_shop(client, net_terms="DUE_UPON_USAGE"), site)
    payer.sign()
    return payer


def test_an_events_own_document_resolves_as_a_draft_under_its_periods(payer: Reader) -> None:
    first = remembered(payer, quantity=60)
    second = payer.send(quantity=60)
    assert first["related_document_ref"] != second["related_document_ref"]
    parent_ref = first["related_parent_document_ref"]
    assert parent_ref == second["related_parent_document_ref"]
    own = document(payer, second["related_document_ref"])
    assert (own["state"], own["parent_document_ref"]) == ("DRAFT", parent_ref)
    assert (own["net_terms"], own["due_date"]) == ("DUE_UPON_USAGE", "2023-03-15")
    # the second sixty units climb into the second tier: 40 x 10 + 20 x 9.5, and 60 x 0.004
    (product,) = own["products"]
    assert [(line["item"], line["quantity"], line["amount"]) for line in product["lines"]] == [
        ("Calls", 60, 0.24),
        ("Units", 60, 590),
    ]
    assert own["sub_total"] == 590.24
    others = [document(payer, first["related_document_ref"])]
    parent = document(payer, parent_ref)
    assert parent["parent_document_ref"] is None
    for item, without_usage in (("Calls", 0), ("Units", 5)):
        amounts = [amount_of(one, item) for one in [own, *others]]
        assert sum(amounts) + without_usage == amount_of(parent, item)
    shown = payer.read(second["event_ref"])
    assert shown["related_document_ref"] == second["related_document_ref"]
    assert shown["related_parent_document_ref"] == parent_ref


def test_a_document_follows_its_event(payer: Reader, stranger: Reader) -> None:
    sent = remembered(payer, quantity=1)
    ref, event_ref = sent["related_document_ref"], sent["event_ref"]
    assert amount_of(document(payer, ref), "Units") == 10
    change = {"event_ref": event_ref, "quantity": 3}
    changed = payer.client.ok("POST", "/api/usage/event/update", change)
    assert changed["related_document_ref"] == ref
    assert changed["related_parent_document_ref"] == sent["related_parent_document_ref"]
    until(lambda: amount_of(document(payer, ref), "Units") == 30, "it is redrawn")
    assert stranger.client.send("GET", f"/api/invoices/{ref}").status_code == 404
    assert payer.client.send("GET", f"/api/invoices/{event_ref}").status_code == 404
    payer.client.ok("DELETE", f"/api/usage/event/{event_ref}")
    until(lambda: payer.read(event_ref)["outcome"] == "DELETED", "it is deleted")
    assert payer.client.send("GET", f"/api/invoices/{ref}").status_code == 404


def remembered(payer: Reader, **fields: object) -> dict[str, Any]:
    """Send an event until the gateway knows the contract, with one key; the last answer."""
    answers = []

    def is_expected() -> bool:
        answers.append(payer.send(idempotency_key="first", **fields))
        return answers[-1]["related_document_ref"] is not None

    until(is_expected, "the contract is known")
    return answers[-1]


def document(payer: Reader, ref: str) -> dict[str, Any]:
    found: dict[str, Any] = payer.client.ok("GET", f"/api/invoices/{ref}")
    return found


def amount_of(shown: dict[str, Any], item: str) -> float:
    """Return the amount of a line of a document."""
    (product,) = shown["products"]
    (line,) = [line for line in product["lines"] if line["item"] == item]
    amount: float = line["amount"]
    return amount
