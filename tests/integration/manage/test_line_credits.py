"""Credits of single lines over HTTP, done by a real invoicer's worker."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.integration.manage.clients import Client, codes
from tests.integration.manage.deeds import ask, invoicer, paper_of

__all__ = ["invoicer"]
"""A fixture that works by being here."""

REASON = {"reason": "counted wrongly"}
NOWHERE = "00000000-0000-4000-8000-00000000dead"


def of(ref: str, **more: object) -> dict[str, Any]:
    return {"lines": [{"line_item_ref": ref, **more}], **REASON}


async def test_lines_are_credited_in_parts_that_come_to_the_document(client: Client) -> None:
    paper, shop = await paper_of(client)  # 1005.00 and 0.20, 5 % off, 21 % tax: 1155.48
    units, calls = shop.line_refs["Units"], shop.line_refs["Calls"]
    first = (await ask(client, paper, "credit", of(units, amount="502.50"))).json()
    assert (first["total"], first["total_tax"], first["sub_total"]) == (-577.63, -100.25, -477.38)
    assert first["credited_lines"] == [
        {
            "line_item_ref": units,
            "item": "Units",
            "quantity": None,
            "amount": 502.50,
            "total": 577.63,
        }
    ]
    second = (await ask(client, paper, "credit", of(calls, quantity="25"))).json()
    assert second["credited_lines"][0]["quantity"] == 25
    assert second["credited_lines"][0]["amount"] == 0.10
    rest = {"lines": [{"line_item_ref": calls}, {"line_item_ref": units}], **REASON}
    await ask(client, paper, "credit", rest)
    shown = client.ok("GET", f"/api/invoices/{paper.ref}")
    assert round(sum(one["total"] for one in shown["credited_by"]), 2) == -1155.48
    taxes = await client.fetch(
        "SELECT sum(total_tax) AS tax FROM document WHERE parent_document_ref = $1", paper.ref
    )
    assert str(taxes[0]["tax"]) == "-200.54"
    nothing = await ask(client, paper, "credit", of(units))
    assert (nothing.status_code, nothing.json()["code"]) == (409, "line_not_creditable")


async def test_the_proof_of_a_credit_does_the_sum_again(client: Client) -> None:
    paper, shop = await paper_of(client)
    units = shop.line_refs["Units"]
    made = [
        (await ask(client, paper, "credit", of(units, amount="502.50"))).json(),
        (await ask(client, paper, "credit", {"amount": "100", **REASON})).json(),
        (await ask(client, paper, "credit", of(shop.line_refs["Calls"], quantity="25"))).json(),
    ]
    voided = made[1]["invoice_ref"]
    client.ok("POST", f"/api/invoices/{voided}/void", REASON)
    made.append((await ask(client, paper, "credit", REASON)).json())
    proofs = [client.ok("GET", f"/api/invoices/{one['invoice_ref']}/proof") for one in made]
    assert [proof["agrees"] for proof in proofs] == [True] * 4
    assert {proof["corrects"][0]["invoice_ref"] for proof in proofs} == {paper.ref}
    steps = {step["step"]: step["amount"] for step in proofs[2]["steps"]}
    assert steps == {
        "DOCUMENT": 1155.48,
        "ISSUED": -677.63,
        "LINE": -0.12,
        "CREDIT": -0.12,
        "TAX": -0.02,
    }
    await client.fetch("ALTER TABLE document DISABLE TRIGGER USER")
    try:
        await client.fetch(
            "UPDATE document SET total_tax = total_tax + 0.01, sub_total = sub_total - 0.01 "
            "WHERE document_ref = $1",
            made[0]["invoice_ref"],
        )
    finally:
        await client.fetch("ALTER TABLE document ENABLE TRIGGER USER")
    wrong = client.ok("GET", f"/api/invoices/{made[0]['invoice_ref']}/proof")
    assert not wrong["agrees"]


async def test_no_more_is_credited_of_a_line_than_was_billed_on_it(client: Client) -> None:
    paper, shop = await paper_of(client)
    calls = shop.line_refs["Calls"]
    over = [
        await ask(client, paper, "credit", of(calls, **more))
        for more in ({"amount": "0.21"}, {"quantity": 51})
    ]
    assert [one.json()["code"] for one in over] == ["credit_exceeds_line"] * 2
    answers = await asyncio.gather(
        *(ask(client, paper, "credit", of(calls, amount="0.10")) for _ in range(5))
    )
    assert sorted(one.status_code for one in answers) == [200, 200, 409, 409, 409]


async def test_what_a_credit_has_taken_off_lines_stays(client: Client) -> None:
    paper, shop = await paper_of(client)
    await ask(client, paper, "credit", of(shop.line_refs["Calls"], amount="0.10"))
    with pytest.raises(asyncpg.RestrictViolationError):
        await client.fetch(
            "UPDATE document_line_credit SET amount = 1 WHERE parent_document_ref = $1", paper.ref
        )


async def test_lines_that_are_asked_for_wrongly_are_named(client: Client, stranger: Client) -> None:
    paper, shop = await paper_of(client)
    units = shop.line_refs["Units"]
    wrong: list[tuple[dict[str, Any], dict[str, str]]] = [
        (of(NOWHERE), {"/lines/0/line_item_ref": "line_unknown"}),
        (of(units, amount=1, quantity=1), {"/lines/0/quantity": "amount_and_quantity"}),
        (of(units) | {"amount": 1}, {"/amount": "amount_and_lines"}),
        ({"lines": [], **REASON}, {"/lines": "required"}),
        (of(units, amount=0), {"/lines/0/amount": "number_not_positive"}),
        (of(units, amount="0.001"), {"/lines": "line_amount_digits"}),
    ]
    for body, expected in wrong:
        answer = await ask(client, paper, "credit", body)
        assert (answer.status_code, codes(answer)) == (422, expected)
    assert (await ask(stranger, paper, "credit", of(units))).status_code == 404
