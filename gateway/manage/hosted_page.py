"""The page of an issued document, for whoever has the link to it: no login, and nothing else.

It is the document as it was issued, under a header that says how it stands today.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from functools import wraps
from html import escape
from typing import Final
from urllib.parse import quote

import asyncpg
import msgspec
from aiohttp import web
from babel.dates import format_date
from babel.numbers import format_currency

from gateway.ingest.routes import respond
from gateway.manage.answers import json_answer
from gateway.manage.context import (
    POOL,
    REQUEST_ID,
    note,
    path_ref,
    queries,
    read_body,
    routes_of,
    transaction,
)
from gateway.manage.document_links import LINKS
from gateway.manage.document_links import queries as own
from gateway.manage.document_marks import load_marks
from gateway.manage.document_requests import read_nothing
from gateway.manage.documents import document_answers
from gateway.openapi.operations import Operation, describe
from gateway.refusals import refusal
from runtime.postgres import tenant_transaction
from schemas.document import DocumentState
from schemas.errors import Conflict, NotFound
from schemas.event_ref import shard_key_of
from schemas.line_usage import Row

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
_LOCALE: Final = "en"
_STYLE: Final = """<style>
.hosted { box-sizing: border-box; max-width: 54rem; margin: 2rem auto -1rem; padding: 1rem 3rem;
  display: flex; flex-wrap: wrap; gap: .75rem 2rem; align-items: center; background: #fff;
  color: #1c2430; border-radius: 6px; border-left: 6px solid #1f4e79; text-align: left;
  direction: ltr; box-shadow: 0 1px 6px rgb(28 36 48 / 14%);
  font: 15px/1.4 system-ui, sans-serif; }
