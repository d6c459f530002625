"""What became of an event that was sent a moment ago, for clients that prefer to wait for it."""

import asyncio
from time import monotonic
from typing import Any, Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from gateway.progress import Progress
from gateway.reports.asking import names_of, queries
from gateway.reports.charges import Counted, charges_of
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Connection, tenant_transaction
from schemas.event_ref import shard_key_of

READERS_MAX: Final = 4
"""Connections that outcomes are read over at once: a poll wakes many who wait, and the pool is
everybody's."""

log = get_logger()


class Sent(Struct, frozen=True):
    """An event that Kafka has acknowledged: whose, by which ref, and where in the log."""

    tenant_id: int
    event_ref: UUID
    partition: int
    offset: int


class Outcomes:
    """Waits until events are rated, and reads what became of them."""

    def __init__(self, pool: asyncpg.Pool, progress: Progress) -> None:
        self._pool = pool
        self._readers = asyncio.Semaphore(READERS_MAX)
        self.progress = progress

    async def wait_for(self, sent: Sent, seconds: float) -> dict[str, Any] | None:
        """Return what became of an event, in the words of the API; None when it isn't in time."""
        deadline = monotonic() + seconds
        place = (sent.partition, sent.offset)
        if not await self.progress.wait_past(sent.tenant_id, *place, seconds):
            return None
        try:
            async with (
                asyncio.timeout(deadline - monotonic()),
                self._readers,
                tenant_transaction(self._pool, sent.tenant_id) as connection,
            ):
                return await _outcome(connection, sent)
        except TRANSIENT_ERRORS as error:
            log.warning("outcome_not_read", error=repr(error))
            return None


async def _outcome(connection: Connection, sent: Sent) -> dict[str, Any] | None:
    """Read what became of a record that rating has passed; None when there is no trace of it."""
    row = await connection.fetchrow(
        queries.find_outcome,
        *(sent.tenant_id, shard_key_of(sent.event_ref.int), names_of(sent.event_ref)),
        *(sent.partition, sent.offset),
    )
    if row is None:
        return None
    if row["reason"] is not None:
        return {"outcome": "DEAD", "reason": row["reason"], "detail": row["detail"]}
    counted = Counted(
        *(row["shard_key"], row["customer_id"], row["meter_id"], row["occurred_at"]),
        row["event_ref"],
    )
    charges = await charges_of(connection, sent.tenant_id, counted)
    return {
        **charges.numbers,
        "outcome": row["outcome"],
        "charge_refs": [charge["charge_ref"] for charge in charges.shown],
        "charges": charges.shown,
    }
