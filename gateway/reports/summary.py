"""Sums of a customer's usage over windows of time, as JSON or as a file for a spreadsheet."""

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any, Final

import asyncpg
from aiohttp import web
from msgspec import Struct

from gateway.manage import values
from gateway.manage.answers import json_answer, number
from gateway.manage.body import Fields
from gateway.manage.context import read_query, routes_of, transaction
from gateway.reports.amounts import Amounts, amounts_answer, amounts_of
from gateway.reports.asking import Asked, find_named, queries, read_asked
from schemas.additional_data import check_name
from schemas.errors import InvalidInput
from schemas.money import AMOUNT_DIGITS, scaled_to_text

ROWS_MAX: Final = 10_000
COLUMNS: Final = (
    *("start", "usage_product_ref", "usage_product_name", "group", "quantity", "event_count"),
    *("amount", "currency"),
)
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for a formula at the beginning of a cell."""


class Summary(Struct, frozen=True):
    """Which sums are asked for. group_by: a key of additional data that tells rows apart."""

    asked: Asked
    window: str
    group_by: str | None


def read_summary(fields: Fields) -> Summary:
    """Read the query of `GET /api/usage/summary`."""
    return Summary(
        asked=read_asked(fields),
        window=fields.optional(values.choice("hour", "day", "month"), "window") or "day",
        group_by=fields.optional(_key, "group_by"),
    )


def _key(value: object) -> str:
    """Read a key as it stands in additional data."""
    text = str(value)
    check_name(text)
    return text


async def summarise(request: web.Request) -> web.Response:
    """GET /api/usage/summary: sums a window in UTC, a meter and a value of a key.

    Amounts are what the window adds to its charges; null with `group_by`, and where a price has no
    amount of a part. `Accept: text/csv` gets a file that is safe to open in a spreadsheet.
    """
    query = read_query(request, refuses_unknown=True)
    wanted = read_summary(query.fields)
    query.finish()
    asked = wanted.asked
    async with transaction(request) as (connection, tenant_id):
        found = await find_named(connection, tenant_id, asked)
        rows = await connection.fetch(
            queries.summarise,
            *(tenant_id, asked.shard_key, found.customer_id, *asked.refs(), wanted.window),
            *(asked.start, found.meter_id, wanted.group_by, asked.end, ROWS_MAX + 1),
        )
        amounts: Amounts | None = None
        if wanted.group_by is None and len(rows) <= ROWS_MAX:
            amounts = await amounts_of(connection, tenant_id, asked, found, wanted.window)
    if len(rows) > ROWS_MAX:
        detail = f"comes to more than {ROWS_MAX} rows: ask for less time or a longer window"
        raise InvalidInput("summary_too_long", detail, "/window")
    if "text/csv" in request.headers.get("Accept", ""):
        return _file(rows, amounts)
    shown = {
        "customer_ref": asked.customer_ref,
        "window": wanted.window,
        "group_by": wanted.group_by,
        "rows": [_row_answer(row, amounts) for row in rows],
    }
    return json_answer(shown)


def _amounts_at(row: asyncpg.Record, amounts: Amounts | None) -> dict[str, int] | None:
    """Return the amounts of a row: none where no contract prices its meter."""
    return None if amounts is None else amounts.get((row["start_at"], row["meter_id"]), {})


def _row_answer(row: asyncpg.Record, amounts: Amounts | None) -> dict[str, Any]:
    return {
        "start": row["start_at"],
        "usage_product_ref": row["usage_product_ref"],
        "usage_product_name": row["usage_product_name"],
        "group": row["value"],
        "quantity": number(row["quantity"]),
        "event_count": row["event_count"],
        "amounts": amounts_answer(_amounts_at(row, amounts)),
    }


def _file(rows: Sequence[asyncpg.Record], amounts: Amounts | None) -> web.Response:
    lines = StringIO()
    writer = csv.writer(lines)
    writer.writerow(COLUMNS)
    for row in rows:
        start = row["start_at"].strftime("%Y-%m-%dT%H:%M:%SZ")
        names = (safe_cell(row["usage_product_name"]), safe_cell(row["value"] or ""))
        quantity = format(row["quantity"], "f")
        sums = _amounts_at(row, amounts) or {}
        money = " ".join(scaled_to_text(amount, AMOUNT_DIGITS) for amount in sums.values())
        cells = (quantity, row["event_count"], money, " ".join(sums))
        writer.writerow([start, row["usage_product_ref"], *names, *cells])
    return web.Response(
        body=lines.getvalue().encode(),
        content_type="text/csv",
        charset="utf-8",
        headers={
            "Content-Disposition": 'attachment; filename="usage.csv"',
            "X-Content-Type-Options": "nosniff",
        },
    )


def safe_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


ROUTES = [
    *routes_of(
        "GET",
        "/api/usage/summary",
        summarise,
        "usage:read",
        asks=read_summary,
        media=("application/json", "text/csv"),
    ),
]
