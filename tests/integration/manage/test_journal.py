"""What the journal says after each deed, and that nobody can make it say anything else."""

import asyncio
from decimal import Decimal

import asyncpg
import pytest

from tests.integration.manage.clients import Client, codes
from tests.integration.manage.deeds import ask, invoicer, paper_of
from tests.integration.manage.papers import Paper
from tests.integration.manage.test_reconciling import TOTAL, pay

__all__ = ["invoicer"]
"""A fixture that works by being here."""

PATH = "/api/reports/trial-balance"
TAX, REVENUE = -200.54, -954.94


def balances(client: Client, **query: str) -> dict[str, float]:
    """Return what is in each account that isn't empty, once the sums are seen to hold."""
    [found] = client.send("GET", PATH, query=query).json()["currencies"] or [None]
    if found is None:
        return {}
    assert (found["balance"], found["opening"]) == (0, 0)
    assert found["debits"] == found["credits"]
    return {one["account"]: one["balance"] for one in found["accounts"] if one["balance"]}


async def in_books(client: Client, ref: str) -> dict[str, Decimal]:
    """Return what is in the accounts of one document."""
    rows = await client.fetch(
        "SELECT account, sum(amount) AS amount FROM journal_line WHERE document_ref = $1 "
        "GROUP BY account HAVING sum(amount) <> 0",
        ref,
    )
    return {row["account"]: row["amount"] for row in rows}


async def agree(client: Client) -> None:
    """See that the receivable of every document is what the API says is due of it."""
    rows = await client.fetch(
        "SELECT document_ref FROM document WHERE tenant_id = $1 AND number IS NOT NULL",
        client.tenant_id,
    )
    for row in rows:
        ref = str(row["document_ref"])
        shown, books = client.ok("GET", f"/api/invoices/{ref}"), await in_books(client, ref)
        due = "BAD_DEBT" if shown["state"] == "UNCOLLECTIBLE" else "RECEIVABLE"
        assert float(books.get(due, 0)) == shown["amount_due"]
        assert abs(float(books.get("CUSTOMER_CREDIT", 0))) == shown["overpaid"]
        came = sum(one["amount"] for one in shown["payments"] if one["reversed_at"] is None)
        assert float(books.get("CASH", 0)) == came


async def reverse(client: Client, paper: Paper, place: int) -> None:
    payments = client.ok("GET", f"/api/invoices/{paper.ref}")["payments"]
    path = f"payments/{payments[place]['payment_ref']}/reverse"
    assert (await ask(client, paper, path, {"reason": "it bounced"})).ok


async def test_the_books_follow_payments_in_parts_too_much_and_back(client: Client) -> None:
    paper, _ = await paper_of(client)
    billed = {"TAX": TAX, "REVENUE": REVENUE}
    assert balances(client) == billed | {"RECEIVABLE": TOTAL}
    await pay(client, paper, amount=100)
    assert balances(client) == billed | {"RECEIVABLE": 1055.48, "CASH": 100}
    await agree(client)
    await pay(client, paper, amount=1060)
    assert balances(client) == billed | {"CASH": 1160, "CUSTOMER_CREDIT": -4.52}
    await agree(client)
    await reverse(client, paper, 0)
    assert balances(client) == billed | {"CASH": 1060, "RECEIVABLE": 95.48}
    await agree(client)
    await reverse(client, paper, 1)
    assert balances(client) == billed | {"RECEIVABLE": TOTAL}
    entries = await client.fetch(
        "SELECT kind, entry_date::text, cash FROM journal_entry WHERE tenant_id = $1 "
        "ORDER BY entry_number",
        client.tenant_id,
    )
    assert [row["kind"] for row in entries] == ["ISSUE", *["PAYMENT"] * 2, *["REVERSAL"] * 2]
    assert [row["entry_date"] for row in entries[:3]] == ["2023-02-01", *["2024-04-02"] * 2]
    await ask(client, paper, "void", {"reason": "a mistake"})
    assert balances(client) == {}
    await agree(client)


