"""Invoicers that die in the midst of what people and the clock want done with documents.

Each deed is done once: it and the note that it is done are one transaction. What leaves for others,
mails and webhooks, leaves at least once, and what leaves twice bears the same id.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from deploy.verify import journal, payments
from deploy.verify.check import Finding, Scope
from runtime.clock import system_clock
from runtime.postgres import open_pool
from tests.closed_periods import TIERED, Books, Line, Product
from tests.faults.commit_cutter import CommitCutter
from tests.faults.test_invoicer_kills import assert_billed_once, close_many, wait_until_issued
from tests.integration.invoicer.conftest import make_intake
from tests.mail_server import MailServer, running_mail_server
from tests.processes import Service, running

DEADLINE_SECONDS = 90.0
QUICK = {
    "METERLINE_INVOICER_REQUEST_POLL_SECONDS": "0.05",
    "METERLINE_INVOICER_DUNNING_POLL_SECONDS": "0.1",
    "METERLINE_INVOICER_OUTBOX_POLL_SECONDS": "0.1",
    "METERLINE_INVOICER_SCAN_GRACE_SECONDS": "0",
}
NO_FILES = {"METERLINE_INVOICER_RENDER_THREADS": "0"}
#: 1500 calls cost 24.00, and 19 % of it are 4.56.
BOUGHT = Product(lines=[Line("API calls", TIERED, "1500")], tax="19")
PAID = {"paid_date": "2026-09-02", "amount": "10", "reference": "E2E-1"}
REASON = {"reason": "as agreed"}

#: What is asked for, and where the document that it is asked for then stands.
DEEDS: Sequence[tuple[str, Mapping[str, str], str]] = (
    ("APPROVE", {}, "ISSUED"),
    ("REJECT", REASON, "DRAFT"),
    ("VOID", REASON, "VOID"),
    ("CREDIT", {"amount": "5", **REASON}, "ISSUED"),
    ("PAY", PAID, "PARTIALLY_PAID"),
    ("TAKE_BACK", REASON, "ISSUED"),
    ("WRITE_OFF", {}, "UNCOLLECTIBLE"),
)


@pytest_asyncio.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database)
    try:
        yield opened
    finally:
        await opened.close()


async def until(connection: asyncpg.Connection, statement: str, wanted: int) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await connection.fetchval(statement) != wanted:
            await connection.execute("SELECT pg_sleep(0.05)")


async def issue(database: str, connection: asyncpg.Connection, held: int, others: int) -> None:
    """Draw up documents of two tenants: of one they are held for review, of the other issued."""
    books = Books(cut_at=system_clock())
    careful, other = books.issuer(), books.issuer()
    contracts = [books.contract(careful, BOUGHT) for _ in range(held)]
    contracts += [books.contract(other, BOUGHT) for _ in range(others)]
    keys = [key for contract in contracts for key in books.close(*contract.products)]
    await books.write(connection)
    await connection.execute(
        "INSERT INTO tenant_setting (tenant_id, review_documents) VALUES ($1, true)",
        careful.tenant_id,
    )
    async with open_pool(database, service="test") as pool:
        await make_intake(pool).take(keys)


async def ask(connection: asyncpg.Connection) -> dict[str, UUID]:
    """Ask for each deed, of a document of its own; return these by the deed."""
    documents: dict[str, UUID] = {}
    for action, details, _state in DEEDS:
        state = "UNDER_REVIEW" if action in ("APPROVE", "REJECT") else "ISSUED"
        place = await connection.fetchrow(
            "SELECT shard_key, document_ref, tenant_id FROM document "
            "WHERE state = $1 AND document_ref <> ALL ($2::uuid[]) LIMIT 1",
            *(state, list(documents.values())),
        )
        assert place is not None
        documents[action] = place["document_ref"]
        said = dict(details)
        if action in ("TAKE_BACK", "WRITE_OFF"):
            payment_ref = await write_payment(connection, place)
            said |= {"payment_ref": str(payment_ref)} if action == "TAKE_BACK" else {}
        await connection.execute(
            "INSERT INTO document_request (shard_key, request_ref, tenant_id, document_ref, "
            "action, details, made_by, fingerprint) VALUES ($1, $2, $3, $4, $5, $6, 'ann', '')",
            *(place["shard_key"], uuid4(), place["tenant_id"], place["document_ref"], action),
            msgspec.json.encode(said).decode(),
        )
    return documents


async def write_payment(connection: asyncpg.Connection, place: asyncpg.Record) -> UUID:
    """Write a payment as the invoicer notes it."""
    ref = uuid4()
    async with connection.transaction():
        await connection.execute("SELECT set_config('meterline.cause', 'PAYMENT', true)")
        await connection.execute(
            "INSERT INTO payment (shard_key, payment_ref, tenant_id, document_ref, amount, "
            "paid_date, recorded_by, recorded_at) "
            "VALUES ($1, $2, $3, $4, 7, '2026-09-03', 'ann', now())",
            *(place["shard_key"], ref, place["tenant_id"], place["document_ref"]),
        )
        await connection.execute(
            "UPDATE document SET state = 'PARTIALLY_PAID' WHERE document_ref = $1",
            place["document_ref"],
        )
        await connection.execute(
            "INSERT INTO journal_entry (shard_key, document_ref, entry_number, tenant_id, "
            "entity_id, kind, payment_ref, currency, entry_date, booked_at, receivable, cash) "
            "SELECT shard_key, document_ref, 2, tenant_id, entity_id, 'PAYMENT', $1, currency, "
            "'2026-09-03', now(), -7, 7 FROM journal_entry WHERE document_ref = $2",
            *(ref, place["document_ref"]),
        )
    return ref


@pytest.mark.parametrize(
    ("point", "deaths"), [("invoicer.before_request:2", 6), ("invoicer.after_request:1", 7)]
)
async def test_what_people_ask_for_is_done_once_wherever_the_invoicer_dies(
    point: str,
    deaths: int,
    stack_env: Mapping[str, str],
    database: str,
    connection: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    await issue(database, connection, held=2, others=5)
    documents = await ask(connection)
    invoicer = Service("invoicer", {**stack_env, **QUICK, **NO_FILES}, tmp_path)
    with running(invoicer):
        for _ in range(deaths):
            invoicer.start(is_awaited=False, METERLINE_CRASHPOINT=point)
            await asyncio.to_thread(invoicer.wait_killed)
        await asyncio.to_thread(invoicer.start)
        await until(connection, "SELECT count(outcome) FROM document_request", 7)
        assert await asyncio.to_thread(invoicer.stop) == 0
    refused = await connection.fetch("SELECT action, code FROM document_request WHERE code <> ''")
    assert [tuple(row) for row in refused] == []
    rows = await connection.fetch(
        "SELECT d.document_ref, d.state, document_due(d.shard_key, d.document_ref, d.total) AS due "
        "FROM document d"
    )
    stands = {row["document_ref"]: (row["state"], str(row["due"])) for row in rows}
    assert {action: stands[documents[action]][0] for action, _, _ in DEEDS} == {
        action: state for action, _, state in DEEDS
    }
    due = {action: stands[documents[action]][1] for action in ("CREDIT", "PAY", "TAKE_BACK")}
    assert due == {"CREDIT": "23.56", "PAY": "18.56", "TAKE_BACK": "28.56"}
    counted = {
        "payments": await connection.fetchval("SELECT count(*) FROM payment"),
        "voids": await connection.fetchval("SELECT count(*) FROM document_void"),
        "credits": await connection.fetchval("SELECT count(*) FROM document WHERE kind = 'CREDIT'"),
    }
    assert counted == {"payments": 3, "voids": 1, "credits": 1}
    series = await connection.fetch(
        "SELECT array_agg(number ORDER BY number) AS numbers FROM document "
        "WHERE number IS NOT NULL GROUP BY tenant_id, series"
    )
    assert sorted(row["numbers"] for row in series) == [[1], [1], [1, 2, 3, 4, 5]]
    async with connection.transaction():
        scope = Scope(connection=connection, tenant_id=None, kafka="")
        for check in (*journal.CHECKS, *payments.CHECKS):
            finding = Finding(check.unit)
            await check.run(scope, finding)
            assert not finding.witnesses, "each deed is booked once"


async def test_a_commit_whose_answer_is_lost_issues_once(
    stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    await close_many(database, 40, Books())
    small = {"METERLINE_INVOICER_BATCH_SIZE_MAX": "3", "METERLINE_INVOICER_BATCHES_AT_ONCE": "1"}
    async with CommitCutter(database, every=3, cuts_max=8).running() as cutter:
        env = {**stack_env, **QUICK, **NO_FILES, **small, "METERLINE_POSTGRES": cutter.dsn}
        invoicer = Service("invoicer", env, tmp_path)
        with running(invoicer):
            invoicer.start(is_awaited=False)
            await wait_until_issued(database, 40)
            assert await asyncio.to_thread(invoicer.stop) == 0
        assert cutter.cuts == 8
    await assert_billed_once(database, 40)


async def sent_and_overdue(
    invoicer: Service, connection: asyncpg.Connection, database: str, count: int
) -> None:
    """Mail documents, and let a month go by: they were due two days ago."""
    await issue(database, connection, held=0, others=count)
    invoicer.start(is_awaited=False)
    await until(connection, "SELECT count(*) FROM document WHERE state = 'SENT'", count)
    assert await asyncio.to_thread(invoicer.stop) == 0
    async with connection.transaction():
        await connection.execute("ALTER TABLE document DISABLE TRIGGER USER")
        await connection.execute("UPDATE document SET due_date = current_date - 3")
        await connection.execute("ALTER TABLE document ENABLE TRIGGER USER")
        await connection.execute(
            "INSERT INTO tenant_setting (tenant_id, reminder_days) "
            "SELECT DISTINCT tenant_id, '{1}'::integer[] FROM document"
        )


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with running_mail_server() as server:
        yield server


@pytest.mark.parametrize(
    ("point", "repeated"),
    [
        ("invoicer.before_late", 0),
        ("invoicer.before_reminders", 0),
        ("invoicer.after_reminders", 0),
        ("invoicer.after_mail:2", 1),
    ],
)
async def test_a_reminder_is_made_once_wherever_the_invoicer_dies(
    point: str,
    repeated: int,
    stack_env: Mapping[str, str],
    database: str,
    connection: asyncpg.Connection,
    mails: MailServer,
    tmp_path: Path,
) -> None:
    mailing = {
        "METERLINE_INVOICER_SMTP_URL": mails.url,
        "METERLINE_INVOICER_MAIL_FROM": "billing@meterline.example",
    }
    invoicer = Service("invoicer", {**stack_env, **QUICK, **mailing}, tmp_path)
    with running(invoicer):
        await sent_and_overdue(invoicer, connection, database, 4)
        invoicer.start(is_awaited=False, METERLINE_CRASHPOINT=point)
        await asyncio.to_thread(invoicer.wait_killed)
        invoicer.start(is_awaited=False)
        await until(connection, "SELECT count(*) FROM document_reminder", 4)
        await until(connection, "SELECT count(*) FROM invoicer_outbox", 0)
        assert await asyncio.to_thread(invoicer.stop) == 0
    assert await connection.fetchval("SELECT count(*) FROM document WHERE state = 'LATE'") == 4
    reminders = Counter(str(mail["Message-ID"]) for mail in mails.mails[4:])
    assert (len(reminders), reminders.total()) == (4, 4 + repeated)


class Receiver:
    """A server that hears of documents."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        await request.read()
        self.heard.append(request.headers["webhook-id"])
        return web.Response(status=204)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/", self.take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()


