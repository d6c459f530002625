"""Usage events as they were counted: one with all that is known of it, or a page of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web

from gateway.ingest.routes import INGEST
from gateway.manage import values
from gateway.manage.answers import json_answer, number
from gateway.manage.body import Fields
from gateway.manage.context import not_ready, path_ref, read_query, routes_of, transaction
from gateway.reports.asking import (
    EPOCH,
    MICRO,
    Asked,
    Found,
    check_not_archived,
    cursor_of,
    find_named,
    names_of,
    queries,
    read_asked,
    read_cursor,
    unknown_event,
)
from gateway.reports.charges import Charges, Counted, charges_of, document_answer
from runtime.postgres import Connection
from schemas.event_ref import shard_key_of

PAGE_MAX: Final = 1_000
PAGE_DEFAULT: Final = 100
SCANNED_MAX: Final = 20_000
"""Events that one page is looked for in; where few of them match, pages are short."""

_NO_REF: Final = UUID(int=0)

Row = asyncpg.Record | Mapping[str, Any]


async def get_event(request: web.Request) -> web.Response:
    """GET /api/usage/event/<event_ref>: an event, its versions, its charges and their documents.

    A ref that a retry across a month's bound was answered with is another name of the first one's.
    """
    asked = path_ref(request, "event_ref")
    place = shard_key_of(asked.int)
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(queries.find_event, tenant_id, place, names_of(asked))
        if row is None:
            unknown = await unknown_event(connection, asked)
            return not_ready(request, unknown.code, unknown.detail)
        named = (tenant_id, place, row["event_ref"])
        amendments = await connection.fetch(queries.list_event_versions, *named)
        event = dict(row) | dict(amendments[-1] if amendments else {})  # of one moment
        counted = Counted(
            *(place, event["customer_id"], event["meter_id"], event["occurred_at"]),
            event["event_ref"],
        )
        charges = await charges_of(connection, tenant_id, counted)
        billed = await _billed(connection, tenant_id, counted, row, amendments)
        conflicts = await connection.fetch(queries.list_event_conflicts, *named)
    versions = [_first_version(row), *_later_versions(amendments)]
    for version in versions:
        version["documents"] = billed.get(version["version"], [])
    return json_answer(
        {
            **_event_answer(event),
            "customer_ref": row["customer_ref"],
            "customer_name": row["customer_name"],
            "deleted": event["is_deleted"],
            **related(request, tenant_id, event, charges),
            "versions": versions,
            "charges": charges.shown,
            "conflicts": [_conflict_answer(conflict) for conflict in conflicts],
        }
    )


def related(request: web.Request, tenant_id: int, event: Row, charges: Charges) -> dict[str, Any]:
    """Show the documents that an event is expected on: their refs, and their numbers if issued."""
    at = (event["occurred_at"] - EPOCH) // MICRO
    use = (str(event["customer_ref"]), str(event["usage_product_ref"]))
    found = request.app[INGEST].covering(tenant_id, use, at)
    document, parent = (
        (None, None) if found is None else found[0].documents_of(str(event["event_ref"]), found[1])
    )
    return {
        "related_document_ref": document,
        "related_document_numbers": charges.numbers["related_document_numbers"],
        "related_parent_document_ref": parent,
        "related_parent_document_numbers": charges.numbers["related_parent_document_numbers"],
    }


async def _billed(
    connection: Connection,
    tenant_id: int,
    counted: Counted,
    first: asyncpg.Record,
    amendments: Sequence[asyncpg.Record],
) -> dict[int, list[dict[str, Any]]]:
    """Return the documents that were drawn up while a version counted, by its number from 1."""
    rated_at = [first["rated_at"], *(row["rated_at"] for row in amendments)]
    occurred_at = [first["first_occurred_at"], *(row["occurred_at"] for row in amendments)]
    rows = await connection.fetch(
        queries.list_version_documents,
        *(tenant_id, counted.shard_key, counted.customer_id, counted.meter_id),
        *(rated_at, [*rated_at[1:], None], occurred_at),
    )
    billed: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        billed.setdefault(row["version"], []).append(document_answer(row))
    return billed


def _event_answer(row: Row) -> dict[str, Any]:
    return {
        "event_ref": row["event_ref"],
        "timestamp": row["occurred_at"],
        "usage_product_ref": row["usage_product_ref"],
        "usage_product_name": row["usage_product_name"],
        "quantity": number(row["quantity"]),
        "additional_report_data": _data(row["additional_data"]),
        "outcome": _outcome(row),
    }


def _outcome(row: Row) -> str:
    if row["is_deleted"]:
        return "DELETED"
    return "UNRATED" if row["is_unrated"] else "RATED"


def _first_version(row: asyncpg.Record) -> dict[str, Any]:
    """Show an event as it was sent, where the log first named it, and when it was rated."""
    return {
        "version": 1,
        "kind": "USAGE",
        "timestamp": row["first_occurred_at"],
        "quantity": number(row["first_quantity"]),
        "additional_report_data": _data(row["first_additional_data"]),
        "note": None,
        "made_by": None,
        "recorded_at": None,
        "receipt": {"partition": row["origin_partition"], "offset": row["origin_offset"]},
        "rated_at": row["rated_at"],
    }


def _later_versions(rows: Sequence[asyncpg.Record]) -> list[dict[str, Any]]:
    """Show each amendment with the event as it was after it."""
    return [
        {
            "version": version,
            "kind": row["kind"],
            "timestamp": row["occurred_at"],
            "quantity": number(row["quantity"]),
            "additional_report_data": _data(row["additional_data"]),
            "note": row["note"],
            "made_by": row["made_by"],
            "recorded_at": row["recorded_at"],
            "receipt": {"partition": row["origin_partition"], "offset": row["origin_offset"]},
            "rated_at": row["rated_at"],
        }
        for version, row in enumerate(rows, start=2)
    ]


def _data(text: str | None) -> msgspec.Raw | None:
    """Show additional data as it was sent."""
    return None if text is None else msgspec.Raw(text.encode())


def _conflict_answer(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "receipt": {"partition": row["partition"], "offset": row["record_offset"]},
        "recorded_at": row["recorded_at"],
        "record": row["value"].decode("utf-8", "replace"),
    }


def read_page(fields: Fields) -> tuple[Asked, int, UUID]:
    """Read which events are asked for, how many, and behind which ref the page begins."""
    return (
        read_asked(fields),
        fields.optional(values.whole(1, PAGE_MAX), "limit") or PAGE_DEFAULT,
        fields.optional(read_cursor, "cursor") or _NO_REF,
    )


async def _page(
    connection: Connection, tenant_id: int, found: Found, asked: Asked, limit: int, cursor: UUID
) -> tuple[list[asyncpg.Record], UUID | None]:
    """Read a page behind a ref, and the ref behind which the next one begins, None for the end."""
    first, last = asked.refs()
    rows = await connection.fetch(
        queries.list_events,
        *(tenant_id, asked.shard_key, found.customer_id, first, last, found.meter_id),
        *(asked.start, asked.end, SCANNED_MAX, limit, cursor),
    )
    scanned_to = None
    if len(rows) < limit or any(row["is_amended"] for row in rows):
        scanned_to = await connection.fetchval(
            *(queries.find_scanned_to, asked.shard_key, max(first, cursor), last, SCANNED_MAX - 1)
        )
    if scanned_to is not None:  # what lies behind it is for the next page
        rows = [row for row in rows if row["event_ref"] <= scanned_to]
    return rows, rows[-1]["event_ref"] if len(rows) == limit else scanned_to


async def list_events(request: web.Request) -> web.Response:
    """GET /api/usage/events: a page of a customer's events, by ref.

    A page may be short, or empty, and still have a next one.
    """
    query = read_query(request, refuses_unknown=True)
    asked, limit, cursor = read_page(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        await check_not_archived(connection, asked.start)
        found = await find_named(connection, tenant_id, asked)
        rows, place = await _page(connection, tenant_id, found, asked, limit, cursor)
    answer = {
        "events": [_event_answer(row) for row in rows],
        "next_cursor": None if place is None else cursor_of(place),
    }
    return json_answer(answer)


ROUTES = [
    *routes_of("GET", "/api/usage/event/{event_ref}", get_event, "usage:read"),
    *routes_of("GET", "/api/usage/events", list_events, "usage:read", asks=read_page),
]
