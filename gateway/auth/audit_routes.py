"""`GET /api/audit`: who did what, from where, the newest first."""

from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.auth.sql import queries
from gateway.manage import values
from gateway.manage.answers import page_answer, read_cursor
from gateway.manage.body import Fields
from gateway.manage.context import read_query, routes_of, transaction

PAGE_MAX: Final = 1_000
PAGE_DEFAULT: Final = 100

_DAY: Final = timedelta(days=1)


class Wanted(Struct, frozen=True):
    """Which entries are asked for. end is exclusive; before: the number of the last one seen."""

    start: datetime | None
    end: datetime | None
    actor: str | None
    limit: int
    before: int | None


def read_wanted(fields: Fields) -> Wanted:
    """Read the query of `GET /api/audit`. Days are those of UTC, both inclusive."""
    return Wanted(
        start=fields.optional(values.instant, "from"),
        end=fields.optional(read_end, "to"),
        actor=fields.optional(values.text, "actor"),
        limit=fields.optional(values.whole(1, PAGE_MAX), "limit") or PAGE_DEFAULT,
        before=fields.optional(read_cursor, "cursor"),
    )


def read_end(value: object) -> datetime:
    """Read the time before which something is, or a day, to the end of which in UTC it is."""
    first = values.instant(value)
    return first if isinstance(values.day_or_instant(value), datetime) else first + _DAY


async def list_entries(request: web.Request) -> web.Response:
    """GET /api/audit: a page of what was done in this tenant.

    An entry's hash is SHA-256 over the hash of the one before it, its number as 8 bytes, and its
    text: `meterline admin audit` and `meterline verify` compute them again.
    """
    query = read_query(request, refuses_unknown=True)
    wanted = read_wanted(query.fields)
    query.finish()
    bounds = (wanted.before, wanted.start, wanted.end, wanted.actor, wanted.limit + 1)
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_audit_entries, tenant_id, *bounds)
    page = rows[: wanted.limit]
    last = page[-1]["number"] if len(rows) > wanted.limit else None
    return page_answer("entries", [entry_answer(row) for row in page], last)


def entry_answer(row: asyncpg.Record) -> dict[str, Any]:
    """Show an entry, with its place in the chain."""
    entry = msgspec.json.decode(row["entry"], type=dict[str, msgspec.Raw])
    return {"number": row["number"], **entry, "hash": row["hash"].hex()}


ROUTES: Final[list[web.RouteDef]] = [
    *routes_of("GET", "/api/audit", list_entries, "admin", asks=read_wanted),
]