async def test_a_webhook_that_was_taken_before_a_crash_comes_again_under_its_id(
    stack_env: Mapping[str, str], database: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    receiver = Receiver()
    env = {**stack_env, **QUICK, **NO_FILES, "METERLINE_INVOICER_WEBHOOK_LOOPBACK": "true"}
    invoicer = Service("invoicer", env, tmp_path)
    async with receiver.running() as url:
        found = await close_many(database, 5, Books())
        await connection.execute(
            "INSERT INTO webhook_endpoint (tenant_id, endpoint_ref, url, secret) "
            "SELECT tenant_id, gen_random_uuid(), $1, decode(repeat('5a', 32), 'hex') FROM tenant",
            url,
        )
        with running(invoicer):
            for _ in range(2):
                invoicer.start(is_awaited=False, METERLINE_CRASHPOINT="invoicer.after_webhook:3")
                await asyncio.to_thread(invoicer.wait_killed)
                # What the dead one had leased is free again after a while.
                await connection.execute("UPDATE webhook_endpoint SET leased_until = now()")
            invoicer.start(is_awaited=False)
            told = "SELECT count(*) FROM webhook_delivery WHERE state = 'DELIVERED'"
            await until(connection, told, 2 * len(found))
            assert await asyncio.to_thread(invoicer.stop) == 0
    refs = {str(row["event_ref"]) for row in await connection.fetch("SELECT * FROM webhook_event")}
    times = Counter(receiver.heard)
    assert set(times) == refs
    assert sorted(times.values()) == [1] * 8 + [2] * 2, "what each died at, and nothing else"
