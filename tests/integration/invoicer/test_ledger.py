"""What is booked with documents that are billed ahead, drawn on credits, empty, or corrected."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg
import pytest_asyncio

from deploy.verify import journal, payments
from deploy.verify.check import Finding, Scope
from invoicer.intake import Intake
from invoicer.requests import RequestWorker
from invoicer.settings import InvoicerSettings
from schemas.periods import periods
from tests.closed_periods import FLAT, PER_UNIT, Books, Line, Product, SoldProduct

NOW = datetime(2026, 8, 20, 12, tzinfo=UTC)

Entry = tuple[str, dict[str, Decimal]]


@pytest_asyncio.fixture
async def worker(pool: asyncpg.Pool) -> AsyncIterator[RequestWorker]:
    settings = InvoicerSettings(kafka="", postgres="")
    yield RequestWorker(pool, settings, asyncio.Event(), asyncio.Event(), lambda: NOW)


async def ask(
    connection: asyncpg.Connection, worker: RequestWorker, action: str, **details: str
) -> None:
    """Want something done with the first document, and see that it is."""
    document = await connection.fetchrow(
        "SELECT shard_key, document_ref, tenant_id FROM document ORDER BY number_in_contract"
    )
    assert document is not None
    ref = uuid.uuid4()
    await connection.execute(
        "INSERT INTO document_request (shard_key, document_ref, tenant_id, request_ref, action, "
        "details, made_by, fingerprint) VALUES ($1, $2, $3, $4, $5, $6, 'me', '')",
        *(*document, ref, action, json.dumps(details)),
    )
    assert await worker.work_once() == 1
    statement = "SELECT outcome, detail FROM document_request WHERE request_ref = $1"
    assert tuple(await connection.fetchrow(statement, ref) or ()) == ("DONE", None)


async def entries(connection: asyncpg.Connection) -> list[Entry]:
    """Return what is booked, document by document, once the books are seen to agree."""
    async with connection.transaction():
        scope = Scope(connection=connection, tenant_id=None, kafka="")
        for check in (*journal.CHECKS, *payments.CHECKS):
            finding = Finding(check.unit)
            await check.run(scope, finding)
            assert not finding.witnesses
    rows = await connection.fetch(
        "SELECT e.document_ref, e.entry_number, e.kind, l.account, l.amount FROM journal_entry e "
        "JOIN document d USING (shard_key, document_ref) LEFT JOIN journal_line l "
        "USING (shard_key, document_ref, entry_number) "
        "ORDER BY d.number_in_contract, e.entry_number, l.position"
    )
    found: dict[tuple[uuid.UUID, int], Entry] = {}
    for row in rows:
        _, lines = found.setdefault(tuple(row[:2]), (row["kind"], {}))
        if row["account"] is not None:
            lines[row["account"]] = row["amount"]
    return list(found.values())


def money(**amounts: str) -> dict[str, Decimal]:
    return {name.upper(): Decimal(amount) for name, amount in amounts.items()}


async def bill(
    connection: asyncpg.Connection, books: Books, intake: Intake, sold: SoldProduct, *cuts: str
) -> None:
    """Bill a product's first period at each of these quantities in turn."""
    period = next(periods(sold.terms))
    keys = [books.cut(sold, period, number, quantity=q) for number, q in enumerate(cuts, 1)]
    await books.write(connection)
    for key in keys:
        await intake.take([key])


