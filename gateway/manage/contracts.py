"""Contracts: which customer buys which pricings, from when to when, and under what terms."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web

from gateway.manage import values
from gateway.manage.answers import json_answer, number, number_or_null, terms_answer
from gateway.manage.body import Fields
from gateway.manage.commitments import terms_shown
from gateway.manage.context import (
    caller,
    name_of_caller,
    note,
    path_ref,
    queries,
    read_body,
    read_query,
    routes_of,
    transaction,
)
from gateway.manage.contract_writing import (
    TERMS_COLUMNS,
    RefMaker,
    SettledProduct,
    load_reference,
    settle,
    terms_row,
    write_contract,
)
from gateway.manage.overrides import overrides_shown
from gateway.manage.parts import PaymentDetails
from gateway.manage.terms import NewContract, read_contract, read_subscription
from runtime.clock import to_micros
from runtime.postgres import Connection
from schemas.errors import NotFound, Problem
from schemas.event_ref import month_index, shard_key, shard_key_of, tenant_bits

PAGE_SIZE_MAX: Final = 1_000

_DAY: Final = timedelta(days=1)

Row = asyncpg.Record


async def create_contract(request: web.Request) -> web.Response:
    """POST /api/contracts."""
    contract_ref, warnings = await _create(request, read_contract)
    return json_answer({"contract_ref": contract_ref}, warnings=warnings)


async def create_subscription(request: web.Request) -> web.Response:
    """POST /api/contracts/subscriptions: a contract with one set of terms for all its products.

    Without `billing_end_date` it goes on until it is cancelled. Its ref is a contract's, and every
    call of contracts takes it.
    """
    contract_ref, warnings = await _create(request, read_subscription)
    return json_answer({"subscription_ref": contract_ref}, warnings=warnings)


async def _create(
    request: web.Request, read: Callable[[Fields], NewContract]
) -> tuple[UUID, list[Problem]]:
    body = await read_body(request)
    contract = read(body.fields)
    warnings = body.finish()
    month = month_index(to_micros(datetime.now(UTC)))
    async with transaction(request) as (connection, tenant_id):
        reference = await load_reference(body, connection, tenant_id, contract)
        products = settle(body, contract, reference)
        tenant = tenant_bits(caller(request).tenant_ref)
        maker = RefMaker(month, shard_key(str(contract.customer_ref)), tenant)
        contract_ref = maker.contract_ref()
        if contract.is_draft:
            now = datetime.now(UTC)
            shown = draft_answer(contract_ref, contract, reference.customer, products, now)
            await connection.execute(
                *(queries.add_contract_draft, maker.shard_key, contract_ref, tenant_id),
                *(reference.customer["customer_id"], draft_text(shown), contract.closes_ended, now),
            )
        else:
            made_by = await name_of_caller(request, connection)
            await write_contract(
                *(connection, tenant_id, maker, contract, reference.customer, products),
                *(made_by, contract_ref),
            )
        action = "contract.drafted" if contract.is_draft else "contract.made"
        await note(request, connection, action, contract_ref, after=body.fields.values)
    return contract_ref, warnings


def draft_text(shown: Mapping[str, Any]) -> str:
    """Write a draft's answer as it is stored."""
    return msgspec.json.encode(shown).decode()


def draft_answer(
    contract_ref: UUID,
    contract: NewContract,
    customer: Row,
    products: Sequence[SettledProduct],
    made_at: datetime,
) -> dict[str, Any]:
    """Show a draft as its contract would be shown; it has no number and no version yet."""
    row = {
        "contract_ref": contract_ref,
        "contract_number": None,
        "customer_ref": contract.customer_ref,
        "customer_name": customer["name"],
        "po_number": contract.po_number,
        "state": "DRAFT",
        "invoice_mode": contract.invoice_mode,
        "closing": contract.closing,
        "review": contract.review,
        "created_at": made_at,
        "version": None,
    }
    return _contract_answer(row, [_settled_answer(one, customer) for one in products], [])


def _settled_answer(one: SettledProduct, customer: Row) -> dict[str, Any]:
    """Show a product that is not written yet."""
    items = [{"line_item_ref": line["line_item_ref"], "item": line["item"]} for line in one.lines]
    apart = {
        "pricing_ref": one.pricing["pricing_ref"],
        "product_name": one.pricing["product_name"],
        "pricing_name": one.pricing["pricing_name"],
        "entity_ref": one.entity["entity_ref"],
        "since_date": None,
        "ends_date": None,
    }
    terms = zip(TERMS_COLUMNS, terms_row(one, customer), strict=True)
    return _product_answer(apart | dict(terms), items)


async def get_contract(request: web.Request) -> web.Response:
    """GET /api/contracts/<contract_ref>."""
    contract_ref = path_ref(request, "contract_ref")
    place = shard_key_of(contract_ref.int)
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(queries.find_contract, tenant_id, place, contract_ref)
        if row is None:
            draft = await connection.fetchval(
                queries.find_contract_draft, tenant_id, place, contract_ref
            )
            if draft is None:
                raise NotFound("contract_unknown", f"there is no contract {contract_ref}")
            return json_answer(msgspec.Raw(draft.encode()))
        answers = await contract_answers(connection, tenant_id, place, [row])
    return json_answer(answers[0])


