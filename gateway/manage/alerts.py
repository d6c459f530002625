"""Alerts: thresholds on what a running period has come to, and when they were reached."""

import secrets
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg
from aiohttp import web
from msgspec import Struct

from gateway.manage import values
from gateway.manage.answers import json_answer, number
from gateway.manage.body import Body, Fields
from gateway.manage.changes import announce_alert
from gateway.manage.context import (
    caller,
    note,
    path_ref,
    read_body,
    read_query,
    routes_of,
    transaction,
)
from gateway.reports.asking import cursor_of, read_cursor
from runtime.clock import to_micros
from runtime.postgres import Connection, Queries
from schemas.alerts import OF_A_LINE
from schemas.errors import InvalidInput, NotFound
from schemas.event_ref import derived_ref, month_index, shard_key, shard_key_of, tenant_bits
from schemas.price import from_json, is_usage

ALERTS_MAX: Final = 10_000
"""Alerts of one tenant."""
FIRINGS_MAX: Final = 100
PAGE_MAX: Final = 1_000
PAGE_DEFAULT: Final = 100
_BEFORE_ALL: Final = UUID(int=0)

queries: Final = Queries.beside(__file__, "alerts.sql")


class NewAlert(Struct, frozen=True):
    """What is asked for: whose periods, which line of them, what of it, and from where on."""

    customer_ref: UUID | None
    contract_ref: UUID | None
    line_item_ref: UUID | None
    usage_product_ref: UUID | None
    kind: str
    threshold: Decimal
    name: str | None


class Changed(Struct, frozen=True):
    """What of an alert can be changed."""

    threshold: Decimal
    name: str | None


class Place(Struct, frozen=True):
    """The rows that an alert names."""

    shard_key: int
    customer_id: int
    pricing_line_id: int | None
    meter_id: int | None


def read_alert(fields: Fields) -> NewAlert:
    """Read the body of `POST /api/alerts`."""
    kinds = ("QUANTITY", "AMOUNT", "INCLUDED_PERCENT", "COMMITMENT_PERCENT", "CREDIT_LEFT")
    alert = NewAlert(
        customer_ref=fields.optional(values.ref, "customer_ref"),
        contract_ref=fields.optional(values.ref, "contract_ref"),
        line_item_ref=fields.optional(values.ref, "line_item_ref", "line_item_id"),
        usage_product_ref=fields.optional(values.ref, "usage_product_ref"),
        kind=fields.required(values.choice(*kinds), "kind"),
        threshold=_read_threshold(fields),
        name=fields.optional(values.name, "name"),
    )
    if (alert.customer_ref is None) == (alert.contract_ref is None):
        detail = "name a contract, or a customer for all of its contracts, and not both"
        fields.add("one_of_two", detail, "contract_ref")
    named = [ref for ref in (alert.line_item_ref, alert.usage_product_ref) if ref is not None]
    if alert.kind in OF_A_LINE and len(named) != 1:
        detail = f"{alert.kind} is of a line: name its line_item_ref or its usage_product_ref"
        fields.add("one_of_two", detail, "line_item_ref")
    if alert.kind in kinds and alert.kind not in OF_A_LINE and named:
        detail = f"{alert.kind} is of a whole contract product: leave the line out"
        fields.add("field_not_applicable", detail, "line_item_ref")
    if alert.kind != "CREDIT_LEFT" and alert.threshold == 0:
        fields.add("number_not_positive", "must be above zero", "threshold")
    return alert


def _read_threshold(fields: Fields) -> Decimal:
    return fields.required(values.fee, "threshold")


def read_change(fields: Fields) -> Changed:
    """Read the body of `PUT /api/alerts/<alert_ref>`."""
    return Changed(_read_threshold(fields), fields.optional(values.name, "name"))


