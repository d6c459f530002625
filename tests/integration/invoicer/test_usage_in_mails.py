"""The usage behind a document goes along with its mail where that is wanted, or is told of."""

import asyncio
import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from uuid import UUID

import asyncpg
import pytest
from pypdf import PdfReader

from invoicer.intake import Intake
from invoicer.usage_list import CSV_EVENTS_MAX, PDF_EVENTS_MAX
from runtime.clock import to_micros
from schemas.event_ref import month_bounds, month_index
from tests.closed_periods import PER_UNIT, Books, Line, Product
from tests.integration.invoicer.test_mailing import Delivery, document, waiting, words_in
from tests.mail_server import MailServer, running_mail_server

BOTH = {"attach_usage_logs_csv": True, "attach_usage_logs_pdf": True}
ORIGIN = "https://bills.example.com"
FIRST = datetime(2026, 8, 3, 22, 30, tzinfo=UTC)
"""After midnight in Berlin, where the issuer is."""


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with running_mail_server() as server:
        yield server


async def issue_used(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    count: int,
    settings: Mapping[str, bool],
    *,
    locale: str = "en",
) -> None:
    """Issue a document of so many events, a second from each to the next."""
    issuer = books.issuer()
    meter_id = books.meter(issuer)
    product = Product(lines=[Line("API calls", PER_UNIT, "150", meter_id)])
    contract = books.contract(issuer, product, settings=settings, locale=locale)
    keys = books.close(*contract.products)
    await books.write(connection)
    await connection.execute("UPDATE charge_cut SET events_digest = sha256('')")
    month = month_index(to_micros(FIRST))
    await connection.execute("SELECT ensure_usage_month($1)", month)
    await connection.execute(
        "INSERT INTO usage_event_row (event_ref, occurred_at, fingerprint, rated_at, shard_key, "
        "tenant_id, customer_id, meter_id, quantity, additional_data) "
        "SELECT (lpad(to_hex($1::bigint), 16, '0') || lpad(to_hex($2::bigint + n), 16, '0'))::uuid,"
        " $3::timestamptz + n % 600 * interval '1 s', 0, 0, c.shard_key, c.tenant_id, "
        "c.customer_id, $4, 1.5, "
        "CASE WHEN n % 2 = 0 THEN '{\"region\": \"=eu-1\", \"nr\": ' || n || '}' ELSE '' END "
        "FROM customer c, generate_series(0, $5 - 1) n",
        *(*_halves(month_bounds(month)[0]), FIRST, meter_id, count),
    )
    await intake.take(keys)


def _halves(ref: UUID) -> tuple[int, int]:
    assert (ref.int + (1 << 32)) >> 64 == ref.int >> 64 < 1 << 63, "counting up changes the lower"
    return ref.int >> 64, ref.int & (1 << 63) - 1


def attached(mail: EmailMessage) -> dict[str, bytes]:
    """Return the attachments of a mail but its document."""
    found = {}
    for part in list(mail.iter_attachments())[1:]:
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[part.get_filename() or ""] = content
    return found


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


async def test_a_mail_brings_the_usage_as_csv_and_as_pdf(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
) -> None:
    await issue_used(connection, books, intake, 100, BOTH)
    await Delivery(pool, mail_server.url).work()
    [mail] = mail_server.mails
    files = attached(mail)
    assert files.keys() == {"usage.pdf", "usage.csv"}
    rows = rows_of(files["usage.csv"])
    assert len(rows) == 100
    assert (rows[0]["Time"], rows[0]["Time zone"]) == ("2026-08-04 00:30:00.000000", "UTC+02:00")
    assert {(row["Product"], row["Item"], row["Quantity"]) for row in rows} == {
        (rows[0]["Product"], "API calls", "1.5")
    }
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(files["usage.pdf"])).pages]
    assert len(pages) > 1
    assert all("ADDITIONAL DATA" in page for page in pages), "its head is on every page"
    text = " ".join(" ".join(pages).split())
    assert "Times of Europe/Berlin" in text
    assert "4 Aug 2026 00:30:00 +02:00 1.5 region: =eu-1, nr: 0 " in text
    assert text.count("00:3") + text.count("00:4") >= 100
    assert "too long" not in words_in(mail)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, set()),
        ({"attach_usage_logs_csv": True}, {"usage.csv"}),
        ({"attach_usage_logs_pdf": True}, {"usage.pdf"}),
    ],
)
async def test_a_mail_brings_what_the_customer_wants_alone(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
    settings: dict[str, bool],
    names: set[str],
) -> None:
    await issue_used(connection, books, intake, 3, settings)
    await Delivery(pool, mail_server.url).work()
    assert attached(mail_server.mails[0]).keys() == names


