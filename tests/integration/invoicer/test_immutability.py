"""What is issued is issued: SQL itself refuses to change it."""

from itertools import product

import asyncpg
import pytest

from invoicer.intake import Intake
from schemas.document import DocumentState
from schemas.lifecycle import TRANSITIONS, Cause
from tests.closed_periods import TIERED, Books, Line, Product

FORBIDDEN = (
    "UPDATE document SET total = total + 1, sub_total = sub_total + 1",
    "UPDATE document SET number = number + 1",
    "UPDATE document SET document_number = 'INV-0'",
    "UPDATE document SET parties = '{}'",
    "UPDATE document SET state = 'DRAFT', number = NULL",
    "UPDATE document SET issue_date = issue_date + 1",
    "DELETE FROM document",
    "UPDATE document_product SET total = 0",
    "DELETE FROM document_product",
    "UPDATE document_line SET amount = amount - 1",
    "UPDATE document_line SET tiers = NULL",
    "DELETE FROM document_line",
    "INSERT INTO document_line SELECT shard_key, document_ref, product_position, 9, tenant_id, "
    "line_item_ref, contract_line_ref, pricing_line_id, charge_ref, item, model, quantity, "
    "unit_price, tiers, amount, event_count, events_digest FROM document_line LIMIT 1",
    "UPDATE charge_cut SET quantity = 1",
    "UPDATE charge_cut SET amount = 1",
    "DELETE FROM charge_cut",
    "UPDATE period_cut SET cut_offset = 1",
    "DELETE FROM period_cut",
)
ALLOWED = (
    "UPDATE document SET state = 'SENT', submission_date = now()",
    "UPDATE document SET state = 'PAID', paid_date = current_date",
    "UPDATE document SET state = 'LATE', due_date = due_date + 7",
)


@pytest.fixture
async def issued(connection: asyncpg.Connection, books: Books, intake: Intake) -> None:
    contract = books.contract(books.issuer(), Product(lines=[Line("Calls", TIERED, "1500")]))
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys)
    assert await connection.fetchval("SELECT state FROM document") == "ISSUED"


@pytest.mark.usefixtures("issued")
async def test_an_issued_document_and_its_cuts_cannot_be_changed(
    connection: asyncpg.Connection,
) -> None:
    for statement in FORBIDDEN:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await connection.execute(statement)


@pytest.mark.usefixtures("issued")
async def test_its_way_to_the_customer_and_its_payment_may_move(
    connection: asyncpg.Connection,
) -> None:
    for statement in ALLOWED:
        assert await connection.execute(statement) == "UPDATE 1"


async def test_a_draft_may_change(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer(), Product(), Product())
    await_one, _missing = books.close(*contract.products)
    await books.write(connection)
    await intake.take([await_one])
    assert await connection.execute("UPDATE document_line SET item = 'Renamed'") == "UPDATE 1"


@pytest.mark.usefixtures("issued")
async def test_no_line_moves_between_an_issued_document_and_a_draft(
    connection: asyncpg.Connection, books: Books, intake: Intake
) -> None:
    contract = books.contract(books.issuer(), Product(), Product())
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys[:1])
    for source, target in (("ISSUED", "DRAFT"), ("DRAFT", "ISSUED")):
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute(
                "UPDATE document_line l SET (shard_key, document_ref, position) = "
                "(t.shard_key, t.document_ref, 9) FROM document s, document t "
                "WHERE l.document_ref = s.document_ref AND s.state = $1 AND t.state = $2",
                source,
                target,
            )


@pytest.mark.usefixtures("issued")
async def test_the_database_knows_the_same_ways_and_who_may_go_them(
    connection: asyncpg.Connection,
) -> None:
    rows = await connection.fetch("SELECT * FROM document_transition")
    assert {(r["old_state"], r["new_state"]): frozenset(r["causes"]) for r in rows} == TRANSITIONS

    content = "number = NULL, series = NULL"
    issued = "number = 1, series = '2026'"
    for old, new in product(DocumentState, DocumentState):
        if old == new:
            continue
        for cause in (*Cause, None):
            allowed = TRANSITIONS.get((old, new), frozenset())
            is_open = cause in allowed if cause else bool(allowed - {Cause.PERSON})
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("ALTER TABLE document DISABLE TRIGGER USER")
            of_old = content if old in ("DRAFT", "UNDER_REVIEW") else issued
            await connection.execute(f"UPDATE document SET state = '{old}', {of_old}")
            await connection.execute("ALTER TABLE document ENABLE TRIGGER USER")
            await connection.execute(
                "SELECT set_config('meterline.cause', $1, true)", str(cause or "")
            )
            of_new = content if new in ("DRAFT", "UNDER_REVIEW") else issued
            try:
                await connection.execute(f"UPDATE document SET state = '{new}', {of_new}")
                went = True
            except asyncpg.RestrictViolationError:
                went = False
            await transaction.rollback()
            assert went == is_open, (old, new, cause)
