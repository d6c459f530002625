"""What hangs off an issued document is done at least once, and its result stored once."""

import asyncio
import hashlib
import json
from datetime import date, timedelta
from io import BytesIO

import asyncpg
import pytest
import pytest_asyncio
from pypdf import PdfReader

from invoicer import outbox_loop
from invoicer.intake import Intake
from invoicer.outbox import OutboxWorker
from invoicer.outbox_loop import backoff
from invoicer.settings import InvoicerSettings
from tests.closed_periods import TIERED, Books, Line, Product
from tests.drawn_documents import LOGO


def worker(pool: asyncpg.Pool) -> OutboxWorker:
    settings = InvoicerSettings(kafka="", postgres="", render_batch_max=2)
    return OutboxWorker(pool, settings, asyncio.Event(), asyncio.Event())


@pytest_asyncio.fixture
async def three_issued(connection: asyncpg.Connection, books: Books, intake: Intake) -> None:
    issuer = books.issuer()
    product = Product(lines=[Line("API calls", TIERED, "1500")], tax="19")
    contracts = [books.contract(issuer, product, legal_name=f"Customer {n}") for n in range(3)]
    keys = [key for contract in contracts for key in books.close(*contract.products)]
    await books.write(connection)
    await intake.take(keys)


@pytest.mark.usefixtures("three_issued")
async def test_issued_documents_get_both_files(
    connection: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    rendering = worker(pool)
    assert [await rendering.work_once() for _ in range(3)] == [2, 1, 0]
    assert await connection.fetchval("SELECT count(*) FROM invoicer_outbox") == 0

    files = await connection.fetch("SELECT * FROM document_file ORDER BY kind")
    assert [file["kind"] for file in files] == ["HTML"] * 3 + ["PDF"] * 3
    for file in files:
        assert file["sha256"] == hashlib.sha256(file["content"]).digest()
        shown = file["content"].decode() if file["kind"] == "HTML" else text(file["content"])
        assert "$28.56" in shown  # 24 and 19 % of it


async def test_files_look_as_the_entity_and_the_customer_have_it(
    connection: asyncpg.Connection, pool: asyncpg.Pool, books: Books, intake: Intake
) -> None:
    product = Product(lines=[Line("API calls", TIERED, "1500")], tax="19")
    contract = books.contract(books.issuer(), product)
    keys = books.close(*contract.products)
    await books.write(connection)
    look = {"logo": LOGO, "accent_colour": "#0b6e4f", "locale": "de-DE"}
    await connection.execute("UPDATE entity SET details = details || $1", json.dumps(look))
    await intake.take(keys)
    assert await worker(pool).work_once() == 1
    rows = await connection.fetch("SELECT kind, content FROM document_file")
    files = {row["kind"]: row["content"] for row in rows}
    html = files["HTML"].decode()
    assert f'src="{LOGO}"' in html
    assert "--accent: #0b6e4f" in html
    assert "Rechnung" in text(files["PDF"])
    assert "28,56" in text(files["PDF"])
    kept = await connection.fetchval("SELECT parties -> 'entity' FROM document")
    assert "logo" not in json.loads(kept), "a picture in every document would be too much"


def text(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(BytesIO(pdf)).pages)


@pytest.mark.usefixtures("three_issued")
async def test_workers_side_by_side_share_the_work(
    connection: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    done = await asyncio.gather(*(worker(pool).work_once() for _ in range(3)))
    assert sum(done) == 3
    assert await connection.fetchval("SELECT count(*) FROM document_file") == 6


@pytest.mark.usefixtures("three_issued")
@pytest.mark.parametrize("parties", ['{"contract": 1}', '"not even an object"'])
async def test_one_that_fails_waits_with_its_error_and_holds_nobody_up(
    connection: asyncpg.Connection,
    pool: asyncpg.Pool,
    parties: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_loop, "BACKOFF_MIN", timedelta(hours=1))
    await connection.execute("ALTER TABLE document DISABLE TRIGGER USER")
    bad = await connection.fetchval(
        "UPDATE document SET parties = $1 WHERE number = 1 RETURNING document_ref", parties
    )
    rendering = worker(pool)
    while await rendering.work_once():
        pass
    [row] = await connection.fetch("SELECT *, due_at > now() AS waits FROM invoicer_outbox")
    assert (row["document_ref"], row["attempts"], row["waits"]) == (bad, 1, True)
    assert "Error" in row["last_error"]
    assert await connection.fetchval("SELECT count(*) FROM document_file") == 4


@pytest.mark.usefixtures("three_issued")
async def test_rendering_again_keeps_the_first_files(
    connection: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    rendering = worker(pool)
    while await rendering.work_once():
        pass
    before = await connection.fetch("SELECT * FROM document_file ORDER BY 1, 2, 3")
    await connection.execute(
        "INSERT INTO invoicer_outbox (shard_key, tenant_id, document_ref, kind) "
        "SELECT shard_key, tenant_id, document_ref, 'RENDER' FROM document"
    )
    while await rendering.work_once():
        pass
    assert await connection.fetch("SELECT * FROM document_file ORDER BY 1, 2, 3") == before


def test_the_wait_doubles_up_to_about_an_hour() -> None:
    waits = [backoff(attempts).total_seconds() for attempts in range(20)]
    assert waits[:4] == [1, 2, 4, 8]
    assert max(waits) == waits[-1] == 4_096


async def test_a_partial_period_is_shown_as_one(
    connection: asyncpg.Connection, books: Books, intake: Intake, pool: asyncpg.Pool
) -> None:
    fee = Line("Fee", {"model": "FLAT", "price": "31"})
    product = Product(
        lines=[fee], start=date(2026, 8, 17), end=date(2026, 9, 30), issue_day=date(2026, 9, 1)
    )
    contract = books.contract(books.issuer(), product)
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys)
    await worker(pool).work_once()
    pdf = await connection.fetchval("SELECT content FROM document_file WHERE kind = 'PDF'")
    assert "17 August 2026 – 31 August 2026 (15 of 31 days)" in text(pdf)
    assert await connection.fetchval("SELECT total FROM document") == 15
