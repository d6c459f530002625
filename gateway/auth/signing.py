"""The keys that sign access tokens: the newest signs, the others verify until they retire.

A rotation adds a key and lets those before it verify as long as a token may live. Every process
reads the keys every few seconds, so the new one signs only when all can have met it, and one that
is retired at once stops verifying everywhere within that time.
"""

import asyncio
import secrets
from datetime import timedelta
from typing import Final

import asyncpg

from gateway.auth import audit
from gateway.auth.audit import INSTALLATION, Who
from gateway.auth.sql import QUERY_SECONDS, queries
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Connection

KID_BYTES: Final = 8
SECRET_BYTES: Final = 32
RELOAD_SECONDS: Final = 2.0
MISSING_RELOAD_SECONDS: Final = 0.2
MET_AFTER: Final = timedelta(seconds=3 * RELOAD_SECONDS)
OVERLAP: Final = timedelta(hours=25)
"""Longer than the longest life that a token can be given."""

log = get_logger()


class SigningKeys:
    """The keys as this process knows them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._secrets: dict[str, bytes] = {}
        self._signing_kid = ""
        self._loaded_at = 0.0

    async def start(self) -> None:
        """Load the keys; make the first one where there is none."""
        async with self._pool.acquire(timeout=QUERY_SECONDS) as connection:
            await rotate(connection, older_than=None, who=Who("gateway"))
        await self.load()

    async def load(self) -> bool:
        """Read the keys; tell whether one of those that verified is gone."""
        async with self._pool.acquire(timeout=QUERY_SECONDS) as connection:
            rows = await connection.fetch(
                queries.list_signing_keys, MET_AFTER, timeout=QUERY_SECONDS
            )
        before = self._secrets.keys()
        self._secrets = {row["kid"]: row["secret"] for row in rows}
        met = [row["kid"] for row in rows if row["is_met"]]
        self._signing_kid = met[0] if met else rows[-1]["kid"]
        self._loaded_at = asyncio.get_running_loop().time()
        return bool(before - self._secrets.keys())

    def signing(self) -> tuple[str, bytes]:
        """Return the id and the secret of the key that signs now."""
        return self._signing_kid, self._secrets[self._signing_kid]

    async def find(self, kid: object) -> bytes | None:
        """Return the secret of a key that verifies; one made a moment ago is looked for."""
        now = asyncio.get_running_loop().time()
        if kid not in self._secrets and now - self._loaded_at > MISSING_RELOAD_SECONDS:
            try:
                await self.load()
            except TRANSIENT_ERRORS as error:
                log.warning("signing_keys_not_loaded", error=repr(error))
        return self._secrets.get(kid) if isinstance(kid, str) else None


async def rotate(
    connection: Connection,
    *,
    older_than: timedelta | None,
    who: Who,
    overlap: timedelta = OVERLAP,
) -> str | None:
    """Make a new signing key; those before it verify for the time of the overlap. Return its id.

    older_than: only if the newest is as old as that (None: only if there is none); returns None
    where nothing was to be done. May be called by many processes at once.
    """
    async with connection.transaction():
        await connection.execute(queries.lock_signing_keys)
        age = await connection.fetchval(queries.find_signing_key_age)
        if age is not None and (older_than is None or age < older_than):
            return None
        kid = secrets.token_hex(KID_BYTES)
        await connection.execute(queries.retire_signing_keys, overlap)
        await connection.execute(queries.add_signing_key, kid, secrets.token_bytes(SECRET_BYTES))
        await audit.record(
            connection, INSTALLATION, who, "signing_key.rotated", kid,
            after={"overlap_seconds": int(overlap.total_seconds())},
        )  # fmt: skip
    return kid
