"""What is done with documents on purpose: approved, sent back, voided, mailed, credited, paid.

The gateway changes no document. It writes what is wanted, with its audit entry, and waits for the
invoicer to do it, or to say why not.
"""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
from aiohttp import web

from gateway.manage import values
from gateway.manage.answers import json_answer
from gateway.manage.body import Fields
from gateway.manage.context import (
    name_of_caller,
    note,
    path_ref,
    read_body,
    routes_of,
    transaction,
)
from gateway.manage.context import queries as shared
from gateway.manage.document_marks import queries
from gateway.manage.documents import document_answers
from gateway.manage.idempotency import KEY_HEADER, read_key
from gateway.manage.line_items import cell_ref
from schemas.errors import Conflict, InvalidInput, NotFound, Problem
from schemas.event_ref import shard_key_of

WAIT_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.05
REASON_LENGTH_MAX: Final = 2_000

_ACTIONS: Final = {
    "APPROVE": "document.approval_asked",
    "REJECT": "document.rejection_asked",
    "REVIEW": "document.review_asked",
    "VOID": "document.void_asked",
    "SEND": "document.sending_asked",
    "CREDIT": "document.credit_asked",
    "PAY": "document.payment_noted",
    "TAKE_BACK": "document.payment_taken_back",
    "WRITE_OFF": "document.write_off_asked",
}

_FIELDS: Final = {
    "amount_digits": "/amount",
    "line_amount_digits": "/lines",
    "paid_date_ahead": "/paid_date",
}
"""What a request can be refused for that is wrong in a field of it."""

Place = tuple[int, UUID]
"""Shard key and ref of a request."""


def read_nothing(fields: Fields) -> dict[str, Any]:
    """Read the body of what needs no words."""
    assert fields is not None
    return {}


def read_reason(fields: Fields) -> dict[str, Any]:
    """Read why it is done."""
    return {"reason": fields.required(_reason, "reason")}


def read_credit(fields: Fields) -> dict[str, Any]:
    """Read what is taken off, tax included, and why; without an amount or lines, all that is left.

    Of a line what it says is taken: an amount as the line's, before discount and tax, or a
    quantity; with neither, all that is left of it.
    """
    said = read_reason(fields) | _positive(fields, "amount")
    lines = [_read_line(line) for line in fields.each("lines") or ()]
    if lines and "amount" in said:
        fields.add("amount_and_lines", "must be left out where lines are credited", "amount")
    if fields.has("lines") and not lines:
        fields.add("required", "must list at least one line", "lines")
    return said | {"lines": lines} if lines else said


def _read_line(fields: Fields) -> dict[str, Any]:
    """Read what is taken off a line."""
    ref = fields.required(values.ref, "line_item_ref", "line_item_id")
    said = {"line_item_ref": str(ref)} | _positive(fields, "amount") | _positive(fields, "quantity")
    if "amount" in said and "quantity" in said:
        fields.add("amount_and_quantity", "can't have both", "quantity")
    return said


def _positive(fields: Fields, name: str) -> dict[str, Any]:
    """Read a number above zero, where there is one."""
    found = fields.optional(values.fee, name)
    if found == 0:
        fields.add("number_not_positive", "must be more than zero", name)
    return {} if found is None else {name: format(found, "f")}


def _reason(value: object) -> str:
    said = values.text(value).strip()
    if not 1 <= len(said) <= REASON_LENGTH_MAX:
        raise InvalidInput("reason_length", f"must have 1 to {REASON_LENGTH_MAX} characters")
    return said


async def approve(request: web.Request) -> web.Response:
    """POST /api/invoices/<invoice_ref>/approve: issue a document under review, as it stands."""
    return await _ask(request, "APPROVE", await _said(request, read_nothing))


async def reject(request: web.Request) -> web.Response:
    """POST /api/invoices/<invoice_ref>/reject: make a document under review a draft again."""
    return await _ask(request, "REJECT", await _said(request, read_reason))


async def review(request: web.Request) -> web.Response:
    """POST /api/invoices/<invoice_ref>/review: draw a draft anew, and hold it for review again."""
    return await _ask(request, "REVIEW", await _said(request, read_nothing))


async def void(request: web.Request) -> web.Response:
    """POST /api/invoices/<invoice_ref>/void: let an issued document count for nothing.

    It keeps its number, and what it billed is not billed again.
    """
    return await _ask(request, "VOID", await _said(request, read_reason))


async def write_off(request: web.Request) -> web.Response:
    """POST /api/invoices/<invoice_ref>/write-off: give up a document that is not paid in time."""
    return await _ask(request, "WRITE_OFF", await _said(request, read_reason))


async def send(request: web.Request) -> web.Response:
    """POST /api/invoices/<invoice_ref>/send: mail an issued document once more."""
    return await _ask(request, "SEND", await _said(request, read_nothing))


async def credit(request: web.Request) -> web.Response:
    """POST /api/invoices/<invoice_ref>/credit: issue a credit document, which is the answer.

    Over a part of what the document asks for, over parts of its lines, or all that is left of it.
    """
    said = await _said(request, read_credit)
    if "lines" in said:
        said["lines"] = await _placed(request, path_ref(request, "invoice_ref"), said["lines"])
    return await _ask(request, "CREDIT", said)


