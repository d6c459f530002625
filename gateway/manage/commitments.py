"""Commitments and prepaid credits of contract products: read from bodies, and their balances."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import takewhile
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web
from msgspec.structs import replace

from gateway.manage import values
from gateway.manage.answers import json_answer, number
from gateway.manage.body import Fields
from gateway.manage.context import path_ref, queries, routes_of, transaction
from schemas.commitments import COMMITMENTS_MAX
from schemas.credits import GRANTS_MAX, PRIORITY_MAX, Balance, Span, read_grants, walk
from schemas.errors import NotFound
from schemas.event_ref import shard_key_of
from schemas.money import currency_digits, scaled_to_decimal
from schemas.periods import BillingTerms, periods_of_lineage
from schemas.standing import sum_draws

_decode: Final = msgspec.json.Decoder(list[dict[str, Any]]).decode
_NUMBERS: Final = frozenset({"amount", "roll_over"})


def read_commitments(fields: Fields) -> str:
    """Read `commitments` of a contract product; return them as they are stored."""
    found = _each(fields, "commitments", COMMITMENTS_MAX)
    rows = [
        {
            "over": one.required(values.choice("PERIOD", "CONTRACT"), "over"),
            "amount": _read_amount(one),
        }
        for one in found
    ]
    if len({row["over"] for row in rows}) < len(rows):
        fields.add("commitment_repeated", "may be one a period and one a contract", "commitments")
    return msgspec.json.encode(rows).decode()


def read_credits(fields: Fields) -> str:
    """Read `credits` of a contract product; return them as they are stored."""
    rows = [_credit(one) for one in _each(fields, "credits", GRANTS_MAX)]
    return msgspec.json.encode(rows).decode()


def _each(fields: Fields, name: str, count_max: int) -> Sequence[Fields]:
    found = fields.each(name) or []
    if len(found) > count_max:
        fields.add("list_too_long", f"must be at most {count_max}", name)
    for unread in found[count_max:]:
        unread.ignore(*unread.values)
    return found[:count_max]


def _credit(one: Fields) -> dict[str, object]:
    every = one.optional(values.choice("ONCE", "PERIOD"), "every") or "ONCE"
    roll_over = one.optional(values.fee, "roll_over")
    starts = one.optional(values.plain_date, "starts")
    expires = one.optional(values.plain_date, "expires")
    if starts is not None and expires is not None and expires < starts:
        one.add("dates_crossed", "must not be before starts", "expires")
    if roll_over is not None and every == "ONCE":
        detail = "what is granted once stays until it expires: it takes every PERIOD"
        one.add("field_not_applicable", detail, "roll_over")
    row = {
        "name": one.optional(values.name, "name"),
        "amount": _read_amount(one),
        "priority": one.optional(values.whole(0, PRIORITY_MAX), "priority"),
        "starts": starts,
        "expires": expires,
        "every": every,
        "roll_over": None if roll_over is None else _text(roll_over),
    }
    return {name: value for name, value in row.items() if value is not None}


def _read_amount(one: Fields) -> str:
    amount = one.required(values.fee, "amount")
    if amount is not None and not amount:
        one.add("number_not_positive", "must be above zero", "amount")
    return _text(amount)


def _text(amount: Decimal | None) -> str:
    return format(amount or Decimal(0), "f")


def terms_shown(text: str) -> list[dict[str, Any]]:
    """Show stored commitments or credits as the API takes them."""
    return [
        {name: number(Decimal(v)) if name in _NUMBERS else v for name, v in row.items()}
        for row in _decode(text)
    ]


async def get_credits(request: web.Request) -> web.Response:
    """GET /api/contracts/credits/<contract_ref>: what was granted, drawn, expired, and is left.

    By the documents drawn up so far, up to the period that runs on the day asked for.
    """
    contract_ref = path_ref(request, "contract_ref")
    place = shard_key_of(contract_ref.int)
    async with transaction(request) as (connection, tenant_id):
        found = await connection.fetchrow(queries.find_contract, tenant_id, place, contract_ref)
        if found is None:
            raise NotFound("contract_unknown", f"there is no contract {contract_ref}")
        products = await connection.fetch(
            queries.list_contract_products, tenant_id, place, [contract_ref], True
        )
        refs = [row["contract_product_ref"] for row in products]
        drawn = await connection.fetch(queries.list_credit_draws, tenant_id, place, refs)
        today: date = await connection.fetchval("SELECT current_date")
    rows = [
        shown
        for row in products
        if not row["is_over"]
        for shown in _product_credits(row, _lineage(row, products), drawn, today)
    ]
    return json_answer({"contract_ref": contract_ref, "credits": rows})


def _lineage(row: asyncpg.Record, products: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
    """Return a product with those of its contract that it carries on."""
    return [one for one in products if one["lineage_ref"] == row["lineage_ref"]]


def _product_credits(
    row: asyncpg.Record,
    lineage: Sequence[asyncpg.Record],
    drawn: Sequence[asyncpg.Record],
    today: date,
) -> list[dict[str, Any]]:
    """Show the balances of a product's credits."""
    digits = currency_digits(row["currency"])
    grants = read_grants(row["credits"], digits, row["billing_start_date"])
    refs = {one["contract_product_ref"] for one in lineage}
    own = [d for d in drawn if d["contract_product_ref"] in refs]
    draws = sum_draws(own, digits)
    last = max([today, *(d["start_date"] for d in own)])
    terms_of_lineage = [
        replace(BillingTerms.of_row(one), until=one["ends_date"]) for one in lineage
    ]
    by_then = takewhile(lambda one: one.start_date <= last, periods_of_lineage(terms_of_lineage))
    spans = [Span(period.start_date, period.end_date) for period in by_then]
    terms = terms_shown(row["credits"])
    return [
        {
            "product_name": row["product_name"],
            "currency": row["currency"],
            **{"name": None, "priority": 0, "expires": None, **terms[grant.place]},
            "starts": grant.starts,
            **_balance([Balance(), *walk(grant, spans, draws)][-1], digits),
            "draws": [_draw(d) for d in own if d["place"] == grant.place],
        }
        for grant in grants
    ]


def _balance(balance: Balance, digits: int) -> dict[str, Any]:
    return {
        name: number(scaled_to_decimal(getattr(balance, name), digits))
        for name in Balance.__struct_fields__
    }


def _draw(row: Mapping[str, Any] | asyncpg.Record) -> dict[str, Any]:
    ref: UUID = row["document_ref"]
    return {
        "invoice_ref": ref,
        "document_number": row["document_number"],
        "amount": number(row["amount"]),
    }


ROUTES = [
    *routes_of("GET", "/api/contracts/credits/{contract_ref}", get_credits, "billing:read"),
]
