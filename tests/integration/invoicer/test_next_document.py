"""Late usage on the next document of its contract: named, drawn anew, paid, and proved."""

import asyncio
import json
import random
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from deploy.verify import credits, documents, journal, payments
from deploy.verify.check import Finding, Scope
from invoicer.inputs import InputKey
from invoicer.intake import Intake
from invoicer.outbox import OutboxWorker
from invoicer.settings import InvoicerSettings
from schemas.periods import Period, periods
from tests.closed_periods import FLAT, TIERED, Books, Line, Product, SoldProduct

YEAR_END = date(2026, 12, 31)
LATER = datetime(2100, 1, 1, tzinfo=UTC)


async def choose(months: "Months", late_usage: str) -> None:
    await months.books.write(months.connection)
    await months.connection.execute(
        "INSERT INTO tenant_setting (tenant_id, late_usage) VALUES ($1, $2) "
        "ON CONFLICT (tenant_id) DO UPDATE SET late_usage = $2",
        *(months.sold[0].issuer.tenant_id, late_usage),
    )


class Months:
    """A product whose months are closed, and closed again, as a test says."""

    def __init__(
        self, connection: asyncpg.Connection, books: Books, intake: Intake, *sold: SoldProduct
    ) -> None:
        self.connection = connection
        self.books = books
        self.intake = intake
        self.sold = sold
        self.periods: Mapping[UUID, list[Period]] = {
            one.ref: list(periods(one.terms)) for one in sold
        }
        self.cuts: dict[tuple[Any, int], int] = {}

    def cut(self, index: int, quantity: str, at: int = 0) -> InputKey:
        product = self.sold[at]
        number = self.cuts[product.ref, index] = self.cuts.get((product.ref, index), 0) + 1
        period = self.periods[product.ref][index]
        return self.books.cut(product, period, number, quantity=quantity)

    async def take(self, *keys: InputKey) -> None:
        await self.books.write(self.connection)
        await self.intake.take(keys)

    async def issued(self) -> list[asyncpg.Record]:
        return await self.connection.fetch(
            "SELECT * FROM document WHERE number IS NOT NULL ORDER BY number_in_contract"
        )

    async def value(self, statement: str) -> Any:  # noqa: ANN401 - whatever was asked for
        return await self.connection.fetchval(statement)


async def broken(connection: asyncpg.Connection) -> dict[str, list[str]]:
    found = {}
    async with connection.transaction():
        scope = Scope(connection=connection, tenant_id=None, kafka="")
        for check in (*documents.CHECKS, *credits.CHECKS, *journal.CHECKS, *payments.CHECKS):
            finding = Finding(check.unit)
            await check.run(scope, finding)
            if finding.difference and check.name not in ("files", "invoiced"):
                found[check.name] = finding.witnesses
    return found


WORDS = (
    "corrects INV-2026-001",
    "corrects INV-2026-002",
    "Tier up to 5,000",
    "Tax, the difference to INV-2026-002",
)


async def html_of(
    connection: asyncpg.Connection, pool: asyncpg.Pool, document_ref: UUID, count: int
) -> str:
    """Draw all documents that are issued, so many, and return one of them."""
    settings = InvoicerSettings(kafka="", postgres="")
    worker = OutboxWorker(pool, settings, asyncio.Event(), asyncio.Event())
    assert await worker.work_once() == count
    text: str = await connection.fetchval(
        "SELECT convert_from(content, 'UTF8') FROM document_file "
        "WHERE kind = 'HTML' AND document_ref = $1",
        document_ref,
    )
    return text


TAKEN_ALONG = """
SELECT p.root_document_ref, p.cut_number, p.sub_total, p.total, l.item, l.quantity, l.amount,
       l.tiers::text AS tiers
FROM document_product p JOIN document_line l
    ON (l.shard_key, l.document_ref, l.product_position)
     = (p.shard_key, p.document_ref, p.position)
WHERE p.root_document_ref IS NOT NULL
"""


