"""The proof of a document: its arithmetic step by step, and the events behind it by pages."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.manage import values
from gateway.manage.answers import json_answer
from gateway.manage.body import Fields
from gateway.manage.context import path_ref, read_query, routes_of, transaction
from gateway.reports.credit_proof import find_credit_proof
from gateway.reports.event_proof import prove_change, with_ahead
from gateway.reports.usage_of_lines import load_feeds, read_rows
from runtime.postgres import Connection, Queries
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.event_ref import shard_key_of
from schemas.line_usage import Feeds, counted_quantity
from schemas.proof import DocumentRows, prove
from schemas.proof_figures import Answer

PAGE_MAX: Final = 1_000
PAGE_DEFAULT: Final = 100
SCANNED_MAX: Final = 20_000
"""Events that one page is looked for in; where few of them are in a line, pages are short."""

queries: Final = Queries.beside(__file__, "proof.sql")

_REF_MIN: Final = UUID(int=0)
_REF_BYTES: Final = 16


class Place(Struct, frozen=True):
    """Where a page begins: behind an event of one of the document's lists."""

    list_number: int = 0
    after: UUID = _REF_MIN


class Asked(Struct, frozen=True):
    """Which events of a document. line: of one line item alone."""

    line: UUID | None
    place: Place
    limit: int


async def get_proof(request: web.Request) -> web.Response:
    """GET /api/invoices/<invoice_ref>/proof: how every line and the total came about.

    Each line with its cut, price version, tiers, unrounded amount, and the SHA-256 of its events;
    of a credit or a debit, what the document says now less what was issued. All is computed again:
    `agrees` tells whether it is what the document states.
    """
    document_ref = path_ref(request, "invoice_ref")
    async with transaction(request) as (connection, tenant_id):
        proof = await prove_document(connection, tenant_id, document_ref)
    if proof is None:
        raise _unknown(document_ref)
    return json_answer(proof)


async def prove_document(
    connection: Connection, tenant_id: int, document_ref: UUID
) -> Answer | None:
    """Prove a document: of a period, of an event, a correction of either, or a credit by people.

    None where there is no such document. Raises Conflict where it can't be told.
    """
    rows = await load_rows(connection, tenant_id, document_ref)
    if rows is None:
        return None
    place = shard_key_of(document_ref.int)
    credit = await find_credit_proof(connection, tenant_id, place, document_ref)
    if credit is not None:
        return credit
    of_event = await prove_change(connection, tenant_id, place, rows)
    if of_event is not None:
        return of_event
    return prove(await with_ahead(connection, tenant_id, place, rows))


async def load_rows(
    connection: Connection, tenant_id: int, document_ref: UUID
) -> DocumentRows | None:
    """Read all that a proof is made of; None where there is no such document."""
    place = (tenant_id, shard_key_of(document_ref.int))
    family = await connection.fetch(queries.find_family, *place, document_ref)
    # What is issued after it, or drawn up beside it, is no part of its proof.
    family = [row for row in family if not row["is_own"]] + [r for r in family if r["is_own"]]
    if not family:
        return None
    refs = [row["document_ref"] for row in family]
    products = await connection.fetch(queries.list_products, *place, refs)
    lines = await connection.fetch(queries.list_lines, *place, refs)
    # What has billed a part ahead is a part of it by that alone.
    ahead = {row["document_ref"] for row in family if row["is_ahead"]}
    roots = {document_ref, family[-1]["parent_document_ref"]}
    products = [
        row
        for row in products
        if row["document_ref"] not in ahead or row["root_document_ref"] in roots
    ]
    places = {(row["document_ref"], row["position"]) for row in products}
    own = [row for row in products if row["document_ref"] == document_ref]
    cuts = [row["period_ref"] for row in own], [row["cut_number"] for row in own]
    return DocumentRows(
        family=family,
        products=products,
        lines=[row for row in lines if (row["document_ref"], row["product_position"]) in places],
        cut_lines=await connection.fetch(queries.list_cut_lines, *place, *cuts),
        draws=await connection.fetch(queries.list_draws, *place, [document_ref]),
    )