async def add_alert(request: web.Request) -> web.Response:
    """POST /api/alerts: tell me once in each billing period when a figure reaches a threshold.

    QUANTITY and AMOUNT (before fees, discount and tax) are those of a line, INCLUDED_PERCENT how
    much of what a line includes is used; COMMITMENT_PERCENT how much of a product's commitment is
    spent; CREDIT_LEFT falls to the threshold. What is past it already fires at once. The record is
    in the topic `billing.alerts.v1`.
    """
    body = await read_body(request, refuses_unknown=True)
    wanted = read_alert(body.fields)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        place = await _find_place(body, connection, tenant_id, wanted)
        if await connection.fetchval(queries.count_alerts, tenant_id) >= ALERTS_MAX:
            raise InvalidInput("too_many_alerts", f"there are {ALERTS_MAX}: delete some", "")
        partition, version = await announce_alert(connection, place.shard_key)
        ref = derived_ref(
            "alert",
            month_index(to_micros(datetime.now(UTC))),
            place.shard_key,
            tenant_bits(caller(request).tenant_ref),
            secrets.token_hex(16),
        )
        await connection.execute(
            queries.add_alert,
            *(place.shard_key, ref, tenant_id, partition, version, place.customer_id),
            *(wanted.contract_ref, place.pricing_line_id, place.meter_id),
            *(wanted.name, wanted.kind, wanted.threshold),
        )
        await note(request, connection, "alert.made", ref, after=body.fields.values)
    return json_answer({"alert_ref": ref})


async def _find_place(
    body: Body, connection: Connection, tenant_id: int, wanted: NewAlert
) -> Place:
    """Find what an alert names. Raises InvalidInput for what there is not."""
    if wanted.contract_ref is not None:
        place = shard_key_of(wanted.contract_ref.int)
        owner = await connection.fetchrow(
            queries.find_contract, tenant_id, place, wanted.contract_ref
        )
        if owner is None:
            body.add("contract_unknown", "names no contract of yours", "/contract_ref")
    else:
        place = shard_key(str(wanted.customer_ref))
        owner = await connection.fetchrow(
            queries.find_customer, tenant_id, place, wanted.customer_ref
        )
        if owner is None:
            body.add("customer_unknown", "names no customer of yours", "/customer_ref")
    line_id = meter_id = None
    if wanted.line_item_ref is not None:
        line_id = await _find_line(body, connection, tenant_id, place, wanted)
    elif wanted.usage_product_ref is not None:
        meter_id = await connection.fetchval(
            queries.find_meter, tenant_id, wanted.usage_product_ref
        )
        if meter_id is None:
            detail = "names no usage product of yours"
            body.add("usage_product_unknown", detail, "/usage_product_ref")
    body.refuse()
    assert owner is not None
    return Place(place, owner["customer_id"], line_id, meter_id)


async def _find_line(
    body: Body, connection: Connection, tenant_id: int, place: int, wanted: NewAlert
) -> int | None:
    """Find a line item that can reach such a threshold."""
    line = await connection.fetchrow(queries.find_line_item, tenant_id, wanted.line_item_ref)
    if line is None:
        body.add("line_item_unknown", "names no line item of yours", "/line_item_ref")
        return None
    line_id: int = line["pricing_line_id"]
    contract = (tenant_id, place, wanted.contract_ref, line_id)
    price = from_json(line["price"])
    if wanted.contract_ref is not None and not await connection.fetchval(
        queries.is_line_of_contract, *contract
    ):
        body.add("line_item_unknown", "is no line item of the contract", "/line_item_ref")
    elif not is_usage(price):
        body.add("line_without_usage", "no usage feeds that line item", "/line_item_ref")
    elif wanted.kind == "INCLUDED_PERCENT" and not price.included_quantity:
        detail = "the line item has no included_quantity"
        body.add("nothing_included", detail, "/line_item_ref")
    return line_id


class Page(Struct, frozen=True):
    """Which alerts are asked for, and behind which one the page begins."""

    customer_ref: UUID | None
    contract_ref: UUID | None
    limit: int
    cursor: UUID


def read_page(fields: Fields) -> Page:
    """Read the query of `GET /api/alerts`."""
    return Page(
        customer_ref=fields.optional(values.ref, "customer_ref"),
        contract_ref=fields.optional(values.ref, "contract_ref"),
        limit=fields.optional(values.whole(1, PAGE_MAX), "limit") or PAGE_DEFAULT,
        cursor=fields.optional(read_cursor, "cursor") or _BEFORE_ALL,
    )


