"""The usage behind a document, for whoever has its link, where its customer is to have the list."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from aiohttp import web

from gateway.manage.context import POOL
from gateway.manage.document_links import LINKS
from gateway.manage.document_links import queries as own
from gateway.manage.hosted_page import BEGUN, HEADERS, for_people, no_document
from gateway.openapi.operations import Operation, describe
from gateway.reports.usage_of_lines import csv_answer, queries, send_people_list
from runtime.postgres import Connection, tenant_transaction
from schemas.event_ref import shard_key_of
from schemas.line_usage import choose_all
from schemas.usage_csv import MEDIA_TYPE


@for_people
async def get_page_usage(request: web.Request) -> web.StreamResponse:
    """GET /i/<token>/usage.csv: every event in the document, for a spreadsheet.

    It is there where the customer's settings say that usage goes along with documents, as CSV or
    as PDF: a mail leads here when the list is too long for it.
    """
    linked = request.app[LINKS].read(request.match_info["token"])
    if linked is None:
        raise no_document()
    opened = partial(_opened, request, linked.tenant_id)
    place = (linked.tenant_id, shard_key_of(linked.document_ref.int), linked.document_ref)
    with request.app[LINKS].sending_list():
        async with opened() as (connection, _):
            row = await connection.fetchrow(own.find_page, *place, linked.generation, None)
            if row is None or not row["has_usage_list"]:
                raise no_document()
            lines = choose_all(await connection.fetch(queries.find_line_usage, *place, None))
        answer = csv_answer(request, "usage.csv")
        answer.headers.update(HEADERS)
        request[BEGUN] = True
        return await send_people_list(request, answer, lines, opened)


@asynccontextmanager
async def _opened(request: web.Request, tenant_id: int) -> AsyncIterator[tuple[Connection, int]]:
    async with tenant_transaction(request.app[POOL], tenant_id) as connection:
        yield connection, tenant_id


describe(get_page_usage, Operation(media=(MEDIA_TYPE,)))

ROUTES: Final = [web.get("/i/{token}/usage.csv", get_page_usage)]