def read_events_asked(fields: Fields) -> Asked:
    """Read the query of `GET /api/invoices/<ref>/events`."""
    return Asked(
        line=fields.optional(values.ref, "line"),
        place=fields.optional(read_place, "cursor") or Place(),
        limit=fields.optional(values.whole(1, PAGE_MAX), "limit") or PAGE_DEFAULT,
    )


async def get_events(request: web.Request) -> web.Response:
    """GET /api/invoices/<invoice_ref>/events: the events in a document's lines, by pages.

    They come list by list, as lines of one meter share theirs, each in the order of the refs. Of a
    credit or a debit they are those of the whole period as it was counted then.
    """
    document_ref = path_ref(request, "invoice_ref")
    query = read_query(request, refuses_unknown=True)
    asked = read_events_asked(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        answer = await page_of(connection, tenant_id, document_ref, asked)
    if answer is None:
        raise _unknown(document_ref)
    return json_answer(answer)


async def page_of(
    connection: Connection, tenant_id: int, document_ref: UUID, asked: Asked
) -> Answer | None:
    """Return a page of a document's events; None where there is no such document.

    Raises Conflict when they have left for an archive.
    """
    place = (tenant_id, shard_key_of(document_ref.int), document_ref)
    lists = await connection.fetch(queries.find_lists, *place, asked.line)
    if not lists and not await connection.fetch(queries.find_family, *place):
        return None
    events: list[Answer] = []
    number, after, scanned = asked.place.list_number, asked.place.after, 0
    while number < len(lists) and len(events) < asked.limit and scanned < SCANNED_MAX:
        own = lists[number]
        if own["is_archived"]:
            raise Conflict("usage_archived", "events of that period have left for an archive")
        length = asked.limit - len(events)
        rows = await read_rows(connection, tenant_id, own, after, length)
        feeds = await load_feeds(connection, tenant_id, own["meter_id"])
        events += [_event(row, own, feeds) for row in rows if row["counts"]]
        scanned += len(rows)
        if len(rows) < length:
            number, after = number + 1, _REF_MIN
        else:
            after = rows[-1]["event_ref"]
    is_over = number >= len(lists)
    return {
        "events": events,
        "next_cursor": None if is_over else cursor_of(Place(number, after)),
    }


def _event(row: asyncpg.Record, own: asyncpg.Record, feeds: Feeds) -> dict[str, Any]:
    """Show an event as it counts in the lines. Its usage product: its own, whatever it feeds."""
    data, fed = row["additional_data"], feeds.get(row["meter_id"])
    return {
        "event_ref": row["event_ref"],
        "timestamp": row["occurred_at"],
        "usage_product_ref": own["usage_product_ref"] if fed is None else fed.usage_product_ref,
        "line_item_refs": own["line_item_refs"],
        "quantity": msgspec.Raw(counted_quantity(row, feeds).encode()),
        "additional_report_data": None if data is None else msgspec.Raw(data.encode()),
    }


def cursor_of(place: Place) -> str:
    """Write where the next page begins, in a form that invites no arithmetic."""
    raw = place.after.bytes + place.list_number.to_bytes(4, "big")
    return urlsafe_b64encode(raw).decode().rstrip("=")


def read_place(value: object) -> Place:
    """Read what `cursor_of` wrote. Raises InvalidInput."""
    text = str(value)
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return Place(int.from_bytes(raw[_REF_BYTES:], "big"), UUID(bytes=raw[:_REF_BYTES]))
    except ValueError:
        detail = "must be a next_cursor of an earlier answer"
        raise InvalidInput("cursor_malformed", detail) from None


def _unknown(document_ref: UUID) -> NotFound:
    detail = f"there is no document {document_ref}, or it is not drawn up yet"
    return NotFound("document_unknown", detail)


ROUTES = [
    *routes_of("GET", "/api/invoices/{invoice_ref}/proof", get_proof, "billing:read"),
    *routes_of(
        "GET",
        "/api/invoices/{invoice_ref}/events",
        get_events,
        "billing:read",
        asks=read_events_asked,
    ),
]