async def test_a_long_list_is_zipped_and_too_long_for_paper(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
) -> None:
    count = 12_000
    assert count > PDF_EVENTS_MAX
    await issue_used(connection, books, intake, count, BOTH)
    delivery = Delivery(pool, mail_server.url, public_url=ORIGIN)
    await delivery.work()
    await connection.execute(
        "INSERT INTO invoicer_outbox (shard_key, document_ref, tenant_id, kind, copy) "
        "SELECT shard_key, document_ref, tenant_id, 'MAIL', 1 FROM document"
    )
    await delivery.work()
    first, second = map(attached, mail_server.mails)
    assert first == second, "a mail that goes out again is alike"
    assert first.keys() == {"usage.zip"}
    with zipfile.ZipFile(io.BytesIO(first["usage.zip"])) as archive:
        assert archive.namelist() == ["usage.csv"]
        rows = rows_of(archive.read("usage.csv"))
    assert len({row["Event"] for row in rows}) == count
    lines = words_in(mail_server.mails[0]).splitlines()
    place = lines.index("The list of usage is too long to be attached as PDF; all of it is here:")
    assert lines[place + 1].startswith(f"{ORIGIN}/i/")
    assert lines[place + 1].endswith("/usage.csv")


async def test_a_list_that_no_mail_can_bring_is_told_of_in_the_customers_language(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
) -> None:
    await issue_used(connection, books, intake, CSV_EVENTS_MAX + 1, BOTH, locale="de-DE")
    await Delivery(pool, mail_server.url).work()
    [mail] = mail_server.mails
    assert attached(mail) == {}
    for kind in ("CSV", "PDF"):
        assert f"Die Liste der Nutzung liegt nicht als {kind} bei" in words_in(mail)
    page = mail.get_body(("html",))
    assert page is not None
    assert "liegt nicht als CSV bei" in page.get_content()


async def test_usage_that_has_left_for_an_archive_is_asked_for(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
) -> None:
    await issue_used(connection, books, intake, 3, {"attach_usage_logs_csv": True})
    await connection.execute(
        "INSERT INTO event_log (log_id, topic, partitions) VALUES "
        "(gen_random_uuid(), 'usage.events.v1', 1)"
    )
    await connection.execute(
        "INSERT INTO rater_partition (partition, log_id, archived_until) "
        "SELECT 0, log_id, '2026-09-01' FROM event_log"
    )
    await Delivery(pool, mail_server.url, public_url=ORIGIN).work()
    [mail] = mail_server.mails
    assert attached(mail) == {}
    assert "no longer at hand. Please ask us for it." in " ".join(words_in(mail).split())


async def test_a_stop_leaves_a_list_that_is_being_read(
    connection: asyncpg.Connection,
    books: Books,
    intake: Intake,
    pool: asyncpg.Pool,
    mail_server: MailServer,
) -> None:
    await issue_used(connection, books, intake, 3, BOTH)
    delivery = Delivery(pool, mail_server.url)
    await delivery.render()
    blocker = await pool.acquire()
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE meter_feed")
            mailing = asyncio.create_task(delivery.work())
            await _wait_for_lock(connection)
            delivery.stopping.set()
        await asyncio.wait_for(mailing, 60)
    finally:
        await pool.release(blocker)
    assert mail_server.mails == []
    assert await waiting(connection) == [("MAIL", 0, False)]
    assert (await document(connection))["state"] == "ISSUED"


async def _wait_for_lock(connection: asyncpg.Connection) -> None:
    """Wait until a statement waits for a lock."""
    async with asyncio.timeout(60):
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        ):
            await connection.execute("SELECT pg_sleep(0.02)")
