"""Sums of a customer's usage over windows of time, as JSON or as a file for a spreadsheet."""

import csv
from collections.abc import Sequence
from datetime import datetime
from decimal import Context, Decimal
from io import StringIO
from typing import Any, Final
from uuid import UUID

import asyncpg
from aiohttp import web
from msgspec import Struct

from gateway.manage import values
from gateway.manage.answers import json_answer, number
from gateway.manage.body import Fields
from gateway.manage.context import read_query, routes_of, transaction
from gateway.reports.amounts import (
    Amounts,
    add_up,
    amounts_answer,
    bounds_of,
    load_priced_periods,
    stretches_of,
)
from gateway.reports.asking import Asked, Found, find_named, queries, read_asked
from gateway.reports.rollups import check_readable, list_fed_stretches, list_stretches
from runtime.postgres import Connection
from schemas.additional_data import check_name
from schemas.errors import InvalidInput
from schemas.money import AMOUNT_DIGITS, scaled_to_text

ROWS_MAX: Final = 10_000
COLUMNS: Final = (
    *("start", "usage_product_ref", "usage_product_name", "group", "quantity", "event_count"),
    *("amount", "currency"),
)
EXACT: Final = Context(prec=200)
"""For sums of quantities: with more digits than any has."""
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for a formula at the beginning of a cell."""


class Summary(Struct, frozen=True):
    """Which sums are asked for. group_by: a key of additional data that tells rows apart."""

    asked: Asked
    window: str
    group_by: str | None


class Row(Struct, frozen=True):
    """A line of the answer. value: that of the key, None without one."""

    start_at: datetime
    meter_id: int
    usage_product_ref: UUID
    name: str
    value: str | None
    quantity: Decimal
    event_count: int


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
    amount of a part. `Accept: text/csv` gets a file that is safe to open in a spreadsheet. Sums are
    quick, however many events there are, where `from` and `to` are full hours in UTC. With
    `group_by`, and around other bounds, events are read one by one; too many are refused.
    """
    query = read_query(request, refuses_unknown=True)
    wanted = read_summary(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        found = await find_named(connection, tenant_id, wanted.asked)
        if wanted.group_by is None:
            rows, amounts = await _sum_up(connection, tenant_id, wanted, found)
        else:
            rows, amounts = await _group(connection, tenant_id, wanted, found), None
    if "text/csv" in request.headers.get("Accept", ""):
        return _file(rows, amounts)
    shown = {
        "customer_ref": wanted.asked.customer_ref,
        "window": wanted.window,
        "group_by": wanted.group_by,
        "rows": [_row_answer(row, amounts) for row in rows],
    }
    return json_answer(shown)


async def _sum_up(
    connection: Connection, tenant_id: int, wanted: Summary, found: Found
) -> tuple[list[Row], Amounts]:
    """Sum up usage by window and meter, and what it has cost, from one reading of the sums."""
    asked = wanted.asked
    periods = await load_priced_periods(connection, tenant_id, asked, found)
    bounds = bounds_of(asked, periods)
    stretches = await list_stretches(connection, tenant_id, asked, found, wanted.window, bounds)
    totals: dict[tuple[datetime, int], tuple[Decimal, int]] = {}
    for row in stretches:
        if (start := row["start_at"]) is not None:
            key = (start, row["meter_id"])
            quantity, event_count = totals.get(key, (Decimal(0), 0))
            totals[key] = EXACT.add(quantity, row["quantity"]), event_count + row["event_count"]
    _check_length(len(totals))
    meters = {
        row["meter_id"]: row
        for row in await connection.fetch(
            queries.load_meters, tenant_id, list({meter_id for _, meter_id in totals})
        )
    }
    rows = [_row(start, meters[meter_id], *total) for (start, meter_id), total in totals.items()]
    rows.sort(key=lambda row: (row.start_at, row.name, row.usage_product_ref))
    fed = await list_fed_stretches(
        *(connection, tenant_id, asked, found, wanted.window, bounds),
        list({period.meter_id for period in periods}),
    )
    return rows, add_up(periods, stretches_of(stretches, fed, bounds))


def _row(start: datetime, meter: asyncpg.Record, quantity: Decimal, event_count: int) -> Row:
    names = (meter["meter_id"], meter["usage_product_ref"], meter["name"])
    return Row(start, *names, None, quantity, event_count)


async def _group(
    connection: Connection, tenant_id: int, wanted: Summary, found: Found
) -> list[Row]:
    """Sum up usage by window, meter and value of a key: from the events themselves."""
    asked = wanted.asked
    await check_readable(connection, tenant_id, asked, found, asked.start)
    rows = await connection.fetch(
        queries.summarise,
        *(tenant_id, asked.shard_key, found.customer_id, *asked.refs(), wanted.window),
        *(asked.start, found.meter_id, wanted.group_by, asked.end, ROWS_MAX + 1),
    )
    _check_length(len(rows))
    return [Row(*row) for row in rows]


def _check_length(count: int) -> None:
    if count > ROWS_MAX:
        detail = f"comes to more than {ROWS_MAX} rows: ask for less time or a longer window"
        raise InvalidInput("summary_too_long", detail, "/window")


def _amounts_at(row: Row, amounts: Amounts | None) -> dict[str, int] | None:
    """Return the amounts of a row: none where no contract prices its meter."""
    return None if amounts is None else amounts.get((row.start_at, row.meter_id), {})


def _row_answer(row: Row, amounts: Amounts | None) -> dict[str, Any]:
    return {
        "start": row.start_at,
        "usage_product_ref": row.usage_product_ref,
        "usage_product_name": row.name,
        "group": row.value,
        "quantity": number(row.quantity),
        "event_count": row.event_count,
        "amounts": amounts_answer(_amounts_at(row, amounts)),
    }


def _file(rows: Sequence[Row], amounts: Amounts | None) -> web.Response:
    lines = StringIO()
    writer = csv.writer(lines)
    writer.writerow(COLUMNS)
    for row in rows:
        start = row.start_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        names = (safe_cell(row.name), safe_cell(row.value or ""))
        quantity = format(row.quantity, "f")
        sums = _amounts_at(row, amounts) or {}
        money = " ".join(scaled_to_text(amount, AMOUNT_DIGITS) for amount in sums.values())
        cells = (quantity, row.event_count, money, " ".join(sums))
        writer.writerow([start, row.usage_product_ref, *names, *cells])
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
