"""A document and its adjustments, proved together; spoilt, they are noticed."""

from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import pytest_asyncio

from deploy.verify.check import Finding, Scope
from deploy.verify.documents import check_lines, check_totals
from gateway.reports.proof import load_rows
from invoicer.intake import Intake
from runtime.postgres import open_pool
from schemas.periods import periods
from schemas.proof import prove
from tests.closed_periods import FINE, FLAT, TIERED, Books, Line, Product
from tests.integration.invoicer.conftest import make_intake
from tests.integration.verify.corruptions import FREE


@pytest_asyncio.fixture
async def adjusted(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Give books with an issued document, a debit and a credit."""
    books = Books()
    lines = [Line("Calls", TIERED, "1500"), Line("Bytes", FINE, "10"), Line("Fee", FLAT)]
    terms = Product(lines=lines, tax="19", discount="10", minimum_fee="80")
    [product] = books.contract(books.issuer(), terms).products
    async with open_pool(database, service="test") as pool:
        intake: Intake = make_intake(pool)
        connection = await asyncpg.connect(database)
        try:
            keys = books.close(product)
            await books.write(connection)
            await intake.take(keys)
            [period] = periods(product.terms)
            for number, quantity in ((2, "2500"), (3, "100")):
                cut = books.cut(product, period, number, quantity=quantity)
                await books.write(connection)
                await intake.take([cut])
            yield connection
        finally:
            await connection.close()


async def broken(connection: asyncpg.Connection) -> dict[str, list[str]]:
    found = {}
    scope = Scope(connection=connection, tenant_id=None, kafka="")
    for check in (check_lines, check_totals):
        finding = Finding("things")
        await check(scope, finding)
        if finding.difference:
            found[check.__name__] = finding.witnesses
    return found


OF = "document_ref = (SELECT document_ref FROM document WHERE number = {})"
CORRUPTIONS = [
    ("SELECT", set()),
    (
        "UPDATE document_line SET quantity = quantity + 1 WHERE item = 'Bytes' AND " + OF.format(2),
        {"check_lines"},
    ),
    (
        "UPDATE document_line SET event_count = event_count + 1 WHERE item = 'Bytes' AND "
        + OF.format(3),
        {"check_lines"},
    ),
    (
        "UPDATE document_line SET amount = amount + 0.01 WHERE item = 'Bytes' AND " + OF.format(2),
        {"check_lines", "check_totals"},
    ),
    (
        "UPDATE document SET total_tax = total_tax + 0.01, total = total + 0.01, "
        "total_in_contract = total_in_contract + 0.01 WHERE number = 3",
        {"check_totals"},
    ),
    ("UPDATE document SET accounting_event_type = 'DEBIT' WHERE number = 3", {"check_totals"}),
    ("DELETE FROM document_line WHERE " + OF.format(3), {"check_lines", "check_totals"}),
]


async def test_a_document_and_its_adjustments_are_its_last_cut(
    adjusted: asyncpg.Connection,
) -> None:
    for statement, red in CORRUPTIONS:
        spoilt = adjusted.transaction()
        await spoilt.start()
        try:
            await adjusted.execute(FREE)
            await adjusted.execute(statement)
            found = await broken(adjusted)
        finally:
            await spoilt.rollback()
        assert found.keys() == red, (statement, found)


async def test_a_correction_is_proved_as_what_is_redrawn_less_what_was_issued(
    adjusted: asyncpg.Connection,
) -> None:
    proofs = []
    rows = await adjusted.fetch("SELECT tenant_id, document_ref FROM document ORDER BY number")
    for row in rows:
        found = await load_rows(adjusted, row["tenant_id"], row["document_ref"])
        assert found is not None
        proofs.append(prove(found))
    assert [proof["agrees"] for proof in proofs] == [True] * 3
    assert [len(proof["corrects"]) for proof in proofs] == [0, 1, 2]
    assert [proof["accounting_event_type"] for proof in proofs] == ["INVOICE", "DEBIT", "CREDIT"]
    lines = proofs[2]["products"][0]["lines"]
    for line in lines:
        issued = sum(Decimal(bytes(one["amount"]).decode()) for one in line["issued"])
        own = [Decimal(bytes(line[name]).decode()) for name in ("redrawn", "amount")]
        assert own[0] - issued == own[1]
        assert len(line["issued"]) == 2
    steps = [step["step"] for step in proofs[2]["steps"]]
    assert steps == ["PRODUCTS", "DISCOUNT", "TAX", "ISSUED", "ISSUED"]
    await adjusted.execute(FREE)
    await adjusted.execute("UPDATE document_line SET amount = amount + 0.01 WHERE " + OF.format(3))
    found = await load_rows(adjusted, rows[2]["tenant_id"], rows[2]["document_ref"])
    assert found is not None
    assert not prove(found)["agrees"]
