"""Documents (invoices, credits, debits) as they were issued, and as files."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web

from gateway.manage.answers import json_answer, number, number_or_null, terms_answer
from gateway.manage.context import (
    not_ready,
    path_ref,
    queries,
    routes_of,
    transaction,
)
from gateway.manage.document_links import hosted_urls
from gateway.manage.document_marks import NO_MARKS, load_marks
from gateway.manage.drafts import Found, find_draft, line_row, product_row
from gateway.manage.event_drafts import bills_events, find_event_draft
from gateway.manage.line_items import cell_ref
from gateway.manage.looking import look_soon
from runtime.postgres import Connection
from schemas.document import FEE_CELL
from schemas.errors import NotFound
from schemas.event_ref import shard_key_of
from schemas.price import cell_values

_MONEY: Final = ("sub_total", "total_discount", "total_tax", "credits_amount", "total")
_HTML_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

Row = asyncpg.Record | Mapping[str, Any]


async def get_document(request: web.Request) -> web.Response:
    """GET /api/invoices/<invoice_ref>: a document as it was issued, or as a draft of it stands now.

    That of an event on its way is waited for, for a moment.
    """
    document_ref = path_ref(request, "invoice_ref")
    place = shard_key_of(document_ref.int)
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(queries.find_document, tenant_id, place, document_ref)
        if row is not None:
            answers = await document_answers(request, connection, tenant_id, [row])
            return json_answer(answers[0])
        found = await find_draft(connection, tenant_id, document_ref)
        may_come = found is None and await bills_events(connection, tenant_id, place)

    async def look() -> Found | None:
        async with transaction(request) as (connection, tenant_id):
            return await find_event_draft(connection, tenant_id, document_ref)

    if may_come:
        found = await look_soon(request, place, look)
    if found is None:
        raise _unknown(document_ref)
    return json_answer(draft_answer(found, document_ref))


def draft_answer(found: Found, document_ref: UUID) -> dict[str, Any]:
    """Show a document that is still to be drawn up."""
    draft, digits = found.draft, found.draft.currency_digits
    products = [
        _product_answer(
            product_row(product, digits),
            [_line_answer(line_row(line, digits)) for line in product.lines],
        )
        for product in draft.products
    ]
    return _document_answer(found.row(document_ref), products)


def _unknown(document_ref: UUID) -> NotFound:
    return NotFound("document_unknown", f"there is no document {document_ref}")


async def document_answers(
    request: web.Request, connection: Connection, tenant_id: int, documents: Sequence[Row]
) -> list[dict[str, Any]]:
    """Show documents with all that is in them, read with a few more statements for all."""
    refs = [row["document_ref"] for row in documents]
    places = list({row["shard_key"] for row in documents})
    products = await connection.fetch(queries.list_document_products, tenant_id, places, refs)
    lines = await connection.fetch(queries.list_document_lines, tenant_id, places, refs)
    relations: dict[UUID, list[Row]] = {ref: [] for ref in refs}
    for row in await connection.fetch(queries.list_document_adjustments, tenant_id, places, refs):
        relations[row["document_ref"]].append(row)
    marks = await load_marks(connection, tenant_id, places, refs)
    issued = [row["document_ref"] for row in documents if row["document_number"] is not None]
    urls = await hosted_urls(request, connection, tenant_id, places, issued)
    items: dict[tuple[UUID, int], list[Any]] = {}
    for line in lines:
        place = (line["document_ref"], line["product_position"])
        items.setdefault(place, []).append(_line_answer(line))
    by_document: dict[UUID, list[Any]] = {ref: [] for ref in refs}
    for row in products:
        shown = _product_answer(row, items.get((row["document_ref"], row["position"]), []))
        by_document[row["document_ref"]].append(shown)
    return [
        _document_answer(row, by_document[row["document_ref"]], relations[row["document_ref"]])
        | marks.get(row["document_ref"], {})
        | {"hosted_url": urls.get(row["document_ref"])}
        for row in documents
    ]


def _document_answer(
    row: Row, products: list[Any], relations: Sequence[Row] = ()
) -> dict[str, Any]:
    parties = msgspec.json.decode(row["parties"], type=dict[str, Any])
    entity = parties["entity"]
    return {
        "invoice_ref": row["document_ref"],
        "document_number": row["document_number"],
        "parent_document_ref": row.get("parent_document_ref"),
        "customer": _party("customer", parties["customer"]),
        "state": row["state"],
        "created_at": row["created_at"],
        "issue_date": row["issue_date"],
        "due_date": row["due_date"],
        "submission_date": row["submission_date"],
        "paid_date": row["paid_date"],
        "is_partial_period": row["is_partial_period"],
        "accounting_event_type": row["accounting_event_type"],
        "currency": row["currency"],
        "net_terms": terms_answer(row["net_terms"]),
        **{name: number(row[name]) for name in _MONEY},
        "products": products,
        "adjustments": [_adjustment(one) for one in relations if one["relation"] == "OTHER"],
        "adjusted_by": [_adjustment(one) for one in relations if one["relation"] == "ITSELF"],
        "adjustment_waits": any(one["relation"] == "WAITING" for one in relations),
        **NO_MARKS,
        "contract": {
            "contract_ref": row["contract_ref"],
            "contract_number": row["contract_number"],
        },
        "number_in_contract": row["number_in_contract"],
        "total_in_contract": number_or_null(row["total_in_contract"]),
        "billing_bank_transfer_details": parties.get("billing_bank_transfer_details"),
        "billing_online_payment_details": parties.get("billing_online_payment_details"),
        "billing_crypto_details": parties.get("billing_crypto_details"),
        "entity": _party("entity", entity),
        "period": {"start": row["period_start"], "end": row["period_end"]},
    }


def _adjustment(row: Row) -> dict[str, Any]:
    """Show what one document corrects of another: the other one, and that part of the sums."""
    total = row["sub_total"] - row["total_discount"] + row["total_tax"] - row["credits_amount"]
    return {
        "invoice_ref": row["other_ref"],
        "document_number": row["document_number"],
        **{name: number(row[name]) for name in _MONEY[:-1]},
        "total": number(total),
    }


def _adjusts(row: Row) -> dict[str, Any] | None:
    """Name the document, and its period, that a product is the difference to."""
    if row.get("root_document_ref") is None or row.get("is_ahead"):
        return None
    return {
        "invoice_ref": row["root_document_ref"],
        "document_number": row["root_number"],
        "period": {"start": row["start_date"], "end": row["end_date"]},
    }


def _party(kind: str, party: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{kind}_ref": party[f"{kind}_ref"],
        f"{kind}_name": party["name"],
        f"{kind}_legal_name": party.get("legal_name"),
    }


def _product_answer(row: Row, lines: list[Any]) -> dict[str, Any]:
    return {
        "product_name": row["product_name"],
        "adjusts": _adjusts(row),
        "settled_by": row["root_document_ref"] if row.get("is_ahead") else None,
        "minimum_fee": number_or_null(row["minimum_fee"]),
        "sub_total": number(row["sub_total"]),
        "total": number(row["total"]),
        "discount": number(row["discount"]),
        "commitments": msgspec.Raw(row["true_ups"].encode()),
        "lines": lines,
    }


def _line_answer(row: Row) -> dict[str, Any]:
    digest = row["events_digest"]
    ref, cell = row["line_item_ref"], row["cell"]
    is_cell = row["model"] == "MATRIX"
    return {
        "line_item_ref": cell_ref(ref, cell) if is_cell else ref,
        "parent_line_item_ref": ref if is_cell else None,
        "item": row["item"],
        "model": row["model"],
        "cell": list(cell_values(cell)) if is_cell and cell != FEE_CELL else None,
        "quantity": number(row["quantity"]),
        "unit_price": number_or_null(row["unit_price"]),
        "amount": number(row["amount"]),
        "tiers": None if row["tiers"] is None else msgspec.Raw(row["tiers"].encode()),
        "charge_ref": row["charge_ref"],
        "event_count": row["event_count"],
        "events_digest": None if digest is None else digest.hex(),
    }


async def get_pdf(request: web.Request) -> web.Response:
    """GET /api/invoices/<invoice_ref>/pdf."""
    return await _file(request, "PDF", "application/pdf")


async def get_html(request: web.Request) -> web.Response:
    """GET /api/invoices/<invoice_ref>/html."""
    return await _file(request, "HTML", "text/html")


async def _file(request: web.Request, kind: str, content_type: str) -> web.Response:
    """Answer with a file of an issued document; it is rendered a moment after it is issued."""
    document_ref = path_ref(request, "invoice_ref")
    place = shard_key_of(document_ref.int)
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(
            queries.find_document_file, tenant_id, place, document_ref, kind
        )
    if row is None:
        raise _unknown(document_ref)
    if row["content"] is None:
        if row["document_number"] is None:
            raise NotFound("document_not_issued", "a draft has no file; it gets one when issued")
        return not_ready(request, "file_not_ready", "the file is being made; ask again shortly")
    etag = f'"{row["sha256"].hex()}"'
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    name = quote(f"{row['document_number']}.{kind.lower()}", safe="")
    return web.Response(
        body=row["content"],
        content_type=content_type,
        charset="utf-8" if kind == "HTML" else None,
        headers={
            "Content-Disposition": f"inline; filename*=UTF-8''{name}",
            "Content-Security-Policy": _HTML_POLICY,
            "X-Content-Type-Options": "nosniff",
            "ETag": etag,
            "Cache-Control": "private, no-cache",
        },
    )


ROUTES = [
    *routes_of("GET", "/api/invoices/{invoice_ref}", get_document, "billing:read"),
    *routes_of(
        "GET",
        "/api/invoices/{invoice_ref}/pdf",
        get_pdf,
        "billing:read",
        media=("application/pdf",),
    ),
    *routes_of(
        "GET", "/api/invoices/{invoice_ref}/html", get_html, "billing:read", media=("text/html",)
    ),
]
