"""Products and their pricings: what is sold, and what each line item costs."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
from aiohttp import web
from msgspec import Struct

from gateway.manage import values
from gateway.manage.answers import json_answer, number_or_null
from gateway.manage.body import Body, Fields
from gateway.manage.context import (
    note,
    path_ref,
    queries,
    read_body,
    read_query,
    routes_of,
    transaction,
)
from gateway.manage.line_items import line_item_rows, tier_refs
from gateway.manage.meter_relations import lock_meters
from runtime.postgres import Connection
from schemas.aggregation import PLAIN
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.periods import Row
from schemas.price import LinePrice, basis_of, from_json, is_usage, parse_line_price, to_json

EXPRESSIONS_LENGTH_MAX: Final = 20_000
"""Characters of all formulas of a pricing: each takes some time to prove."""


class NewLine(Struct, frozen=True):
    """A line item as it is asked for; meter_ref only where usage is priced."""

    item: str
    meter_ref: UUID | None
    price: LinePrice


class NewPricing(Struct, frozen=True):
    """A pricing as it is asked for."""

    pricing_name: str
    minimum_fee: Decimal | None
    publish: bool
    lines: tuple[NewLine, ...]


class NewProduct(Struct, frozen=True):
    """A product and its first pricing as they are asked for."""

    product_name: str
    pricing: NewPricing


def read_new_product(fields: Fields) -> NewProduct:
    """Read the body of `POST /api/products`."""
    return NewProduct(fields.required(values.name, "product_name"), read_pricing(fields))


def read_pricing(fields: Fields) -> NewPricing:
    """Read the pricing in a body."""
    lines = fields.each("line_items")
    if not lines:
        fields.add("required", "must list at least one line item", "line_items")
    return NewPricing(
        pricing_name=fields.required(values.name, "pricing_name"),
        minimum_fee=fields.optional(values.fee, "minimum_fee"),
        publish=fields.optional(values.flag, "publish") or False,
        lines=tuple(read_lines(lines or [])),
    )


def read_lines(items: list[Fields]) -> Iterator[NewLine]:
    """Read line items; those whose price can't be read are left out, with their problems noted."""
    lengths = [len(str(fields.values.get("expression") or "")) for fields in items]
    if sum(lengths) > EXPRESSIONS_LENGTH_MAX:
        for fields in items:
            fields.ignore(*fields.values)
        detail = f"their expressions may have {EXPRESSIONS_LENGTH_MAX} characters, all together"
        items[0].body.add("expressions_too_long", detail, "/line_items")
        return
    for fields in items:
        line = _read_line(fields)
        if line is not None:
            yield line


def _read_line(fields: Fields) -> NewLine | None:
    """Read a line item; None, with the problems noted, when its price can't be read."""
    item = fields.required(values.name, "item")
    meter_ref = fields.optional(values.ref, "usage_product_ref")
    fields.ignore(*fields.values)  # the price's own reader knows which fields there are
    price = fields.body.check(
        "", lambda: parse_line_price(_without_empty(fields.values), fields.pointer)
    )
    if price is None:
        return None
    if is_usage(price) and not fields.has("usage_product_ref"):
        fields.add("required", f"{price.model} prices usage: name its meter", "usage_product_ref")
    if not is_usage(price) and meter_ref is not None:
        detail = f"{price.model} does not price usage"
        fields.add("field_not_applicable", detail, "usage_product_ref")
    return NewLine(item, meter_ref, price)


def _without_empty(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value not in (None, "")}


async def create_product(request: web.Request) -> web.Response:
    """POST /api/products."""
    body = await read_body(request, refuses_unknown=True)
    product = read_new_product(body.fields)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        await lock_meters(connection, tenant_id)
        meters = await find_meters(body, connection, tenant_id, product.pricing.lines)
        answer = await _add_product(connection, tenant_id, product, meters)
        made = body.fields.values
        await note(request, connection, "pricing.made", answer["pricing_ref"], after=made)
    return json_answer(answer)


