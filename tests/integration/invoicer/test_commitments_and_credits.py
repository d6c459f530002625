"""Minimum spends and prepaid credits: on the documents, in the order of periods, and proved."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import asyncpg
import pytest

from deploy.verify import credits, documents, journal, payments
from deploy.verify.check import Finding, Scope
from invoicer.delivery.issued import load_issued
from invoicer.delivery.view import build_view
from invoicer.intake import Intake
from schemas.periods import periods
from tests.closed_periods import PER_UNIT, Books, Line, Product, SoldProduct

YEAR_END = date(2026, 12, 31)


async def totals(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    """Return subtotal, credits and total of each document, in the order of time."""
    rows = await connection.fetch(
        "SELECT sub_total, credits_amount, total FROM document ORDER BY issue_date"
    )
    return [tuple(row) for row in rows]


async def true_ups(connection: asyncpg.Connection) -> list[list[dict[str, Any]]]:
    rows = await connection.fetch(
        "SELECT true_ups FROM document_product JOIN billing_period USING (shard_key, period_ref) "
        "ORDER BY start_at"
    )
    return [json.loads(row["true_ups"]) for row in rows]


async def broken(connection: asyncpg.Connection) -> dict[str, int]:
    found = {}
    async with connection.transaction():
        scope = Scope(connection=connection, tenant_id=None, kafka="")
        for check in (*documents.CHECKS, *credits.CHECKS, *journal.CHECKS, *payments.CHECKS):
            finding = Finding(check.unit)
            await check.run(scope, finding)
            if finding.difference and check.name not in ("files", "invoiced"):
                found[check.name] = finding.difference
    return found


async def bill(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    product: SoldProduct,
    used: Sequence[str],
    order: Sequence[int] | None = None,
) -> None:
    """Close a product's periods with these quantities, and bill them one by one."""
    found = periods(product.terms)
    keys = [books.cut(product, next(found), quantity=quantity) for quantity in used]
    await books.write(connection)
    for place in order or range(len(keys)):
        await intake.take([keys[place]])


