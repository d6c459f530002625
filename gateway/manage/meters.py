"""Meters (usage products): what is measured, and how it adds up."""

from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from gateway.manage import values
from gateway.manage.answers import json_answer, page_answer, read_cursor
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
from gateway.manage.meter_relations import (
    NO_RELATION,
    NewRelation,
    Subject,
    check_links,
    is_kept,
    link_of,
    lock_meters,
    read_relation,
    relation_answer,
    settle_relation,
)
from runtime.postgres import Connection
from schemas.additional_data import check_name
from schemas.aggregation import AGGREGATIONS
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.meter_formula import parse_formula

PAGE_MAX: Final = 1_000
PAGE_DEFAULT: Final = 100

DEFAULT_AGGREGATION: Final = "SUM"


class NewMeter(Struct, frozen=True):
    """A meter as it is asked for; aggregation is None where it was left out.

    unique_key: the key of additional data whose values a UNIQUE meter counts. formula: what makes
    the billable quantity of an event. relation: None where the body doesn't speak of it.
    """

    name: str
    unit: str | None
    aggregation: str | None
    unique_key: str | None
    formula: str | None
    relation: NewRelation | None


def _key(value: object) -> str:
    """Read a key as it stands in additional data."""
    text = str(value)
    check_name(text)
    return text