async def test_late_usage_goes_onto_the_next_document_and_names_where_it_is_from(
    connection: asyncpg.Connection, books: Books, intake: Intake, pool: asyncpg.Pool
) -> None:
    issuer = books.issuer()
    terms = Product(
        lines=[Line("Calls", TIERED), Line("Fee", FLAT)],
        start=date(2026, 8, 1), end=date(2026, 10, 31), tax="19", discount="10",
        commitments=[{"over": "PERIOD", "amount": "80"}],
        credits=[{"amount": "50", "every": "PERIOD"}],
    )  # fmt: skip
    months = Months(connection, books, intake, *books.contract(issuer, terms).products)
    await months.take(months.cut(0, "900"))
    await choose(months, "NEXT_DOCUMENT")
    await months.take(months.cut(0, "5200"))
    await months.take(months.cut(0, "2000"))  # only the last counts
    assert len(await months.issued()) == 1
    assert await months.value("SELECT count(*) FROM waiting_adjustment") == 1
    assert await broken(connection) == {}

    await months.take(months.cut(1, "100"))
    first, second = await months.issued()
    # 900 cost 19 and 49.90, made up to 80; 2000 cost 28 and 49.90, made up to 80 as well.
    assert (first["sub_total"], second["sub_total"]) == (80, 80)
    assert second["credits_amount"] == 50
    [row] = await connection.fetch(TAKEN_ALONG)
    assert tuple(row)[:-1] == (first["document_ref"], 3, 9, 0, "Calls", 1100, 9)
    tiers = [(tier["quantity"], tier["amount"]) for tier in json.loads(row["tiers"])]
    assert tiers == [(100, 1), (1000, 8)]
    assert await months.value("SELECT count(*) FROM waiting_adjustment") == 0
    assert await broken(connection) == {}

    await months.take(months.cut(0, "20000"), months.cut(1, "6000"))
    await months.take(months.cut(2, "0"))
    third = (await months.issued())[2]
    # 20000 cost 127 and 49.90; 6000 cost 57 and 49.90: 96.90 and 26.90 more than the 80 of each.
    assert third["sub_total"] == 80 + Decimal("96.90") + Decimal("26.90")
    assert third["credits_amount"] == 50
    assert await months.value("SELECT count(*) FROM document_adjustment") == 3
    assert await broken(connection) == {}

    await months.take(months.cut(2, "1000000"))  # there is no next one
    last = (await months.issued())[3]
    assert (last["kind"], last["accounting_event_type"]) == ("ADJUSTMENT", "DEBIT")
    assert last["parent_document_ref"] == third["document_ref"]
    assert await broken(connection) == {}

    text = await html_of(connection, pool, third["document_ref"], 4)
    for words in WORDS:
        assert words in text