async def test_what_is_missing_to_a_commitment_is_added_by_the_period_and_at_the_end(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    commitments = [{"over": "CONTRACT", "amount": "500"}, {"over": "PERIOD", "amount": "62"}]
    product = Product(
        start=date(2026, 10, 17), end=YEAR_END, issue_day=date(2026, 11, 1), tax="10",
        commitments=commitments, discount="50",
    )  # fmt: skip
    [sold] = books.contract(books.issuer(), product).products
    await bill(connection, books, intake, sold, ["20", "100.5", "62"])
    # 62 x 15/31 = 30 for the 15 days of October.
    assert await true_ups(connection) == [
        [{"over": "PERIOD", "amount": 30, "spent": 20, "true_up": 10}],
        [{"over": "PERIOD", "amount": 62, "spent": 100.5, "true_up": 0}],
        [
            {"over": "PERIOD", "amount": 62, "spent": 62, "true_up": 0},
            {"over": "CONTRACT", "amount": 500, "spent": 192.5, "true_up": 307.5},
        ],
    ]
    assert [sub_total for sub_total, _, _ in await totals(connection)] == [30, 100.5, 369.5]
    assert await broken(connection) == {}
    [key] = await connection.fetch(
        "SELECT shard_key, document_ref FROM document ORDER BY issue_date DESC LIMIT 1"
    )
    [issued] = (await load_issued(connection, [tuple(key)])).values()
    [shown] = build_view(issued).products
    label = "Added up to the minimum spend over the contract of $500.00 (spent: $192.50)"
    assert [(fact.label, fact.value) for fact in shown.adjustments] == [(label, "$307.50")]


async def test_a_commitment_over_the_contract_counts_periods_of_one_document_and_one_batch(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    commitments = [{"over": "CONTRACT", "amount": "500"}]
    late = Product(
        start=date(2026, 9, 1), end=YEAR_END, issue_day=date(2026, 11, 1), commitments=commitments
    )
    [sold] = books.contract(books.issuer(), late).products
    keys = books.close(sold, through=YEAR_END)
    await books.write(connection)
    await intake.take(list(reversed(keys)))
    assert (await true_ups(connection))[-1] == [
        {"over": "CONTRACT", "amount": 500, "spent": 400, "true_up": 100}
    ]
    assert await broken(connection) == {}


async def test_the_last_document_waits_aside_while_one_before_it_is_missing(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    product = Product(
        start=date(2026, 11, 1), end=YEAR_END, commitments=[{"over": "CONTRACT", "amount": "500"}]
    )
    [sold] = books.contract(books.issuer(), product).products
    keys = books.close(sold, through=YEAR_END)
    await books.write(connection)
    await intake.take(keys[1:])
    parked = await connection.fetchval("SELECT error FROM parked_input")
    assert "commitment_incomplete" in parked
    await intake.take(keys)
    assert await connection.fetchval("SELECT count(*) FROM parked_input") == 0
    assert [row[2] for row in await totals(connection)] == [100, 400]


async def test_an_adjustment_takes_back_what_a_commitment_no_longer_misses(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    product = Product(commitments=[{"over": "PERIOD", "amount": "150"}])
    [sold] = books.contract(books.issuer(), product).products
    [key] = books.close(sold)
    await books.write(connection)
    await intake.take([key])
    later = books.cut(sold, next(periods(sold.terms)), 2, quantity="170")
    await books.write(connection)
    await intake.take([later])
    assert [row[2] for row in await totals(connection)] == [150, 20]
    await connection.execute("UPDATE billing_period SET last_cut_number = 2")
    assert await broken(connection) == {}


GRANTS = [
    {"amount": "250", "priority": 2},
    {"amount": "60", "priority": 1, "expires": "2026-10-31"},
    {"amount": "30", "priority": 0, "every": "PERIOD", "roll_over": "10"},
]


async def test_credits_pay_documents_after_tax_by_priority_until_they_are_used_up(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    product = Product(start=date(2026, 9, 1), end=YEAR_END, tax="10", credits=GRANTS)
    [sold] = books.contract(books.issuer(), product).products
    await bill(connection, books, intake, sold, ["10", "100", "100", "200"])
    assert await totals(connection) == [
        (10, 11, 0),
        (100, 110, 0),  # 30 and 10 that rolled over, the 60 that end, 10 of the 250
        (100, 110, 0),
        (200, 190, 30),
    ]
    drawn = await connection.fetch("SELECT period_index, place, amount FROM credit_draw")
    assert sorted(tuple(row) for row in drawn) == [
        (0, 2, 11), (1, 0, 10), (1, 1, 60), (1, 2, 40), (2, 0, 80), (2, 2, 30), (3, 0, 160),
        (3, 2, 30),
    ]  # fmt: skip
    assert await broken(connection) == {}
    with pytest.raises(asyncpg.RestrictViolationError, match="issued"):
        await connection.execute("UPDATE credit_draw SET amount = 1")
    await connection.execute("ALTER TABLE credit_draw DISABLE TRIGGER USER")
    await connection.execute("UPDATE credit_draw SET amount = amount + 1 WHERE place = 1")
    assert await broken(connection) == {"credits": 2}
    await connection.execute("UPDATE credit_draw SET amount = amount - 1 WHERE place = 1")
    await connection.execute("UPDATE credit_draw SET period_index = 2 WHERE place = 1")
    assert await broken(connection) == {"credits": 1}


async def test_a_product_draws_on_its_own_credits_alone_and_never_below_zero(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    lines = [Line("calls", PER_UNIT, "100")]
    paid = Product(lines=lines, tax="19", credits=[{"amount": "1000"}])
    contract = books.contract(books.issuer(), paid, Product(lines=lines, tax="19", name="Other"))
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys[:1])  # a draft holds what it draws
    assert await totals(connection) == [(100, 119, 0)]
    await intake.take(keys[1:])
    assert await totals(connection) == [(200, 119, 119)]
    assert await broken(connection) == {}


async def test_periods_that_come_in_another_order_never_overdraw(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    product = Product(start=date(2026, 9, 1), end=YEAR_END, credits=GRANTS)
    [sold] = books.contract(books.issuer(), product).products
    await bill(connection, books, intake, sold, ["20", "100", "100", "200"], [2, 0, 3, 1])
    assert await broken(connection) == {}
    drawn = await connection.fetchval("SELECT sum(amount) FROM credit_draw")
    assert 310 < drawn <= 250 + 60 + 4 * 30


MONTHS = [date(2026, month, 1) for month in (9, 10, 11, 12)]
USED = ["20", "100", "100", "200"]


async def bill_edited(
    connection: asyncpg.Connection, books: Books, intake: Intake, *versions: Product
) -> None:
    """Bill a month after the other of a product that each of the versions carries on."""
    sold = books.contract(books.issuer(), *versions).products
    used = iter(USED)
    keys = [
        books.cut(one, period, quantity=next(used)) for one in sold for period in periods(one.terms)
    ]
    await books.write(connection)
    for key in keys:
        await intake.take([key])


@pytest.mark.parametrize("edited", MONTHS[1:])
async def test_credits_go_on_through_an_edit_as_if_there_had_been_none(
    connection: asyncpg.Connection, books: Books, intake: Intake, edited: date
) -> None:
    starting = [{"starts": "2026-09-01", **grant} for grant in GRANTS]
    first = Product(start=MONTHS[0], end=YEAR_END, tax="10", credits=GRANTS, until=edited)
    then = replace(first, until=None, since=edited, carries_on=0, credits=starting)
    await bill_edited(connection, books, intake, first, then)
    assert await totals(connection) == [(20, 22, 0), (100, 110, 0), (100, 110, 0), (200, 188, 32)]
    assert await broken(connection) == {}
    await connection.execute(
        "UPDATE contract_product SET credits = jsonb_set(credits, '{0,amount}', '\"1000\"') "
        "WHERE since_date IS NOT NULL"
    )
    assert await broken(connection) == {}, "nothing says yet that one carries the other on"
    await connection.execute(
        "INSERT INTO contract_succession SELECT shard_key, lineage_ref, 2, tenant_id, "
        "contract_ref, 'EDITED', since_date, contract_product_ref "
        "FROM contract_product WHERE since_date IS NOT NULL"
    )
    assert await broken(connection) == {"credits": 1}


async def test_what_an_edit_adds_pays_from_then_on(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    first = Product(start=MONTHS[0], end=YEAR_END, credits=[{"amount": "50"}], until=MONTHS[2])
    more = [{"starts": "2026-09-01", "amount": "50"}, {"starts": "2026-11-01", "amount": "130"}]
    then = replace(first, until=None, since=MONTHS[2], carries_on=0, credits=more)
    await bill_edited(connection, books, intake, first, then)
    assert [row[1] for row in await totals(connection)] == [20, 30, 100, 30]
    assert await broken(connection) == {}


@pytest.mark.parametrize("edited", MONTHS[1:])
async def test_a_commitment_over_the_contract_counts_what_was_spent_before_an_edit(
    connection: asyncpg.Connection, books: Books, intake: Intake, edited: date
) -> None:
    commitments = [{"over": "CONTRACT", "amount": "500"}]
    first = Product(start=MONTHS[0], end=YEAR_END, until=edited, commitments=commitments)
    then = replace(first, until=None, since=edited, carries_on=0, group=1)
    await bill_edited(connection, books, intake, first, then)
    assert await true_ups(connection) == [
        *([[]] * 3),
        [{"over": "CONTRACT", "amount": 500, "spent": 420, "true_up": 80}],
    ]
    assert await broken(connection) == {}


async def test_late_usage_before_an_edit_is_taken_off_what_the_commitment_misses_behind_it(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    commitments = [{"over": "CONTRACT", "amount": "500"}]
    first = Product(start=MONTHS[0], end=YEAR_END, until=MONTHS[2], commitments=commitments)
    then = replace(first, until=None, since=MONTHS[2], carries_on=0)
    before, after = books.contract(books.issuer(), first, then).products
    september = next(periods(before.terms))
    keys = [
        books.cut(one, period, quantity="100")
        for one in (before, after)
        for period in periods(one.terms)
    ]
    late = books.cut(before, september, quantity="150", number=2)
    await books.write(connection)
    await intake.take(keys)
    assert (await true_ups(connection))[-1][0]["true_up"] == 100
    await intake.take([late])
    whole = await connection.fetchval("SELECT sum(total) FROM document")
    assert whole == 500
    await connection.execute(
        "UPDATE billing_period SET last_cut_number = 2 WHERE start_date = '2026-09-01'"
    )
    assert await broken(connection) == {}
