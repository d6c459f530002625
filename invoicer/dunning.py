"""What is not paid in time: documents become late, and customers are reminded by mail.

Both follow from what is in the database and from the clock, in one transaction with what notes
them: whoever dies, or runs beside, nothing happens twice. The mail of a reminder is a row of the
outbox; it is looked at once more when it goes out, and dropped when nothing is due any more.
"""

import asyncio
from typing import Final

import asyncpg

from invoicer import metrics
from invoicer.outbox_loop import OutboxLoop
from invoicer.settings import InvoicerSettings
from runtime.clock import Clock
from runtime.crashpoints import crashpoint
from runtime.logging import get_logger
from runtime.postgres import Connection, Queries
from schemas.dunning import STALE_DAYS, next_step

queries: Final = Queries.beside(__file__, "dunning.sql")

BATCH_MAX: Final = 500

_log = get_logger()


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
        """Do a batch of each; return how many documents it was."""
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                await connection.execute(queries.act_for_clock)
                said = await connection.execute(queries.mark_late, self._clock(), BATCH_MAX)
                if late := int(said.split()[-1]):
                    crashpoint("invoicer.before_late")
            async with connection.transaction():
                reminded = await self._remind(connection) if self._is_mailed else 0
                if reminded:
                    crashpoint("invoicer.before_reminders")
        if reminded:
            crashpoint("invoicer.after_reminders")
        metrics.DOCUMENTS_LATE.inc(late)
        metrics.REMINDERS.inc(reminded)
        if late or reminded:
            _log.info("documents_unpaid", late=late, reminded=reminded)
        return late + reminded

    async def _remind(self, connection: Connection) -> int:
        """Write the reminders that are due, with their mails."""
        now = self._clock()
        rows = await connection.fetch(queries.load_unreminded, now, BATCH_MAX, STALE_DAYS)
        steps = [
            (row["shard_key"], row["document_ref"], row["tenant_id"], step)
            for row in rows
            if (step := next_step(row["steps"], row["due_date"], row["today"], row["made"]))
            is not None
        ]
        if steps:
            await connection.execute(queries.add_reminders, *zip(*steps, strict=True), now)
        return len(steps)