async def test_a_credit_pays_what_is_due_and_the_rest_is_owed_back(client: Client) -> None:
    paper, _ = await paper_of(client)
    first = (await ask(client, paper, "credit", {"amount": 155.48, "reason": "an outage"})).json()
    assert (first["amount_due"], first["state"]) == (0, "ISSUED")
    shown = client.ok("GET", f"/api/invoices/{paper.ref}")
    assert shown["amount_due"] == 1000
    after_credit = balances(client)
    assert after_credit["RECEIVABLE"] == 1000
    assert after_credit["TAX"] + after_credit["REVENUE"] == -1000
    await agree(client)
    await pay(client, paper, amount=1100)
    shown = client.ok("GET", f"/api/invoices/{paper.ref}")
    assert (shown["state"], shown["amount_due"], shown["overpaid"]) == ("PAID", 0, 0)
    credit = client.ok("GET", f"/api/invoices/{first['invoice_ref']}")
    assert credit["amount_due"] == -100, "55.48 of it paid the invoice, the money paid the rest"
    await agree(client)
    assert balances(client)["RECEIVABLE"] == -100
    back = Paper(first["invoice_ref"], "")
    assert (await pay(client, back)).json()["state"] == "PAID"
    await agree(client)
    del after_credit["RECEIVABLE"]
    assert balances(client) == after_credit | {"CASH": 1000}


async def test_a_payment_that_bounces_lets_the_credit_pay_again(client: Client) -> None:
    paper, _ = await paper_of(client)
    await pay(client, paper)
    credit = (await ask(client, paper, "credit", {"amount": 100, "reason": "an outage"})).json()
    assert credit["amount_due"] == -100
    await agree(client)
    await reverse(client, paper, 0)
    assert client.ok("GET", f"/api/invoices/{credit['invoice_ref']}")["amount_due"] == 0
    assert client.ok("GET", f"/api/invoices/{paper.ref}")["amount_due"] == 1055.48
    await agree(client)


async def test_what_was_paid_back_pays_nothing_else(client: Client) -> None:
    paper, _ = await paper_of(client)
    credit = (await ask(client, paper, "credit", {"amount": 100, "reason": "an outage"})).json()
    await pay(client, paper)
    assert client.ok("GET", f"/api/invoices/{paper.ref}")["state"] == "PAID"
    back = Paper(credit["invoice_ref"], "")
    await pay(client, back, amount=30)
    shown = client.ok("GET", f"/api/invoices/{paper.ref}")
    assert (shown["state"], shown["amount_due"]) == ("PARTIALLY_PAID", 30)
    await agree(client)
    await reverse(client, back, 0)
    shown = client.ok("GET", f"/api/invoices/{paper.ref}")
    assert (shown["state"], shown["paid_date"], shown["amount_due"]) == ("PAID", "2024-04-02", 0)
    await agree(client)


async def test_a_void_credit_leaves_its_document_to_be_paid(client: Client) -> None:
    paper, _ = await paper_of(client)
    await pay(client, paper, amount=1000)
    credit = (await ask(client, paper, "credit", {"reason": "an outage"})).json()
    assert credit["amount_due"] == -1000
    part = (await ask(client, paper, "credit", {"amount": 1, "reason": "more"})).json()
    assert part["code"] == "document_credited"
    await ask(client, Paper(credit["invoice_ref"], ""), "void", {"reason": "a mistake"})
    shown = client.ok("GET", f"/api/invoices/{paper.ref}")
    assert (shown["state"], shown["amount_due"]) == ("PARTIALLY_PAID", 155.48)
    await agree(client)
    assert balances(client) == {
        "TAX": TAX,
        "REVENUE": REVENUE,
        "CASH": 1000,
        "RECEIVABLE": 155.48,
    }


async def test_what_is_given_up_is_a_bad_debt_until_money_comes(client: Client) -> None:
    paper, _ = await paper_of(client)
    await pay(client, paper, amount=100)
    await client.fetch("UPDATE document SET state = 'LATE' WHERE tenant_id = $1", client.tenant_id)
    await ask(client, paper, "write-off", {"reason": "bankrupt"})
    billed = {"TAX": TAX, "REVENUE": REVENUE}
    assert balances(client) == billed | {"CASH": 100, "BAD_DEBT": 1055.48}
    await agree(client)
    await pay(client, paper, amount=55.48)
    assert balances(client) == billed | {"CASH": 155.48, "RECEIVABLE": 1000}
    await agree(client)


