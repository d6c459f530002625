"""The trial balance: the journal added up, account by account, and that it comes to zero."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import asyncpg
from aiohttp import web
from msgspec import Struct

from gateway.manage import values
from gateway.manage.answers import json_answer, number
from gateway.manage.body import Fields
from gateway.manage.context import read_query, routes_of, transaction
from runtime.postgres import Connection, Queries
from schemas.errors import InvalidInput
from schemas.money import currency_digits, decimal_to_scaled, scaled_to_decimal

queries: Final = Queries.beside(__file__, "trial_balance.sql")

_SUMS: Final = ("opening", "debits", "credits", "balance")


class Wanted(Struct, frozen=True):
    """What is added up; None means any. first, last: days of entries, both counted."""

    entity_ref: UUID | None = None
    first: date | None = None
    last: date | None = None


def read_wanted(fields: Fields) -> Wanted:
    """Read the query of `GET /api/reports/trial-balance`."""
    first = fields.optional(values.plain_date, "from")
    last = fields.optional(values.plain_date, "to")
    if first is not None and last is not None and last < first:
        fields.add("dates_crossed", "must not be before `from`", "to")
    return Wanted(fields.optional(values.ref, "entity_ref"), first, last)


async def get_trial_balance(request: web.Request) -> web.Response:
    """GET /api/reports/trial-balance: what the journal comes to, by currency and account.

    A balance above zero is a debit, below zero a credit; those of a currency come to zero. An entry
    counts for its document's day of issue, a payment's day, or the day on which it was booked.
    """
    query = read_query(request, refuses_unknown=True)
    wanted = read_wanted(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        return json_answer(await load_trial_balance(connection, tenant_id, wanted))


async def load_trial_balance(
    connection: Connection, tenant_id: int, wanted: Wanted
) -> dict[str, Any]:
    """Return a tenant's trial balance, as it is answered.

    Raises InvalidInput where the tenant has no such entity.
    """
    entity_id = None
    if wanted.entity_ref is not None:
        entity_id = await connection.fetchval(queries.find_entity_id, tenant_id, wanted.entity_ref)
        if entity_id is None:
            raise InvalidInput("entity_unknown", "names no entity of yours", "/entity_ref")
    asked = (tenant_id, entity_id, wanted.first, wanted.last)
    rows = await connection.fetch(queries.add_up_journal, *asked)
    return {
        "entity_ref": wanted.entity_ref,
        "from": wanted.first,
        "to": wanted.last,
        "currencies": [
            _currency(currency, list(own))
            for currency, own in groupby(rows, key=lambda row: row["currency"])
        ],
    }


def _currency(currency: str, rows: Sequence[asyncpg.Record]) -> dict[str, Any]:
    digits = currency_digits(currency)
    accounts = [
        {"account": row["account"]} | {name: number(row[name]) for name in _SUMS} for row in rows
    ]
    sums: dict[str, Decimal] = {
        name: scaled_to_decimal(sum(decimal_to_scaled(row[name], digits) for row in rows), digits)
        for name in _SUMS
    }
    return {
        "currency": currency,
        "accounts": accounts,
        **{name: number(total) for name, total in sums.items()},
    }


ROUTES = [
    *routes_of(
        "GET",
        "/api/reports/trial-balance",
        get_trial_balance,
        "billing:read",
        asks=read_wanted,
    ),
]
