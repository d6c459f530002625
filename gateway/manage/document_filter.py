"""Lists of documents: pages by number or by cursor, newest first, and what they come to.

A page is read along an index that has the order of the list, so that its cost does not grow with
the number of documents before it or behind it.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

import asyncpg
from aiohttp import web
from msgspec import Struct
from yarl import URL

from gateway.manage import values
from gateway.manage.answers import json_answer, number
from gateway.manage.body import Fields
from gateway.manage.context import queries, read_query, routes_of, transaction
from gateway.manage.documents import document_answers
from runtime.postgres import Connection
from schemas.document import DocumentState
from schemas.errors import InvalidInput
from schemas.event_ref import shard_key, shard_key_of

PAGE_MAX: Final = 500
REFS_MAX: Final = 1_000
_REF_BYTES: Final = 16


class Place(Struct, frozen=True):
    """Where a page ends: the issue date and the ref of its last document."""

    issue_date: date
    document_ref: UUID


_BEGINNING: Final = Place(date.max, UUID(int=(1 << 128) - 1))


class Chosen(Struct, frozen=True):
    """Which documents are asked for; an empty list of refs and None mean any."""

    customers: list[UUID]
    contracts: list[UUID]
    state: str | None
    first: date | None
    last: date | None

    @property
    def places(self) -> list[int]:
        """The shards of the customers, or else of the contracts."""
        of_customers = {shard_key(str(ref)) for ref in self.customers}
        return [*(of_customers or {shard_key_of(ref.int) for ref in self.contracts})]

    @property
    def bounds(self) -> tuple[date, date]:
        """The first and the last issue date, both inclusive."""
        return self.first or date.min, self.last or date.max


class Wanted(Struct, frozen=True):
    """A page of them. after: None where it is asked for by its number."""

    chosen: Chosen
    limit: int
    page: int
    after: Place | None


def read_chosen(fields: Fields) -> Chosen:
    """Read which documents are asked for."""
    return Chosen(
        customers=fields.optional(_refs, "customer_refs") or [],
        contracts=fields.optional(_refs, "contract_refs") or [],
        state=fields.optional(values.choice(*map(str, DocumentState)), "state"),
        first=fields.optional(values.plain_date, "from"),
        last=fields.optional(values.plain_date, "to"),
    )


def read_wanted(fields: Fields) -> Wanted:
    """Read the query of `GET /api/documents/filter`."""
    chosen = read_chosen(fields)
    limit = fields.required(values.whole(1, PAGE_MAX), "limit")
    after = fields.optional(read_place, "cursor")
    page = fields.optional(values.whole(0, values.PAGE_NUMBER_MAX), "page")
    if fields.has("cursor") and page:
        fields.add("page_and_cursor", "must be left out, or 0, beside a cursor", "page")
    elif not fields.has("cursor") and not fields.has("page"):
        fields.add("required", "is missing", "page")
    return Wanted(chosen, limit, page or 0, after)


async def filter_documents(request: web.Request) -> web.Response:
    """GET /api/documents/filter: a page of customers' or contracts' documents, newest first.

    A page that is not the last has a `Link` with `rel="next"`: the same request with the `cursor`
    behind it, which no document that comes or goes meanwhile moves.
    """
    query = read_query(request)
    wanted = read_wanted(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        rows = await find_documents(connection, tenant_id, wanted)
        shown = rows[: wanted.limit]
        answers = await document_answers(request, connection, tenant_id, shown)
    answer = json_answer(answers)
    if len(rows) > wanted.limit:
        last = Place(shown[-1]["issue_date"], shown[-1]["document_ref"])
        kept = [pair for pair in request.query.items() if pair[0] not in ("page", "cursor")]
        address = URL.build(path=request.path, query=[*kept, ("cursor", cursor_of(last))])
        answer.headers["Link"] = f'<{address}>; rel="next"'
    return answer


async def find_documents(
    connection: Connection, tenant_id: int, wanted: Wanted
) -> Sequence[asyncpg.Record]:
    """Read a page and, where there is one, the document behind it."""
    chosen, after = wanted.chosen, wanted.after or _BEGINNING
    bounds = (tenant_id, *chosen.bounds, after.issue_date, after.document_ref)
    size = (wanted.limit + 1, wanted.page * wanted.limit)
    if chosen.customers or chosen.contracts:
        refs = (chosen.places, chosen.customers, chosen.contracts)
        return await connection.fetch(
            queries.list_documents_of, *bounds, *size, chosen.state, *refs
        )
    if chosen.state is not None:
        return await connection.fetch(queries.list_documents_in_state, *bounds, *size, chosen.state)
    return await connection.fetch(queries.list_documents, *bounds, *size)


async def add_up_documents(request: web.Request) -> web.Response:
    """GET /api/documents/totals: what the documents of a filter come to, by currency and state."""
    query = read_query(request, refuses_unknown=True)
    chosen = read_chosen(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        rows = await load_totals(connection, tenant_id, chosen)
    return json_answer({"totals": [dict(row) | {"total": number(row["total"])} for row in rows]})


async def load_totals(
    connection: Connection, tenant_id: int, chosen: Chosen
) -> Sequence[asyncpg.Record]:
    """Count and add up the documents of a filter."""
    refs = (chosen.state, chosen.places, chosen.customers, chosen.contracts)
    return await connection.fetch(queries.add_up_documents, tenant_id, *chosen.bounds, *refs)


def cursor_of(place: Place) -> str:
    """Write where the next page begins, in a form that invites no arithmetic."""
    raw = place.document_ref.bytes + place.issue_date.toordinal().to_bytes(4, "big")
    return urlsafe_b64encode(raw).decode().rstrip("=")


def read_place(value: object) -> Place:
    """Read what `cursor_of` wrote. Raises InvalidInput."""
    text = str(value)
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        day = date.fromordinal(int.from_bytes(raw[_REF_BYTES:], "big"))
        return Place(day, UUID(bytes=raw[:_REF_BYTES]))
    except (ValueError, OverflowError):
        detail = "must be the cursor of an earlier answer's Link"
        raise InvalidInput("cursor_malformed", detail) from None


def _refs(value: object) -> list[UUID]:
    """Read refs, repeated or with commas between."""
    parts = [part.strip() for part in str(value).split(",")]
    if len(parts) > REFS_MAX:
        raise InvalidInput("refs_too_many", f"must be at most {REFS_MAX} refs")
    return [values.ref(part) for part in parts]


ROUTES = [
    *routes_of("GET", "/api/documents/filter", filter_documents, "billing:read", asks=read_wanted),
    *routes_of("GET", "/api/documents/totals", add_up_documents, "billing:read", asks=read_chosen),
]
