"""What hangs off an issued document first: its rendering, as HTML and as PDF.

A row is written in the transaction that issued, and deleted in the one that stores the files, so
work is done at least once and its result stored once. A row stays locked while it is worked on: a
process that dies gives it back at once.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from invoicer import metrics
from invoicer.delivery.e_invoice import NotPossible, build_e_invoice, is_wanted
from invoicer.delivery.html import render_html
from invoicer.delivery.issued import IssuedDocument, load_issued
from invoicer.delivery.pdf import render_pdf
from invoicer.delivery.view import View, build_view
from invoicer.outbox_loop import OutboxLoop, Work, backoff, postpone
from invoicer.repository import columns, queries
from invoicer.settings import InvoicerSettings
from runtime.crashpoints import crashpoint
from runtime.logging import get_logger
from runtime.postgres import Connection

_log = get_logger()


LOOK_SECONDS: Final = 5.0
"""How often the age of the oldest document without files is looked for."""


class Files(NamedTuple):
    """An issued document as people read it."""

    html: bytes
    pdf: bytes


def render(document: IssuedDocument, fonts_dir: str = "") -> Files:
    """Make both files of one view of the document; takes CPU and nothing else."""
    with metrics.RENDER_SECONDS.time():
        view = build_view(document)
        return Files(render_html(view), render_pdf(view, fonts_dir, _e_invoice(document, view)))


def _e_invoice(document: IssuedDocument, view: View) -> bytes | None:
    """Return the document as XML where its issuer wants it.

    One that lacks what the standard wants goes out without it, rather than not at all.
    """
    if not is_wanted(document):
        return None
    try:
        return build_e_invoice(document, view)
    except NotPossible as error:
        metrics.RENDERED_WITH_LACK.labels(f"e_invoice_{error.lack}").inc()
        _log.warning(
            "document_without_e_invoice",
            document_number=document.document_number,
            lack=error.lack,
            error=str(error),
        )
        return None


class OutboxWorker(OutboxLoop):
    """Draws the files of issued documents, and sends those with an address on their way."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: InvoicerSettings,
        stopping: asyncio.Event,
        issued: asyncio.Event,
        rendered: asyncio.Event | None = None,
    ) -> None:
        """issued: set whenever this process issued documents, so that they are not waited for.

        rendered: set here when documents are ready to be mailed.
        """
        super().__init__(pool, settings.outbox_poll_seconds, stopping, issued)
        self._batch_max = settings.render_batch_max
        self._is_mailed = bool(settings.smtp_url)
        self._rendered = rendered or asyncio.Event()
        self._fonts_dir = settings.fonts_dir
        self._look_at = 0.0
        self._threads = ThreadPoolExecutor(settings.render_threads, "render")

    async def run(self) -> None:
        """Work until told to stop; then finish the batch in hand."""
        try:
            await super().run()
        finally:
            self._threads.shutdown()

    async def work_once(self) -> int:
        """Render what is due, at most one batch; return how many rows were worked on."""
        async with self._pool.acquire() as connection, connection.transaction():
            if time.monotonic() >= self._look_at:  # it reads all that waits
                self._look_at = time.monotonic() + LOOK_SECONDS
                age = await connection.fetchval(queries.outbox_age_seconds)
                metrics.OUTBOX_AGE_SECONDS.set(age)
            claimed = await connection.fetch(queries.claim_outbox, self._batch_max, "RENDER")
            if not claimed:
                return 0
            work = [Work(*row) for row in claimed]
            if self._is_mailed:  # first: the files show when payment is due, from today on
                places = columns([row.place for row in work], 2)
                await connection.execute(queries.submit_documents, *places)
            results = await self._render_all(work, await _load(connection, work))
            await self._store(connection, work, results)
            crashpoint("invoicer.after_render")
        self._rendered.set()
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
            return await loop.run_in_executor(self._threads, render, document, self._fonts_dir)

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
                metrics.RENDER_FAILURES.inc()
                said = await postpone(connection, row, result, backoff(row.attempts))
                _log.warning("render_failed", document_ref=str(row.document_ref), error=said)
                continue
            done.append((row.shard_key, row.outbox_id))
            files.append((row.shard_key, row.document_ref, "HTML", result.html))
            files.append((row.shard_key, row.document_ref, "PDF", result.pdf))
        if self._is_mailed:  # before there are files, which tell those drawn again
            await connection.execute(queries.add_mail, *columns([row[:2] for row in files[::2]], 2))
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
