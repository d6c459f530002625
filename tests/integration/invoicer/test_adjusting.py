"""Later cuts of issued documents: the difference goes out as a credit or a debit."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg

from invoicer.intake import Intake
from invoicer.outbox import OutboxWorker
from invoicer.settings import InvoicerSettings
from schemas.document_ref import adjustment_ref
from schemas.periods import periods
from tests.closed_periods import FINE, FLAT, PER_UNIT, TIERED, Books, Line, Product

TAXED = Product(
    lines=[Line("Calls", TIERED, "1500"), Line("Bytes", FINE, "10"), Line("Fee", FLAT)],
    tax="19",
    discount="10",
    minimum_fee="80",
)


async def documents(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return await connection.fetch("SELECT * FROM document ORDER BY number, document_ref")


async def test_later_cuts_of_an_issued_document_make_adjustments_in_their_turn(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer(), TAXED)
    [product] = contract.products
    keys = books.close(product)
    await books.write(connection)
    await intake.take(keys)
    [period] = periods(product.terms)
    for number, quantity in ((2, "2500"), (3, "100"), (4, "100")):
        cut = books.cut(product, period, number, quantity=quantity)
        await books.write(connection)
        for _ in range(2):  # a message may come twice
            await intake.take([cut])

    invoice, debit, credit = await documents(connection)
    kinds = [(row["kind"], row["accounting_event_type"]) for row in (invoice, debit, credit)]
    assert kinds == [("PERIOD", "INVOICE"), ("ADJUSTMENT", "DEBIT"), ("ADJUSTMENT", "CREDIT")]
    assert {row["state"] for row in (debit, credit)} == {"ISSUED"}
    assert [debit["parent_document_ref"], credit["parent_document_ref"]] == [
        invoice["document_ref"]
    ] * 2
    assert debit["document_ref"] == adjustment_ref(invoice["document_ref"], 1)
    assert debit["issue_date"] >= datetime.now(UTC).date().replace(day=1)
    # 24 + 0.03 + 49.90 = 73.93, at least 80; 2500 cost 32 and 8.25; 100 cost 11 and 0.33.
    totals = [row["sub_total"] for row in (invoice, debit, credit)]
    assert totals == [Decimal(80), Decimal("90.15") - 80, 80 - Decimal("90.15")]
    assert sum(row["total"] for row in (invoice, debit, credit)) == invoice["total"]
    assert credit["total_in_contract"] == invoice["total"]
    assert [row["number_in_contract"] for row in (invoice, debit, credit)] == [1, 2, 3]
    lines = await connection.fetch(
        "SELECT item, sum(quantity), sum(amount), count(*) FROM document_line "
        "WHERE item <> 'Fee' GROUP BY item ORDER BY item"
    )
    assert [tuple(line) for line in lines] == [
        ("Bytes", 100, Decimal("0.33"), 3),
        ("Calls", 100, Decimal("11.00"), 3),
    ]


async def test_an_older_cut_that_comes_late_and_an_equal_one_change_nothing(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer())
    [product] = contract.products
    keys = books.close(product)
    [period] = periods(product.terms)
    cuts = [books.cut(product, period, n, quantity=q) for n, q in ((2, "70"), (3, "100"))]
    await books.write(connection)
    await intake.take(keys)
    await intake.take([cuts[1]])
    await intake.take([cuts[0]])
    assert len(await documents(connection)) == 1
    assert await connection.fetchval("SELECT count(*) FROM parked_input") == 0


async def test_what_changes_of_two_products_at_once_is_one_adjustment(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer(), Product(tax="7"), Product(tax="7"))
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys)
    cuts = [
        books.cut(product, period, 2, quantity="100.07")
        for product in contract.products
        for period in periods(product.terms)
    ]
    await books.write(connection)
    await intake.take(cuts)
    invoice, debit = await documents(connection)
    # The tax of both together is rounded once, as it was: 14.0098 after 14.00.
    assert (debit["sub_total"], debit["total_tax"]) == (Decimal("0.14"), Decimal("0.01"))
    assert invoice["total"] + debit["total"] == Decimal("214.15")


async def test_a_correction_says_what_it_corrects(
    connection: asyncpg.Connection, books: Books, intake: Intake, pool: asyncpg.Pool
) -> None:
    contract = books.contract(books.issuer(), TAXED)
    [product] = contract.products
    keys = books.close(product)
    [period] = periods(product.terms)
    cut = books.cut(product, period, 2, quantity="99999")
    await books.write(connection)
    await intake.take(keys)
    await intake.take([cut])
    settings = InvoicerSettings(kafka="", postgres="")
    rendering = OutboxWorker(pool, settings, asyncio.Event(), asyncio.Event())
    assert await rendering.work_once() == 2
    text = await connection.fetchval(
        "SELECT convert_from(content, 'UTF8') FROM document_file JOIN document d "
        "USING (shard_key, document_ref) WHERE d.kind = 'ADJUSTMENT' AND document_file.kind='HTML'"
    )
    assert "Debit note" in text
    assert "INV-2026-001" in text
    assert "Difference to what was billed before" in text


async def test_an_adjustment_counts_in_the_series_of_its_own_year(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    lines = [Line("Calls", PER_UNIT, "10")]
    product = Product(start=date(2025, 8, 1), end=date(2025, 8, 31), lines=lines)
    contract = books.contract(books.issuer(), product)
    [sold] = contract.products
    keys = books.close(sold)
    [period] = periods(sold.terms)
    cut = books.cut(sold, period, 2, quantity="20")
    await books.write(connection)
    await intake.take(keys)
    await intake.take([cut])
    rows = await documents(connection)
    assert {row["series"] for row in rows} == {"2025", str(datetime.now(UTC).year)}
    assert {row["number"] for row in rows} == {1}
