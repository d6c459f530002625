"""How many documents one invoicer issues and renders a second, beside bare COPY of the same rows.

`python -m benchmarks.invoicer [--documents N] [--batch N]` prints JSON. Every document is of a
contract of its own, with one product of five lines, three of them tiered. "issued" is from the
keys of the inputs to the last commit: read, drafted, numbered and written, a batch a transaction.

The ceiling is measured in the same run: the rows that were written, copied into tables of the same
columns and keys in transactions of the same size, with nothing read, checked or computed.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence

import asyncpg
import structlog

from benchmarks.rater_site import a_database, the_servers
from invoicer.delivery.issued import load_issued
from invoicer.inputs import InputKey
from invoicer.intake import Intake
from invoicer.outbox import render
from runtime.clock import system_clock
from runtime.postgres import Connection, open_pool
from tests.closed_periods import FINE, FLAT, TIERED, Books, Line, Product

WRITTEN = (
    *("document_input", "document", "document_product", "document_line", "journal_entry"),
    "invoicer_outbox",
)
RENDERED = 60
#: Issued before the clock starts: plans, connections and the tables' first pages are made.
WARM_UP = 500

#: An endpoint that hears of everything: of each document that it is made, and that it is issued.
ADD_WEBHOOK = """
INSERT INTO webhook_endpoint (tenant_id, endpoint_ref, url, secret)
SELECT tenant_id, gen_random_uuid(), 'https://hooks.example.com/', decode(repeat('5a', 32), 'hex')
FROM tenant
"""

FIVE_LINES = Product(
    lines=[
        Line("API calls", TIERED, "12345.678"),
        Line("Messages", TIERED, "890"),
        Line("Exports", TIERED, "4999.5"),
        Line("Storage", FINE, "123456.789"),
        Line("Platform fee", FLAT),
    ],
    tax="19",
    discount="5",
)


async def close(connection: Connection, documents: int) -> list[InputKey]:
    """Write that many contracts of one issuer with a closed period each."""
    books = Books()
    issuer = books.issuer()
    contracts = [books.contract(issuer, FIVE_LINES) for _ in range(documents)]
    keys = [key for contract in contracts for key in books.close(*contract.products)]
    await books.write(connection)
    await connection.execute("ANALYZE")
    return keys


async def issue(pool: asyncpg.Pool, keys: Sequence[InputKey], batch: int) -> tuple[float, float]:
    """Issue the documents; return the seconds, and those of this process's processor time."""
    intake = Intake(
        pool,
        system_clock,
        batch_size_max=batch,
        stopping=asyncio.Event(),
        issued=asyncio.Event(),
    )
    await intake.take(keys[:WARM_UP])
    started, cpu = time.perf_counter(), time.process_time()
    for start in range(WARM_UP, len(keys), batch):
        await intake.take(keys[start : start + batch])
    return time.perf_counter() - started, time.process_time() - cpu


async def copy_bare(
    connection: Connection, batch: int, *, skipped: int = 0, documents: int | None = None
) -> tuple[int, float]:
    """Copy the rows of documents into bare tables; return how many documents, and the seconds.

    documents: of those issued first, behind so many skipped; None for all others.
    """
    rows: dict[str, list[tuple[object, ...]]] = {}
    for table in WRITTEN:
        await connection.execute(f"CREATE TABLE bare_{table} (LIKE {table} INCLUDING INDEXES)")
        found = await connection.fetch(
            f"SELECT t.* FROM {table} t JOIN (SELECT shard_key, document_ref, issued_at "
            "FROM document ORDER BY issued_at, document_ref OFFSET $1 LIMIT $2) d "
            "USING (shard_key, document_ref) ORDER BY d.issued_at, document_ref",
            *(skipped, documents),
        )
        rows[table] = [tuple(row) for row in found]
    count = len(rows["document"])
    started = time.perf_counter()
    for start in range(0, count, batch):
        async with connection.transaction():
            for table, records in rows.items():
                each = len(records) // count
                part = records[start * each : (start + batch) * each]
                await connection.copy_records_to_table(f"bare_{table}", records=part)
    return count, time.perf_counter() - started


async def render_some(connection: Connection) -> float:
    """Render documents one after another; return how many a second."""
    rows = await connection.fetch("SELECT shard_key, document_ref FROM document LIMIT $1", RENDERED)
    documents = list((await load_issued(connection, [tuple(row) for row in rows])).values())
    render(documents[0])
    started = time.perf_counter()
    for document in documents[1:]:
        render(document)
    return (len(documents) - 1) / (time.perf_counter() - started)


async def measure(server: str, documents: int, batch: int) -> dict[str, object]:
    """Return what one run came to, and what one came to whose tenant has a webhook."""
    async with a_database(server) as dsn, open_pool(dsn, service="benchmark", size_max=2) as pool:
        async with pool.acquire() as connection:
            keys = await close(connection, documents + WARM_UP)
            await connection.execute(ADD_WEBHOOK)
        told_seconds, _ = await issue(pool, keys, batch)
        told = await pool.fetchval("SELECT count(*) FROM webhook_delivery")
        assert told == 2 * len(keys), f"{told} webhooks for {len(keys)} documents"
    async with a_database(server) as dsn, open_pool(dsn, service="benchmark", size_max=2) as pool:
        async with pool.acquire() as connection:
            keys = await close(connection, documents + WARM_UP)
        issued_seconds, cpu_seconds = await issue(pool, keys, batch)
        async with pool.acquire() as connection:
            numbers = await connection.fetchval("SELECT count(DISTINCT number) FROM document")
            assert numbers == len(keys), f"{numbers} numbers for {len(keys)} documents"
            _, bare_seconds = await copy_bare(connection, batch, skipped=WARM_UP)
            rendered = await render_some(connection)
    return {
        "documents": documents,
        "lines_each": len(FIVE_LINES.lines),
        "batch": batch,
        "issued_per_second": round(documents / issued_seconds),
        "issued_per_second_with_a_webhook": round(documents / told_seconds),
        "client_cpu_microseconds_each": round(cpu_seconds / documents * 1e6),
        "ceiling_bare_copy_per_second": round(documents / bare_seconds),
        "share_of_ceiling": round(bare_seconds / issued_seconds, 3),
        "rendered_per_second_one_thread": round(rendered, 1),
        "cpus": os.cpu_count(),
        "python": sys.version.split()[0],
    }


def main() -> None:
    """Run on the servers of the environment, or on ones of our own; print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=5_000)
    parser.add_argument("--batch", type=int, default=500)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with the_servers() as servers:
        result = asyncio.run(measure(servers.postgres, arguments.documents, arguments.batch))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