async def find_meters(
    body: Body, connection: Connection, tenant_id: int, lines: tuple[NewLine, ...]
) -> dict[UUID | None, int]:
    """Return the ids of the meters that lines name; an unknown one is a problem of its line."""
    refs = [line.meter_ref for line in lines if line.meter_ref is not None]
    rows = await connection.fetch(queries.find_meters, tenant_id, refs)
    meters: dict[UUID | None, int] = {row["usage_product_ref"]: row["meter_id"] for row in rows}
    aggregations = {row["usage_product_ref"]: row["aggregation"] for row in rows}
    for index, line in enumerate(lines):
        if line.meter_ref is None:
            continue
        pointer = f"/line_items/{index}/usage_product_ref"
        if line.meter_ref not in meters:
            body.add("usage_product_unknown", "names no usage product of yours", pointer)
        elif basis_of(line.price) != "TOTAL" and aggregations[line.meter_ref] not in PLAIN:
            aggregation = aggregations[line.meter_ref]
            detail = f"a price of events or cells can't be one of a meter's {aggregation}"
            body.add("aggregation_not_priced", detail, pointer)
    body.refuse()
    return meters


async def _add_product(
    connection: Connection,
    tenant_id: int,
    product: NewProduct,
    meters: Mapping[UUID | None, int],
) -> dict[str, Any]:
    product_ref = uuid4()
    try:
        product_id = await connection.fetchval(
            queries.add_product, tenant_id, product_ref, product.product_name
        )
    except asyncpg.UniqueViolationError:
        raise _name_taken(product.product_name) from None
    added = await add_pricing(connection, tenant_id, product_id, product.pricing, meters)
    return {"product_ref": product_ref, **added}


async def add_pricing(
    connection: Connection,
    tenant_id: int,
    product_id: int,
    pricing: NewPricing,
    meters: Mapping[UUID | None, int],
) -> dict[str, Any]:
    """Add a pricing to a product, and return its refs as the API answers them."""
    pricing_ref = uuid4()
    pricing_id = await connection.fetchval(
        queries.add_pricing,
        tenant_id,
        pricing_ref,
        product_id,
        pricing.pricing_name,
        pricing.minimum_fee,
    )
    items = await add_lines(connection, tenant_id, pricing_id, pricing.lines, meters)
    if pricing.publish:  # its lines first: a published pricing takes no more
        await connection.execute(queries.publish_pricing, tenant_id, pricing_ref)
    return {"pricing_ref": pricing_ref, "line_items": items}


async def add_lines(
    connection: Connection,
    tenant_id: int,
    pricing_id: int,
    lines: Sequence[NewLine],
    meters: Mapping[UUID | None, int],
) -> list[dict[str, Any]]:
    """Add the line items of a draft, and return each one's ref and name, in order."""
    refs = [uuid4() for _ in lines]
    rows = [
        (tenant_id, ref, pricing_id, place, line.item, meters.get(line.meter_ref), price)
        for place, (ref, line) in enumerate(zip(refs, lines, strict=True))
        for price in (to_json(line.price),)
    ]
    await connection.executemany(queries.add_pricing_line, rows)
    return [
        {"line_item_ref": ref, "item": line.item} for ref, line in zip(refs, lines, strict=True)
    ]


def _name_taken(name: str) -> Conflict:
    return Conflict("name_taken", f"there is a product named {name!r} already")


def read_product(fields: Fields) -> str:
    """Read the body of `PUT /api/products/<product_ref>`: the product's name."""
    fields.ignore("product_ref")
    return fields.required(values.name, "product_name")


