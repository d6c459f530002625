"""Checks passwords: few at a time, off the loop, and ever more slowly for who keeps failing."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from gateway import metrics
from gateway.auth.audit import INSTALLATION
from gateway.auth.blocks import Blocks
from gateway.auth.throttle import Subjects, Throttle
from runtime.clock import Clock
from runtime.passwords import hash_password, match_password
from schemas.errors import NotAllowed, TransientError

HASHES_AT_ONCE: Final = 2
LOGINS_WAITING_MAX: Final = 64


class Logins:
    """What logging in has in common for keys and for admins."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._throttle = Throttle(pool, clock)
        self.blocks = Blocks()
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._waiting = 0
        self._nobodys_hash = ""

    async def start(self) -> None:
        """Make the hash that stands in for those of accounts that don't exist."""
        self._nobodys_hash = await asyncio.to_thread(hash_password, secrets.token_hex())

    async def check(
        self,
        account: str,
        stored: Sequence[str],
        password: str,
        *,
        address: str,
        tenant_id: int = INSTALLATION,
    ) -> int:
        """Return the index of the stored hash that the password fits.

        account: what was given as its name; stored is empty when there is none of that name, which
        gets the same answer after the same work, as does one that is blocked. tenant_id: whose
        account it is. Raises NotAllowed, or TransientError when too many log in at once or too
        many attempts have failed.
        """
        if self.blocks.is_address_blocked(INSTALLATION, address):
            metrics.LOGINS.labels("blocked").inc()
            raise NotAllowed("address_blocked", "nobody may log in from this address")
        if self.blocks.is_blocked(tenant_id, account, address):
            metrics.LOGINS.labels("blocked").inc()
            stored = ()
        subjects = Subjects.of(account, address)
        async with self._turn():
            # Looked at within the turn: what is under way and uncounted is bounded by the turns.
            known = await self._throttle.admit(subjects)
            fits = await asyncio.to_thread(match_password, password, stored, self._nobodys_hash)
            if fits is None:
                await self._throttle.fail(subjects, known)
                metrics.LOGINS.labels("refused").inc()
                raise NotAllowed("login_failed", "no account has this name and password")
            await self._throttle.succeed(subjects, known)
        metrics.LOGINS.labels("accepted").inc()
        return fits

    async def hash(self, password: str) -> str:
        """Return what to store for a password, made off the loop."""
        async with self._turn():
            return await asyncio.to_thread(hash_password, password)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= LOGINS_WAITING_MAX:
            metrics.REQUESTS_SHED.labels("logins").inc()
            raise TransientError("login_busy", "too many logins at once")
        self._waiting += 1
        try:
            async with self._hashing:
                yield
        finally:
            self._waiting -= 1
