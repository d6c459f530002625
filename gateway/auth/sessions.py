"""Sessions of admins: a random token in a cookie, whose hash is a row that can be ended."""

import secrets
from datetime import timedelta
from hashlib import sha256
from typing import Final

import asyncpg
import msgspec

from gateway.auth import audit
from gateway.auth.audit import INSTALLATION, Who
from gateway.auth.claims import Claims
from gateway.auth.logins import Logins
from gateway.auth.sql import QUERY_SECONDS, queries
from runtime.clock import Clock
from runtime.passwords import is_outdated
from schemas.errors import NotAllowed

TOKEN_BYTES: Final = 32
EMAIL_LENGTH_MAX: Final = 320
SESSIONS_MAX: Final = 50
"""How many sessions an admin has at once; the oldest is ended by one more."""


class Sessions:
    """Logs admins in and out. A session is looked up each time it is used: ended is ended."""

    def __init__(self, pool: asyncpg.Pool, logins: Logins, clock: Clock, *, seconds: int) -> None:
        """seconds: how long a session lasts."""
        self._pool = pool
        self._logins = logins
        self._clock = clock
        self._seconds = seconds

    async def log_in(self, email: str, password: str, who: Who, *, replaced: str | None) -> str:
        """Begin a session and return its token.

        who: from where. replaced: the token that the client had so far, which ends.
        Raises NotAllowed or TransientError, as `Logins.check` does.
        """
        admin = await self._find_admin(email)
        stored = [] if admin is None else [admin["password_hash"]]
        await self._logins.check(
            email.strip().lower(),
            stored,
            password,
            address=who.address,
            tenant_id=INSTALLATION if admin is None else admin["tenant_id"],
        )
        assert admin is not None, "no hash fits an admin who does not exist"
        token = secrets.token_urlsafe(TOKEN_BYTES)
        now = self._clock()
        ends = now + timedelta(seconds=self._seconds)
        tenant_id, admin_ref = admin["tenant_id"], admin["admin_ref"]
        rehashed = (
            await self._logins.hash(password) if is_outdated(admin["password_hash"]) else None
        )
        async with (
            self._pool.acquire(timeout=QUERY_SECONDS) as connection,
            connection.transaction(),
        ):
            if replaced is not None:
                await connection.execute(queries.end_session, _hash(replaced), now)
            if rehashed is not None:
                await connection.execute(
                    queries.rehash_admin, tenant_id, admin_ref, admin["password_hash"], rehashed
                )
            await connection.execute(
                queries.end_oldest_sessions, tenant_id, admin_ref, now, SESSIONS_MAX - 1
            )
            row = (_hash(token), admin_ref, now, ends, rehashed or admin["password_hash"])
            if await connection.fetchval(queries.add_session, tenant_id, *row) is None:
                raise NotAllowed("login_failed", "no account has this name and password")
            signed_in = msgspec.structs.replace(who, actor=f"admin {admin_ref}")
            await audit.record(connection, tenant_id, signed_in, "session.begun", admin_ref)
        return token

    async def _find_admin(self, email: str) -> asyncpg.Record | None:
        wanted = email.strip()
        if len(wanted) > EMAIL_LENGTH_MAX or not wanted.isprintable():
            wanted = ""
        async with self._pool.acquire(timeout=QUERY_SECONDS) as connection:
            return await connection.fetchrow(queries.find_admin, wanted, timeout=QUERY_SECONDS)

    async def verify(self, token: str) -> Claims:
        """Return who a session's token stands for. Raises NotAllowed."""
        async with self._pool.acquire(timeout=QUERY_SECONDS) as connection:
            row = await connection.fetchrow(
                queries.find_session, _hash(token), self._clock(), timeout=QUERY_SECONDS
            )
        if row is None:
            raise NotAllowed("session_ended", "the session has ended: log in again")
        return Claims(
            actor=f"admin {row['admin_ref']}",
            tenant_id=row["tenant_id"],
            tenant_ref=str(row["tenant_ref"]),
            scopes=frozenset(row["scopes"]),
            expires_at=int(row["expires_at"].timestamp()),
            is_session=True,
        )

    async def log_out(self, token: str, claims: Claims, who: Who) -> None:
        """End a session."""
        async with (
            self._pool.acquire(timeout=QUERY_SECONDS) as connection,
            connection.transaction(),
        ):
            await connection.execute(queries.end_session, _hash(token), self._clock())
            subject = claims.actor.partition(" ")[2]
            await audit.record(connection, claims.tenant_id, who, "session.ended", subject)


def _hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
