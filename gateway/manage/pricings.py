"""Versions of a product's price: drafts, what is made from them, and templates to begin with.

A published pricing never changes, so a change is another pricing of the same product. Contracts
keep the one that they were signed with.
"""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
from aiohttp import web

from gateway.manage import values
from gateway.manage.answers import json_answer, number_or_null
from gateway.manage.body import Fields
from gateway.manage.context import (
    note,
    path_ref,
    queries,
    read_body,
    read_query,
    routes_of,
    transaction,
)
from gateway.manage.meter_relations import lock_meters
from gateway.manage.pricing_templates import templates
from gateway.manage.products import add_lines, add_pricing, find_meters, read_pricing
from runtime.postgres import Connection
from schemas.errors import Conflict, InvalidInput, NotFound


async def create_pricing(request: web.Request) -> web.Response:
    """POST /api/products/<product_ref>/pricings: another pricing of a product."""
    product_ref = path_ref(request, "product_ref")
    body = await read_body(request, refuses_unknown=True)
    pricing = read_pricing(body.fields)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        await lock_meters(connection, tenant_id)
        product = await connection.fetchrow(queries.hold_product, tenant_id, product_ref)
        if product is None:
            raise NotFound("product_unknown", f"there is no product {product_ref}")
        meters = await find_meters(body, connection, tenant_id, pricing.lines)
        added = await add_pricing(connection, tenant_id, product["product_id"], pricing, meters)
        answer = {"product_ref": product_ref, **added}
        made = body.fields.values
        await note(request, connection, "pricing.made", answer["pricing_ref"], after=made)
    return json_answer(answer)


async def replace_draft(request: web.Request) -> web.Response:
    """PUT /api/pricings/<pricing_ref>: the whole draft anew; its line items get new refs."""
    pricing_ref = path_ref(request, "pricing_ref")
    body = await read_body(request, refuses_unknown=True)
    pricing = read_pricing(body.fields)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        await lock_meters(connection, tenant_id)
        before = await _hold_pricing(connection, tenant_id, pricing_ref)
        if before["is_published"]:
            detail = "it is published and never changes: make another one of its product"
            raise Conflict("pricing_published", detail)
        meters = await find_meters(body, connection, tenant_id, pricing.lines)
        pricing_id = before["pricing_id"]
        await connection.execute(queries.delete_draft_lines, tenant_id, pricing_id)
        items = await add_lines(connection, tenant_id, pricing_id, pricing.lines, meters)
        terms = (pricing.pricing_name, pricing.minimum_fee)
        await connection.execute(queries.change_draft, tenant_id, pricing_id, *terms)
        if pricing.publish:
            await connection.execute(queries.publish_pricing, tenant_id, pricing_ref)
        former = {
            "pricing_name": before["name"],
            "minimum_fee": number_or_null(before["minimum_fee"]),
        }
        made = body.fields.values
        await note(request, connection, "pricing.changed", pricing_ref, before=former, after=made)
    answer = {"product_ref": before["product_ref"], "pricing_ref": pricing_ref}
    return json_answer(answer | {"line_items": items})


async def _hold_pricing(
    connection: Connection, tenant_id: int, pricing_ref: UUID
) -> asyncpg.Record:
    """Return a pricing that nobody else changes before this transaction ends."""
    row = await connection.fetchrow(queries.hold_pricing, tenant_id, pricing_ref)
    if row is None:
        raise NotFound("pricing_unknown", f"there is no pricing {pricing_ref}")
    return row


def read_copy(fields: Fields) -> str | None:
    """Read the body of `POST /api/pricings/<pricing_ref>/duplicate`: the copy's name."""
    return fields.optional(values.name, "pricing_name")


async def duplicate_pricing(request: web.Request) -> web.Response:
    """POST /api/pricings/<pricing_ref>/duplicate: a draft of the same product, to be changed."""
    pricing_ref = path_ref(request, "pricing_ref")
    body = await read_body(request, refuses_unknown=True)
    name = read_copy(body.fields)
    body.finish()
    copy_ref = uuid4()
    async with transaction(request) as (connection, tenant_id):
        await lock_meters(connection, tenant_id)
        source = await _hold_pricing(connection, tenant_id, pricing_ref)
        copy_id = await connection.fetchval(
            queries.add_pricing,
            tenant_id,
            copy_ref,
            source["product_id"],
            name or source["name"],
            source["minimum_fee"],
        )
        rows = await connection.fetch(
            queries.copy_pricing_lines, tenant_id, source["pricing_id"], copy_id
        )
        await note(
            request, connection, "pricing.made", copy_ref, after={"copy_of": str(pricing_ref)}
        )
    items = [
        {"line_item_ref": row["line_item_ref"], "item": row["item"]}
        for row in sorted(rows, key=lambda row: row["position"])
    ]
    answer = {"product_ref": source["product_ref"], "pricing_ref": copy_ref}
    return json_answer(answer | {"line_items": items})


def read_template_meter(fields: Fields) -> UUID | None:
    """Read which meter's usage the templates are to price; None for the oldest that they can."""
    return fields.optional(values.ref, "usage_product_ref")


async def list_templates(request: web.Request) -> web.Response:
    """GET /api/pricings/templates: requests for `POST /api/products`, one of each model."""
    query = read_query(request)
    meter_ref = read_template_meter(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        if meter_ref is None:
            meter_ref = await connection.fetchval(queries.find_template_meter, tenant_id)
        elif not await connection.fetch(queries.find_meters, tenant_id, [meter_ref]):
            detail = "names no usage product of yours"
            raise InvalidInput("usage_product_unknown", detail, "/usage_product_ref")
    shown: dict[str, Any] = {"templates": templates(None if meter_ref is None else str(meter_ref))}
    return json_answer(shown)


ROUTES = [
    *routes_of(
        "POST",
        "/api/products/{product_ref}/pricings",
        create_pricing,
        "billing:write",
        reads=read_pricing,
    ),
    *routes_of(
        "GET", "/api/pricings/templates", list_templates, "billing:read", asks=read_template_meter
    ),
    *routes_of(
        "PUT", "/api/pricings/{pricing_ref}", replace_draft, "billing:write", reads=read_pricing
    ),
    *routes_of(
        "POST",
        "/api/pricings/{pricing_ref}/duplicate",
        duplicate_pricing,
        "billing:write",
        reads=read_copy,
    ),
]
