"""Webhooks on their way: events that triggers wrote with what they tell of, one by one to whom.

An endpoint is leased and delivered to in order, one at a time; several endpoints side by side, so
that a slow one holds nobody else. No transaction is open meanwhile: a process that dies leaves a
lease that runs out, and what it was at is sent again, with the same webhook-id.
"""

import asyncio
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
from aiohttp.abc import AbstractResolver

from invoicer import metrics
from invoicer.delivery.webhook_client import Attempt, post, signed_headers
from invoicer.settings import InvoicerSettings
from runtime.crashpoints import crashpoint
from runtime.lifecycle import wait_for
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Queries
from schemas.webhook import next_wait

_log = get_logger()

queries: Final = Queries.beside(__file__, "webhooks.sql")

IN_A_ROW_MAX: Final = 50
"""Deliveries to one endpoint before others have their turn."""

DISABLED_AFTER: Final = timedelta(days=3)
LEASE_MARGIN_SECONDS: Final = 30
UPKEEP_SECONDS: Final = 30.0

Place = tuple[int, UUID]
"""Tenant and endpoint."""


class WebhookWorker:
    """Delivers what is due, to a bounded number of endpoints at once."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: InvoicerSettings,
        stopping: asyncio.Event,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """Deliver by a resolver of another kind than the system's, where one is given."""
        self._pool = pool
        self._settings = settings
        self._stopping = stopping
        self._resolver = resolver
        self._lease = timedelta(seconds=settings.webhook_seconds + LEASE_MARGIN_SECONDS)

    async def run(self) -> None:
        """Work until told to stop; then finish what is under way."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_up())
            for _ in range(self._settings.webhook_endpoints_max):
                tasks.create_task(self._deliver_on())

    async def _deliver_on(self) -> None:
        while not self._stopping.is_set():
            try:
                if await self.deliver_to_one():
                    continue
            except TRANSIENT_ERRORS as error:
                _log.warning("webhooks_postponed", error=repr(error))
            await wait_for(self._stopping, self._settings.outbox_poll_seconds)

    async def _keep_up(self) -> None:
        """Count what waits, and forget what is old."""
        while not self._stopping.is_set():
            try:
                [row] = await self._pool.fetch(queries.count_waiting)
                metrics.WEBHOOKS_DEAD.set(row["dead"])
                metrics.WEBHOOK_AGE_SECONDS.set(row["age"])
                await self._pool.execute(queries.prune_events)
            except TRANSIENT_ERRORS as error:
                _log.warning("webhooks_postponed", error=repr(error))
            await wait_for(self._stopping, UPKEEP_SECONDS)

    async def deliver_to_one(self) -> int:
        """Deliver what is due to one endpoint, up to the first failure; return the attempts."""
        row = await self._pool.fetchrow(queries.claim_endpoint, self._lease)
        if row is None:
            return 0
        place: Place = (row["tenant_id"], row["endpoint_ref"])
        attempts = 0
        try:
            while attempts < IN_A_ROW_MAX and not self._stopping.is_set():
                delivery = await self._pool.fetchrow(queries.next_delivery, *place, self._lease)
                if delivery is None:
                    break
                attempts += 1
                if not await self._attempt(place, delivery):
                    break
        finally:
            await self._pool.execute(queries.release_endpoint, *place)
        return attempts

    async def _attempt(self, place: Place, delivery: asyncpg.Record) -> bool:
        """Try one delivery and note what came of it; tell whether it was taken."""
        secrets = [one for one in (delivery["secret"], delivery["old_secret"]) if one is not None]
        headers = signed_headers(str(delivery["event_ref"]), delivery["payload"], secrets)
        attempt: Attempt = await post(
            delivery["url"],
            delivery["payload"],
            headers,
            seconds=self._settings.webhook_seconds,
            allows_loopback=self._settings.webhook_loopback,
            resolver=self._resolver,
        )
        if attempt.error is None:
            crashpoint("invoicer.after_webhook")
        wait = next_wait(delivery["attempts"] + 1)
        noted = (place[0], delivery["delivery_id"], *attempt, wait)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(queries.note_attempt, *noted)
            is_enabled = await connection.fetchval(
                queries.note_health, *place, attempt.error, DISABLED_AFTER
            )
        outcome = "delivered" if attempt.error is None else "later" if wait else "dead"
        metrics.WEBHOOK_ATTEMPTS.labels(outcome).inc()
        if attempt.error is not None:
            _log.warning(
                "webhook_failed",
                endpoint_ref=str(place[1]),
                error=attempt.error,
                outcome=outcome,
                is_enabled=is_enabled,
            )
        return attempt.error is None
