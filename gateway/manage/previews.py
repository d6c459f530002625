"""The documents of a contract's running period and of the next one, as they stand now."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg
from aiohttp import web

from gateway.manage.answers import json_answer
from gateway.manage.context import caller, path_ref, queries, routes_of, transaction
from gateway.manage.documents import document_answers, draft_answer
from gateway.manage.drafts import draft_on, groups_of
from runtime.postgres import Connection
from schemas.document_ref import document_ref
from schemas.errors import NotFound
from schemas.event_ref import shard_key_of
from schemas.periods import BillingTerms, Period, period_at, periods

Pick = Callable[[BillingTerms, datetime], date | None]


async def current_documents(request: web.Request) -> web.Response:
    """GET /api/contracts/invoices/current/<contract_ref>: those that the running periods are on.

    With the usage rated so far. None before the contract begins and after it has ended.
    """
    return await _documents(request, running_date)


async def next_documents(request: web.Request) -> web.Response:
    """GET /api/contracts/invoices/next/<contract_ref>: those of the periods after the running ones.

    Before the contract begins, those of its first periods; of the last one what it leaves to bill.
    """
    return await _documents(request, next_date)


def running_period(terms: BillingTerms, now: datetime) -> Period | None:
    """Return the period that an instant is in, None outside of the terms."""
    return period_at(terms, now)


def next_period(terms: BillingTerms, now: datetime) -> Period | None:
    """Return the first period that begins after an instant, None behind the last one."""
    running = period_at(terms, now)
    if running is not None:
        return period_at(terms, running.end)
    first = next(iter(periods(terms)), None)
    return first if first is not None and first.start > now else None


def running_date(terms: BillingTerms, now: datetime) -> date | None:
    """Return the issue date of the running period."""
    running = running_period(terms, now)
    return None if running is None else running.issue_date


def next_date(terms: BillingTerms, now: datetime) -> date | None:
    """Return the issue date of the next period, or of what the last one leaves to bill."""
    if (following := next_period(terms, now)) is not None:
        return following.issue_date
    running = running_period(terms, now)
    return running.rest_date if running is not None and running.is_ahead else None


async def _documents(request: web.Request, pick: Pick) -> web.Response:
    contract_ref = path_ref(request, "contract_ref")
    now = datetime.now(UTC)
    async with transaction(request) as (connection, tenant_id):
        place = shard_key_of(contract_ref.int)
        rows = await connection.fetch(queries.list_terms_of_shard, tenant_id, place)
        groups = {key: group for key, group in groups_of(rows).items() if key[0] == contract_ref}
        if not groups:
            raise NotFound("contract_unknown", f"there is no contract {contract_ref}")
        answers = [
            answer
            for (_, number), group in groups.items()
            for day in sorted(set(_issue_dates(group, now, pick)))
            for answer in await _document(request, connection, number, group, day)
        ]
    return json_answer(answers)


def _issue_dates(group: Sequence[asyncpg.Record], now: datetime, pick: Pick) -> Iterator[date]:
    for row in group:
        day = pick(BillingTerms.of_row(row), now)
        if day is not None:
            yield day


async def _document(
    request: web.Request,
    connection: Connection,
    number: int,
    group: Sequence[asyncpg.Record],
    issue_date: date,
) -> list[dict[str, Any]]:
    """Show a group's document of a day: as it was drawn up, else as it would be now."""
    first, tenant_id = group[0], caller(request).tenant_id
    ref: UUID = document_ref(str(first["tenant_ref"]), first["contract_ref"], number, issue_date)
    row = await connection.fetchrow(queries.find_document, tenant_id, shard_key_of(ref.int), ref)
    if row is not None:
        return await document_answers(request, connection, tenant_id, [row])
    found = await draft_on(connection, tenant_id, group, issue_date)
    return [] if found is None else [draft_answer(found, ref)]


ROUTES = [
    *routes_of(
        "GET", "/api/contracts/invoices/current/{contract_ref}", current_documents, "billing:read"
    ),
    *routes_of(
        "GET", "/api/contracts/invoices/next/{contract_ref}", next_documents, "billing:read"
    ),
]
