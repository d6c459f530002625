"""The audit log's chain: whole as the gateway writes it, and red however it is tampered with."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from deploy.verify.audit import check_chains
from deploy.verify.check import Finding, Scope
from gateway.auth.audit import INSTALLATION, Who, record

WHO = Who("admin 1", "203.0.113.9", "request-1")


@pytest_asyncio.fixture
async def books(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a database with some entries of two tenants."""
    connection = await asyncpg.connect(database)
    try:
        for number in range(1, 5):
            for tenant_id in (INSTALLATION, 7):
                await record(
                    connection, tenant_id, WHO, "thing.made", number, after={"name": "Zoë"}
                )
        yield connection
    finally:
        await connection.close()


async def look(connection: asyncpg.Connection, tenant_id: int | None = None) -> Finding:
    finding = Finding("entries")
    async with connection.transaction():
        scope = Scope(connection=connection, tenant_id=tenant_id, kafka="unused")
        await check_chains(scope, finding)
    return finding


async def test_what_the_gateway_writes_is_whole(books: asyncpg.Connection) -> None:
    finding = await look(books)
    assert (finding.counted, finding.difference) == (8, 0)
    assert (await look(books, 7)).counted == 4


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit_entry SET entry = replace(entry, 'Zoë', 'Joe') WHERE number = 2",
        "UPDATE audit_entry SET hash = sha256('x') WHERE number = 4",
        "DELETE FROM audit_entry WHERE number = 1",
        "DELETE FROM audit_entry WHERE number = 2",
        "DELETE FROM audit_entry WHERE number = 4",
        "DELETE FROM audit_entry",
        "DELETE FROM audit_head",
        "INSERT INTO audit_entry VALUES (7, 5, '{}', sha256('x'))",
        "UPDATE audit_entry SET number = 9 WHERE number = 4",
    ],
)
async def test_tampering_is_noticed(books: asyncpg.Connection, tampering: str) -> None:
    await books.execute("ALTER TABLE audit_entry DISABLE TRIGGER USER")
    assert not (await books.execute(tampering)).endswith(" 0")
    assert (await look(books)).difference > 0


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_entry SET entry = '{}'", "DELETE FROM audit_entry", "TRUNCATE audit_entry"],
)
async def test_the_database_only_lets_entries_be_added(
    books: asyncpg.Connection, statement: str
) -> None:
    with pytest.raises(asyncpg.RestrictViolationError, match="only added to"):
        await books.execute(statement)


async def test_a_large_part_is_told_by_its_digest(books: asyncpg.Connection) -> None:
    await record(books, 7, WHO, "thing.made", 5, after={"picture": "x" * 100_000})
    entry = await books.fetchval("SELECT entry FROM audit_entry WHERE tenant_id = 7 AND number = 5")
    assert len(entry) < 1_000
    assert '"bytes":100014' in entry


async def test_what_is_rolled_back_leaves_no_entry_and_no_gap(books: asyncpg.Connection) -> None:
    transaction = books.transaction()
    await transaction.start()
    await record(books, 7, WHO, "thing.made", 5)
    await transaction.rollback()
    await record(books, 7, WHO, "thing.made", 6)
    finding = await look(books, 7)
    assert (finding.counted, finding.difference) == (5, 0)