async def test_what_waits_is_corrected_by_itself_when_no_document_is_to_come(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    issuer = books.issuer()
    months = Months(
        connection, books, intake,
        *books.contract(issuer, Product(start=date(2026, 8, 1), end=None)).products,
    )  # fmt: skip
    await choose(months, "NEXT_DOCUMENT")
    months.periods = {months.sold[0].ref: [next(periods(months.sold[0].terms))]}
    await months.take(months.cut(0, "100"))
    await months.take(months.cut(0, "150"))
    assert await intake.release_stranded(LATER) == 0
    await connection.execute("UPDATE contract_product SET billing_end_date = '2026-08-31'")
    assert await intake.release_stranded(LATER) == 1
    assert [row["total"] for row in await months.issued()] == [100, 50]
    assert await months.value("SELECT count(*) FROM waiting_adjustment") == 0
    assert await broken(connection) == {}


async def test_a_draft_that_waits_for_more_takes_late_usage_along(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    issuer = books.issuer()
    both = (
        Product(start=date(2026, 8, 1), end=date(2026, 9, 30), tax="19"),
        Product(start=date(2026, 9, 1), end=date(2026, 9, 30), name="Other"),
    )
    months = Months(connection, books, intake, *books.contract(issuer, *both).products)
    await choose(months, "NEXT_DOCUMENT")
    await months.take(months.cut(0, "100"))
    await months.take(months.cut(1, "10"))  # a draft: the other product's month is not in
    await months.take(months.cut(0, "140"))
    assert await months.value("SELECT sub_total FROM document WHERE number IS NULL") == 50
    await months.take(months.cut(0, "130"))
    assert await months.value("SELECT sub_total FROM document WHERE number IS NULL") == 40
    assert await broken(connection) == {}
    await months.take(months.cut(0, "5", at=1))
    assert [row["sub_total"] for row in await months.issued()] == [100, 45]
    assert await broken(connection) == {}


async def test_credits_that_an_adjustment_gives_back_pay_what_is_billed_later(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    issuer = books.issuer()
    terms = Product(
        start=date(2026, 8, 1), end=date(2026, 10, 31), tax="10", credits=[{"amount": "150"}]
    )
    months = Months(connection, books, intake, *books.contract(issuer, terms).products)
    for index, quantity in enumerate(("100", "100")):
        await months.take(months.cut(index, quantity))
    for index, quantity in ((0, "50"), (1, "120"), (1, "20")):
        await months.take(months.cut(index, quantity))
        assert await broken(connection) == {}
    await months.take(months.cut(2, "100"))
    figures = [(row["credits_amount"], row["total"]) for row in await months.issued()]
    assert figures == [
        (110, 0),
        (40, 70),
        (-55, 0),  # half of it is gone, and was paid by credits
        (55, -33),  # 22 more are due, and what came free pays 33 of what was not paid before
        (-73, -37),  # 100 less are due
        (73, 37),
    ]
    assert await broken(connection) == {}


async def test_the_last_document_follows_what_changes_of_earlier_periods(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    terms = Product(
        start=date(2026, 11, 1), end=YEAR_END, commitments=[{"over": "CONTRACT", "amount": "500"}]
    )
    months = Months(connection, books, intake, *books.contract(books.issuer(), terms).products)
    await months.take(months.cut(0, "100"), months.cut(1, "100"))
    await months.take(months.cut(0, "250"))
    # 300 were missing; 150 more were spent, so 150 of them are taken back at once.
    assert [row["total"] for row in await months.issued()] == [100, 400, 150, -150]
    stated = await months.value(
        "SELECT true_ups::text FROM document_product JOIN document "
        "USING (shard_key, document_ref) WHERE number_in_contract = 4"
    )
    assert json.loads(stated) == [{"over": "CONTRACT", "amount": 0, "spent": 150, "true_up": -150}]
    assert await broken(connection) == {}


async def test_whatever_comes_late_in_whatever_order_the_books_close(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    chance = random.Random(34)
    lines = [Line("Calls", TIERED), Line("Fee", FLAT)]
    rich = Product(
        lines=lines, start=date(2026, 7, 14), end=YEAR_END, tax="19", discount="7.5",
        minimum_fee="55", issue_day=date(2026, 8, 1),
        commitments=[{"over": "PERIOD", "amount": "60"}, {"over": "CONTRACT", "amount": "900"}],
        credits=[
            {"amount": "300", "priority": 1},
            {"amount": "25", "every": "PERIOD", "roll_over": "9"},
        ],
    )  # fmt: skip
    plain = Product(lines=lines[:1], start=date(2026, 7, 14), end=YEAR_END, tax="7",
                    issue_day=date(2026, 8, 1), name="Other")  # fmt: skip
    issuer = books.issuer()
    months = Months(connection, books, intake, *books.contract(issuer, rich, plain).products)
    closed = 0
    for step in range(24):
        await choose(months, chance.choice(["OWN_DOCUMENT", "NEXT_DOCUMENT"]))
        keys = []
        if closed < 6 and step % 4 == 0:
            keys = [months.cut(closed, str(chance.randint(-50, 9_000)), at) for at in (0, 1)]
            closed += 1
        for _ in range(chance.randint(1, 3)):
            index, at = chance.randrange(closed), chance.randrange(2)
            keys.append(months.cut(index, str(chance.randint(-50, 9_000)), at))
        chance.shuffle(keys)
        await months.take(*keys)
        assert await broken(connection) == {}, step
    assert await months.value("SELECT count(*) FROM parked_input") == 0
    assert await months.value("SELECT count(*) FROM waiting_adjustment") == 0
    assert await months.value("SELECT count(*) FROM document_adjustment") > 10