def _formula(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput("type_string", "must be a text")
    parse_formula(value)
    return value


def read_meter(fields: Fields) -> NewMeter:
    """Read the body of `POST /api/usage/products`."""
    meter = _read_meter(fields)
    _check_settled(fields, meter.aggregation or DEFAULT_AGGREGATION)
    return meter


def _read_meter(fields: Fields) -> NewMeter:
    return NewMeter(
        name=fields.required(values.name, "name"),
        unit=fields.optional(values.name, "unit"),
        aggregation=fields.optional(values.choice(*AGGREGATIONS), "aggregation"),
        unique_key=fields.optional(_key, "unique_key"),
        formula=fields.optional(_formula, "formula"),
        relation=read_relation(fields),
    )


def _check_settled(fields: Fields, aggregation: str) -> None:
    """Note a problem where a key is missing, or a key or a formula has nothing to do."""
    if aggregation == "UNIQUE" and not fields.has("unique_key"):
        detail = "UNIQUE counts the different values of a key of additional_report_data: name it"
        fields.add("required", detail, "unique_key")
    elif aggregation != "UNIQUE" and fields.has("unique_key"):
        fields.add("field_not_applicable", f"{aggregation} counts no values", "unique_key")
    if aggregation in ("COUNT", "UNIQUE") and fields.has("formula"):
        detail = f"{aggregation} does not look at quantities, which a formula makes"
        fields.add("field_not_applicable", detail, "formula")


def read_meter_change(fields: Fields) -> NewMeter:
    """Read the body of `PUT /api/usage/products/<usage_product_ref>`: GET's answer is one."""
    fields.ignore("usage_product_ref", "created_at")
    meter = _read_meter(fields)
    if meter.aggregation is not None:
        _check_settled(fields, meter.aggregation)
    return meter


async def create_meter(request: web.Request) -> web.Response:
    """POST /api/usage/products."""
    body = await read_body(request, refuses_unknown=True)
    meter = read_meter(body.fields)
    body.finish()
    meter_ref = uuid4()
    aggregation, relation = meter.aggregation or DEFAULT_AGGREGATION, meter.relation or NO_RELATION
    async with transaction(request) as (connection, tenant_id):
        toward: int | None = None
        if relation.toward is not None:
            await lock_meters(connection, tenant_id)
            subject = Subject(meter.name, aggregation)
            toward = await settle_relation(connection, tenant_id, subject, relation)
        row = (meter.name, meter.unit, aggregation, meter.unique_key, meter.formula)
        place = (relation.kind, toward, relation.factor)
        try:
            await connection.execute(queries.add_meter, tenant_id, meter_ref, *row, *place)
        except asyncpg.UniqueViolationError:
            raise _name_taken(meter.name) from None
        await note(request, connection, "usage_product.made", meter_ref, after=body.fields.values)
    return json_answer({"usage_product_ref": meter_ref})


def _name_taken(name: str) -> Conflict:
    return Conflict("name_taken", f"there is a usage product named {name!r} already")


def _unknown(meter_ref: UUID) -> NotFound:
    return NotFound("usage_product_unknown", f"there is no usage product {meter_ref}")


async def get_meter(request: web.Request) -> web.Response:
    """GET /api/usage/products/<usage_product_ref>."""
    meter_ref = path_ref(request, "usage_product_ref")
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(queries.find_meter, tenant_id, meter_ref)
    if row is None:
        raise _unknown(meter_ref)
    return json_answer(_meter_answer(row))


async def replace_meter(request: web.Request) -> web.Response:
    """PUT /api/usage/products/<usage_product_ref>: its name and its unit anew.

    A unit that is left out is emptied; an aggregation that is left out stays, with its key. How a
    meter adds up is settled once a line item prices it: charges were made by it; and so is what it
    counts toward, once one prices that. A relation that is left out stays. Its formula never
    changes: events were accepted by it.
    """
    meter_ref = path_ref(request, "usage_product_ref")
    body = await read_body(request, refuses_unknown=True)
    meter = read_meter_change(body.fields)
    body.fields.optional(values.same_ref(meter_ref), "usage_product_ref")
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        await lock_meters(connection, tenant_id)
        before = await connection.fetchrow(queries.hold_meter, tenant_id, meter_ref)
        if before is None:
            raise _unknown(meter_ref)
        aggregation, unique_key = await _settle_aggregation(connection, before, meter)
        place = await _settle_place(connection, before, meter, aggregation)
        row = (meter.name, meter.unit, aggregation, unique_key)
        try:
            await connection.execute(
                queries.change_meter, tenant_id, before["meter_id"], *row, *place
            )
        except asyncpg.UniqueViolationError:
            raise _name_taken(meter.name) from None
        changed = await connection.fetchrow(queries.find_meter, tenant_id, meter_ref)
        assert changed is not None, "it is held"
        answer, former = _meter_answer(changed), _meter_answer(before)
        await note(
            request, connection, "usage_product.changed", meter_ref, before=former, after=answer
        )
    return json_answer(answer)


async def _settle_aggregation(
    connection: Connection, before: asyncpg.Record, meter: NewMeter
) -> tuple[str, str | None]:
    """Return how a meter is to add up, with its key. Raises what forbids it."""
    aggregation, unique_key = meter.aggregation, meter.unique_key
    if aggregation is None:
        aggregation, unique_key = before["aggregation"], unique_key or before["unique_key"]
        _refuse_key_of(aggregation, unique_key)
    _refuse_new_formula(before, aggregation, meter.formula)
    if (aggregation, unique_key) != (before["aggregation"], before["unique_key"]):
        await _refuse_if_priced(connection, before)
    return aggregation, unique_key


async def _settle_place(
    connection: Connection, before: asyncpg.Record, meter: NewMeter, aggregation: str
) -> tuple[str, int | None, Decimal | None]:
    """Return what a meter is to count toward. Raises what forbids it."""
    tenant_id, relation = before["tenant_id"], meter.relation
    subject = Subject(meter.name, aggregation, before)
    if aggregation != before["aggregation"]:
        link = replace(link_of(before), name=meter.name, aggregation=aggregation)
        try:
            await check_links(connection, tenant_id, subject, link)
        except InvalidInput as error:
            raise InvalidInput(error.code, error.detail, "/aggregation") from None
    if relation is None or is_kept(relation, before):
        return before["relation"], before["parent_meter_id"], before["parent_factor"]
    toward = await settle_relation(connection, tenant_id, subject, relation)
    return relation.kind, toward, relation.factor


def _refuse_key_of(aggregation: str, unique_key: str | None) -> None:
    """Raise InvalidInput for a key beside an aggregation that stays and counts no values."""
    if aggregation != "UNIQUE" and unique_key is not None:
        detail = f"{aggregation} counts no values"
        raise InvalidInput("field_not_applicable", detail, "/unique_key")


def _refuse_new_formula(meter: asyncpg.Record, aggregation: str, formula: str | None) -> None:
    """Raise Conflict for another formula, or for an aggregation that would have none."""
    if formula not in (None, meter["formula"]):
        detail = (
            "events were accepted by the formula that it has: leave it as it is, or make another "
            "usage product"
        )
        raise Conflict("formula_settled", detail)
    if meter["formula"] is not None and aggregation in ("COUNT", "UNIQUE"):
        detail = f"{aggregation} does not look at quantities, which its formula makes"
        raise Conflict("formula_settled", detail)


async def _refuse_if_priced(connection: Connection, meter: asyncpg.Record) -> None:
    """Raise Conflict when charges may have been made by the way that a meter adds up."""
    place = (meter["tenant_id"], meter["meter_id"])
    if await connection.fetchval(queries.is_meter_priced, *place):
        detail = (
            f"line items price it as {meter['aggregation']}: leave aggregation and unique_key as "
            "they are, or make another usage product and a pricing of it"
        )
        raise Conflict("usage_product_priced", detail)


def read_page(fields: Fields) -> tuple[int, int]:
    """Read how many rows a page has, and behind which place it begins."""
    limit = fields.optional(values.whole(1, PAGE_MAX), "limit") or PAGE_DEFAULT
    return limit, fields.optional(read_cursor, "cursor") or 0


async def list_meters(request: web.Request) -> web.Response:
    """GET /api/usage/products: a page, in the order they were made."""
    query = read_query(request, refuses_unknown=True)
    limit, after = read_page(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_meters, tenant_id, after, limit + 1)
    page = rows[:limit]
    last = page[-1]["meter_id"] if len(rows) > limit else None
    return page_answer("usage_products", [_meter_answer(row) for row in page], last)


def _meter_answer(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "usage_product_ref": row["usage_product_ref"],
        "name": row["name"],
        "unit": row["unit"],
        "aggregation": row["aggregation"],
        "unique_key": row["unique_key"],
        "formula": row["formula"],
        **relation_answer(row),
        "created_at": row["created_at"],
    }


ROUTES = [
    *routes_of("POST", "/api/usage/products", create_meter, "billing:write", reads=read_meter),
    *routes_of("GET", "/api/usage/products", list_meters, "usage:read", asks=read_page),
    *routes_of("GET", "/api/usage/products/{usage_product_ref}", get_meter, "usage:read"),
    *routes_of(
        "PUT",
        "/api/usage/products/{usage_product_ref}",
        replace_meter,
        "billing:write",
        reads=read_meter_change,
    ),
]
