"""Changes and deletions of usage events: records in the event's own partition of the log.

What is answered is the event as it will be once the rater has applied the record, made of what is
applied so far. An event that is not rated yet is waited for; a ref that nobody knows is 404 then.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web

from gateway.auth.claims import Claims
from gateway.ingest.amending import Change, UpdateFields, parse_update
from gateway.ingest.parsing import EVENT_BODY_BYTES_MAX
from gateway.ingest.routes import INGEST, read_body
from gateway.manage.answers import json_answer, number
from gateway.manage.body import Fields
from gateway.manage.context import (
    caller,
    is_strict,
    name_of_caller,
    path_ref,
    routes_of,
    transaction,
)
from gateway.manage.context import read_body as read_fields
from gateway.manage.looking import look_soon
from gateway.reports.asking import EPOCH, MICRO, names_of, unknown_event
from gateway.reports.asking import queries as reports
from gateway.reports.charges import Counted, charges_of
from gateway.reports.events import related
from gateway.tenant import Tenant
from schemas.amendment import check_note, encode_amendment
from schemas.errors import Conflict, InvalidInput, Problem
from schemas.event_ref import shard_key_of, tenant_bits, tenant_bits_of
from schemas.money import QUANTITY_DIGITS, decimal_to_scaled, scaled_to_text
from schemas.usage_event import RECORD_BYTES_MAX, parse_timestamp, read_quantity


async def update_event(request: web.Request) -> web.Response:
    """POST /api/usage/event/update: change an event's time, quantity or data; the rest stays.

    The data is replaced whole. The event keeps its ref, in another month too.
    """
    body = await read_body(request, EVENT_BODY_BYTES_MAX)
    event_ref, change, warnings = parse_update(body, is_strict=is_strict(request))
    event = await find_event_soon(request, event_ref)
    return await change_event(request, event, change, warnings)


async def change_event(
    request: web.Request, event: asyncpg.Record, change: Change, warnings: Sequence[Problem] = ()
) -> web.Response:
    """Send a change of an event that was found; answer with the event as it will be.

    Where nothing changes, nothing is sent, and there is no receipt.

    Raises Conflict when it is deleted, InvalidInput when it can't be so.
    """
    tenant_id = caller(request).tenant_id
    if change.timestamp is not None:
        request.app[INGEST].check_time(tenant_id, parse_timestamp(change.timestamp))
    _check_formula(request.app[INGEST].reference.tenants[tenant_id], event, change)
    return await _amend(request, event, change, warnings, is_deleted=False)


def _check_formula(tenant: Tenant, event: asyncpg.Record, change: Change) -> None:
    """Refuse a change that leaves an event which its meter's formula has no value for."""
    meter = tenant.meters.get(str(event["usage_product_ref"]))
    if meter is None or meter.formula is None:
        return
    quantity = decimal_to_scaled(event["quantity"], QUANTITY_DIGITS)
    if change.quantity is not None:
        quantity = read_quantity(change.quantity.encode())
    meter.formula.billable(quantity, change.additional_data or event["additional_data"])


def read_note(fields: Fields) -> str | None:
    """Read what is said about a deletion."""
    return fields.optional(_note, "note")


