"""What hangs off an issued document: for now its rendering, as HTML and as PDF.

A row is written in the transaction that issued, and deleted in the one that stores the files, so
work is done at least once and its result stored once. A row stays locked while it is worked on: a
process that dies gives it back at once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from invoicer import metrics
from invoicer.delivery.html import render_html
from invoicer.delivery.issued import IssuedDocument, load_issued
from invoicer.delivery.pdf import render_pdf
from invoicer.delivery.view import build_view
from invoicer.repository import columns, queries
from invoicer.settings import InvoicerSettings
from runtime.crashpoints import crashpoint
from runtime.logging import get_logger
from runtime.postgres import TRANSIENT_ERRORS, Connection

_log = get_logger()

BACKOFF_MIN: Final = timedelta(seconds=1)
BACKOFF_DOUBLINGS_MAX: Final = 12  # about an hour
ERROR_LENGTH_MAX: Final = 2_000


class Work(NamedTuple):
    """One claimed row of the outbox."""

    shard_key: int
    outbox_id: int
    document_ref: UUID
    attempts: int

    @property
    def place(self) -> tuple[int, UUID]:
        """The primary key of its document."""
        return self.shard_key, self.document_ref


class Files(NamedTuple):
    """An issued document as people read it."""

    html: bytes
    pdf: bytes


def render(document: IssuedDocument) -> Files:
    """Make both files of one view of the document; takes CPU and nothing else."""
    with metrics.RENDER_SECONDS.time():
        view = build_view(document)
        return Files(render_html(view), render_pdf(view))


def backoff(attempts: int) -> timedelta:
    """Return how long to wait after so many failures, the last one not counted."""
    doubled: timedelta = BACKOFF_MIN * 2 ** min(attempts, BACKOFF_DOUBLINGS_MAX)
    return doubled


class OutboxWorker:
    """Works off the outbox; any number of processes may do so at once."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: InvoicerSettings,
        stopping: asyncio.Event,
        issued: asyncio.Event,
    ) -> None:
        """issued: set whenever this process issued documents, so that they are not waited for."""
        self._pool = pool
        self._batch_max = settings.render_batch_max
        self._poll_seconds = settings.outbox_poll_seconds
        self._stopping = stopping
        self._issued = issued
        self._threads = ThreadPoolExecutor(settings.render_threads, "render")

    async def run(self) -> None:
        """Work until told to stop; then finish the batch in hand."""
        try:
            while not self._stopping.is_set():
                self._issued.clear()
                if not await self._work():
                    await self._rest()
        finally:
            self._threads.shutdown()

    async def _work(self) -> bool:
        """Do one batch; say whether there may be more. Trouble with the database passes."""
        try:
            return await self.work_once() > 0
        except TRANSIENT_ERRORS as error:
            _log.warning("outbox_postponed", error=repr(error))
            return False

    async def _rest(self) -> None:
        """Rest until something is issued, the poll's time is over, or the process stops."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._issued, self._stopping)]
        try:
            await asyncio.wait(
                waits, timeout=self._poll_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for wait in waits:
                wait.cancel()

    async def work_once(self) -> int:
        """Render what is due, at most one batch; return how many rows were worked on."""
        async with self._pool.acquire() as connection, connection.transaction():
            age = await connection.fetchval(queries.outbox_age_seconds)
            metrics.OUTBOX_AGE_SECONDS.set(age)
            claimed = await connection.fetch(queries.claim_outbox, self._batch_max)
            if not claimed:
                return 0
            work = [Work(*row) for row in claimed]
            results = await self._render_all(work, await _load(connection, work))
            await self._store(connection, work, results)
            crashpoint("invoicer.after_render")
        return len(work)

    async def _render_all(
        self, work: Sequence[Work], documents: Mapping[UUID, IssuedDocument | Exception]
    ) -> list[Files | BaseException]:
        """Render side by side, off the loop; one that fails says so in its place."""
        loop = asyncio.get_running_loop()

        async def one(row: Work) -> Files:
            document = documents[row.document_ref]
            if isinstance(document, Exception):
                raise document
            return await loop.run_in_executor(self._threads, render, document)

        return await asyncio.gather(*map(one, work), return_exceptions=True)

    async def _store(
        self,
        connection: Connection,
        work: Sequence[Work],
        results: Sequence[Files | BaseException],
    ) -> None:
        files, done = [], []
        for row, result in zip(work, results, strict=True):
            if isinstance(result, BaseException):
                await _postpone(connection, row, result)
                continue
            done.append((row.shard_key, row.outbox_id))
            files.append((row.shard_key, row.document_ref, "HTML", result.html))
            files.append((row.shard_key, row.document_ref, "PDF", result.pdf))
        await connection.execute(queries.add_files, *columns(files, 4))
        await connection.execute(queries.finish_outbox, *columns(done, 2))
        _log.info("documents_rendered", documents=len(done), failed=len(work) - len(done))


async def _load(
    connection: Connection, work: Sequence[Work]
) -> dict[UUID, IssuedDocument | Exception]:
    """Load all documents at once; where one can't be read, each by itself, with its own error."""
    try:
        return {**await load_issued(connection, [row.place for row in work])}
    except asyncpg.PostgresError:
        raise  # no document is at fault, and the transaction is lost
    except Exception as error:
        if len(work) == 1:
            return {work[0].document_ref: error}
        loaded = [await _load(connection, [row]) for row in work]
        return {ref: found for each in loaded for ref, found in each.items()}


async def _postpone(connection: Connection, row: Work, error: BaseException) -> None:
    """Put a row off; it is tried for ever, ever less often, and its error is there to be seen."""
    metrics.RENDER_FAILURES.inc()
    said = f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]
    key = (row.shard_key, row.outbox_id)
    await connection.execute(queries.postpone_outbox, *key, said, backoff(row.attempts))
    _log.warning("render_failed", document_ref=str(row.document_ref), error=said)