def read_page(fields: Fields) -> tuple[UUID, int, int]:
    """Read whose contracts are asked for, how many a page has, and which page it is."""
    return (
        fields.required(values.ref, "customer_ref"),
        fields.required(values.whole(1, PAGE_SIZE_MAX), "pageSize"),
        fields.required(values.whole(0, values.PAGE_NUMBER_MAX), "pageNumber"),
    )


async def filter_contracts(request: web.Request) -> web.Response:
    """GET /api/contracts/filter: a page of a customer's contracts; drafts come last."""
    query = read_query(request)
    customer_ref, size, page = read_page(query.fields)
    query.finish()
    place = shard_key(str(customer_ref))
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(
            queries.list_contracts, tenant_id, place, customer_ref, size, page * size
        )
        answers: list[Any] = [*await contract_answers(connection, tenant_id, place, rows)]
        if len(rows) < size:
            taken = (size, len(rows), page * size)
            key = (tenant_id, place, customer_ref)
            drafts = await connection.fetch(queries.list_contract_drafts, *key, *taken)
            answers += [msgspec.Raw(draft["terms"].encode()) for draft in drafts]
    return json_answer(answers)


async def contract_answers(
    connection: Connection, tenant_id: int, place: int, contracts: Sequence[Row]
) -> list[dict[str, Any]]:
    """Show contracts of one customer with their products and line items."""
    refs = [row["contract_ref"] for row in contracts]
    key = (tenant_id, place, refs)
    products = await connection.fetch(queries.list_contract_products, *key, False)
    lines = await connection.fetch(queries.list_contract_lines, *key)
    versions = await connection.fetch(queries.list_contract_versions, *key)
    items: dict[UUID, list[Any]] = {row["contract_product_ref"]: [] for row in products}
    for line in lines:
        shown = {"line_item_ref": line["line_item_ref"], "item": line["item"]}
        items.get(line["contract_product_ref"], []).append(shown)  # none of former versions
    by_contract: dict[UUID, list[Any]] = {ref: [] for ref in refs}
    for row in products:
        answer = _product_answer(row, items[row["contract_product_ref"]])
        by_contract[row["contract_ref"]].append(answer)
    histories: dict[UUID, list[Any]] = {ref: [] for ref in refs}
    for row in versions:
        histories[row["contract_ref"]].append(_version_answer(row))
    return [
        _contract_answer(row, by_contract[row["contract_ref"]], histories[row["contract_ref"]])
        for row in contracts
    ]


def _version_answer(row: Row) -> dict[str, Any]:
    return {
        "version": row["version"],
        "kind": row["kind"],
        "include_current_invoice": row["includes_current"],
        "made_by": row["made_by"],
        "made_at": row["made_at"],
        "state": "IN_FORCE" if row["is_in_force"] else "PENDING",
    }


def _contract_answer(
    row: Mapping[str, Any] | Row, products: list[Any], history: list[Any]
) -> dict[str, Any]:
    return {
        "contract_ref": row["contract_ref"],
        "contract_number": row["contract_number"],
        "customer_ref": row["customer_ref"],
        "customer_name": row["customer_name"],
        "po_number": row["po_number"],
        "state": row["state"],
        "invoice_mode": row["invoice_mode"],
        "closing": row["closing"],
        "review": row["review"],
        "auto_renew": any(product["auto_renew"] for product in products),
        "created_at": row["created_at"],
        "version": row["version"],
        "products": products,
        "history": history,
    }


def _product_answer(row: Mapping[str, Any] | Row, items: list[Any]) -> dict[str, Any]:
    payment = msgspec.json.decode(row["details"], type=PaymentDetails)
    first, end = row["since_date"] or row["billing_start_date"], row["ends_date"]
    last = row["billing_end_date"] if end is None else end - _DAY  # None: until cancelled
    return {
        "pricing_ref": row["pricing_ref"],
        "product_name": row["product_name"],
        "pricing_name": row["pricing_name"],
        "billing_start_date": row["billing_start_date"],
        "billing_end_date": row["term_end_date"] or row["billing_end_date"],
        "auto_renew": row["term_end_date"] is not None,
        "in_force_from": first,
        "in_force_through": last,
        "line_items": items,
        "entity_ref": row["entity_ref"],
        "currency": row["currency"],
        "timezone": row["timezone"],
        "billing_cycle": {"unit": row["cycle_unit"], "cycle": row["cycle_length"]},
        "issue_day": row["issue_day"],
        "payment_time": row["payment_time"],
        "tax": number(row["tax"]),
        "discount": number(row["discount"]),
        "net_terms": terms_answer(row["net_terms"]),
        "minimum_fee": number_or_null(row["minimum_fee"]),
        "note": row["note"],
        "commitments": terms_shown(row["commitments"]),
        "credits": terms_shown(row["credits"]),
        "overrides": overrides_shown(row["overrides"]),
        **{name: getattr(payment, name) for name in PaymentDetails.__struct_fields__},
    }


ROUTES = [
    *routes_of("POST", "/api/contracts", create_contract, "billing:write", reads=read_contract),
    *routes_of(
        "POST",
        "/api/contracts/subscriptions",
        create_subscription,
        "billing:write",
        reads=read_subscription,
    ),
    *routes_of("GET", "/api/contracts/filter", filter_contracts, "billing:read", asks=read_page),
    *routes_of("GET", "/api/contracts/{contract_ref}", get_contract, "billing:read"),
]
