"""Webhook endpoints: where a tenant hears of what happens, and what became of it there."""

import secrets
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.manage import values
from gateway.manage.answers import json_answer, page_answer, read_cursor
from gateway.manage.body import Fields
from gateway.manage.context import (
    note,
    path_ref,
    read_body,
    read_query,
    routes_of,
    transaction,
)
from gateway.manage.idempotency import answer_with_secret
from runtime.postgres import Connection, Queries
from schemas.errors import Conflict, NotFound
from schemas.webhook import EVENT_TYPES, TEST_EVENT, check_url

ENDPOINTS_MAX: Final = 20
REPLAYED_MAX: Final = 10_000
SECRET_BYTES: Final = 32
PAGE_MAX: Final = 500
PAGE_DEFAULT: Final = 50
_LAST: Final = (1 << 63) - 1

queries: Final = Queries.beside(__file__, "webhooks.sql")


class Endpoint(Struct, frozen=True):
    """What is asked for. events: of which types it hears, empty for all."""

    url: str
    events: list[str]
    description: str
    is_enabled: bool = True


class Replay(Struct, frozen=True):
    """What is to be sent once more: one delivery, or what happened in a span of time."""

    delivery_id: int | None
    first: datetime | None
    end: datetime | None


def read_endpoint(fields: Fields) -> Endpoint:
    """Read the body of `POST /api/webhooks`."""
    return Endpoint(
        url=fields.required(_url, "url"),
        events=_events(fields),
        description=fields.optional(values.text, "description") or "",
    )


def read_change(fields: Fields) -> Endpoint:
    """Read the body of `PUT /api/webhooks/<webhook_ref>`: all of it anew."""
    enabled = fields.optional(values.flag, "enabled")
    return msgspec.structs.replace(read_endpoint(fields), is_enabled=enabled is not False)


def read_replay(fields: Fields) -> Replay:
    """Read the body of `POST /api/webhooks/<webhook_ref>/replay`."""
    replay = Replay(
        delivery_id=fields.optional(values.whole(1, _LAST), "delivery_id"),
        first=fields.optional(values.instant, "from"),
        end=fields.optional(values.instant, "to"),
    )
    if (replay.delivery_id is None) == (replay.first is None):
        fields.add("replay_of_what", "name either a delivery_id, or from (and to)", "delivery_id")
    return replay


def _url(value: object) -> str:
    url = values.text(value).strip()
    check_url(url, allows_loopback=True)  # which the invoicer goes to in development alone
    return url


def _events(fields: Fields) -> list[str]:
    wanted = fields.items("events") or []
    for index, one in enumerate(wanted):
        if one not in EVENT_TYPES:
            detail = f"must be one of {', '.join(EVENT_TYPES)}"
            fields.body.add("value_unknown", detail, f"{fields.at('events')}/{index}")
    return [str(one) for one in dict.fromkeys(map(str, wanted))]


def _secret() -> tuple[bytes, str]:
    """Make a secret; also as it is shown."""
    secret = secrets.token_bytes(SECRET_BYTES)
    return secret, f"whsec_{b64encode(secret).decode()}"


def _answer(row: asyncpg.Record) -> dict[str, Any]:
    old_until = row["old_until"]
    return {
        "webhook_ref": row["endpoint_ref"],
        "url": row["url"],
        "events": row["events"],
        "description": row["description"],
        "enabled": row["is_enabled"],
        "disabled_reason": row["disabled_reason"],
        "failing_since": row["failing_since"],
        "old_secret_until": old_until if old_until and old_until > datetime.now(UTC) else None,
        "created_at": row["created_at"],
    }


async def _find(connection: Connection, tenant_id: int, ref: UUID) -> dict[str, Any]:
    row = await connection.fetchrow(queries.find_endpoint, tenant_id, ref)
    if row is None:
        raise NotFound("webhook_unknown", f"there is no webhook {ref}")
    return _answer(row)


async def add_endpoint(request: web.Request) -> web.Response:
    """POST /api/webhooks: the secret that signs is in this answer only."""
    body = await read_body(request, refuses_unknown=True)
    new = read_endpoint(body.fields)
    body.finish()
    ref, (secret, shown) = uuid4(), _secret()
    async with transaction(request) as (connection, tenant_id):
        if await connection.fetchval(queries.count_endpoints, tenant_id) >= ENDPOINTS_MAX:
            raise Conflict("webhooks_too_many", f"there are {ENDPOINTS_MAX} already")
        row = (ref, new.url, new.description, new.events, secret)
        await connection.execute(queries.add_endpoint, tenant_id, *row)
        answer = await _find(connection, tenant_id, ref)
        await note(request, connection, "webhook.added", ref, after=new)
    return answer_with_secret(request, answer | {"secret": shown}, "secret")


async def list_endpoints(request: web.Request) -> web.Response:
    """GET /api/webhooks."""
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_endpoints, tenant_id)
    return json_answer({"webhooks": [_answer(row) for row in rows]})


async def get_endpoint(request: web.Request) -> web.Response:
    """GET /api/webhooks/<webhook_ref>."""
    ref = path_ref(request, "webhook_ref")
    async with transaction(request) as (connection, tenant_id):
        return json_answer(await _find(connection, tenant_id, ref))