def _note(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput("type_string", "must be a string")
    check_note(value)
    return value


async def delete_event(request: web.Request) -> web.Response:
    """DELETE /api/usage/event/<event_ref>: let an event count no more; a note is kept.

    Its history stays, and a retry of it is a duplicate as before.
    """
    body = await read_fields(request)
    note = read_note(body.fields)
    warnings = body.finish()
    event = await find_event_soon(request, path_ref(request, "event_ref"))
    return await _amend(request, event, Change(note=note), warnings, is_deleted=True)


async def find_event_soon(request: web.Request, event_ref: UUID) -> asyncpg.Record:
    """Return an event by its ref, or one that a retry got; wait a moment for one on its way.

    Raises NotFound when the tenant has no such event.
    """
    place = shard_key_of(event_ref.int)

    async def look() -> asyncpg.Record | None:
        async with transaction(request) as (connection, tenant_id):
            return await connection.fetchrow(
                reports.find_event, tenant_id, place, names_of(event_ref)
            )

    if tenant_bits_of(event_ref.int) == tenant_bits(caller(request).tenant_ref):
        row = await look_soon(request, place, look)
        if row is not None:
            return row
    async with transaction(request) as (connection, _):
        raise await unknown_event(connection, event_ref)


async def _amend(
    request: web.Request,
    event: asyncpg.Record,
    change: Change,
    warnings: Sequence[Problem],
    *,
    is_deleted: bool,
) -> web.Response:
    """Send the record of an amendment, and answer with the event as it will be."""
    if event["is_deleted"]:
        detail = "the event is deleted: send it anew, with a key of its own"
        raise Conflict("event_deleted", detail)
    claims = caller(request)
    ingest = request.app[INGEST]
    at = event["occurred_at"]
    if (at - EPOCH) // MICRO < ingest.reference.tenants[claims.tenant_id].archived_until:
        raise Conflict("month_archived", "events of its billing period are in an archive")
    if change.timestamp is not None:
        at = EPOCH + parse_timestamp(change.timestamp) * MICRO
    counted = Counted(
        *(event["shard_key"], event["customer_id"], event["meter_id"], at, event["event_ref"])
    )
    async with transaction(request) as (connection, tenant_id):
        made_by = await name_of_caller(request, connection)
        charges = await charges_of(connection, tenant_id, counted)
    customer_ref = str(event["customer_ref"])
    receipt = None
    if is_deleted or change.has_something:
        record = _record(claims, event, change, made_by, is_deleted=is_deleted)
        receipt = await ingest.append(tenant_id, counted.shard_key, customer_ref.encode(), record)
    shown = {
        "event_ref": event["event_ref"],
        **related(request, tenant_id, dict(event) | {"occurred_at": at}, charges),
        **_event_after(event, change),
        "receipt": receipt,
        "deleted": is_deleted,
    }
    return json_answer(shown, status=202, warnings=warnings)


def _record(
    claims: Claims, event: asyncpg.Record, change: Change, made_by: str, *, is_deleted: bool
) -> bytes:
    """Write the record of an amendment. Raises InvalidInput when it gets too large."""
    record = encode_amendment(
        kind="DELETE" if is_deleted else "UPDATE",
        tenant_ref=claims.tenant_ref,
        customer_ref=str(event["customer_ref"]),
        event_ref=str(event["event_ref"]),
        timestamp=change.timestamp,
        quantity=change.quantity,
        additional_data=change.additional_data,
        note=change.note,
        made_by=made_by,
    )
    if len(record) > RECORD_BYTES_MAX:
        raise InvalidInput("event_too_large", f"must be at most {RECORD_BYTES_MAX} bytes")
    return record


def _event_after(event: asyncpg.Record, change: Change) -> dict[str, Any]:
    """Show an event with a change: what was sent as it was sent."""
    data = change.additional_data or event["additional_data"]
    quantity = number(event["quantity"]) if change.quantity is None else _number(change.quantity)
    return {
        "timestamp": change.timestamp or event["occurred_at"],
        "customer_ref": event["customer_ref"],
        "customer_name": event["customer_name"],
        "usage_product_ref": event["usage_product_ref"],
        "usage_product_name": event["usage_product_name"],
        "quantity": quantity,
        "additional_report_data": None if data is None else msgspec.Raw(data.encode()),
        "validations": None,
        "idempotency_key": None,
    }


def _number(quantity_json: str) -> msgspec.Raw:
    """Show a quantity as a JSON number, whether it was sent as one or as a text."""
    if quantity_json.startswith('"'):
        quantity = read_quantity(quantity_json.encode())
        quantity_json = scaled_to_text(quantity, QUANTITY_DIGITS)
    return msgspec.Raw(quantity_json.encode())


ROUTES = [
    *routes_of(
        "POST",
        "/api/usage/event/update",
        update_event,
        "usage:write",
        body=UpdateFields,
        status=202,
    ),
    *routes_of(
        "DELETE",
        "/api/usage/event/{event_ref}",
        delete_event,
        "usage:write",
        reads=read_note,
        status=202,
    ),
]
