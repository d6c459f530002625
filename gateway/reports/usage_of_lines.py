"""The usage behind a line of a document, as the list that the line's digest is of."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

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
from gateway.reports.asking import queries
from runtime.clock import to_micros
from runtime.postgres import Connection
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.event_ref import TIMESTAMP_MIN_MICROS, month_bounds, month_index, shard_key_of
from schemas.meter_feed import Feed
from schemas.people_csv import BYTE_ORDER_MARK, people_row, text_cell
from schemas.usage_csv import HEADER, MEDIA_TYPE, fed_quantity, usage_row

EVENTS_A_PAGE: Final = 5_000
_MOMENT: Final = timedelta(microseconds=1)
_REF_MIN: Final = UUID(int=0)
PEOPLE_HEADER: Final = (
    BYTE_ORDER_MARK
    + people_row(
        ("Product", "Item", "Time", "Time zone", "Quantity", "Event", "Additional data")
    ).encode()
)


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
    place = shard_key_of(document_ref.int)
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(
            queries.find_line_usage, tenant_id, place, document_ref, wanted.line_item_ref
        )
        lines = [choose(rows, wanted)] if wanted.line_item_ref else choose_all(rows)
        feeds = [await load_feeds(connection, tenant_id, line["meter_id"]) for line in lines]
    name = wanted.line_item_ref or document_ref
    answer = web.StreamResponse(
        headers={
            "Content-Disposition": f'attachment; filename="usage-{name}.csv"',
            "Cache-Control": "private, no-cache",
            "X-Request-Id": request[REQUEST_ID],
        }
    )
    answer.content_type, answer.charset = MEDIA_TYPE, "utf-8"
    if wanted.line_item_ref:
        answer.headers["ETag"] = f'"{lines[0]["events_digest"].hex()}"'
    await answer.prepare(request)
    await answer.write(HEADER if wanted.line_item_ref else PEOPLE_HEADER)
    for line, fed in zip(lines, feeds, strict=True):
        write = usage_text if wanted.line_item_ref else partial(people_text, line)
        async for page in _pages(request, line):
            await answer.write("".join(write(row, fed) for row in page).encode())
    await answer.write_eof()
    return answer


async def _pages(
    request: web.Request, line: asyncpg.Record
) -> AsyncIterator[Sequence[asyncpg.Record]]:
    """Yield the events that count in a line, a page at a time, each in its own transaction."""
    after: UUID | None = _REF_MIN
    while after is not None:
        async with transaction(request) as (connection, tenant_id):
            page = await read_rows(connection, tenant_id, line, after, EVENTS_A_PAGE)
        yield [row for row in page if row["counts"]]
        after = page[-1]["event_ref"] if len(page) == EVENTS_A_PAGE else None


def choose_all(rows: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
    """Return the lines that events feed, as the document has them. Raises what stands against."""
    if not rows:
        raise NotFound("document_unknown", "there is no such document, or it has no lines")
    for line in rows:
        _check_kept(line)
    fed = [line for line in rows if line["events_digest"] is not None]
    return sorted(fed, key=lambda line: (line["product_position"], line["position"]))


def _check_kept(line: asyncpg.Record) -> None:
    if line["events_digest"] is not None and line["is_archived"]:
        raise Conflict("usage_archived", "events of that period have left for an archive")


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
    _check_kept(line)
    return line


async def read_rows(
    connection: Connection, tenant_id: int, line: asyncpg.Record, after: UUID, length: int
) -> Sequence[asyncpg.Record]:
    """Read so many of the events that a line may hold, behind `after`; `counts`: which it does.

    line: with the columns of `find_line_usage` that its events are found by.
    """
    first = month_index(max(to_micros(line["start_at"]), TIMESTAMP_MIN_MICROS))
    last = month_index(max(to_micros(line["end_at"] - _MOMENT), TIMESTAMP_MIN_MICROS))
    low = UUID(int=max(month_bounds(first)[0].int - 1, 0))
    rows: Sequence[asyncpg.Record] = await connection.fetch(
        queries.usage_of_line,
        tenant_id,
        line["shard_key"],
        line["customer_id"],
        line["meters"],
        after,
        low,
        month_bounds(last)[1],
        line["start_at"],
        line["end_at"],
        line["cut_offset"],
        length,
    )
    return rows


class FedMeter(Struct, frozen=True):
    """Another meter whose events count in a line, and how."""

    usage_product_ref: str
    feed: Feed


Feeds = Mapping[int, FedMeter]


async def load_feeds(connection: Connection, tenant_id: int, meter_id: int) -> Feeds:
    """Return the other meters whose events count in lines of one."""
    rows = await connection.fetch(queries.list_feeds, tenant_id, meter_id)
    return {
        row["meter_id"]: FedMeter(row["ref_text"], Feed.of(row["factor"], row["formula"]))
        for row in rows
    }


def counted_quantity(row: asyncpg.Record, feeds: Feeds) -> str:
    """Return the quantity that an event counts as in a line, in full."""
    quantity: str = row["quantity"]
    fed = feeds.get(row["meter_id"])
    return quantity if fed is None else fed_quantity(fed.feed, quantity, row["additional_data"])


def usage_text(row: asyncpg.Record, feeds: Feeds) -> str:
    """Write one event as a line's list has it."""
    quantity = counted_quantity(row, feeds)
    return usage_row(row["ref_text"], row["occurred_at"], quantity, row["additional_data"])


def people_text(line: asyncpg.Record, row: asyncpg.Record, feeds: Feeds) -> str:
    """Write one event of a line for a spreadsheet, its time as a clock at the issuer's shows it."""
    local = row["occurred_at"].astimezone(ZoneInfo(line["timezone"]))
    offset = local.isoformat()[-6:]
    return people_row(
        (
            text_cell(line["product_name"]),
            text_cell(line["item"]),
            local.replace(tzinfo=None).isoformat(" ", "microseconds"),
            f"UTC{offset}",
            counted_quantity(row, feeds),
            row["ref_text"],
            text_cell(row["additional_data"] or ""),
        )
    )


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