async def rename_product(request: web.Request) -> web.Response:
    """PUT /api/products/<product_ref>: its name; documents that were issued keep the former one.

    What it costs is in its pricings, which don't change once they are published.
    """
    product_ref = path_ref(request, "product_ref")
    body = await read_body(request, refuses_unknown=True)
    name = read_product(body.fields)
    body.fields.optional(values.same_ref(product_ref), "product_ref")
    body.finish()
    answer = {"product_ref": product_ref, "product_name": name}
    async with transaction(request) as (connection, tenant_id):
        before = await connection.fetchrow(queries.hold_product, tenant_id, product_ref)
        if before is None:
            raise NotFound("product_unknown", f"there is no product {product_ref}")
        try:
            await connection.execute(queries.change_product, tenant_id, product_ref, name)
        except asyncpg.UniqueViolationError:
            raise _name_taken(name) from None
        former = answer | {"product_name": before["name"]}
        await note(request, connection, "product.changed", product_ref, before=former, after=answer)
    return json_answer(answer)


async def publish_pricing(request: web.Request) -> web.Response:
    """POST /api/pricings/<pricing_ref>/publish: from now on it is immutable and can be sold."""
    pricing_ref = path_ref(request, "pricing_ref")
    body = await read_body(request, refuses_unknown=True)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        found = await connection.fetchval(queries.publish_pricing, tenant_id, pricing_ref)
        if found is None:
            raise NotFound("pricing_unknown", f"there is no pricing {pricing_ref}")
        await note(request, connection, "pricing.published", pricing_ref)
    return json_answer({"pricing_ref": pricing_ref, "is_published": True})


def read_drafts(fields: Fields) -> bool:
    """Read whether pricings that are not published are asked for too."""
    return fields.optional(values.flag, "include_drafts") or False


async def list_products(request: web.Request) -> web.Response:
    """GET /api/products: every pricing that can be sold; `include_drafts=true` shows the rest."""
    query = read_query(request)
    drafts = read_drafts(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        pricings = await connection.fetch(queries.list_pricings, tenant_id, drafts)
        ids = [row["pricing_id"] for row in pricings]
        lines = await connection.fetch(queries.list_pricing_lines, tenant_id, ids)
    items: dict[int, list[dict[str, Any]]] = {row["pricing_id"]: [] for row in pricings}
    for line in lines:
        items[line["pricing_id"]].extend(line_item_rows(line))
    return json_answer([_pricing_answer(row, items[row["pricing_id"]]) for row in pricings])


def _pricing_answer(row: asyncpg.Record, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "pricing_ref": row["pricing_ref"],
        "product_ref": row["product_ref"],
        "product_name": row["product_name"],
        "pricing_name": row["pricing_name"],
        "minimum_fee": number_or_null(row["minimum_fee"]),
        "is_published": row["is_published"],
        "line_items": items,
    }


def select_lines(lines: Sequence[Row], chosen: Sequence[UUID]) -> tuple[list[Any], list[int]]:
    """Return the line items that refs choose, and the places of the refs that choose none.

    A tier's ref chooses the whole item. The lines keep the order of their pricing.
    """
    parents: dict[UUID, UUID] = {}
    for line in lines:
        ref = line["line_item_ref"]
        parents[ref] = ref
        parents |= dict.fromkeys(tier_refs(ref, from_json(line["price"])), ref)
    wanted = {parents[ref] for ref in chosen if ref in parents}
    unknown = [place for place, ref in enumerate(chosen) if ref not in parents]
    return [line for line in lines if line["line_item_ref"] in wanted], unknown


def check_sellable(lines: Sequence[Row], currency: str) -> None:
    """Refuse line items in another currency. Raises InvalidInput."""
    for line in lines:
        price = from_json(line["price"])
        if price.currency not in (None, currency):
            detail = (
                f"{line['item']!r} is priced in {price.currency}, the customer billed in {currency}"
            )
            raise InvalidInput("currency_mismatch", detail)


ROUTES = [
    *routes_of("POST", "/api/products", create_product, "billing:write", reads=read_new_product),
    *routes_of("GET", "/api/products", list_products, "billing:read", asks=read_drafts),
    *routes_of(
        "PUT", "/api/products/{product_ref}", rename_product, "billing:write", reads=read_product
    ),
    *routes_of("POST", "/api/pricings/{pricing_ref}/publish", publish_pricing, "billing:write"),
]
