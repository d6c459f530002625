"""Issued documents reach their customers by a real mail server, at least once, and say so."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pypdf import PdfReader

from invoicer.intake import Intake
from invoicer.mailing import STOP_SECONDS, MailWorker, read_server
from invoicer.outbox import OutboxWorker
from invoicer.settings import InvoicerSettings
from schemas.link_token import Linked, unseal
from tests.closed_periods import TIERED, Books, Line, Product
from tests.mail_server import MailServer, running_mail_server
from tests.processes import Service, running


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with running_mail_server() as server:
        yield server


class Delivery:
    """Both workers of an invoicer that mails."""

    def __init__(self, pool: asyncpg.Pool, url: str, **more: Any) -> None:  # noqa: ANN401 - settings
        settings = InvoicerSettings(
            kafka="", postgres="", smtp_url=url, mail_from="billing@meterline.example", **more
        )
        server = read_server(settings)
        assert server is not None
        self.stopping, rendered = asyncio.Event(), asyncio.Event()
        self._render = OutboxWorker(pool, settings, self.stopping, asyncio.Event(), rendered)
        self._mail = MailWorker(pool, settings, server, self.stopping, rendered)

    async def render(self) -> None:
        while await self._render.work_once():
            pass

    async def work(self) -> None:
        await self.render()
        while await self._mail.work_once():
            pass


async def issue(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    *,
    legal_name: str = "Acme",
    email: str,
) -> None:
    product = Product(lines=[Line("API calls", TIERED, "1500")], tax="19")
    contract = books.contract(books.issuer(), product, legal_name=legal_name, email=email)
    keys = books.close(*contract.products)
    await books.write(connection)
    await intake.take(keys)


async def document(connection: asyncpg.Connection) -> asyncpg.Record:
    [row] = await connection.fetch("SELECT * FROM document")
    return row


async def waiting(connection: asyncpg.Connection) -> list[tuple[str, int, bool]]:
    rows = await connection.fetch(
        "SELECT kind, attempts, last_error, due_at = 'infinity' AS waits FROM invoicer_outbox"
    )
    return [(row["kind"], row["attempts"], row["waits"]) for row in rows]


def admin(database: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli", "admin", *arguments],
        env={**os.environ, "METERLINE_KAFKA": "unused:1", "METERLINE_POSTGRES": database},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def words_in(mail: EmailMessage) -> str:
    text = mail.get_body(("plain",))
    assert text is not None
    return str(text.get_content())


def words_of(pdf: bytes) -> str:
    return " ".join(PdfReader(BytesIO(pdf)).pages[0].extract_text().split())


async def test_a_document_is_mailed_with_its_files_and_payment_is_due_from_then(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
) -> None:
    await issue(
        connection, books, intake,
        legal_name="Acme\r\nBcc: everybody@example.com", email="a@acme.example, b@acme.example",
    )  # fmt: skip
    before = await document(connection)
    assert (before["state"], before["submission_date"]) == ("ISSUED", None)
    await Delivery(pool, mail_server.url).work()

    after = await document(connection)
    today = datetime.now(UTC).date()
    assert after["state"] == "SENT"
    assert abs(after["submission_date"].date() - today) <= timedelta(days=1)
    assert after["due_date"] - after["submission_date"].date() >= timedelta(days=29)
    assert after["due_date"] > before["due_date"]
    assert await waiting(connection) == []

    [mail] = mail_server.mails
    assert mail["To"] == "a@acme.example, b@acme.example"
    assert mail["Bcc"] is None
    assert mail["Message-ID"] == f"<{after['document_ref']}@meterline.example>"
    assert mail["Subject"].startswith(f"Invoice {after['document_number']} of ")
    [pdf] = mail.iter_attachments()
    assert pdf.get_filename() == f"{after['document_number']}.pdf"
    stored = await connection.fetchval("SELECT content FROM document_file WHERE kind = 'PDF'")
    assert pdf.get_content() == stored
    due = f"{after['due_date'].day} {after['due_date']:%B %Y}"
    assert due in words_of(stored), "the file says the day from which the mail counts"
    text = mail.get_body(("plain",))
    assert text is not None
    assert f"Due on: {due}" in text.get_content()
    assert "$28.56" in text.get_content()

    await connection.execute(
        "INSERT INTO invoicer_outbox (shard_key, tenant_id, document_ref, kind) "
        "SELECT shard_key, tenant_id, document_ref, 'RENDER' FROM document"
    )
    await Delivery(pool, mail_server.url).work()
    assert len(mail_server.mails) == 1, "drawn again, it is not mailed again"


async def test_a_busy_server_is_asked_again_and_a_refusal_waits_for_a_person(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
    database: str,
) -> None:
    await issue(connection, books, intake, email="a@acme.example")
    mail_server.answers["a@acme.example"] = ["451 try later", "550 no such user"]
    delivery = Delivery(pool, mail_server.url)
    await delivery.work()
    assert await waiting(connection) == [("MAIL", 1, False)]
    await connection.execute("UPDATE invoicer_outbox SET due_at = now()")
    await delivery.work()
    assert await waiting(connection) == [("MAIL", 2, True)]
    assert (await document(connection))["state"] == "ISSUED"

    listed = admin(database, "mails", "--json")
    assert '"state":"REFUSED"' in listed
    assert "550" in listed
    number = (await document(connection))["document_number"]
    assert "1 to be mailed now" in admin(database, "mail-again", number)
    await delivery.work()
    assert [mail["To"] for mail in mail_server.mails] == ["a@acme.example"]
    assert (await document(connection))["state"] == "SENT"


async def test_without_the_server_mails_wait_and_too_many_tries_are_the_end(
    connection: asyncpg.Connection, books: Books, intake: Intake, pool: asyncpg.Pool
) -> None:
    await issue(connection, books, intake, email="a@acme.example")
    with running_mail_server() as server:
        gone = server.url
    delivery = Delivery(pool, gone, mail_attempts_max=2)
    await delivery.work()
    assert await waiting(connection) == [("MAIL", 1, False)]
    await connection.execute("UPDATE invoicer_outbox SET due_at = now()")
    await delivery.work()
    assert await waiting(connection) == [("MAIL", 2, True)]


async def test_a_customer_without_an_address_is_told_of(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
) -> None:
    await issue(connection, books, intake, email="nobody")
    await Delivery(pool, mail_server.url).work()
    assert await waiting(connection) == [("MAIL", 1, True)]
    assert mail_server.mails == []


async def link_in(connection: asyncpg.Connection, mail: EmailMessage, origin: str) -> Linked:
    """Return what the link of a mail leads to; text and page have the same one."""
    text, page = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert page is not None
    [url] = [line for line in text.get_content().splitlines() if line.startswith("https://")]
    assert f'<a href="{url}"' in page.get_content()
    start, _, token = url.rpartition("/i/")
    assert start == origin
    linked = unseal(token, await connection.fetchval("SELECT secret FROM link_key"))
    assert linked is not None
    return linked


async def test_a_mail_names_the_page_of_its_document_and_the_next_one_a_new_link(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
) -> None:
    await issue(connection, books, intake, email="a@acme.example")
    origin = "https://bills.example.com/paper"
    delivery = Delivery(pool, mail_server.url, public_url=f"{origin}/")
    await delivery.work()
    row = await document(connection)
    linked = Linked(row["tenant_id"], 0, row["document_ref"])
    assert await link_in(connection, mail_server.mails[0], origin) == linked

    place = (row["shard_key"], row["document_ref"], row["tenant_id"])
    await connection.execute(
        "INSERT INTO document_link (shard_key, document_ref, tenant_id, generation) "
        "VALUES ($1, $2, $3, 1)",
        *place,
    )
    await connection.execute(
        "INSERT INTO invoicer_outbox (shard_key, document_ref, tenant_id, kind, copy) "
        "VALUES ($1, $2, $3, 'MAIL', 1)",
        *place,
    )
    await delivery.work()
    linked = Linked(row["tenant_id"], 1, row["document_ref"])
    assert await link_in(connection, mail_server.mails[1], origin) == linked


async def test_without_a_public_address_a_mail_has_no_link(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
) -> None:
    await issue(connection, books, intake, email="a@acme.example")
    await Delivery(pool, mail_server.url).work()
    assert b"href" not in bytes(mail_server.mails[0])
    assert "browser" not in words_in(mail_server.mails[0])


async def test_a_stop_does_not_wait_for_a_mail_server_that_hangs(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    mail_server: MailServer,
    stack_env: Mapping[str, str],
    tmp_path: Path,
) -> None:
    await issue(connection, books, intake, email="a@acme.example")
    mail_server.hangs = True
    mailing = {
        "METERLINE_INVOICER_SMTP_URL": mail_server.url,
        "METERLINE_INVOICER_MAIL_FROM": "billing@meterline.example",
        "METERLINE_INVOICER_MAIL_SECONDS": "600",
    }
    service = Service("invoicer", {**stack_env, **mailing}, tmp_path)
    with running(service):
        service.start()
        assert await asyncio.to_thread(mail_server.begun.wait, 60)
        asked = time.monotonic()
        assert await asyncio.to_thread(service.stop) == 0
        assert time.monotonic() - asked < STOP_SECONDS + 10  # the other loops' ends, at their ease
        assert await waiting(connection) == [("MAIL", 0, False)], "it is not the mail's failure"

        mail_server.hangs = False
        service.start()
        async with asyncio.timeout(60):
            while not mail_server.mails:
                await connection.execute("SELECT pg_sleep(0.05)")
    [cut_short], [mail] = mail_server.unanswered, mail_server.mails
    assert mail["Message-ID"] == cut_short["Message-ID"]
