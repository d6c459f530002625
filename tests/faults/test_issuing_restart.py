"""Thousands of documents under way: a killed invoicer goes on there, a lock holds up its own."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import pytest

from invoicer.intake import Intake
from invoicer.requests import RequestWorker
from invoicer.settings import InvoicerSettings
from runtime.clock import system_clock
from runtime.postgres import open_pool
from tests.closed_periods import Books
from tests.faults.test_invoicer_kills import close_many, connected, wait_until_issued
from tests.processes import Service, running

SETTINGS = {
    "METERLINE_INVOICER_BATCH_SIZE_MAX": "25",
    "METERLINE_INVOICER_SCAN_INTERVAL_SECONDS": "1",
    "METERLINE_INVOICER_RENDER_THREADS": "0",
}
ISSUED = "SELECT document_ref, number, issued_at FROM document WHERE number IS NOT NULL"


async def test_an_issue_goes_on_where_it_was_when_the_invoicer_was_killed(
    stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    await kill_in_the_middle(stack_env, database, tmp_path, contracts=1_500)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_an_issue_of_ten_thousand_goes_on_where_it_was(
    stack_env: Mapping[str, str], database: str, tmp_path: Path
) -> None:
    await kill_in_the_middle(stack_env, database, tmp_path, contracts=10_000)


async def kill_in_the_middle(
    env: Mapping[str, str], database: str, logs: Path, *, contracts: int
) -> None:
    await close_many(database, contracts, Books())
    invoicer = Service("invoicer", {**env, **SETTINGS}, logs)
    with running(invoicer):
        invoicer.start(is_awaited=False)
        await wait_until_issued(database, contracts // 2)
        invoicer.kill()
        async with connected(database) as connection:
            before = await connection.fetch(ISSUED)
        assert contracts // 2 <= len(before) < contracts, "it died in the middle"
        await asyncio.to_thread(invoicer.start)
        await wait_until_issued(database, contracts)
        issued = await asyncio.to_thread(invoicer.metric, "invoicer_documents_issued_total")
        assert issued == contracts - len(before)
        assert await asyncio.to_thread(invoicer.stop) == 0
    async with connected(database) as connection:
        after = {row["document_ref"]: tuple(row) for row in await connection.fetch(ISSUED)}
        assert all(after[row["document_ref"]] == tuple(row) for row in before)
        numbers = sorted(number for _ref, number, _at in after.values())
        assert numbers == list(range(1, contracts + 1))
        assert await connection.fetchval("SELECT count(*) FROM parked_input") == 0


@pytest.mark.parametrize("locked", ["series", "contract"])
async def test_what_somebody_keeps_locked_holds_up_no_other_entity(
    locked: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoicer.intake.LOCK_WAIT", "300ms")
    monkeypatch.setattr("invoicer.intake.HELD_SECONDS", 0.0)
    books = Books()
    tenant = books.issuer()
    entities = [books.entity(tenant, name=f"Entity {number}") for number in range(4)]
    contracts = [books.contract(entities[number % 4]) for number in range(40)]
    keys = [key for contract in contracts for key in books.close(*contract.products)]
    async with connected(database) as connection, open_pool(database, service="test") as pool:
        await books.write(connection)
        taking = intake_of(pool)
        # One document each, so that the series are there to be locked.
        assert await taking.take(keys[:4]) == 0
        holder = await asyncpg.connect(database)
        transaction = holder.transaction()
        await transaction.start()
        if locked == "series":
            statement = "SELECT FROM document_sequence WHERE entity_id = $1 FOR UPDATE"
            await holder.execute(statement, entities[0].entity_id)
        else:
            statement = "SELECT FROM contract WHERE contract_ref = $1 FOR UPDATE"
            await holder.execute(statement, contracts[4].ref)
        assert await taking.take(keys[4:]) == 9
        assert await counts(connection) == {entity.entity_id: 10 for entity in entities} | {
            entities[0].entity_id: 1
        }
        await transaction.rollback()
        await holder.close()
        assert await taking.take(keys) == 0
        assert set((await counts(connection)).values()) == {10}
        assert await connection.fetchval("SELECT count(*) FROM parked_input") == 0
        gaps = await connection.fetchval(
            "SELECT count(*) FROM (SELECT max(number) - count(*) AS gap FROM document "
            "GROUP BY entity_id, series) s WHERE gap <> 0"
        )
        assert gaps == 0


async def test_a_request_whose_lock_somebody_keeps_holds_up_no_other(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoicer.requests.LOCK_WAIT", "300ms")
    keys = [key for key, _message in await close_many(database, 3, Books())]
    settings = InvoicerSettings(kafka="", postgres="")
    async with connected(database) as connection, open_pool(database, service="test") as pool:
        await intake_of(pool).take(keys)
        await connection.execute(
            "INSERT INTO document_request (shard_key, request_ref, tenant_id, document_ref, "
            "action, details, made_by, fingerprint, requested_at) "
            "SELECT shard_key, gen_random_uuid(), tenant_id, document_ref, 'VOID', "
            """'{"reason": "a mistake"}', 'ann', '', now() + make_interval(secs => number) """
            "FROM document"
        )
        events = (asyncio.Event(), asyncio.Event())
        worker = RequestWorker(pool, settings, *events, system_clock)
        holder = await asyncpg.connect(database)
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(
            "SELECT FROM contract WHERE contract_ref = "
            "(SELECT contract_ref FROM document WHERE number = 1) FOR UPDATE"
        )
        assert [await worker.work_once() for _ in range(4)] == [1, 1, 1, 0]
        assert await voided(connection) == [2, 3]
        await transaction.rollback()
        await holder.close()
        monkeypatch.setattr(worker, "_held_until", {})  # half a minute later
        assert await worker.work_once() == 1
        assert await voided(connection) == [1, 2, 3]


async def voided(connection: asyncpg.Connection) -> list[int]:
    rows = await connection.fetch("SELECT number FROM document WHERE state = 'VOID' ORDER BY 1")
    return [row["number"] for row in rows]


def intake_of(pool: asyncpg.Pool) -> Intake:
    events = (asyncio.Event(), asyncio.Event())
    return Intake(
        *(pool, system_clock),
        batch_size_max=500,
        stopping=events[0],
        issued=events[1],
    )


async def counts(connection: asyncpg.Connection) -> dict[int, int]:
    rows = await connection.fetch("SELECT entity_id, count(number) FROM document GROUP BY 1")
    return {row["entity_id"]: row["count"] for row in rows}
