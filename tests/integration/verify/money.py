"""The world's money: documents paid in parts, too much, and less a credit, as people ask for it."""

import uuid
from collections.abc import Awaitable, Callable

import asyncpg
import msgspec

Wait = Callable[[Callable[[], Awaitable[bool]], str], Awaitable[None]]
"""Waits for a condition for a bounded time; the words say what for."""


async def settle(connection: asyncpg.Connection, customer_ref: str, wait: Wait) -> None:
    """Let money come for a customer's first two documents, and wait until all are drawn."""

    async def ask(document: asyncpg.Record, action: str, **details: str) -> None:
        ref = uuid.uuid4()
        await connection.execute(
            "INSERT INTO document_request (shard_key, document_ref, tenant_id, request_ref, "
            "action, details, made_by, fingerprint) "
            "VALUES ($1, $2, $3, $4, $5, $6, 'the world', '')",
            *(*document, ref, action, msgspec.json.encode(details).decode()),
        )

        async def is_done() -> bool:
            statement = "SELECT outcome = 'DONE' FROM document_request WHERE request_ref = $1"
            return bool(await connection.fetchval(statement, ref))

        await wait(is_done, f"{action} is done")

    paid, credited = await connection.fetch(
        "SELECT shard_key, document_ref, tenant_id FROM document JOIN customer USING "
        "(shard_key, tenant_id, customer_id) WHERE customer_ref = $1 ORDER BY number LIMIT 2",
        uuid.UUID(customer_ref),
    )
    day = "2026-11-20"
    await ask(paid, "PAY", paid_date=day, amount="0.500")
    await ask(paid, "PAY", paid_date=day, amount="1000000")
    await ask(paid, "PAY", paid_date=day, amount="7")
    last = await connection.fetchval("SELECT payment_ref FROM payment WHERE amount = 7")
    await ask(paid, "TAKE_BACK", payment_ref=str(last), reason="it bounced")
    await ask(credited, "CREDIT", amount="1.250", reason="an outage")
    await ask(credited, "PAY", paid_date=day)

    async def is_drawn() -> bool:
        return not await connection.fetchval("SELECT count(*) FROM invoicer_outbox")

    await wait(is_drawn, "every document is drawn")
