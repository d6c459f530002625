"""Closing at a call: asks the rater to close a contract's periods, and tells how far it has got."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
from aiohttp import web

from gateway.manage import values
from gateway.manage.answers import json_answer
from gateway.manage.body import Fields
from gateway.manage.changes import announce
from gateway.manage.context import note, path_ref, queries, read_body, routes_of, transaction
from schemas.errors import NotFound
from schemas.event_ref import shard_key_of


def last_ended_day(now: datetime, timezones: Sequence[str]) -> date:
    """Return the last day that is over in every one of some time zones."""
    return min(now.astimezone(ZoneInfo(zone)).date() for zone in timezones) - timedelta(days=1)


def read_through(fields: Fields) -> date:
    """Read up to which day periods are to be closed."""
    return fields.required(values.plain_date, "through")


async def close_contract(request: web.Request) -> web.Response:
    """POST /api/contracts/close/<contract_ref>: close the periods that end by a date.

    Only a period whose last day is over can be closed: `through` may be today, which then means
    yesterday, and is refused when it lies further ahead.
    """
    contract_ref = path_ref(request, "contract_ref")
    body = await read_body(request, refuses_unknown=True)
    through = read_through(body.fields)
    body.finish()
    place = shard_key_of(contract_ref.int)
    async with transaction(request) as (connection, tenant_id):
        found = await connection.fetchrow(
            queries.find_contract_zones, tenant_id, place, contract_ref
        )
        if found is None:
            raise NotFound("contract_unknown", f"there is no contract {contract_ref}")
        ended = last_ended_day(datetime.now(UTC), found["timezones"])
        if through > ended + timedelta(days=1):
            detail = f"must not be after {ended + timedelta(days=1)}, the day it is there"
            body.fields.add("date_in_future", detail, "through")
        body.refuse()
        await announce(
            connection,
            tenant_id,
            kind="CLOSE",
            shard_key=place,
            customer_id=found["customer_id"],
            contract_ref=contract_ref,
            close_through=min(through, ended),
        )
        closings = await connection.fetch(queries.list_closings, tenant_id, place, contract_ref)
        asked = {"through": through}
        await note(request, connection, "contract.closing_asked", contract_ref, after=asked)
    return json_answer(_progress(str(contract_ref), closings), status=202)


async def get_closing(request: web.Request) -> web.Response:
    """GET /api/contracts/close/<contract_ref>: what was asked for, and what is done."""
    contract_ref = path_ref(request, "contract_ref")
    place = shard_key_of(contract_ref.int)
    async with transaction(request) as (connection, tenant_id):
        found = await connection.fetchrow(queries.find_contract, tenant_id, place, contract_ref)
        if found is None:
            raise NotFound("contract_unknown", f"there is no contract {contract_ref}")
        closings = await connection.fetch(queries.list_closings, tenant_id, place, contract_ref)
    return json_answer(_progress(str(contract_ref), closings))


def _progress(contract_ref: str, closings: Sequence[asyncpg.Record]) -> dict[str, Any]:
    """Show every request; the whole is DONE when none is PENDING."""
    is_done = all(row["state"] == "DONE" for row in closings)
    return {
        "contract_ref": contract_ref,
        "state": "DONE" if is_done else "PENDING",
        "periods_closed": sum(row["periods_closed"] for row in closings),
        "requests": [
            {
                "through": row["close_through"],
                "state": row["state"],
                "periods_closed": row["periods_closed"],
                "requested_at": row["requested_at"],
                "finished_at": row["finished_at"],
            }
            for row in closings
        ],
    }


ROUTES = [
    *routes_of(
        "POST",
        "/api/contracts/close/{contract_ref}",
        close_contract,
        "billing:write",
        reads=read_through,
        status=202,
    ),
    *routes_of("GET", "/api/contracts/close/{contract_ref}", get_closing, "billing:read"),
]
