"""Payments that people note: whole, in parts, too much, twice, at once, and taken back."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.manage.clients import Client, codes
from tests.integration.manage.deeds import ask, invoicer, paper_of
from tests.integration.manage.papers import Paper

__all__ = ["invoicer"]
"""A fixture that works by being here."""

PATH = "/api/invoices/reconcile"
TOTAL = 1155.48
PARALLEL = 50
PAID_AT = "2024-04-02T14:36:36.630Z"


async def pay(client: Client, paper: Paper, verb: str = "POST", **said: Any) -> Any:  # noqa: ANN401
    headers = {name: said.pop(name) for name in [*said] if name == "Idempotency-Key"}
    body = {"invoice_ref": paper.ref, "paid_date": PAID_AT} | said
    return await asyncio.to_thread(lambda: client.send(verb, PATH, body, **headers))


@pytest.mark.parametrize("verb", ["GET", "POST"])
async def test_a_document_is_paid_by_one_call(client: Client, verb: str) -> None:
    paper, _ = await paper_of(client)
    answer = await pay(client, paper, verb)
    assert answer.headers["Cache-Control"] == "no-store"
    shown = answer.json()
    assert (shown["state"], shown["paid_date"]) == ("PAID", "2024-04-02")
    assert (shown["amount_due"], shown["overpaid"]) == (0, 0)
    assert [one["amount"] for one in shown["payments"]] == [TOTAL]
    assert shown["payments"][0]["recorded_by"] == f"key {client.api_key}"

    again = (await pay(client, paper, verb)).json()
    assert again == client.ok("GET", f"/api/invoices/{paper.ref}") == shown, "nothing is due"


async def test_parts_add_up_and_what_is_too_much_is_told(client: Client) -> None:
    paper, _ = await paper_of(client)
    first = (await pay(client, paper, amount=100, method="WIRE", reference="A")).json()
    assert (first["state"], first["paid_date"]) == ("PARTIALLY_PAID", None)
    assert first["amount_due"] == 1055.48
    rest = (await pay(client, paper, amount="1055.47", paid_date="2024-04-03")).json()
    assert (rest["state"], rest["amount_due"]) == ("PARTIALLY_PAID", 0.01)
    last = (await pay(client, paper, amount=5, paid_date="2024-04-01")).json()
    assert (last["state"], last["paid_date"]) == ("PAID", "2024-04-03")
    assert (last["amount_due"], last["overpaid"]) == (0, 4.99)


async def test_a_reference_counts_once_and_so_does_a_key(client: Client) -> None:
    paper, _ = await paper_of(client)
    answers = await asyncio.gather(
        *(pay(client, paper, amount=100, reference="E2E-1") for _ in range(10))
    )
    assert {answer.status_code for answer in answers} == {200}
    other = await pay(client, paper, amount=101, reference="E2E-1")
    assert (other.status_code, other.json()["code"]) == (409, "payment_reference_used")
    key = {"Idempotency-Key": "payment 1"}
    keyed = [(await pay(client, paper, amount=50, **key)).json() for _ in range(3)]
    assert [one["amount_due"] for one in keyed] == [1005.48] * 3
    assert [one["amount"] for one in keyed[-1]["payments"]] == [100, 50]


async def test_fifty_parts_at_once_are_fifty_parts(client: Client) -> None:
    paper, _ = await paper_of(client)
    answers = await asyncio.gather(*(pay(client, paper, amount=1) for _ in range(PARALLEL)))
    assert {answer.status_code for answer in answers} == {200}
    shown = client.ok("GET", f"/api/invoices/{paper.ref}")
    assert (shown["amount_due"], len(shown["payments"])) == (1105.48, PARALLEL)


async def test_payments_at_once_that_are_too_much_settle_it_and_show_the_excess(
    client: Client,
) -> None:
    paper, _ = await paper_of(client)
    parts = [pay(client, paper, amount=100, reference=f"R-{n % 15}") for n in range(30)]
    wholes = [pay(client, paper) for _ in range(5)]  # all that is due at that moment
    answers = await asyncio.gather(*parts, *wholes)
    assert {answer.status_code for answer in answers} == {200}
    shown = client.ok("GET", f"/api/invoices/{paper.ref}")
    amounts = [round(one["amount"] * 100) for one in shown["payments"]]
    assert amounts.count(10_000) >= 15, "a reference counts once, whatever else comes"
    assert (shown["state"], shown["amount_due"]) == ("PAID", 0)
    assert sum(amounts) - round(shown["overpaid"] * 100) == round(TOTAL * 100)


async def test_a_payment_is_taken_back_once(client: Client) -> None:
    paper, _ = await paper_of(client)
    paid = (await pay(client, paper)).json()
    path = f"payments/{paid['payments'][0]['payment_ref']}/reverse"
    back = (await ask(client, paper, path, {"reason": "the debit bounced"})).json()
    assert (back["state"], back["paid_date"], back["amount_due"]) == ("ISSUED", None, TOTAL)
    assert back["payments"][0]["reversal_reason"] == "the debit bounced"
    again = await ask(client, paper, path, {"reason": "the debit bounced"})
    assert (again.status_code, again.json()["code"]) == (409, "payment_taken_back")
    strange = await ask(client, paper, f"payments/{paper.ref}/reverse", {"reason": "x"})
    assert (strange.status_code, strange.json()["code"]) == (404, "payment_unknown")


async def test_what_was_credited_has_not_to_be_paid(client: Client) -> None:
    paper, _ = await paper_of(client)
    await pay(client, paper, amount=1000)
    credit = (await ask(client, paper, "credit", {"reason": "an outage"})).json()
    shown = client.ok("GET", f"/api/invoices/{paper.ref}")
    assert (credit["total"], credit["amount_due"]) == (-TOTAL, -1000), "the rest was never paid"
    assert (shown["state"], shown["amount_due"], shown["overpaid"]) == ("PAID", 0, 0)
    refund = await asyncio.to_thread(
        lambda: client.send(
            "POST", PATH, {"invoice_ref": credit["invoice_ref"], "paid_date": "2024-04-05"}
        )
    )
    assert (refund.json()["state"], refund.json()["amount_due"]) == ("PAID", 0)
    assert [one["amount"] for one in refund.json()["payments"]] == [-1000]


async def test_what_money_came_for_is_not_voided(client: Client) -> None:
    paper, _ = await paper_of(client)
    await pay(client, paper, amount=1)
    await client.fetch("UPDATE document SET state = 'LATE' WHERE tenant_id = $1", client.tenant_id)
    voided = await ask(client, paper, "void", {"reason": "a mistake"})
    assert (voided.status_code, voided.json()["code"]) == (409, "document_paid")
    part = (await pay(client, paper, amount=1)).json()
    assert (part["state"], part["amount_due"]) == ("LATE", 1153.48)


async def test_what_is_given_up_may_be_paid_all_the_same(client: Client) -> None:
    paper, _ = await paper_of(client)
    early = await ask(client, paper, "write-off", {"reason": "bankrupt"})
    assert (early.status_code, early.json()["code"]) == (409, "transition_not_allowed")
    await client.fetch("UPDATE document SET state = 'LATE' WHERE tenant_id = $1", client.tenant_id)
    given_up = (await ask(client, paper, "write-off", {"reason": "bankrupt"})).json()
    assert (given_up["state"], given_up["amount_due"]) == ("UNCOLLECTIBLE", TOTAL)
    assert (await pay(client, paper)).json()["state"] == "PAID"


async def test_a_misspelt_field_is_warned_of_and_not_lost_in_silence(client: Client) -> None:
    paper, _ = await paper_of(client)
    shown = (await pay(client, paper, amonut=5)).json()
    assert shown["state"] == "PAID"
    [warning] = shown["warnings"]
    assert (warning["pointer"], "amount" in warning["detail"]) == ("/amonut", True)


async def test_a_draft_is_not_paid(client: Client) -> None:
    held, _ = await paper_of(client, is_held=True)
    draft = await pay(client, held)
    assert (draft.status_code, draft.json()["code"]) == (409, "document_not_payable")


async def test_what_is_wrong_is_named(client: Client) -> None:
    paper, _ = await paper_of(client)
    wrong = await pay(client, paper, paid_date="soon", amount=0)
    assert codes(wrong) == {"/paid_date": "date_malformed", "/amount": "number_not_positive"}
    assert codes(await pay(client, paper, amount="0.001")) == {"/amount": "amount_digits"}
    ahead = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    assert codes(await pay(client, paper, paid_date=ahead)) == {"/paid_date": "paid_date_ahead"}
    unknown = await pay(client, paper, invoice_ref=paper.ref[:-1] + "0")
    assert unknown.status_code == 404
    voided = await ask(client, paper, "void", {"reason": "a mistake"})
    assert voided.json()["amount_due"] == 0
    assert (await pay(client, paper)).json()["code"] == "document_not_payable"


async def test_nobody_pays_or_takes_back_for_another_tenant(
    client: Client, stranger: Client
) -> None:
    paper, _ = await paper_of(client)
    paid = (await pay(client, paper, amount=1)).json()
    assert (await pay(stranger, paper)).status_code == 404
    path = f"payments/{paid['payments'][0]['payment_ref']}/reverse"
    assert (await ask(stranger, paper, path, {"reason": "mine"})).status_code == 404
    assert client.ok("GET", f"/api/invoices/{paper.ref}") == paid


async def test_a_payment_is_never_changed(client: Client) -> None:
    paper, _ = await paper_of(client)
    await pay(client, paper, amount=1)
    for statement in (
        "UPDATE payment SET amount = 2 WHERE tenant_id = $1",
        "DELETE FROM payment WHERE tenant_id = $1",
    ):
        with pytest.raises(Exception, match="cannot be changed"):
            await client.fetch(statement, client.tenant_id)
