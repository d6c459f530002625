"""The usage behind a line of a document, as the list that the line's digest is of."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final
from uuid import UUID

import asyncpg
from aiohttp import web
from msgspec import Struct

from gateway.manage import values
from gateway.manage.body import Fields
from gateway.manage.context import (
    REQUEST_ID,
    path_ref,
    read_query,
    routes_of,
    transaction,
)
from runtime.postgres import Connection, Queries
from schemas.errors import InvalidInput, NotFound
from schemas.event_ref import shard_key_of
from schemas.line_usage import (
    EVENTS_A_PAGE,
    PEOPLE_HEADER,
    REF_MIN,
    STATEMENTS,
    Feeds,
    check_kept,
    choose_all,
    counted_quantity,
    counting,
    next_after,
    page_arguments,
    people_text,
    read_feeds,
)
from schemas.usage_csv import HEADER, MEDIA_TYPE, usage_row

queries: Final = Queries(STATEMENTS)

Opened = Callable[[], AbstractAsyncContextManager[tuple[Connection, int]]]
"""Opens a transaction of a tenant, whose id comes with it."""


class Wanted(Struct, frozen=True):
    """Which line; None: all. charge_ref: which of several with that line item."""

    line_item_ref: UUID | None
    charge_ref: UUID | None


def read_wanted(fields: Fields) -> Wanted:
    """Read the query of `GET /api/invoices/<ref>/usage.csv`."""
    line = fields.optional(values.ref, "line")
    charge = fields.optional(values.ref, "charge_ref")
    if charge is not None and line is None:
        raise InvalidInput("line_needed", "is of a line: name it by line", "/charge_ref")
    return Wanted(line, charge)


async def get_usage(request: web.Request) -> web.StreamResponse:
    """GET /api/invoices/<invoice_ref>/usage.csv: every event in the document, or in one `line`.

    Of a line: by ref, and its SHA-256 is the line's `events_digest`: `sha256sum` proves what was
    billed. Of a credit or a debit the list is of the whole period as it was counted then. Where a
    document has several lines of one line item, `charge_ref` says which. Without `line` it is the
    events of all lines for a spreadsheet: with the time of day where the issuer is, and with an
    apostrophe before texts that would be taken for formulas.
    """
    document_ref = path_ref(request, "invoice_ref")
    query = read_query(request, refuses_unknown=True)
    wanted = read_wanted(query.fields)
    query.finish()
    opened = partial(transaction, request)
    async with opened() as (connection, tenant_id):
        place = (tenant_id, shard_key_of(document_ref.int), document_ref)
        rows = await connection.fetch(queries.find_line_usage, *place, wanted.line_item_ref)
        lines = [choose(rows, wanted)] if wanted.line_item_ref else choose_all(rows)
    name = wanted.line_item_ref or document_ref
    answer = csv_answer(request, f"usage-{name}.csv")
    if not wanted.line_item_ref:
        return await send_people_list(request, answer, lines, opened)
    [line] = lines
    answer.headers["ETag"] = f'"{line["events_digest"].hex()}"'
    await answer.prepare(request)
    await answer.write(HEADER)
    async for page, fed in _pages(line, opened):
        await answer.write("".join(usage_text(row, fed) for row in page).encode())
    await answer.write_eof()
    return answer


def csv_answer(request: web.Request, name: str) -> web.StreamResponse:
    """Begin an answer that is a file of CSV."""
    answer = web.StreamResponse(
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "private, no-cache",
            "X-Request-Id": request[REQUEST_ID],
        }
    )
    answer.content_type, answer.charset = MEDIA_TYPE, "utf-8"
    return answer


async def send_people_list(
    request: web.Request,
    answer: web.StreamResponse,
    lines: Sequence[asyncpg.Record],
    opened: Opened,
) -> web.StreamResponse:
    """Answer with the events of lines for a spreadsheet.

    lines: of `choose_all`. opened: the transactions to read in, one for each page.
    """
    await answer.prepare(request)
    await answer.write(PEOPLE_HEADER)
    for line in lines:
        async for page, fed in _pages(line, opened):
            await answer.write("".join(people_text(line, row, fed) for row in page).encode())
    await answer.write_eof()
    return answer


async def _pages(
    line: asyncpg.Record, opened: Opened
) -> AsyncIterator[tuple[Sequence[asyncpg.Record], Feeds]]:
    """Yield the events that count in a line, a page at a time, each in its own transaction."""
    after: UUID | None = REF_MIN
    fed: Feeds | None = None
    while after is not None:
        async with opened() as (connection, tenant_id):
            if fed is None:
                fed = await load_feeds(connection, tenant_id, line["meter_id"])
            page = await read_rows(connection, tenant_id, line, after, EVENTS_A_PAGE)
        yield counting(page), fed
        after = next_after(page)


def choose(rows: Sequence[asyncpg.Record], wanted: Wanted) -> asyncpg.Record:
    """Return the one line that is asked for. Raises what is wrong with the question."""
    if not rows:
        raise NotFound("line_unknown", "the document has no line of that line item")
    found = [row for row in rows if wanted.charge_ref in (None, row["charge_ref"])]
    if len(found) != 1:
        detail = "the document has several lines of that line item; name one by its charge_ref"
        raise InvalidInput("line_ambiguous", detail, "/charge_ref")
    [line] = found
    if line["events_digest"] is None:
        raise NotFound("line_without_usage", "no events feed that line")
    check_kept(line)
    return line


async def read_rows(
    connection: Connection, tenant_id: int, line: asyncpg.Record, after: UUID, length: int
) -> Sequence[asyncpg.Record]:
    """Read so many of the events that a line may hold, behind `after`; `counts`: which it does."""
    rows: Sequence[asyncpg.Record] = await connection.fetch(
        queries.usage_of_line, *page_arguments(tenant_id, line, after, length)
    )
    return rows


async def load_feeds(connection: Connection, tenant_id: int, meter_id: int) -> Feeds:
    """Return the other meters whose events count in lines of one."""
    return read_feeds(await connection.fetch(queries.list_feeds, tenant_id, meter_id))


def usage_text(row: asyncpg.Record, feeds: Feeds) -> str:
    """Write one event as a line's list has it."""
    quantity = counted_quantity(row, feeds)
    return usage_row(row["ref_text"], row["occurred_at"], quantity, row["additional_data"])


ROUTES = [
    *routes_of(
        "GET",
        "/api/invoices/{invoice_ref}/usage.csv",
        get_usage,
        "billing:read",
        asks=read_wanted,
        media=(MEDIA_TYPE,),
    ),
]
