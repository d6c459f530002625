"""Documents held for a person, voided and credited, on real books; and the books stay provable."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from deploy.verify.check import Finding, Scope
from deploy.verify.documents import check_lines, check_totals
from invoicer.consumer import scan_once
from invoicer.intake import Intake
from invoicer.outbox import OutboxWorker
from invoicer.requests import RequestWorker
from invoicer.settings import InvoicerSettings
from runtime.clock import system_clock
from schemas.periods import periods
from tests.closed_periods import TIERED, Books, Line, Product
from tests.integration.verify.corruptions import FREE

SETTINGS = InvoicerSettings(kafka="", postgres="")


class Desk:
    """A business with two months of one product, and somebody who decides on its documents."""

    def __init__(
        self, connection: asyncpg.Connection, pool: asyncpg.Pool, books: Books, intake: Intake
    ) -> None:
        self.connection = connection
        self._books, self._intake, self._pool = books, intake, pool
        events = (asyncio.Event(), asyncio.Event())
        self._requests = RequestWorker(pool, SETTINGS, *events, system_clock)
        self._outbox = OutboxWorker(pool, SETTINGS, *events)
        terms = Product(lines=[Line("Calls", TIERED, "1500")], tax="19", discount="10")
        contract = books.contract(books.issuer(), terms)
        [self.product] = contract.products

    async def hold(self, *, is_held: bool = True) -> None:
        """Choose whether documents are held."""
        await self._books.write(self.connection)
        await self.connection.execute(
            "INSERT INTO tenant_setting (tenant_id, review_documents) VALUES ($1, $2) "
            "ON CONFLICT (tenant_id) DO UPDATE SET review_documents = $2",
            *(self.product.issuer.tenant_id, is_held),
        )

    async def close(self) -> None:
        keys = self._books.close(self.product)
        await self._books.write(self.connection)
        await self._intake.take(keys)

    async def cut(self, number: int, quantity: str) -> None:
        [period] = periods(self.product.terms)
        key = self._books.cut(self.product, period, number, quantity=quantity)
        await self._books.write(self.connection)
        await self._intake.take([key])

    async def ask(self, action: str, number: str | None = None, **details: object) -> str:
        """Ask for something, let it be done, and return what became of it."""
        ref = uuid4()
        await self.connection.execute(
            "INSERT INTO document_request (shard_key, request_ref, tenant_id, document_ref, "
            "action, details, made_by, fingerprint) SELECT shard_key, $1, tenant_id, "
            "document_ref, $2, $3, 'admin ann', '' FROM document "
            "WHERE document_number IS NOT DISTINCT FROM $4",
            *(ref, action, msgspec.json.encode(details).decode(), number),
        )
        assert await self._requests.work_once() == 1
        assert await self._requests.work_once() == 0
        row = await self.connection.fetchrow(
            "SELECT outcome, code FROM document_request WHERE request_ref = $1", ref
        )
        assert row is not None
        return str(row["code"] or row["outcome"])

    async def documents(self) -> list[tuple[str, str | None, str]]:
        rows = await self.connection.fetch(
            "SELECT state, document_number, total FROM document ORDER BY number_in_contract"
        )
        return [(row["state"], row["document_number"], str(row["total"])) for row in rows]

    async def measure(self) -> tuple[float | None, ...]:
        """Scan as the invoicer does by the clock; how many documents wait, and since when."""
        now = system_clock()
        await scan_once(self._pool, self._intake, now - timedelta(days=1), now, 10)
        names = ("invoicer_documents_under_review", "invoicer_review_age_seconds")
        return tuple(REGISTRY.get_sample_value(name) for name in names)

    async def draw(self) -> int:
        while await self._outbox.work_once():
            pass
        count = await self.connection.fetchval("SELECT count(*) FROM document_file")
        assert isinstance(count, int)
        return count

    async def broken(self, spoil: str = "SELECT") -> list[str]:
        """Let the checks look, after something was spoilt; what they say."""
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            await self.connection.execute(FREE)
            await self.connection.execute(spoil)
            scope = Scope(connection=self.connection, tenant_id=None, kafka="")
            found = []
            for check in (check_lines, check_totals):
                finding = Finding("things")
                await check(scope, finding)
                found += finding.witnesses
            return found
        finally:
            await transaction.rollback()


@pytest_asyncio.fixture
async def desk(
    connection: asyncpg.Connection, pool: asyncpg.Pool, books: Books, intake: Intake
) -> AsyncIterator[Desk]:
    yield Desk(connection, pool, books, intake)


async def test_late_usage_draws_a_held_document_anew_and_says_so(desk: Desk) -> None:
    await desk.hold()
    await desk.close()
    before = await desk.documents()
    assert before == [("UNDER_REVIEW", None, before[0][2])]
    assert await desk.connection.fetchval("SELECT count(*) FROM document_sequence") == 0
    await desk.cut(2, "2500")
    [(state, number, total)] = await desk.documents()
    assert (state, number) == ("UNDER_REVIEW", None)
    assert total != before[0][2]
    review = await desk.connection.fetchrow("SELECT * FROM document_review")
    assert review is not None
    assert review["redraws"] == 1
    assert review["redrawn_at"] >= review["held_at"]
    assert await desk.ask("APPROVE") == "DONE"
    assert await desk.documents() == [("ISSUED", "INV-2026-001", total)]
    await desk.cut(3, "1500")
    assert [row[0] for row in await desk.documents()] == ["ISSUED", "ISSUED"], "its adjustment"
    assert await desk.broken() == []


async def test_what_was_sent_back_comes_again_when_asked_or_when_usage_does(desk: Desk) -> None:
    await desk.hold()
    await desk.close()
    assert await desk.ask("REJECT", reason="the discount is missing") == "DONE"
    assert [row[0] for row in await desk.documents()] == ["DRAFT"]
    assert await desk.ask("APPROVE") == "document_not_under_review"
    assert await desk.ask("REVIEW") == "DONE"
    assert [row[0] for row in await desk.documents()] == ["UNDER_REVIEW"]
    assert await desk.ask("REJECT", reason="still") == "DONE"
    await desk.cut(2, "1600")
    assert [row[0] for row in await desk.documents()] == ["UNDER_REVIEW"]
    assert await desk.broken() == []
    await desk.ask("REJECT", reason="once more")
    await desk.hold(is_held=False)
    assert await desk.ask("REVIEW") == "DONE"
    assert [row[0] for row in await desk.documents()] == ["ISSUED"], "nobody has to look any more"


async def test_a_voided_document_is_settled_and_only_what_comes_later_is_billed(desk: Desk) -> None:
    await desk.close()
    assert await desk.ask("VOID", "INV-2026-001", reason="wrong company") == "DONE"
    await desk.cut(2, "2500")
    [voided, later] = await desk.documents()
    assert voided[:2] == ("VOID", "INV-2026-001")
    assert later == ("ISSUED", "INV-2026-002", "8.57"), "1,000 more at 0.008, less 10 %, with tax"
    total = "SELECT total_in_contract FROM document WHERE number = 2"
    assert str(await desk.connection.fetchval(total)) == "8.57"
    assert await desk.broken() == []
    assert await desk.broken("DELETE FROM document_void")
    assert await desk.broken("UPDATE document_void SET after_number = 0")
    assert await desk.broken("UPDATE document SET state = 'ISSUED'")
    assert await desk.broken("UPDATE document SET total_in_contract = 0 WHERE number = 2")


async def test_credits_have_files_and_are_proved(desk: Desk) -> None:
    await desk.close()
    assert await desk.ask("CREDIT", "INV-2026-001", amount="10", reason="an outage") == "DONE"
    assert await desk.ask("CREDIT", "INV-2026-001", reason="the rest") == "DONE"
    rows = await desk.connection.fetch(
        "SELECT document_number, number, series FROM document WHERE kind = 'CREDIT' ORDER BY number"
    )
    year = rows[0]["series"].removeprefix("CR-")
    assert [tuple(row) for row in rows] == [
        (f"CR-INV-{year}-001", 1, f"CR-{year}"),
        (f"CR-INV-{year}-002", 2, f"CR-{year}"),
    ]
    assert await desk.connection.fetchval("SELECT sum(total) FROM document") == 0
    assert await desk.draw() == 6
    page = await desk.connection.fetchval(
        "SELECT convert_from(content, 'UTF8') FROM document_file f JOIN document d "
        "USING (shard_key, document_ref) WHERE d.kind = 'CREDIT' AND d.number = 1 "
        "AND f.kind = 'HTML'"
    )
    for said in ("Credit note", "INV-2026-001", "an outage", "10.00"):
        assert said in page
    assert await desk.ask("VOID", "INV-2026-001", reason="no") == "document_corrected"
    assert await desk.broken() == []
    of = "WHERE kind = 'CREDIT' AND number = 1"
    for spoil in (
        f"UPDATE document SET total = total - 1, sub_total = sub_total - 1 {of}",
        f"UPDATE document SET total_tax = total_tax - 1, sub_total = sub_total + 1 {of}",
        f"UPDATE document SET parent_document_ref = document_ref {of}",
        f"UPDATE document SET accounting_event_type = 'INVOICE' {of}",
    ):
        assert await desk.broken(spoil), spoil
    await desk.cut(2, "2500")
    assert await desk.broken() == [], "usage that comes late is billed beside what was taken off"


@pytest.mark.parametrize(
    ("tenant", "entity", "contract", "state"),
    [
        (False, "INHERITED", "INHERITED", "ISSUED"),
        (False, "REQUIRED", "INHERITED", "UNDER_REVIEW"),
        (False, "REQUIRED", "NONE", "ISSUED"),
        (False, "NONE", "REQUIRED", "UNDER_REVIEW"),
        (True, "INHERITED", "INHERITED", "UNDER_REVIEW"),
        (True, "NONE", "INHERITED", "ISSUED"),
        (True, "NONE", "REQUIRED", "UNDER_REVIEW"),
        (True, "REQUIRED", "NONE", "ISSUED"),
    ],
)
async def test_the_narrowest_word_decides_whether_a_document_is_held(
    desk: Desk, tenant: bool, entity: str, contract: str, state: str
) -> None:
    await desk.hold(is_held=tenant)
    await desk.connection.execute("UPDATE entity SET review = $1", entity)
    await desk.connection.execute("UPDATE contract SET review = $1", contract)
    await desk.close()
    states = {found for found, _, _ in await desk.documents()}
    assert state in states
    assert states <= {state, "LATE"}


async def test_credits_of_lines_are_proved(desk: Desk) -> None:
    await desk.close()
    asked = {"places": [[0, 0]], "line_item_ref": "calls"}
    for more in ({"amount": "1"}, {"quantity": "100"}, {}):
        details = {"lines": [asked | more], "reason": "an outage"}
        assert await desk.ask("CREDIT", "INV-2026-001", **details) == "DONE"
    left = await desk.connection.fetchval(
        "SELECT sum(total) FROM document WHERE document_number = 'INV-2026-001' OR kind = 'CREDIT'"
    )
    assert left == 0
    assert await desk.draw() == 8
    assert await desk.broken() == []
    for spoil in (
        "UPDATE document_line_credit SET total = total + 1",
        "UPDATE document_line_credit SET amount = 1000000",
        "UPDATE document_line_credit SET line_position = 7",
    ):
        assert await desk.broken(spoil), spoil


async def test_what_waits_for_a_person_is_measured(desk: Desk) -> None:
    assert await desk.measure() == (0, 0)
    await desk.hold()
    await desk.close()
    held = "UPDATE document_review SET held_at = now() - interval '1 hour'"
    await desk.connection.execute(held)
    count, age = await desk.measure()
    assert (count, age is not None and 3600 <= age < 3700) == (1, True)
