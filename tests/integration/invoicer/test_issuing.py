"""From cuts to issued documents: what is due together is billed together, and numbered in order."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg
import msgspec

from invoicer.intake import Intake
from schemas.periods import periods
from tests.closed_periods import FINE, FLAT, PER_UNIT, TIERED, Books, Line, Product


async def documents(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return await connection.fetch("SELECT * FROM document ORDER BY number, document_ref")


async def test_a_closed_period_becomes_an_issued_invoice(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(
        books.issuer(),
        Product(lines=[Line("API calls", TIERED, "1500"), Line("Fee", FLAT)], tax="19"),
    )
    keys = books.close(*contract.products)
    await books.write(connection)

    before = datetime.now(UTC)
    await intake.take(keys)

    [document] = await documents(connection)
    assert document["state"] == "ISSUED"
    assert document["document_number"] == "INV-2026-001"
    assert (document["series"], document["number"]) == ("2026", 1)
    assert (document["issue_date"], document["due_date"]) == (date(2026, 9, 1), date(2026, 10, 1))
    assert (document["period_start"], document["period_end"]) == (
        date(2026, 8, 1),
        date(2026, 9, 1),
    )
    assert before <= document["issued_at"] <= datetime.now(UTC)
    # 1000 x 0.01 + 10 flat + 500 x 0.008 = 24; 24 + 49.90 = 73.90; 19 % of it is 14.041.
    assert document["sub_total"] == Decimal("73.90")
    assert document["total_tax"] == Decimal("14.04")
    assert document["total"] == document["total_in_contract"] == Decimal("87.94")
    assert document["accounting_event_type"] == "INVOICE"
    assert await connection.fetchval("SELECT count(*) FROM invoicer_outbox") == 1


async def test_lines_say_what_they_were_priced_by(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    lines = [Line("API calls", TIERED, "1000.5"), Line("Bytes", FINE, "10"), Line("Fee", FLAT)]
    contract = books.contract(books.issuer(), Product(lines=lines))
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys)

    tiered, fine, flat = await connection.fetch("SELECT * FROM document_line ORDER BY position")
    assert [row["item"] for row in (tiered, fine, flat)] == ["API calls", "Bytes", "Fee"]
    assert tiered["unit_price"] is None
    assert tiered["tiers"] == (
        '[{"up_to": 1000, "amount": 20, "flat_fee": 10, "quantity": 1000, "unit_price": 0.01}, '
        '{"up_to": 5000, "amount": 0.004, "flat_fee": 0, "quantity": 0.5, "unit_price": 0.008}]'
    )
    assert tiered["amount"] == Decimal("20.00")
    assert (fine["quantity"], fine["unit_price"]) == (Decimal(10), Decimal("0.0033"))
    assert fine["amount"] == Decimal("0.03")
    assert (flat["model"], flat["quantity"], flat["amount"]) == ("FLAT", 1, Decimal("49.90"))
    assert flat["charge_ref"] is None
    assert tiered["charge_ref"] is not None


async def test_every_model_of_a_total_becomes_a_line(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    tiers = [{"up_to": 100, "unit_price": "1", "flat_fee": "3"}, {"unit_price": "0.5"}]
    stairs = [{"up_to": 100, "flat_fee": "3"}, {"flat_fee": "8"}]
    rates = [{"up_to": 100, "rate": "10"}, {"rate": "5"}]
    lines = [
        Line("volume", {"model": "VOLUME", "tiers": tiers}, "100.5"),
        Line("stairs", {"model": "STAIRSTEP", "tiers": stairs}, "100.5"),
        Line("packages", {"model": "PACKAGE", "price": "2", "package_size": "10"}, "100.5"),
        Line("share", {"model": "PERCENTAGE", "rate": "2.9"}, "100.5"),
        Line("shares", {"model": "PERCENTAGE", "tiers": rates}, "100.5"),
        Line("formula", {"model": "FORMULA", "expression": "q / 3 + event_count"}, "100.5"),
    ]
    contract = books.contract(books.issuer(), Product(lines=lines))
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys)

    rows = await connection.fetch("SELECT * FROM document_line ORDER BY position")
    assert [(row["item"], row["unit_price"], row["amount"]) for row in rows] == [
        ("volume", None, Decimal("50.25")),
        ("stairs", None, Decimal("8.00")),
        ("packages", None, Decimal("22.00")),
        ("share", Decimal("0.029"), Decimal("2.91")),  # 2.9145
        ("shares", None, Decimal("10.03")),  # 10.025
        ("formula", None, Decimal("34.50")),
    ]
    assert [row["tiers"] and len(json.loads(row["tiers"])) for row in rows] == [
        *(1, 1, None, None, 2, None)
    ]


async def test_the_document_keeps_the_parties_as_they_were(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer(), legal_name="Acme GmbH")
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys)
    await connection.execute("UPDATE customer SET legal_name = 'Renamed AG'")

    parties = msgspec.json.decode(await connection.fetchval("SELECT parties FROM document"))
    assert parties["customer"]["legal_name"] == "Acme GmbH"
    assert parties["customer"]["customer_ref"] == str(contract.customer_ref)
    assert parties["entity"]["legal_name"] == "Northwind Metering Ltd"
    assert "settings" not in parties["customer"]


async def test_products_that_are_due_together_wait_for_each_other(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer(), Product(name="First"), Product(name="Second"))
    first, second = books.close(*contract.products)
    await books.write(connection)

    await intake.take([second])
    [draft] = await documents(connection)
    assert (draft["state"], draft["number"], draft["total"]) == ("DRAFT", None, 100)
    assert await connection.fetchval("SELECT count(*) FROM document_sequence") == 0

    await intake.take([first])
    [issued] = await documents(connection)
    assert issued["document_ref"] == draft["document_ref"]
    assert (issued["state"], issued["number"], issued["total"]) == ("ISSUED", 1, 200)
    names = await connection.fetch("SELECT product_name FROM document_product ORDER BY position")
    assert [row["product_name"].split()[0] for row in names] == ["First", "Second"]


async def test_products_of_two_groups_get_documents_of_their_own(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer(), Product(group=0), Product(group=1))
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys)
    rows = await documents(connection)
    assert [row["number_in_contract"] for row in rows] == [1, 2]
    assert [row["total_in_contract"] for row in rows] == [100, 200]


async def test_periods_are_billed_month_by_month(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    product = Product(start=date(2026, 6, 1), end=date(2026, 8, 31))
    contract = books.contract(books.issuer(), product)
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(list(reversed(keys)))
    rows = await documents(connection)
    assert [row["issue_date"].month for row in rows] == [7, 8, 9]
    assert [row["number_in_contract"] for row in rows] == [1, 2, 3]
    assert [row["total_in_contract"] for row in rows] == [100, 200, 300]


async def test_periods_due_before_the_first_issue_day_go_out_on_it_together(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    product = Product(start=date(2026, 6, 1), end=date(2026, 8, 31), issue_day=date(2026, 8, 1))
    contract = books.contract(books.issuer(), product)
    june, july, august = books.close(*contract.products)
    await books.write(connection)

    await intake.take([june])
    assert [row["state"] for row in await documents(connection)] == ["DRAFT"]
    await intake.take([july, august])
    rows = await documents(connection)
    assert [(row["state"], row["total"]) for row in rows] == [("ISSUED", 200), ("ISSUED", 100)]
    assert (rows[0]["period_start"], rows[0]["period_end"]) == (date(2026, 6, 1), date(2026, 8, 1))


async def test_an_input_taken_twice_changes_nothing(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer())
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys * 3)
    before = await documents(connection)
    await intake.take(keys)
    assert await documents(connection) == before
    assert await connection.fetchval("SELECT count(*) FROM document_line") == 1


async def test_a_later_cut_of_a_draft_redraws_it(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer(), Product(), Product())
    product = contract.products[0]
    [first] = books.close(product)
    await books.write(connection)
    await intake.take([first])

    [period] = periods(product.terms)
    second = books.cut(product, period, 2, quantity="150")
    await books.write(connection)
    await intake.take([second])
    [draft] = await documents(connection)
    assert (draft["state"], draft["total"]) == ("DRAFT", 150)
    assert await connection.fetchval("SELECT cut_number FROM document_product") == 2


async def test_a_total_below_zero_is_a_credit_with_a_number_of_the_same_series(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    issuer = books.issuer()
    contracts = [
        books.contract(issuer, Product(lines=[Line("Calls", PER_UNIT, quantity)]))
        for quantity in ("-5", "5")
    ]
    keys = [key for contract in contracts for key in books.close(*contract.products)]
    await books.write(connection)
    await intake.take(keys)
    rows = await documents(connection)
    assert {(row["accounting_event_type"], row["total"]) for row in rows} == {
        ("CREDIT", Decimal(-5)),
        ("INVOICE", Decimal(5)),
    }
    assert [row["number"] for row in rows] == [1, 2]


async def test_each_entity_and_year_counts_for_itself(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    yearly, plain = books.issuer(), books.issuer(number_format="US-{number}")
    product = Product(start=date(2025, 11, 1), end=date(2026, 1, 31))
    contracts = [books.contract(issuer, product) for issuer in (yearly, plain)]
    keys = [key for c in contracts for key in books.close(*c.products)]
    await books.write(connection)
    await intake.take(keys)
    rows = await connection.fetch("SELECT document_number FROM document ORDER BY issue_date, 1")
    assert [row["document_number"] for row in rows] == [
        "INV-2025-001",
        "US-1",
        "INV-2026-001",
        "US-2",
        "INV-2026-002",
        "US-3",
    ]
