"""Ends contracts: their running period is the last, or is cut short."""

from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from aiohttp import web

from gateway.manage.answers import json_answer
from gateway.manage.boundaries import Standing, boundary, chain_of
from gateway.manage.context import (
    caller,
    note,
    path_ref,
    queries,
    read_body,
    transaction,
)
from gateway.manage.contract_editing import (
    Contract,
    Version,
    begin,
    end,
    header_of,
    hold_contract,
    refuse_closed,
    refuse_single_events,
    show,
)
from gateway.manage.contract_writing import RefMaker
from gateway.manage.terms import read_cancellation
from gateway.manage.values import ref as read_ref
from runtime.postgres import Connection
from schemas.event_ref import month_of, tenant_bits
from schemas.periods import period_at

_DAY: Final = timedelta(days=1)


async def cancel_contract(request: web.Request) -> web.Response:
    """POST /api/contracts/cancel/<contract_ref>: the running period is the last.

    It is billed as usual; with `include_current_invoice` it ends with today, its fixed fees in
    proportion. What is used later is kept, unrated.
    """
    contract_ref = path_ref(request, "contract_ref")
    body = await read_body(request)
    includes_current = read_cancellation(body.fields)
    named = body.fields.optional(read_ref, "contract_ref")
    if named not in (None, contract_ref):
        body.fields.add("ref_differs", f"must be {contract_ref}, or left out", "contract_ref")
    warnings = body.finish()
    now = datetime.now(UTC)
    async with transaction(request) as (connection, tenant_id):
        contract = await hold_contract(connection, tenant_id, contract_ref)
        if includes_current:
            refuse_single_events(contract)
        header = header_of(contract.row)
        version = Version("CANCELLED", includes_current, header, "CANCELLED")
        await begin(request, connection, contract, version)
        for one in contract.standing:
            await _cancel_product(request, connection, contract, one, now, includes_current)
        asked = {"include_current_invoice": includes_current}
        before = contract.shown
        await note(
            *(request, connection, "contract.cancelled", contract_ref), before=before, after=asked
        )
        answer = await show(connection, contract)
    return json_answer(answer, warnings=warnings)


async def _cancel_product(
    request: web.Request,
    connection: Connection,
    contract: Contract,
    one: Standing,
    now: datetime,
    includes_current: bool,
) -> None:
    """Let a product end with its running period, or with today."""
    chain = chain_of(one, contract.products)
    terms = [link.terms for link in chain]
    running = next((link for link in chain if period_at(link.terms, now) is not None), None)
    day = boundary(terms, now, includes_current=False)
    successor = None
    if includes_current and running is not None:
        tomorrow = now.astimezone(ZoneInfo(running.terms.timezone)).date() + _DAY
        if tomorrow < day:
            day = boundary(terms, now, includes_current=True)
            successor = await _cut_short(request, connection, contract, running, day, tomorrow)
    ended = [link for link in chain if link is one or link.reaches(day)]
    if successor is None:  # nothing would give back what was billed ahead of what is not to be
        await refuse_closed(connection, contract, ended, day)
    await end(connection, contract, "CANCELLED", ended, day, successor)


async def _cut_short(
    request: web.Request,
    connection: Connection,
    contract: Contract,
    running: Standing,
    start: date,
    tomorrow: date,
) -> UUID:
    """Add the running period once more, shorter; returns the ref of the product that has it."""
    tenant_id, place, contract_ref = contract.key
    since = start if start > running.row["billing_start_date"] else None
    maker = RefMaker(month_of(contract_ref.int), place, tenant_bits(caller(request).tenant_ref))
    version = contract.next_version
    ref = maker.product_ref(contract_ref, running.row["position"], version)
    key = (tenant_id, place, running.ref)
    await connection.execute(queries.copy_contract_product, *key, ref, version, since, tomorrow)
    await connection.executemany(
        queries.add_contract_line,
        [
            (
                *(place, maker.ref("contract_line", str(ref), str(line["line_item_ref"]))),
                *(tenant_id, ref, position, line["own_line_id"]),
            )
            for position, line in enumerate(running.lines)
        ],
    )
    return ref