async def change_endpoint(request: web.Request) -> web.Response:
    """PUT /api/webhooks/<webhook_ref>: all of it anew; `enabled` turns it on again."""
    ref = path_ref(request, "webhook_ref")
    body = await read_body(request, refuses_unknown=True)
    new = read_change(body.fields)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        before = await _find(connection, tenant_id, ref)
        row = (new.url, new.description, new.events, new.is_enabled)
        await connection.execute(queries.change_endpoint, tenant_id, ref, *row)
        answer = await _find(connection, tenant_id, ref)
        await note(request, connection, "webhook.changed", ref, before=before, after=new)
    return json_answer(answer)


async def delete_endpoint(request: web.Request) -> web.Response:
    """DELETE /api/webhooks/<webhook_ref>: with what is on its way there."""
    ref = path_ref(request, "webhook_ref")
    async with transaction(request) as (connection, tenant_id):
        before = await _find(connection, tenant_id, ref)
        await connection.execute(queries.delete_endpoint, tenant_id, ref)
        await note(request, connection, "webhook.deleted", ref, before=before)
    return json_answer({"webhook_ref": ref})


async def rotate_secret(request: web.Request) -> web.Response:
    """POST /api/webhooks/<webhook_ref>/rotate: a new secret; the old one signs too for 24 hours."""
    ref, (secret, shown) = path_ref(request, "webhook_ref"), _secret()
    async with transaction(request) as (connection, tenant_id):
        await _find(connection, tenant_id, ref)
        await connection.execute(queries.rotate_secret, tenant_id, ref, secret)
        answer = await _find(connection, tenant_id, ref)
        await note(request, connection, "webhook.rotated", ref)
    return answer_with_secret(request, answer | {"secret": shown}, "secret")


async def send_test(request: web.Request) -> web.Response:
    """POST /api/webhooks/<webhook_ref>/test: send something that means nothing."""
    ref = path_ref(request, "webhook_ref")
    async with transaction(request) as (connection, tenant_id):
        await _find(connection, tenant_id, ref)
        number = await add_test_event(connection, tenant_id, ref)
        await note(request, connection, "webhook.tested", ref)
    return json_answer({"delivery_ids": [number]}, status=202)


async def add_test_event(connection: Connection, tenant_id: int, ref: UUID) -> int:
    """Write an event that means nothing for an endpoint; returns the id of its delivery."""
    event_ref = uuid4()
    said = {"type": TEST_EVENT, "timestamp": datetime.now(UTC), "data": {"webhook_ref": ref}}
    event = (event_ref, TEST_EVENT, ref, msgspec.json.encode(said).decode())
    await connection.execute(queries.add_test, tenant_id, *event)
    number: int = await connection.fetchval(queries.add_delivery, tenant_id, ref, event_ref)
    return number


async def replay(request: web.Request) -> web.Response:
    """POST /api/webhooks/<webhook_ref>/replay: send once more, with the same webhook-id.

    One delivery, or what happened from a time on (to another), at most 10,000 events.
    """
    ref = path_ref(request, "webhook_ref")
    body = await read_body(request, refuses_unknown=True)
    wanted = read_replay(body.fields)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        await _find(connection, tenant_id, ref)
        if wanted.delivery_id is not None:
            one = (tenant_id, ref, wanted.delivery_id)
            rows = await connection.fetch(queries.replay_one, *one)
        else:
            span = (tenant_id, ref, wanted.first, wanted.end or datetime.now(UTC), REPLAYED_MAX)
            rows = await connection.fetch(queries.replay_span, *span)
        if not rows and wanted.delivery_id is not None:
            raise NotFound("delivery_unknown", f"there is no delivery {wanted.delivery_id}")
        await note(request, connection, "webhook.replayed", ref, after=wanted)
    return json_answer({"delivery_ids": [row["delivery_id"] for row in rows]}, status=202)


def read_page(fields: Fields) -> tuple[int, int]:
    """Read the query of a page of deliveries: before which, and how many."""
    before = fields.optional(read_cursor, "cursor") or _LAST
    return before, fields.optional(values.whole(1, PAGE_MAX), "limit") or PAGE_DEFAULT


async def list_deliveries(request: web.Request) -> web.Response:
    """GET /api/webhooks/<webhook_ref>/deliveries: newest first."""
    ref = path_ref(request, "webhook_ref")
    query = read_query(request, refuses_unknown=True)
    before, limit = read_page(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        await _find(connection, tenant_id, ref)
        rows = await connection.fetch(queries.list_deliveries, tenant_id, ref, before, limit)
    last = rows[-1]["delivery_id"] if len(rows) == limit else None
    return page_answer("deliveries", list(map(dict, rows)), last)


_ONE: Final = "/api/webhooks/{webhook_ref}"
_WRITE: Final = "billing:write"
ROUTES = [
    *routes_of("POST", "/api/webhooks", add_endpoint, _WRITE, reads=read_endpoint),
    *routes_of("GET", "/api/webhooks", list_endpoints, "billing:read"),
    *routes_of("GET", _ONE, get_endpoint, "billing:read"),
    *routes_of("PUT", _ONE, change_endpoint, _WRITE, reads=read_change),
    *routes_of("DELETE", _ONE, delete_endpoint, _WRITE),
    *routes_of("POST", f"{_ONE}/rotate", rotate_secret, _WRITE),
    *routes_of("POST", f"{_ONE}/test", send_test, _WRITE, status=202),
    *routes_of("POST", f"{_ONE}/replay", replay, _WRITE, reads=read_replay, status=202),
    *routes_of("GET", f"{_ONE}/deliveries", list_deliveries, "billing:read", asks=read_page),
]