async def test_what_is_billed_ahead_is_deferred_but_for_usage(
    connection: asyncpg.Connection, books: Books, intake: Intake, worker: RequestWorker
) -> None:
    lines = [Line("Platform fee", FLAT), Line("API calls", PER_UNIT, "100")]
    terms = Product(lines=lines, unit="ONE_TIME", issue_day=date(2026, 8, 15), tax="19")
    [sold] = books.contract(books.issuer(), terms).products
    keys = books.close(sold)
    await books.write(connection)
    await intake.take(keys)
    issue = money(receivable="178.38", deferred_revenue="-49.90", tax="-28.48", revenue="-100")
    assert await entries(connection) == [("ISSUE", issue)]
    await ask(connection, worker, "CREDIT", amount="89.19", reason="an outage")
    credit = money(receivable="-89.19", deferred_revenue="24.95", tax="14.24", revenue="50")
    assert await entries(connection) == [
        ("ISSUE", issue),
        ("SET_OFF", money(receivable="-89.19", set_off="89.19")),
        ("ISSUE", credit),
        ("SET_OFF", money(receivable="89.19", set_off="-89.19")),
    ]


async def test_a_discount_is_shared_by_what_was_used_and_what_was_not(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    lines = [Line("Platform fee", FLAT), Line("API calls", PER_UNIT, "100")]
    terms = Product(lines=lines, unit="ONE_TIME", issue_day=date(2026, 8, 15), discount="10")
    [sold] = books.contract(books.issuer(), terms).products
    keys = books.close(sold)
    await books.write(connection)
    await intake.take(keys)
    issue = money(receivable="134.91", deferred_revenue="-44.91", revenue="-90")
    assert await entries(connection) == [("ISSUE", issue)]


async def test_what_credits_pay_is_no_receivable(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    [sold] = books.contract(books.issuer(), Product(tax="10", credits=[{"amount": "60"}])).products
    await bill(connection, books, intake, sold, "100")
    issue = money(receivable="50", prepaid_credits="60", tax="-10", revenue="-100")
    assert await entries(connection) == [("ISSUE", issue)]


async def test_a_document_of_nothing_has_an_entry_of_nothing(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    [sold] = books.contract(books.issuer(), Product(lines=[Line("API calls", PER_UNIT)])).products
    await bill(connection, books, intake, sold, "0")
    assert await entries(connection) == [("ISSUE", {})]


async def test_a_correction_downwards_pays_the_document_and_the_rest_is_owed_back(
    connection: asyncpg.Connection, books: Books, intake: Intake, worker: RequestWorker
) -> None:
    [sold] = books.contract(books.issuer(), Product()).products
    period = next(periods(sold.terms))
    keys = [books.cut(sold, period, n, quantity=q) for n, q in enumerate(("100", "90", "70"), 1)]
    await books.write(connection)
    await intake.take(keys[:1])
    await ask(connection, worker, "PAY", paid_date="2026-08-20", amount="90")
    await intake.take(keys[1:2])
    assert await state(connection) == ("PAID", date(2026, 8, 20))
    whole = [
        ("ISSUE", money(receivable="100", revenue="-100")),
        ("PAYMENT", money(receivable="-90", cash="90")),
        ("SET_OFF", money(receivable="-10", set_off="10")),
        ("ISSUE", money(receivable="-10", revenue="10")),
        ("SET_OFF", money(receivable="10", set_off="-10")),
    ]
    assert await entries(connection) == whole
    await intake.take(keys[2:])
    later = ("ISSUE", money(receivable="-20", revenue="20"))
    assert await entries(connection) == [*whole, later], "nothing is due that it could pay"
    [payment] = await connection.fetch("SELECT payment_ref::text AS ref FROM payment")
    await ask(connection, worker, "TAKE_BACK", payment_ref=payment["ref"], reason="it bounced")
    assert await state(connection) == ("ISSUED", None)
    found = await entries(connection)
    assert found[3] == ("REVERSAL", money(receivable="70", cash="-90", set_off="20"))
    assert found[-1] == ("SET_OFF", money(receivable="20", set_off="-20"))


async def state(connection: asyncpg.Connection) -> tuple[str, date | None]:
    """Return where the first document stands, and when it was paid."""
    row = await connection.fetchrow(
        "SELECT state, paid_date FROM document ORDER BY number_in_contract LIMIT 1"
    )
    assert row is not None
    return row["state"], row["paid_date"]
