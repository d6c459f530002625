"""What is not paid in time: documents become late, and customers are reminded by mail.

Both follow from what is in the database and from the clock, in one transaction with what notes
them: whoever dies, or runs beside, nothing happens twice. The mail of a reminder is a row of the
outbox; it is looked at once more when it goes out, and dropped when nothing is due any more.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Final
from uuid import UUID

import asyncpg

from invoicer import metrics
from invoicer.outbox_loop import OutboxLoop
from invoicer.repository import columns
from invoicer.settings import InvoicerSettings
from runtime.clock import Clock
from runtime.crashpoints import crashpoint
from runtime.logging import get_logger
from runtime.postgres import Connection, Queries
from schemas.dunning import STALE_DAYS, next_step

queries: Final = Queries.beside(__file__, "dunning.sql")

BATCH_MAX: Final = 500

_log = get_logger()

Place = tuple[date, int, UUID]
"""Where a document stands among those that are unpaid: by due date, and its primary key."""
Step = Callable[[Connection, Place], Awaitable[tuple[list[asyncpg.Record], int]]]
"""What is done with the page behind a place: returns the page, and for how many it was done."""

_FIRST: Final = (date.min, -1, UUID(int=0))


class DunningWorker(OutboxLoop):
    """Looks every while for what has become late, and for whom to remind."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: InvoicerSettings,
        stopping: asyncio.Event,
        clock: Clock,
    ) -> None:
        super().__init__(pool, settings.dunning_poll_seconds, stopping, asyncio.Event())
        self._is_mailed = bool(settings.smtp_url)
        self._clock = clock

    async def work_once(self) -> int:
        """Look at all that is unpaid; return how many documents became late or are reminded of."""
        async with self._pool.acquire() as connection:
            late = await self._look_through(connection, self._mark_late)
            metrics.DOCUMENTS_LATE.inc(late)
            reminded = 0
            if self._is_mailed:
                reminded = await self._look_through(connection, self._remind)
                metrics.REMINDERS.inc(reminded)
        if late or reminded:
            _log.info("documents_unpaid", late=late, reminded=reminded)
        return late + reminded

    async def _look_through(self, connection: Connection, step: Step) -> int:
        """Take a step over page after page, each in a transaction; return how many it was for."""
        total = 0
        after: Place | None = _FIRST
        while after is not None and not self._stopping.is_set():
            async with connection.transaction():
                rows, done = await step(connection, after)
            if done and step == self._remind:
                crashpoint("invoicer.after_reminders")
            total += done
            after = _place_of(rows[-1]) if len(rows) == BATCH_MAX else None
        return total

    async def _mark_late(
        self, connection: Connection, after: Place
    ) -> tuple[list[asyncpg.Record], int]:
        """Make those of a page late that are."""
        rows = await connection.fetch(queries.load_overdue, self._clock(), BATCH_MAX, *after)
        late = [(row["shard_key"], row["document_ref"]) for row in rows if row["is_late"]]
        if late:
            await connection.execute(queries.act_for_clock)
            await connection.execute(queries.mark_late, *columns(late, 2))
            crashpoint("invoicer.before_late")
        return rows, len(late)

    async def _remind(
        self, connection: Connection, after: Place
    ) -> tuple[list[asyncpg.Record], int]:
        """Write the reminders that are due of a page, with their mails."""
        now = self._clock()
        asked = (now, BATCH_MAX, *after, STALE_DAYS)
        rows = await connection.fetch(queries.load_unreminded, *asked)
        steps = [
            (row["shard_key"], row["document_ref"], row["tenant_id"], step)
            for row in rows
            if row["is_due"]
            and (step := next_step(row["steps"], row["due_date"], row["today"], row["made"]))
            is not None
        ]
        if steps:
            await connection.execute(queries.add_reminders, *zip(*steps, strict=True), now)
            crashpoint("invoicer.before_reminders")
        return rows, len(steps)


def _place_of(row: asyncpg.Record) -> Place:
    return row["due_date"], row["shard_key"], row["document_ref"]