async def test_payments_at_once_are_booked_one_after_another(client: Client) -> None:
    paper, _ = await paper_of(client)
    await asyncio.gather(*(pay(client, paper, amount=1) for _ in range(20)))
    assert balances(client)["CASH"] == 20
    await agree(client)


async def test_the_balance_is_of_days_and_of_an_entity(client: Client, stranger: Client) -> None:
    paper, _ = await paper_of(client)
    await pay(client, paper, amount=100)
    entity_ref = client.ok("GET", "/api/entities/names")["entities"][0]["entity_ref"]
    whole = client.ok("GET", f"{PATH}?entity_ref={entity_ref}")
    assert whole["currencies"] == client.ok("GET", PATH)["currencies"]
    before = client.ok("GET", f"{PATH}?to=2024-04-01")["currencies"][0]["accounts"]
    assert [one["account"] for one in before] == ["RECEIVABLE", "TAX", "REVENUE"]
    [later] = client.ok("GET", f"{PATH}?from=2024-04-02&to=2024-04-02")["currencies"]
    assert later["accounts"][0] == {
        "account": "RECEIVABLE",
        "opening": TOTAL,
        "debits": 0,
        "credits": 100,
        "balance": 1055.48,
    }
    assert stranger.ok("GET", PATH)["currencies"] == []
    strange = stranger.send("GET", f"{PATH}?entity_ref={entity_ref}")
    assert codes(strange) == {"/entity_ref": "entity_unknown"}
    crossed = client.send("GET", f"{PATH}?from=2024-04-02&to=2024-04-01&form=1")
    assert codes(crossed) == {"/to": "dates_crossed", "/form": "unknown_field"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal_entry SET receivable = receivable + 1, revenue = revenue - 1",
        "UPDATE journal_entry SET booked_at = now()",
        "DELETE FROM journal_entry",
        "TRUNCATE journal_entry",
    ],
)
async def test_an_entry_is_never_changed(client: Client, statement: str) -> None:
    await paper_of(client)
    with pytest.raises(asyncpg.RestrictViolationError, match="only added to"):
        await client.fetch(statement)


ENTRY = (
    "INSERT INTO journal_entry (shard_key, document_ref, entry_number, tenant_id, entity_id, kind, "
    "currency, entry_date, booked_at, {columns}) SELECT shard_key, document_ref, {number}, "
    "tenant_id, entity_id, '{kind}', currency, entry_date, now(), {amounts} FROM journal_entry "
    "WHERE tenant_id = $1 AND entry_number = 1"
)


@pytest.mark.parametrize(
    ("entry", "refusal"),
    [
        (("receivable", 2, "SET_OFF", "1"), asyncpg.CheckViolationError),
        (("receivable, set_off", 2, "SET_OFF", "1, -0.99"), asyncpg.CheckViolationError),
        (("receivable, set_off", 2, "SET_OFF", "'NaN', 'NaN'"), asyncpg.CheckViolationError),
        (
            ("receivable, set_off", 2, "SET_OFF", "'Infinity', '-Infinity'"),
            asyncpg.CheckViolationError,
        ),
        (("receivable, revenue", 2, "ISSUE", "1, -1"), asyncpg.CheckViolationError),
        (("cash, receivable", 2, "PAYMENT", "1, -1"), asyncpg.CheckViolationError),
        (("receivable, revenue", 1, "ISSUE", "1, -1"), asyncpg.UniqueViolationError),
    ],
)
async def test_an_entry_that_does_not_balance_is_refused(
    client: Client, entry: tuple[str, int, str, str], refusal: type[Exception]
) -> None:
    await paper_of(client)
    columns, number, kind, amounts = entry
    with pytest.raises(refusal):
        await client.fetch(
            ENTRY.format(columns=columns, number=number, kind=kind, amounts=amounts),
            client.tenant_id,
        )
    count = "SELECT count(*) FROM journal_entry WHERE tenant_id = $1"
    assert [row["count"] for row in await client.fetch(count, client.tenant_id)] == [1]