async def _placed(
    request: web.Request, document_ref: UUID, lines: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Say where in the document the lines are that are named, as the API shows them."""
    place = shard_key_of(document_ref.int)
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(
            shared.list_document_lines, tenant_id, [place], [document_ref]
        )
    found: dict[str, list[list[int]]] = {}
    for row in rows:
        ref, cell = row["line_item_ref"], row["cell"]
        at = [row["product_position"], row["position"]]
        for known in {ref, cell_ref(ref, cell)} if row["model"] == "MATRIX" else {ref}:
            found.setdefault(str(known), []).append(at)
    unknown = [at for at, line in enumerate(lines) if line["line_item_ref"] not in found]
    if rows and unknown:
        detail = "names no line of this document"
        raise InvalidInput("line_unknown", detail, f"/lines/{unknown[0]}/line_item_ref")
    return [line | {"places": found.get(line["line_item_ref"], [])} for line in lines]


async def _said(request: web.Request, read: Any) -> dict[str, Any]:  # noqa: ANN401 - a reader
    body = await read_body(request, refuses_unknown=True)
    said: dict[str, Any] = read(body.fields)
    body.finish()
    return said


async def _ask(request: web.Request, action: str, details: Mapping[str, Any]) -> web.Response:
    """Ask for what is wanted with the document of the path."""
    return await ask(request, path_ref(request, "invoice_ref"), action, details)


async def ask(
    request: web.Request,
    document_ref: UUID,
    action: str,
    details: Mapping[str, Any],
    warnings: Sequence[Problem] = (),
) -> web.Response:
    """Write what is wanted, and answer with the document once it is done.

    202 when the invoicer doesn't get to it in time: it is done later, and the document shows it.
    warnings: of the request, shown with the document.
    """
    place, is_new = await _write(request, document_ref, action, details)
    found = await _wait(request, place)
    headers = {} if is_new else {"Idempotent-Replayed": "true"}
    if found is None:
        said = {"request_ref": place[1], "invoice_ref": document_ref, "outcome": None}
        answer = json_answer(said, status=202)
    elif found["outcome"] == "REFUSED":
        if found["code"] in _FIELDS:
            raise InvalidInput(found["code"], found["detail"], _FIELDS[found["code"]])
        if found["code"] == "payment_unknown":
            raise NotFound(found["code"], found["detail"])
        raise Conflict(found["code"], found["detail"])
    else:
        answer = await _document(request, found["result_ref"], warnings)
    answer.headers.update(headers)
    return answer


async def _write(
    request: web.Request, document_ref: UUID, action: str, details: Mapping[str, Any]
) -> tuple[Place, bool]:
    """Write a request; where its key has one already, return that, and that it is not new."""
    key = read_key(request) if KEY_HEADER in request.headers else None
    said = msgspec.json.encode(details, order="deterministic")
    fingerprint = sha256(f"{action} {document_ref}\n".encode() + said).digest()
    place, request_ref = shard_key_of(document_ref.int), uuid4()
    async with transaction(request) as (connection, tenant_id):
        if not await connection.fetchval(queries.has_document, tenant_id, place, document_ref):
            raise NotFound("document_unknown", f"there is no document {document_ref}")
        who = await name_of_caller(request, connection)
        row = (tenant_id, place, request_ref, document_ref, action, said.decode(), who)
        if not await connection.fetchval(queries.add_request, *row, key, fingerprint):
            known = await connection.fetchrow(queries.find_by_key, tenant_id, key)
            if known is None:
                raise Conflict("idempotency_key_in_use", "the key's request was refused just now")
            if known["fingerprint"] != fingerprint:
                detail = "this Idempotency-Key was used for another request"
                raise InvalidInput("idempotency_key_reused", detail)
            return (known["shard_key"], known["request_ref"]), False
        await note(request, connection, _ACTIONS[action], document_ref, after=details)
    return (place, request_ref), True


async def _wait(request: web.Request, place: Place) -> asyncpg.Record | None:
    """Return what has become of a request, None when that takes too long."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                async with transaction(request) as (connection, tenant_id):
                    row = await connection.fetchrow(queries.find_outcome, tenant_id, *place)
                assert row is not None, "a request is never deleted"
                if row["outcome"] is not None:
                    return row
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        return None


async def _document(
    request: web.Request, document_ref: UUID, warnings: Sequence[Problem]
) -> web.Response:
    place = shard_key_of(document_ref.int)
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(shared.find_document, tenant_id, place, document_ref)
        assert row is not None, "the invoicer has just named it"
        answers = await document_answers(request, connection, tenant_id, [row])
    return json_answer(answers[0], warnings=warnings)


ROUTES = [
    route
    for name, handler, reads in (
        ("approve", approve, read_nothing),
        ("reject", reject, read_reason),
        ("review", review, read_nothing),
        ("void", void, read_reason),
        ("write-off", write_off, read_reason),
        ("send", send, read_nothing),
        ("credit", credit, read_credit),
    )
    for route in routes_of(
        "POST",
        f"/api/invoices/{{invoice_ref}}/{name}",
        handler,
        "billing:write",
        reads=reads,
        keeps_key=True,
    )
]
