"""The routes of uploads: a file comes in, its report is read."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from aiohttp import web

from gateway.formats.mapping import find_format
from gateway.ingest.routes import INGEST
from gateway.manage import values
from gateway.manage.answers import cursor_of, json_answer, read_cursor
from gateway.manage.body import Fields
from gateway.manage.context import (
    REQUEST_ID,
    caller,
    path_ref,
    read_query,
    routes_of,
    transaction,
)
from gateway.manage.idempotency import KEY_HEADER
from gateway.uploads.body import MEDIA, read_rows
from gateway.uploads.bounds import BOUNDS, BYTES_HELD
from gateway.uploads.layout import Options, read_layout, read_options
from gateway.uploads.reading import Row
from gateway.uploads.receiving import TAKEN, receive, show
from gateway.uploads.record import (
    SILENT_SECONDS,
    load_rejections,
    load_upload,
    queries,
    read_key,
    upload_answer,
)
from gateway.uploads.rejected import write_header, write_rows
from schemas.errors import InvalidInput
from schemas.formats import Format

PAGE_MAX: Final = 1_000
PAGE_DEFAULT: Final = 100

REJECTIONS_A_PAGE: Final = 200
"""Rejected rows of a report that are in memory at once."""

_AFTER_ALL: Final = (1 << 31) - 1


async def post_upload(request: web.Request) -> web.Response:
    """POST /api/usage/uploads: usage as a CSV file of any size, raw or as the one part of a form.

    It is read while it comes, also packed with gzip or zstd, and answered when every row is
    acknowledged or rejected. Rows without an `idempotency_key` get one of the request's
    `Idempotency-Key` (else the upload's ref) and their number: after any failure the same file
    sent with that key goes on where it was, and no row is billed twice.
    """
    query = read_query(request, refuses_unknown=True)
    options = read_options(query.fields)
    query.finish()
    key = read_key(request.headers.get(KEY_HEADER))
    tenant_id = caller(request).tenant_id
    bounds, budget = request.app[BOUNDS], request.app[INGEST].budget
    with bounds.one_more(tenant_id):
        budget.take(tenant_id, BYTES_HELD)
        try:
            async with aclosing(read_rows(request, options.delimiter, bounds)) as batches:
                header, *rows = await _first_rows(batches)
                rules = await _find_rules(request, options)
                layout = read_layout(header.cells or (), options, rules)
                return await receive(request, layout, options, key, batches, rows)
        finally:
            budget.give_back(tenant_id, BYTES_HELD)


async def _find_rules(request: web.Request, options: Options) -> Format | None:
    """Return what the format makes of rows; None where their columns are the API's fields."""
    if options.form is None:
        return None
    reference = request.app[INGEST].reference
    tenant = reference.tenants[caller(request).tenant_id]
    return (await find_format(reference, tenant, options.form)).rules


async def _first_rows(batches: AsyncGenerator[list[Row]]) -> list[Row]:
    """Return the first rows of a file, which begin with its header. Raises InvalidInput."""
    async for rows in batches:
        if rows:
            return rows
    raise InvalidInput("body_malformed", "must begin with a row that names the fields")


def read_page(fields: Fields) -> tuple[int, int]:
    """Read how many uploads are asked for, and before which one the page begins."""
    limit = fields.optional(values.whole(1, PAGE_MAX), "limit") or PAGE_DEFAULT
    before = fields.optional(read_cursor, "cursor")
    return limit, _AFTER_ALL if before is None else before


async def list_uploads(request: web.Request) -> web.Response:
    """GET /api/usage/uploads: a page of uploads, the newest first."""
    query = read_query(request, refuses_unknown=True)
    limit, before = read_page(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(
            queries.list_uploads, tenant_id, before, limit + 1, SILENT_SECONDS
        )
    page = rows[:limit]
    shown: list[dict[str, Any]] = [upload_answer(row) for row in page]
    for upload in shown:
        del upload["errors"]  # they are shown with one upload
    last = cursor_of(page[-1]["upload_id"]) if len(rows) > limit else None
    return json_answer({"uploads": shown, "next_cursor": last})


async def get_upload(request: web.Request) -> web.Response:
    """GET /api/usage/uploads/<ref>: how far an upload is, and the first of its rejected rows.

    RUNNING: its rows are coming. COMPLETED: every row has its outcome. ABORTED: the request broke
    off behind `rows` rows; the file sent again with its `idempotency_key` goes on there. Accepted
    rows are in the log; which of them are repeats is for the rater to find, and shows in the usage.
    """
    upload_ref = path_ref(request, "upload_ref")
    async with transaction(request) as (connection, tenant_id):
        row = await load_upload(connection, tenant_id, upload_ref)
        return json_answer(await show(connection, row))


async def get_rejected(request: web.Request) -> web.StreamResponse:
    """GET /api/usage/uploads/<ref>/rejected.csv: the rejected rows as they were, with reasons.

    Safe to open: a cell that would run as a formula has an apostrophe in front. Corrected, the file
    can be uploaded as it is. The first 10,000 rows are kept, for 30 days.
    """
    upload_ref = path_ref(request, "upload_ref")
    async with transaction(request) as (connection, tenant_id):
        row = await load_upload(connection, tenant_id, upload_ref)
    answer = web.StreamResponse(
        headers={
            "Content-Disposition": f'attachment; filename="rejected-{upload_ref}.csv"',
            "X-Request-Id": request[REQUEST_ID],
        }
    )
    answer.content_type, answer.charset = "text/csv", "utf-8"
    await answer.prepare(request)
    await answer.write(write_header(row["header"]))
    after = 0
    while True:
        async with transaction(request) as (connection, tenant_id):
            page = await load_rejections(
                connection, tenant_id, row["upload_id"], after=after, limit=REJECTIONS_A_PAGE
            )
        if not page:
            break
        await answer.write(write_rows(row["header"], page))
        after = page[-1].number
    await answer.write_eof()
    return answer


ROUTES: Final = [
    *routes_of(
        "POST",
        "/api/usage/uploads",
        post_upload,
        "usage:write",
        asks=read_options,
        status=TAKEN,
        streams=MEDIA,
    ),
    *routes_of("GET", "/api/usage/uploads", list_uploads, "usage:read", asks=read_page),
    *routes_of("GET", "/api/usage/uploads/{upload_ref}", get_upload, "usage:read"),
    *routes_of(
        "GET",
        "/api/usage/uploads/{upload_ref}/rejected.csv",
        get_rejected,
        "usage:read",
        media=("text/csv",),
    ),
]
