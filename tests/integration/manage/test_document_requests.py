"""What people do with documents over HTTP: the gateway asks, a real invoicer's worker does it."""

import asyncio
from datetime import date

import requests

from tests.integration.manage.clients import Client, Gateway, codes, make_tenant
from tests.integration.manage.deeds import ask, invoicer, paper_of
from tests.integration.manage.papers import write_document

PARALLEL = 50
__all__ = ["invoicer"]
"""A fixture that works by being here."""

REASON = {"reason": "sent to the wrong company"}


async def test_fifty_approvals_at_once_issue_once(client: Client) -> None:
    paper, _ = await paper_of(client, is_held=True)
    queue = client.ok("GET", "/api/documents/filter", state="UNDER_REVIEW", limit="9", page="0")
    assert [one["invoice_ref"] for one in queue] == [paper.ref]
    assert queue[0]["document_number"] is None
    assert queue[0]["review"]["redraws"] == 0

    answers = await asyncio.gather(*(ask(client, paper, "approve") for _ in range(PARALLEL)))
    [approved] = [answer.json() for answer in answers if answer.ok]
    refused = [answer.json()["code"] for answer in answers if not answer.ok]
    assert refused == ["document_not_under_review"] * (PARALLEL - 1)
    assert (approved["state"], approved["number_in_contract"]) == ("ISSUED", 1)
    assert approved["document_number"] is not None
    assert approved["review"]["approved_by"] == f"key {client.api_key}"
    assert approved["total_in_contract"] == approved["total"]
    rows = await client.fetch(
        "SELECT next_number FROM document_sequence WHERE tenant_id = $1", client.tenant_id
    )
    assert [row["next_number"] for row in rows] == [2]
    actions = await client.fetch(
        "SELECT entry::jsonb->>'action' AS action FROM audit_entry WHERE tenant_id = $1",
        client.tenant_id,
    )
    asked = [row["action"] for row in actions if row["action"] == "document.approval_asked"]
    assert len(asked) == PARALLEL


async def test_a_key_does_it_once_and_answers_again(client: Client) -> None:
    paper, _ = await paper_of(client)
    key, body = {"Idempotency-Key": "credit 1"}, {"amount": 100, "reason": "an outage"}
    answers = [await ask(client, paper, "credit", body, **key) for _ in range(3)]
    refs = {answer.json()["invoice_ref"] for answer in answers}
    assert len(refs) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [
        None,
        "true",
        "true",
    ]
    other = await ask(client, paper, "credit", {**body, "amount": 101}, **key)
    assert codes(other) == {"": "idempotency_key_reused"}
    shown = client.ok("GET", f"/api/invoices/{paper.ref}")
    assert [one["total"] for one in shown["credited_by"]] == [-100]


async def test_credits_never_take_more_than_is_left(client: Client) -> None:
    paper, _ = await paper_of(client)  # 1155.48, of which 200.54 is tax
    first = (await ask(client, paper, "credit", {"amount": "100.01", **REASON})).json()
    assert first["accounting_event_type"] == "CREDIT"
    assert first["document_number"].startswith("CR-")
    assert (first["sub_total"], first["total_tax"], first["total"]) == (-82.65, -17.36, -100.01)
    assert first["parent_document_ref"] == paper.ref
    assert (first["number_in_contract"], first["total_in_contract"]) == (2, 1055.47)

    over = await ask(client, paper, "credit", {"amount": "1055.48", **REASON})
    assert (over.status_code, over.json()["code"]) == (409, "credit_exceeds_document")
    small = await ask(client, paper, "credit", {"amount": "0.001", **REASON})
    assert codes(small) == {"/amount": "amount_digits"}

    answers = await asyncio.gather(
        *(ask(client, paper, "credit", {"amount": 500, **REASON}) for _ in range(10))
    )
    assert sum(answer.ok for answer in answers) == 2
    rest = (await ask(client, paper, "credit", REASON)).json()
    credited = client.ok("GET", f"/api/invoices/{paper.ref}")["credited_by"]
    assert round(sum(one["total"] for one in credited), 2) == -1155.48
    assert rest["total_in_contract"] == 0
    taxes = await client.fetch(
        "SELECT sum(total_tax) AS tax FROM document WHERE tenant_id = $1", client.tenant_id
    )
    assert taxes[0]["tax"] == 0, "all of the tax has gone back"
    nothing = await ask(client, paper, "credit", REASON)
    assert nothing.json()["code"] == "document_credited"


async def test_a_void_keeps_the_number_and_later_totals_leave_it_out(client: Client) -> None:
    paper, shop = await paper_of(client)
    second = await write_document(
        client, shop, paper.contract_ref, number=2, issue_date=date(2023, 3, 1)
    )
    voided = (await ask(client, paper, "void", REASON)).json()
    assert (voided["state"], voided["document_number"]) == ("VOID", "INV/2023-001")
    assert voided["voided"]["reason"] == REASON["reason"]
    again = await ask(client, paper, "void", REASON)
    assert (again.status_code, again.json()["code"]) == (409, "transition_not_allowed")
    credit = await ask(client, paper, "credit", REASON)
    assert credit.json()["code"] == "document_not_creditable"

    first = (await ask(client, second, "credit", {"amount": "0.48", **REASON})).json()
    assert (first["number_in_contract"], first["total_in_contract"]) == (3, 1155)
    kept = await ask(client, second, "void", REASON)
    assert kept.json()["code"] == "document_corrected"


async def test_sending_again_is_one_mail_however_often_it_is_asked(client: Client) -> None:
    paper, _ = await paper_of(client)
    for _ in range(3):
        assert (await ask(client, paper, "send")).ok
    rows = await client.fetch(
        "SELECT kind, copy FROM invoicer_outbox WHERE tenant_id = $1", client.tenant_id
    )
    assert [tuple(row) for row in rows] == [("MAIL", 1)]
    assert (await ask(client, paper, "void", REASON)).ok
    assert (
        await client.fetch("SELECT FROM invoicer_outbox WHERE tenant_id = $1", client.tenant_id)
        == []
    )
    assert (await ask(client, paper, "send")).json()["code"] == "document_not_sendable"


async def test_what_is_rejected_is_a_draft_that_says_why(client: Client) -> None:
    paper, _ = await paper_of(client, is_held=True)
    assert codes(await ask(client, paper, "reject")) == {"/reason": "required"}
    rejected = (await ask(client, paper, "reject", REASON)).json()
    assert (rejected["state"], rejected["review"]["reason"]) == ("DRAFT", REASON["reason"])
    assert (await ask(client, paper, "approve")).status_code == 409


async def test_others_see_nothing_and_readers_do_nothing(
    client: Client, stranger: Client, gateway: Gateway
) -> None:
    paper, _ = await paper_of(client)
    reader = await make_tenant(gateway, "billing:read")
    takes_back = [(deed, REASON) for deed in ("void", "credit", "reject")]
    for deed, body in (*takes_back, ("send", None), ("approve", None), ("review", None)):
        foreign: requests.Response = await ask(stranger, paper, deed, body)
        assert (foreign.status_code, foreign.json()["code"]) == (404, "document_unknown")
        assert (await ask(reader, paper, deed, body)).status_code == 403
