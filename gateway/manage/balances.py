"""What is used and what is left of a running period: quantities, amounts, minimums and credits."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from aiohttp import web

from gateway.manage.answers import json_answer, number, number_or_null
from gateway.manage.context import path_ref, queries, routes_of, transaction
from runtime.postgres import Connection
from schemas.credits import Balance, Grant
from schemas.document import FEE_CELL, DocumentLine
from schemas.errors import NotFound
from schemas.event_ref import shard_key_of
from schemas.money import (
    AMOUNT_DIGITS,
    QUANTITY_DIGITS,
    currency_digits,
    decimal_to_scaled,
    scaled_to_decimal,
)
from schemas.price import basis_of, cell_values, is_usage
from schemas.standing import Standing, running_period, stand, sum_draws

Row = asyncpg.Record


async def get_balances(request: web.Request) -> web.Response:
    """GET /api/contracts/balances/<contract_ref>: how the running periods stand, line by line.

    Usage counts as soon as it is rated. Money is as a document of this moment would have it, before
    discount and tax; what minimums and commitments still miss stands beside it.
    """
    contract_ref = path_ref(request, "contract_ref")
    place = shard_key_of(contract_ref.int)
    now = datetime.now(UTC)
    async with transaction(request) as (connection, tenant_id):
        found = await connection.fetchrow(queries.find_contract, tenant_id, place, contract_ref)
        if found is None:
            raise NotFound("contract_unknown", f"there is no contract {contract_ref}")
        terms = [
            row
            for row in await connection.fetch(queries.list_terms_of_shard, tenant_id, place)
            if row["contract_ref"] == contract_ref
        ]
        standings = await _stand(connection, tenant_id, place, terms, now)
    products = [
        _product(row, *standing)
        for row, standing in zip(terms, standings, strict=True)
        if standing[0] is not None or row["until_date"] is None  # not what an edit has replaced
    ]
    return json_answer({"contract_ref": contract_ref, "as_of": now, "products": products})


async def _stand(
    connection: Connection, tenant_id: int, place: int, terms: Sequence[Row], now: datetime
) -> list[tuple[Standing | None, Mapping[UUID, Row]]]:
    """Work out how each product stands; None where no period runs. With its lines by their refs."""
    refs = [row["contract_product_ref"] for row in terms]
    running = [running_period(row, now) for row in terms]
    starts = [period.start for period in running if period is not None]
    asked = (tenant_id, place, refs)
    lines = await connection.fetch(queries.list_lines_of_products, *asked)
    charges = await connection.fetch(queries.list_unbilled_charges, *asked, starts)
    billed = await connection.fetch(queries.list_billed_periods, *asked)
    draws = await connection.fetch(queries.list_credit_draws, *asked)
    totals: dict[tuple[UUID, datetime], list[Row]] = {}
    for row in charges:
        totals.setdefault((row["contract_line_ref"], row["start_at"]), []).append(row)
    found: list[tuple[Standing | None, Mapping[UUID, Row]]] = []
    for row, period in zip(terms, running, strict=True):
        digits = currency_digits(row["currency"])
        own = {line["contract_line_ref"]: line for line in lines}
        standing = None
        if period is not None:
            kin = [one for one in terms if one["lineage_ref"] == row["lineage_ref"]]
            refs_of_kin = {one["contract_product_ref"] for one in kin}
            standing = stand(
                row,
                period,
                lines,
                totals,
                {
                    b["start_at"]: decimal_to_scaled(b["total"], digits)
                    for b in billed
                    if b["contract_product_ref"] in refs_of_kin
                },
                sum_draws((d for d in draws if d["contract_product_ref"] in refs_of_kin), digits),
                kin,
            )
        found.append((standing, own))
    return found


def _product(terms: Row, standing: Standing | None, lines: Mapping[UUID, Row]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "contract_product_ref": terms["contract_product_ref"],
        "product_name": terms["product_name"],
        "currency": terms["currency"],
        "period": None,
    }
    if standing is None:
        return shown
    digits = currency_digits(terms["currency"])
    period, drafted = standing.period, standing.drafted
    minimum = drafted.minimum_fee
    missing = None if minimum is None else max(minimum - drafted.sub_total, 0)
    items = [_line(line, lines[line.contract_line_ref], digits) for line in drafted.lines]
    return shown | {
        "period": {"start": period.start_date, "end": period.end_date},
        "line_items": items,
        "sub_total": _money(drafted.sub_total, digits),
        "minimum_fee": _money(minimum, digits),
        "minimum_fee_left": _money(missing, digits),
        "total": _money(drafted.total, digits),
        "commitments": [
            {
                "over": one.over,
                "amount": _money(one.committed, digits),
                "spent": _money(one.spent, digits),
                "left": _money(one.added, digits),
            }
            for one in standing.commitments
        ],
        "credits": [_credit(*credit, digits) for credit in standing.credits],
        "credit_left": _money(standing.credit_left, digits) if standing.credits else None,
    }


def _line(line: DocumentLine, row: Row, digits: int) -> dict[str, Any]:
    price = line.price
    is_cell = basis_of(price) == "CELLS"
    included = scaled_to_decimal(price.included_quantity, QUANTITY_DIGITS)
    has_included = bool(price.included_quantity) and is_usage(price)
    left = max(price.included_quantity - abs(line.quantity), 0)
    return {
        "line_item_ref": line.line_item_ref,
        "item": line.item,
        "model": price.model,
        "usage_product_ref": row["usage_product_ref"],
        "cell": list(cell_values(line.cell)) if is_cell and line.cell != FEE_CELL else None,
        "quantity": number(scaled_to_decimal(line.quantity, QUANTITY_DIGITS)),
        "event_count": line.event_count,
        "included_quantity": number(included) if has_included else None,
        "included_left": number(scaled_to_decimal(left, QUANTITY_DIGITS)) if has_included else None,
        "usage_amount": number(scaled_to_decimal(line.usage_amount, AMOUNT_DIGITS)),
        "amount": _money(line.amount, digits),
    }


def _credit(grant: Grant, balance: Balance, digits: int) -> dict[str, Any]:
    return {
        "name": grant.name or None,
        "starts": grant.starts,
        "expires": grant.expires,
        **{name: _money(getattr(balance, name), digits) for name in Balance.__struct_fields__},
    }


def _money(minor: int | None, digits: int) -> Any:  # noqa: ANN401 - a number as it is written
    return number_or_null(None if minor is None else scaled_to_decimal(minor, digits))


ROUTES = [
    *routes_of("GET", "/api/contracts/balances/{contract_ref}", get_balances, "billing:read"),
]
