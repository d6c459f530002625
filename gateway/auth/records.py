"""What is written down about keys and their tokens: logins, logouts, and when a key was used."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

from gateway.auth import audit
from gateway.auth.audit import Who
from gateway.auth.claims import Claims
from gateway.auth.sql import QUERY_SECONDS, queries
from gateway.reference import ApiKey
from runtime.postgres import Connection


@asynccontextmanager
async def _transaction(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    async with (
        pool.acquire(timeout=QUERY_SECONDS) as connection,
        asyncio.timeout(QUERY_SECONDS),
        connection.transaction(),
    ):
        yield connection


async def record_login(
    pool: asyncpg.Pool, key: ApiKey, who: Who, *, stored: str, rehashed: str | None
) -> None:
    """Write down that a key got a token.

    rehashed: what to store instead of the hash that the password fitted, None to leave it.
    """
    async with _transaction(pool) as connection:
        if rehashed is not None:
            await connection.execute(
                queries.rehash_key, key.tenant_id, key.api_key_ref, stored, rehashed
            )
        await audit.record(connection, key.tenant_id, who, "token.issued", key.api_key_ref)


async def revoke_token(pool: asyncpg.Pool, claims: Claims, expires_at: datetime, who: Who) -> None:
    """Write down that a token is worth nothing any more; every process is told."""
    async with _transaction(pool) as connection:
        await connection.execute(
            queries.revoke_token, claims.tenant_id, claims.token_id, expires_at
        )
        await audit.record(connection, claims.tenant_id, who, "token.revoked", claims.api_key_ref)


async def note_use(pool: asyncpg.Pool, api_key_refs: Collection[str], now: datetime) -> None:
    """Write down that keys were used, one statement for all."""
    async with _transaction(pool) as connection:
        await connection.execute(queries.note_keys_used, list(api_key_refs), now)


async def forget(pool: asyncpg.Pool, now: datetime) -> None:
    """Delete what has no effect any more: failures forgotten, sessions and tokens expired."""
    async with _transaction(pool) as connection:
        await connection.execute(queries.forget_logins, now)
