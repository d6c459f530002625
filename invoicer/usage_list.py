"""The usage behind a document as files of its mail, within bounds that hold whatever there is.

What is longer than the bounds is found out while it is read, a page at a time, and read no further.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

import asyncpg
import typst

from invoicer import metrics
from invoicer.delivery import words
from invoicer.delivery.issued import IssuedDocument
from invoicer.delivery.parties import document_locale
from invoicer.delivery.usage_files import Attached, CsvFile, UsageFiles
from invoicer.delivery.usage_pdf import (
    ListedEvent,
    ListedLine,
    list_event,
    list_line,
    render_usage,
    usage_view,
)
from runtime.logging import get_logger
from runtime.postgres import Connection, Queries
from schemas.errors import Conflict, NotFound
from schemas.line_usage import (
    PEOPLE_HEADER,
    REF_MIN,
    STATEMENTS,
    Feeds,
    Row,
    choose_all,
    counting,
    next_after,
    page_arguments,
    people_text,
    read_feeds,
)

_log = get_logger()
queries: Final = Queries(STATEMENTS)

CSV_EVENTS_MAX: Final = 200_000
"""Rows that are read for a CSV; spreadsheets open five times as many."""

CSV_BYTES_MAX: Final = 64_000_000
"""Before it is zipped."""

PDF_EVENTS_MAX: Final = 2_000
"""Some 40 pages, which take the layout a few seconds."""

PDF_DATA_MAX: Final = 400_000
"""Characters of additional data in a PDF."""

ATTACHED_BYTES_MAX: Final = 7_000_000
"""Of both files; a mail makes four bytes of three, and mail servers refuse those over 10 MB."""


class Stopped(Exception):
    """The process is told to stop while a list is read."""


class UsageLists:
    """Reads lists for mails, until the process is told to stop."""

    def __init__(self, stopping: asyncio.Event, fonts_dir: str) -> None:
        self._stopping = stopping
        self._fonts_dir = fonts_dir

    async def load(
        self,
        connection: Connection,
        tenant_id: int,
        place: tuple[int, UUID],
        document: IssuedDocument,
        formats: Sequence[str],
    ) -> UsageFiles:
        """Return the files of a document's usage; none where no events feed its lines.

        place: of the document. formats: those of CSV and PDF that its customer wants. Raises
        Stopped.
        """
        rows = await connection.fetch(queries.find_line_usage, tenant_id, *place, None)
        try:
            lines = choose_all(rows)
        except NotFound:
            return UsageFiles()
        except Conflict:
            return UsageFiles(gone=tuple(formats))
        if not lines or not formats:
            return UsageFiles()
        with words.writing(document_locale(document.parties)):
            lists = _Lists(formats)
            for line in lines:
                lists.begin(line)
                async for page, feeds in self._pages(connection, tenant_id, line):
                    lists.take(page, feeds)
                    if not lists.are_wanted:
                        return UsageFiles(too_long=tuple(formats))
        return await self._files(document, lists, formats)

    async def _pages(
        self, connection: Connection, tenant_id: int, line: asyncpg.Record
    ) -> AsyncIterator[tuple[Sequence[asyncpg.Record], Feeds]]:
        feeds = read_feeds(await connection.fetch(queries.list_feeds, tenant_id, line["meter_id"]))
        after: UUID | None = REF_MIN
        while after is not None:
            if self._stopping.is_set():
                raise Stopped
            page = await connection.fetch(
                queries.usage_of_line, *page_arguments(tenant_id, line, after)
            )
            yield page, feeds
            after = next_after(page)

    async def _files(
        self, document: IssuedDocument, lists: "_Lists", formats: Sequence[str]
    ) -> UsageFiles:
        """Make the files of what was read, the PDF first; a file beyond the bytes is too long."""
        files: list[Attached] = []
        left = ATTACHED_BYTES_MAX
        for made in (
            await self._pdf(document, lists.tables),
            lists.csv.close() if lists.csv else None,
        ):
            if made is not None and len(made.content) <= left:
                files.append(made)
                left -= len(made.content)
        there = {"PDF" if one.kind[1] == "pdf" else "CSV" for one in files}
        return UsageFiles(tuple(files), tuple(one for one in formats if one not in there))

    async def _pdf(
        self, document: IssuedDocument, tables: Sequence[ListedLine] | None
    ) -> Attached | None:
        """Lay out a list beside the loop; None without one."""
        if tables is None:
            return None
        try:
            view = usage_view(document, tables)
            pdf = await asyncio.to_thread(render_usage, view, self._fonts_dir)
        except typst.TypstError as error:
            metrics.RENDER_FAILURES.inc()
            _log.warning(
                "usage_not_rendered", document_ref=str(document.document_ref), error=str(error)
            )
            return None
        return Attached("usage.pdf", ("application", "pdf"), pdf)


class _Lists:
    """Both lists while they are read; one that is over a bound is given up."""

    def __init__(self, formats: Sequence[str]) -> None:
        self.csv: CsvFile | None = CsvFile() if "CSV" in formats else None
        self.tables: list[ListedLine] | None = [] if "PDF" in formats else None
        self._events = 0
        self._data = 0
        self._line: Row = {}
        self._rows: list[ListedEvent] = []
        if self.csv is not None:
            self.csv.write(PEOPLE_HEADER)

    @property
    def are_wanted(self) -> bool:
        """Whether there is a list that is still within its bounds."""
        return self.csv is not None or self.tables is not None

    def begin(self, line: Row) -> None:
        """Go on with the events of another line."""
        self._line, self._rows = line, []
        if self.tables is not None:
            self.tables.append(list_line(line, self._rows))

    def take(self, page: Sequence[Row], feeds: Feeds) -> None:
        """Add a page of a line's events."""
        self._events += len(page)
        rows = counting(page)
        if self.csv is not None:
            self.csv.write("".join(people_text(self._line, row, feeds) for row in rows).encode())
            if (
                self._events > CSV_EVENTS_MAX
                or self.csv.length > CSV_BYTES_MAX
                or self.csv.size > ATTACHED_BYTES_MAX
            ):
                self.csv = None
        if self.tables is not None:
            self._data += sum(len(row["additional_data"] or "") for row in rows)
            if self._events > PDF_EVENTS_MAX or self._data > PDF_DATA_MAX:
                self.tables = None
            else:
                self._rows += [list_event(self._line, row, feeds) for row in rows]