.hosted.late { border-color: #a4262c; } .hosted.paid { border-color: #2f6f3e; }
.hosted.void { border-color: #55606f; }
.hosted div { flex: 1 1 12rem; } .hosted b { display: block; font-size: 1.15rem; }
.hosted a { padding: .6rem 1.1rem; border-radius: 4px; background: #1f4e79; color: #fff;
  text-decoration: none; font-weight: 600; } .hosted a:focus-visible { outline: 3px solid #e0a030; }
.hosted a.more { background: none; color: #1f4e79; box-shadow: inset 0 0 0 1px; }
@media (max-width: 40rem) { .hosted { margin: 0; padding: 1rem 1.25rem; border-radius: 0; }
  .hosted a { flex: 1 1 100%; text-align: center; } }
@media print { .hosted { display: none; } }
</style>"""
_after_body: Final = re.compile(rb"<body[^>]*>")

BEGUN: Final = web.RequestKey("begun", bool)
"""Set once an answer is sent by parts."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def for_people(handler: Handler) -> Handler:
    """Bound the handler, and write what it refuses as a page where the client reads pages."""

    @wraps(handler)
    async def page(request: web.Request) -> web.StreamResponse:
        try:
            request.app[LINKS].take_page(request)
            response = await handler(request)
        except Exception as error:
            if request.get(BEGUN):
                raise  # the client has a part of an answer
            # The log must not hold the token, which is as good as the document.
            answer = refusal(error, request[REQUEST_ID], request.method, "/i/...")
            response = respond(answer)
            if "text/html" in request.headers.get("Accept", ""):
                detail = msgspec.json.decode(answer.body)["detail"]
                response = web.Response(
                    status=answer.status,
                    text=_message(detail),
                    content_type="text/html",
                    headers=answer.headers,
                )
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return page


def _message(detail: str) -> str:
    """Write a page with one sentence."""
    said = detail[:1].upper() + detail[1:]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Document</title></head><body>{_STYLE}"
        f'<div class="hosted void"><div><b>{escape(said)}.</b>'
        "If you need the document, ask whoever sent you the link.</div></div></body></html>"
    )


@for_people
async def get_page(request: web.Request) -> web.Response:
    """GET /i/<token>: an issued document and how it stands, for whoever has its link."""
    row, due = await _find(request, "HTML")
    head = header(row, due, request.match_info["token"])
    body = under_header(row["content"], head)
    return web.Response(body=body, content_type="text/html", charset="utf-8")


def under_header(content: bytes, head: str) -> bytes:
    """Put what `header` wrote on top of a document's page."""
    document, is_put = _after_body.subn(lambda m: m[0] + head.encode(), content, count=1)
    return document if is_put else head.encode() + document


@for_people
async def get_page_pdf(request: web.Request) -> web.Response:
    """GET /i/<token>/pdf: the same document as a file."""
    row, _ = await _find(request, "PDF")
    name = quote(f"{row['document_number']}.pdf", safe="")
    return web.Response(
        body=row["content"],
        content_type="application/pdf",
        headers={"Content-Disposition": f"inline; filename*=UTF-8''{name}"},
    )


async def _find(request: web.Request, kind: str) -> tuple[asyncpg.Record, Decimal]:
    """Read the document of the path's link, with a file of it, and what is due. Raises NotFound."""
    linked = request.app[LINKS].read(request.match_info["token"])
    if linked is None:
        raise no_document()
    ref, tenant_id = linked.document_ref, linked.tenant_id
    place = shard_key_of(ref.int)
    async with tenant_transaction(request.app[POOL], tenant_id) as connection:
        row = await connection.fetchrow(
            own.find_page, tenant_id, place, ref, linked.generation, kind
        )
        marks = await load_marks(connection, tenant_id, [place], [ref]) if row else {}
    if row is None:
        raise no_document()
    if row["content"] is None:
        raise NotFound("file_not_ready", "the document is being made: try again in a few seconds")
    return row, Decimal(bytes(marks[ref]["amount_due"]).decode())


def no_document() -> NotFound:
    """Say the same of a link that was never one, and of one that is none any more."""
    return NotFound("link_unknown", "this link leads to no document, or not any more")


def header(row: Row, due: Decimal, token: str) -> str:
    """Write how the document stands today, over the document itself.

    row: of `find_page`. due: what is still to be paid.
    """
    kind, title, more = _standing(row, due)
    usage = f'<a class="more" href="./{token}/usage.csv">Usage (CSV)</a>'
    usage = usage if row["has_usage_list"] else ""
    return (
        f'{_STYLE}<div class="hosted {kind}" role="status"><div><b>{escape(title)}</b>'
        f"{escape(more)}</div>{usage}"
        f'<a href="./{token}/pdf">Download PDF</a></div>'
    )


def _standing(row: Row, due: Decimal) -> tuple[str, str, str]:
    """Return a class for its look, what it is, and what is due."""
    amount = format_currency(abs(due), row["currency"], locale=_LOCALE)
    state = DocumentState(row["state"])
    by = _day(row["due_date"])
    if state is DocumentState.VOID:
        return "void", "Void", "This document counts for nothing: there is nothing to pay."
    if row["total"] < 0:
        left = f"{amount} in your favour." if due else "Nothing is left of it."
        return "paid", "Credit", left
    if state is DocumentState.PAID or not due:
        on = f" on {_day(row['paid_date'])}" if row["paid_date"] else ""
        return "paid", f"Paid{on}" if state is DocumentState.PAID else "Settled", "Nothing is due."
    more = f"Amount due: {amount}"
    if state is DocumentState.PARTIALLY_PAID:
        more += ", the rest of what is paid in part"
    if state is DocumentState.UNCOLLECTIBLE:
        return "void", "Written off", more
    if state is DocumentState.LATE or row["is_late"]:
        return "late", f"Late: was due on {by}", more
    return "due", f"Due on {by}" if by else "Due", more


def _day(day: date | None) -> str:
    return "" if day is None else format_date(day, "long", locale=_LOCALE)


async def revoke_link(request: web.Request) -> web.Response:
    """POST /api/invoices/<invoice_ref>/link/revoke: let the link lead nowhere, and make a new one.

    The answer is the document with its new `hosted_url`.
    """
    document_ref = path_ref(request, "invoice_ref")
    body = await read_body(request, refuses_unknown=True)
    read_nothing(body.fields)
    body.finish()
    place = shard_key_of(document_ref.int)
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(queries.find_document, tenant_id, place, document_ref)
        if row is None:
            raise NotFound("document_unknown", f"there is no document {document_ref}")
        if row["document_number"] is None:
            raise Conflict("document_not_issued", "a draft has no link; it gets one when issued")
        await connection.execute(own.revoke_link, tenant_id, place, document_ref)
        answers = await document_answers(request, connection, tenant_id, [row])
        await note(request, connection, "document.link_revoked", document_ref)
    return json_answer(answers[0])


describe(get_page, Operation(media=("text/html",)))
describe(get_page_pdf, Operation(media=("application/pdf",)))

ROUTES: Final = [
    web.get("/i/{token}", get_page),
    web.get("/i/{token}/pdf", get_page_pdf),
    *routes_of(
        "POST",
        "/api/invoices/{invoice_ref}/link/revoke",
        revoke_link,
        "billing:write",
        reads=read_nothing,
    ),
]
