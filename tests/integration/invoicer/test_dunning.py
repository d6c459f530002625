"""Documents that are not paid in time become late, and customers are reminded, each time once."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.message import EmailMessage

import asyncpg
import pytest

from invoicer.dunning import DunningWorker
from invoicer.intake import Intake
from invoicer.settings import InvoicerSettings
from tests.closed_periods import Books
from tests.integration.invoicer.test_mailing import Delivery, document, issue
from tests.mail_server import MailServer, running_mail_server

SCHEDULE = [-3, 1, 14]


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with running_mail_server() as server:
        yield server


class Office:
    """An invoicer's clockwork and mail, with a clock that is set by hand."""

    def __init__(self, pool: asyncpg.Pool, url: str) -> None:
        settings = InvoicerSettings(kafka="", postgres="", smtp_url=url, mail_from="a@b.example")
        self.now = datetime.now(UTC)
        self._worker = DunningWorker(pool, settings, asyncio.Event(), lambda: self.now)
        self.delivery = Delivery(pool, url, public_url="https://bills.example.com")

    async def look(self) -> int:
        """Look once at what is due now; return how many documents it was."""
        return await self._worker.work_once()

    async def come_to(self, when: datetime) -> None:
        """Let a day come, and twice be looked at what is due on it."""
        self.now = when
        for _ in range(2):
            await self.look()
        await self.delivery.work()


async def pay(connection: asyncpg.Connection, amount: Decimal, state: str) -> None:
    row = await document(connection)
    async with connection.transaction():
        await connection.execute("SELECT set_config('meterline.cause', 'PAYMENT', true)")
        await connection.execute(
            "INSERT INTO payment (shard_key, payment_ref, tenant_id, document_ref, amount, "
            "paid_date, recorded_by, recorded_at) "
            "VALUES ($1, gen_random_uuid(), $2, $3, $4, $5, 'me', now())",
            *(row["shard_key"], row["tenant_id"], row["document_ref"], amount, row["due_date"]),
        )
        await connection.execute("UPDATE document SET state = $1", state)


def words_of(mail: EmailMessage) -> str:
    text = mail.get_body(("plain",))
    assert text is not None
    content = text.get_content()
    assert isinstance(content, str)
    return content


def noon(row: asyncpg.Record, days: int) -> datetime:
    """Return an instant that is so many days after the due date in every zone of the tests."""
    day = row["due_date"] + timedelta(days=days)
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


@pytest.fixture
async def office(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
) -> Office:
    """Return an office that has one document to draw and mail, and a schedule."""
    await issue(connection, books, intake, email="ap@northwind.example")
    await connection.execute(
        "INSERT INTO tenant_setting (tenant_id, reminder_days, reference_version) "
        "SELECT tenant_id, $1, 0 FROM tenant ON CONFLICT (tenant_id) "
        "DO UPDATE SET reminder_days = $1",
        SCHEDULE,
    )
    return Office(pool, mail_server.url)


async def test_a_customer_is_reminded_by_the_schedule_until_it_is_paid(
    connection: asyncpg.Connection, office: Office, mail_server: MailServer
) -> None:
    await office.delivery.work()
    row = await document(connection)
    total, states = row["total"], []
    for days in (-4, -3, 0, 1, 2):
        await office.come_to(noon(row, days))
        states.append((days, len(mail_server.mails) - 1, (await document(connection))["state"]))
    assert states == [
        (-4, 0, "SENT"),
        (-3, 1, "SENT"),
        (0, 1, "SENT"),
        (1, 2, "LATE"),
        (2, 2, "LATE"),
    ]
    soon, late = (mail for mail in mail_server.mails[1:])
    assert soon["Subject"] == f"Invoice {row['document_number']} is due soon"
    assert late["Subject"] == f"Reminder: Invoice {row['document_number']}"
    assert soon["Message-ID"] != late["Message-ID"]
    assert "has not reached us yet" in words_of(late)
    assert "https://bills.example.com/i/" in words_of(late)
    assert [part.get_content_type() for part in late.iter_attachments()] == ["application/pdf"]

    await pay(connection, total, "PAID")
    await office.come_to(noon(row, 14))
    assert len(mail_server.mails) == 3, "nothing is due any more"


async def test_a_reminder_that_is_paid_on_its_way_does_not_go_out(
    connection: asyncpg.Connection, office: Office, mail_server: MailServer
) -> None:
    await office.delivery.work()
    row = await document(connection)
    office.now = noon(row, 1)
    assert await office.look() == 2
    await pay(connection, row["total"], "PAID")
    await office.delivery.work()
    assert len(mail_server.mails) == 1
    assert await connection.fetchval("SELECT count(*) FROM invoicer_outbox") == 0


async def test_what_was_paid_in_part_becomes_late_and_says_what_is_left(
    connection: asyncpg.Connection, office: Office, mail_server: MailServer
) -> None:
    await office.delivery.work()
    row = await document(connection)
    await pay(connection, row["total"] - Decimal("1.25"), "PARTIALLY_PAID")
    await office.come_to(noon(row, 1))
    assert (await document(connection))["state"] == "LATE"
    assert "1.25" in words_of(mail_server.mails[-1])


async def test_what_was_due_before_it_was_drawn_is_mailed_before_it_is_late(
    connection: asyncpg.Connection, office: Office, mail_server: MailServer
) -> None:
    """As of a period that ended long ago: payment is due from the day on which it leaves."""
    await connection.execute("UPDATE document SET due_date = due_date - 300")
    await office.look()
    assert (await document(connection))["state"] == "ISSUED", "the customer has not heard of it"
    await office.delivery.work()
    row = await document(connection)
    assert (row["state"], len(mail_server.mails)) == ("SENT", 1)
    await office.come_to(noon(row, 1))
    assert (await document(connection))["state"] == "LATE"


async def test_what_is_paid_or_late_while_it_is_drawn_is_mailed_all_the_same(
    connection: asyncpg.Connection, office: Office, mail_server: MailServer
) -> None:
    row = await document(connection)
    await pay(connection, row["total"], "PAID")
    await office.delivery.work()
    assert ((await document(connection))["state"], len(mail_server.mails)) == ("PAID", 1)


async def test_what_can_not_be_late_yet_holds_nobody_up_however_much_of_it_there_is(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("invoicer.dunning.BATCH_MAX", 2)
    issuer = books.issuer()
    contracts = [books.contract(issuer) for _ in range(9)]
    keys = [key for contract in contracts for key in books.close(*contract.products)]
    await books.write(connection)
    await intake.take(keys)
    await connection.execute(
        "INSERT INTO tenant_setting (tenant_id, reminder_days, reference_version) "
        "VALUES ($1, '{1}', 0)",
        issuer.tenant_id,
    )
    # The first five by their place are still to be drawn.
    drawn = [
        row["document_ref"]
        for row in await connection.fetch(
            "SELECT document_ref FROM document ORDER BY due_date, shard_key, document_ref OFFSET 5"
        )
    ]
    gone = "DELETE FROM invoicer_outbox WHERE document_ref = ANY ($1::uuid[])"
    await connection.execute(gone, drawn)
    office = Office(pool, "smtp://127.0.0.1:9")
    office.now = noon((await connection.fetch("SELECT * FROM document"))[0], 2)
    assert await office.look() == 4 + 9, "those that are late, and all are reminded of"
    assert await office.look() == 0
    late = await connection.fetch("SELECT document_ref FROM document WHERE state = 'LATE'")
    assert {row["document_ref"] for row in late} == set(drawn)
    assert await connection.fetchval("SELECT count(*) FROM document_reminder") == 9