async def list_alerts(request: web.Request) -> web.Response:
    """GET /api/alerts: a page of alerts, of all customers or of one."""
    query = read_query(request, refuses_unknown=True)
    page = read_page(query.fields)
    query.finish()
    asked = (page.cursor, page.customer_ref, page.contract_ref, page.limit)
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_alerts, tenant_id, *asked)
    is_last = len(rows) < page.limit
    return json_answer(
        {
            "alerts": [_answer(row) for row in rows],
            "next_cursor": None if is_last else cursor_of(rows[-1]["alert_ref"]),
        }
    )


async def get_alert(request: web.Request) -> web.Response:
    """GET /api/alerts/<alert_ref>: an alert, and in which periods it has fired, the last first."""
    ref = path_ref(request, "alert_ref")
    async with transaction(request) as (connection, tenant_id):
        row = await _find(connection, tenant_id, ref)
        place = (tenant_id, row["shard_key"], ref)
        firings = await connection.fetch(queries.list_firings, *place, FIRINGS_MAX)
    return json_answer(_answer(row) | {"fired": [_firing(firing) for firing in firings]})


async def change_alert(request: web.Request) -> web.Response:
    """PUT /api/alerts/<alert_ref>: another threshold, or another name.

    With another threshold it may fire in the running period once more.
    """
    ref = path_ref(request, "alert_ref")
    body = await read_body(request, refuses_unknown=True)
    wanted = read_change(body.fields)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        before = await _find(connection, tenant_id, ref)
        if before["kind"] != "CREDIT_LEFT" and not wanted.threshold:
            raise InvalidInput("number_not_positive", "must be above zero", "/threshold")
        _, version = await announce_alert(connection, before["shard_key"])
        place = (tenant_id, before["shard_key"], ref, version)
        await connection.execute(queries.change_alert, *place, wanted.name, wanted.threshold)
        after = _answer(await _find(connection, tenant_id, ref))
        await note(request, connection, "alert.changed", ref, before=_answer(before), after=after)
    return json_answer(after)


async def delete_alert(request: web.Request) -> web.Response:
    """DELETE /api/alerts/<alert_ref>."""
    ref = path_ref(request, "alert_ref")
    async with transaction(request) as (connection, tenant_id):
        before = await _find(connection, tenant_id, ref)
        _, version = await announce_alert(connection, before["shard_key"])
        place = (tenant_id, before["shard_key"], ref, version)
        await connection.execute(queries.delete_alert, *place)
        await note(request, connection, "alert.deleted", ref, before=_answer(before))
    return json_answer({"alert_ref": ref})


async def _find(connection: Connection, tenant_id: int, ref: UUID) -> asyncpg.Record:
    row = await connection.fetchrow(queries.find_alert, tenant_id, shard_key_of(ref.int), ref)
    if row is None:
        raise NotFound("alert_unknown", f"there is no alert {ref}")
    return row


def _answer(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "alert_ref": row["alert_ref"],
        "name": row["name"],
        "customer_ref": row["customer_ref"],
        "contract_ref": row["contract_ref"],
        "line_item_ref": row["line_item_ref"],
        "usage_product_ref": row["usage_product_ref"],
        "kind": row["kind"],
        "threshold": number(row["threshold"]),
        "version": row["version"],
        "created_at": row["created_at"],
    }


def _firing(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "version": row["version"],
        "contract_ref": row["contract_ref"],
        "contract_product_ref": row["contract_product_ref"],
        "line_item_ref": row["line_item_ref"],
        "period": {"start": row["start_date"], "end": row["end_date"]},
        "value": number(row["value"]),
        "threshold": number(row["threshold"]),
        "fired_at": row["fired_at"],
    }


ROUTES = [
    *routes_of("POST", "/api/alerts", add_alert, "billing:write", reads=read_alert),
    *routes_of("GET", "/api/alerts", list_alerts, "billing:read", asks=read_page),
    *routes_of("GET", "/api/alerts/{alert_ref}", get_alert, "billing:read"),
    *routes_of("PUT", "/api/alerts/{alert_ref}", change_alert, "billing:write", reads=read_change),
    *routes_of("DELETE", "/api/alerts/{alert_ref}", delete_alert, "billing:write"),
]
