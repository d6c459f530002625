"""Payments that people note: an invoice reconciled with the bank's statement, or taken back.

The reference product's clients send a body with GET. That is taken from a token alone (a cookie is
refused by the route), never from the query, and no cache may keep the answer.
"""

from datetime import date
from typing import Any, Final
from uuid import UUID

from aiohttp import web

from gateway.manage import values
from gateway.manage.body import Fields
from gateway.manage.context import path_ref, read_body, routes_of
from gateway.manage.document_requests import ask, read_reason
from schemas.errors import InvalidInput

WORDS_LENGTH_MAX: Final = 255


def read_reconciliation(fields: Fields) -> tuple[UUID, dict[str, Any]]:
    """Read which document was paid, when, and how."""
    document_ref = fields.required(values.ref, "invoice_ref")
    said: dict[str, Any] = {"paid_date": fields.required(values.day_or_instant, "paid_date")}
    amount = fields.optional(values.fee, "amount")
    if amount == 0:
        fields.add("number_not_positive", "must be more than zero", "amount")
    if amount is not None:
        said["amount"] = format(amount, "f")
    for name in ("method", "reference"):
        words = fields.optional(_words, name)
        if words is not None:
            said[name] = words
    if isinstance(said["paid_date"], date):  # an instant is one, too
        said["paid_date"] = said["paid_date"].isoformat()
    return document_ref, said


def _words(value: object) -> str:
    said = values.text(value).strip()
    if not 1 <= len(said) <= WORDS_LENGTH_MAX:
        raise InvalidInput("text_length", f"must have 1 to {WORDS_LENGTH_MAX} characters")
    return said


async def reconcile(request: web.Request) -> web.Response:
    """GET or POST /api/invoices/reconcile: note that a document was paid, or a part of it.

    The answer is the document. What has counted under a `reference`, or an Idempotency-Key, is not
    counted again, and a document of which nothing is due stays as it is.
    """
    body = await read_body(request)
    document_ref, said = read_reconciliation(body.fields)
    answer = await ask(request, document_ref, "PAY", said, body.finish())
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def take_back(request: web.Request) -> web.Response:
    """POST /api/invoices/<invoice_ref>/payments/<payment_ref>/reverse: take a payment back."""
    body = await read_body(request, refuses_unknown=True)
    said = read_reason(body.fields)
    body.finish()
    said["payment_ref"] = str(path_ref(request, "payment_ref"))
    return await ask(request, path_ref(request, "invoice_ref"), "TAKE_BACK", said)


ROUTES = [
    *(
        route
        for verb in ("GET", "POST")
        for route in routes_of(
            verb,
            "/api/invoices/reconcile",
            reconcile,
            "billing:write",
            reads=read_reconciliation,
            keeps_key=True,
        )
    ),
    *routes_of(
        "POST",
        "/api/invoices/{invoice_ref}/payments/{payment_ref}/reverse",
        take_back,
        "billing:write",
        reads=read_reason,
        keeps_key=True,
    ),
]
