"""Formats over HTTP: made, listed, shown, changed, deleted."""

from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
from aiohttp import web
from msgspec import Raw

from gateway.formats.reading import NewFormat, read_format, read_format_change, read_sample
from gateway.formats.trying import try_format
from gateway.ingest.routes import INGEST
from gateway.manage import values
from gateway.manage.answers import json_answer, page_answer, read_cursor
from gateway.manage.body import Fields
from gateway.manage.context import (
    note,
    path_ref,
    read_body,
    read_query,
    routes_of,
    transaction,
)
from runtime.postgres import Connection, Queries
from schemas.errors import Conflict, NotFound
from schemas.formats_definition import DEFAULT_DEFINITION

FORMATS_MAX: Final = 100
"""Formats of one tenant: each gateway process keeps them in memory."""

PAGE_MAX: Final = 100

queries: Final = Queries.beside(__file__)


async def create_format(request: web.Request) -> web.Response:
    """POST /api/usage/formats."""
    body = await read_body(request, refuses_unknown=True)
    form = read_format(body.fields)
    body.finish()
    ref = uuid4()
    async with transaction(request) as (connection, tenant_id):
        row = (form.name, form.definition.decode())
        try:
            await connection.execute(queries.add_format, tenant_id, ref, *row)
        except asyncpg.UniqueViolationError:
            raise _name_taken(form.name) from None
        # The row took the lock on the tenant's version: nobody else adds one until we are done.
        if await connection.fetchval(queries.count_formats, tenant_id) > FORMATS_MAX:
            detail = f"there are {FORMATS_MAX} formats, and no more are kept: delete one"
            raise Conflict("formats_too_many", detail)
        await note(request, connection, "format.made", ref, after=_shown(form))
    return json_answer({"format_ref": ref})


def _shown(form: NewFormat) -> dict[str, Any]:
    return {"name": form.name, "fields": Raw(form.definition)}


def _name_taken(name: str) -> Conflict:
    return Conflict("name_taken", f"there is a format named {name!r} already")


async def find(connection: Connection, statement: str, tenant_id: int, ref: UUID) -> asyncpg.Record:
    """Return a format's row. Raises NotFound."""
    row = await connection.fetchrow(statement, tenant_id, ref)
    if row is None:
        raise NotFound("format_unknown", f"there is no format {ref}")
    return row


async def get_format(request: web.Request) -> web.Response:
    """GET /api/usage/formats/<format_ref>."""
    ref = path_ref(request, "format_ref")
    async with transaction(request) as (connection, tenant_id):
        return json_answer(_answer(await find(connection, queries.find_format, tenant_id, ref)))


def read_page(fields: Fields) -> tuple[int, int]:
    """Read how many rows a page has, and behind which place it begins."""
    limit = fields.optional(values.whole(1, PAGE_MAX), "limit") or PAGE_MAX
    return limit, fields.optional(read_cursor, "cursor") or 0


async def list_formats(request: web.Request) -> web.Response:
    """GET /api/usage/formats: a page, in the order they were made."""
    query = read_query(request, refuses_unknown=True)
    limit, after = read_page(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_formats, tenant_id, after, limit + 1)
    page = rows[:limit]
    last = page[-1]["format_id"] if len(rows) > limit else None
    return page_answer("formats", [_answer(row) for row in page], last)


async def replace_format(request: web.Request) -> web.Response:
    """PUT /api/usage/formats/<format_ref>: its name and its fields anew.

    Events that were sent stay what they were made.
    """
    ref = path_ref(request, "format_ref")
    body = await read_body(request, refuses_unknown=True)
    form = read_format_change(body.fields)
    body.fields.optional(values.same_ref(ref), "format_ref")
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        before = await _hold(connection, tenant_id, ref)
        row = (before["format_id"], form.name, form.definition.decode())
        try:
            after = await connection.fetchrow(queries.change_format, tenant_id, *row)
        except asyncpg.UniqueViolationError:
            raise _name_taken(form.name) from None
        assert after is not None, "it is held"
        answer, former = _answer(after), _answer(before)
        await note(request, connection, "format.changed", ref, before=former, after=answer)
    return json_answer(answer)


async def delete_format(request: web.Request) -> web.Response:
    """DELETE /api/usage/formats/<format_ref>. Events that were sent stay what they were made."""
    ref = path_ref(request, "format_ref")
    async with transaction(request) as (connection, tenant_id):
        row = await _hold(connection, tenant_id, ref)
        await connection.execute(queries.delete_format, tenant_id, row["format_id"])
        await note(request, connection, "format.deleted", ref, before=_answer(row))
    return json_answer({"format_ref": ref})


async def _hold(connection: Connection, tenant_id: int, ref: UUID) -> asyncpg.Record:
    """Lock a format that may be changed. Raises NotFound, Conflict."""
    row = await find(connection, queries.hold_format, tenant_id, ref)
    if row["definition"] is None:
        detail = f"{row['name']!r} stays as it is: make a format of your own"
        raise Conflict("format_is_default", detail)
    return row


def _answer(row: asyncpg.Record) -> dict[str, Any]:
    definition = row["definition"]
    return {
        "format_ref": row["format_ref"],
        "name": row["name"],
        "fields": DEFAULT_DEFINITION if definition is None else Raw(definition.encode()),
        "is_default": definition is None,
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


async def post_try(request: web.Request) -> web.Response:
    """POST /api/usage/formats/<format_ref>/try: what a sample becomes; nothing is published."""
    ref = path_ref(request, "format_ref")
    body = await read_body(request, refuses_unknown=True)
    sent = read_sample(body.fields)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        row = await find(connection, queries.find_format, tenant_id, ref)
    return json_answer(await try_format(request.app[INGEST], tenant_id, row["definition"], sent))


_PATH: Final = "/api/usage/formats"
_ONE: Final = "/api/usage/formats/{format_ref}"

ROUTES = [
    *routes_of("POST", _PATH, create_format, "billing:write", reads=read_format),
    *routes_of("GET", _PATH, list_formats, "usage:read", asks=read_page),
    *routes_of("GET", _ONE, get_format, "usage:read"),
    *routes_of("PUT", _ONE, replace_format, "billing:write", reads=read_format_change),
    *routes_of("DELETE", _ONE, delete_format, "billing:write"),
    *routes_of("POST", _ONE + "/try", post_try, "usage:write", reads=read_sample),
]
