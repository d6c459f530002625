"""API keys as their admin sees them: made, listed, given a next password, deleted."""

import secrets
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import asyncpg
from aiohttp import web
from msgspec import Struct

from gateway.auth import audit
from gateway.auth.claims import SCOPES
from gateway.auth.requests import who_asks
from gateway.auth.routing import auth_routes
from gateway.auth.sql import queries
from gateway.ingest.routes import AUTHENTICATION
from gateway.manage import values
from gateway.manage.answers import json_answer
from gateway.manage.body import Fields
from gateway.manage.context import caller, path_ref, read_body, transaction
from gateway.manage.idempotency import answer_with_secret
from runtime.passwords import PASSWORD_BYTES_MAX, generate_password
from runtime.postgres import Connection
from schemas.errors import Conflict, InvalidInput, NotAllowed, NotFound

DEFAULT_SCOPES: Final = tuple(scope for scope in SCOPES if scope != "admin")


class NewKey(Struct, frozen=True):
    """A key as it is asked for; None where it is to be made up."""

    api_key: str | None
    password: str | None
    scopes: tuple[str, ...]
    expires_at: datetime | None


def read_password(value: object) -> str:
    """Read a password: any text of a bounded length. What is easy to guess is its owner's risk."""
    text = values.text(value)
    if len(text.encode("utf-8", "replace")) > PASSWORD_BYTES_MAX:
        raise InvalidInput("text_too_long", f"must have at most {PASSWORD_BYTES_MAX} bytes")
    return text


def read_key_name(value: object) -> str:
    """Read the name of a key."""
    text = values.name(value)
    if not text.isprintable():
        raise InvalidInput("name_malformed", "must be printable")
    return text


def read_instant(value: object) -> datetime:
    """Read a time that lies ahead."""
    when = values.day_or_instant(value)
    if not isinstance(when, datetime):
        raise InvalidInput("time_malformed", "must be a time with its offset")
    if when <= datetime.now(UTC):
        raise InvalidInput("time_past", "must lie ahead")
    return when


def read_new_key(fields: Fields) -> NewKey:
    """Read the body of `POST /auth/keys/generate`."""
    return NewKey(
        api_key=fields.optional(read_key_name, "api_key", "username"),
        password=fields.optional(read_password, "password"),
        scopes=read_scopes(fields) or DEFAULT_SCOPES,
        expires_at=fields.optional(read_instant, "expires_at"),
    )


def read_scopes(fields: Fields) -> tuple[str, ...]:
    """Read a list of scopes, empty when there is none."""
    items = fields.items("scopes") or []
    for index, item in enumerate(items):
        if item not in SCOPES:
            known = ", ".join(SCOPES)
            where = f"{fields.at('scopes')}/{index}"
            fields.body.add("choice_unknown", f"must be one of {known}", where)
    return tuple(dict.fromkeys(map(str, items)))


async def generate_key(request: web.Request) -> web.Response:
    """POST /auth/keys/generate: its password is shown in this answer only."""
    body = await read_body(request)
    key = read_new_key(body.fields)
    warnings = body.finish()
    claims = caller(request)
    if not claims.scopes.issuperset(key.scopes):
        raise NotAllowed("scope_missing", "a key can't be allowed more than you are")
    api_key_ref, api_key = uuid4(), key.api_key or f"key-{secrets.token_hex(8)}"
    password = key.password or generate_password()
    hashed = await request.app[AUTHENTICATION].logins.hash(password)
    async with transaction(request) as (connection, tenant_id):
        row = (api_key, hashed, list(key.scopes), key.expires_at)
        try:
            await connection.execute(queries.add_api_key, tenant_id, api_key_ref, *row)
        except asyncpg.UniqueViolationError:
            raise Conflict("key_exists", f"there is a key named {api_key!r} already") from None
        made = {"api_key": api_key, "scopes": key.scopes, "expires_at": key.expires_at}
        who = who_asks(request, claims)
        await audit.record(connection, tenant_id, who, "api_key.made", api_key_ref, after=made)
    shown = {"api_key_ref": api_key_ref, **made, "password": password}
    return answer_with_secret(request, shown, "password", warnings=warnings)


async def list_keys(request: web.Request) -> web.Response:
    """GET /auth/keys/list: those that are not deleted, in the order they were made."""
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_api_keys, tenant_id)
    return json_answer([dict(row) for row in rows])


async def delete_key(request: web.Request) -> web.Response:
    """DELETE /auth/user/<api_key_ref or name>: the key and all its tokens stop everywhere."""
    named = request.match_info["key"]
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(queries.delete_api_key, tenant_id, named)
        if row is None:
            raise _unknown(named)
        await _record(request, connection, "api_key.deleted", row)
    return json_answer({"api_key_ref": row["api_key_ref"], "api_key": row["api_key"]})


def read_rotation(fields: Fields) -> bool:
    """Read the body of a rotation: whether its end is asked for."""
    return fields.optional(values.flag, "drop_first") or False


async def rotate_key(request: web.Request) -> web.Response:
    """POST /auth/keys/<api_key_ref>/rotate: a second password, good beside the first.

    With `drop_first` the second one takes the first one's place, whose tokens stop everywhere.
    """
    api_key_ref = path_ref(request, "api_key_ref")
    body = await read_body(request, refuses_unknown=True)
    is_end = read_rotation(body.fields)
    body.finish()
    if is_end:
        return await _drop_first(request, api_key_ref)
    password = generate_password()
    hashed = await request.app[AUTHENTICATION].logins.hash(password)
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(queries.begin_rotation, tenant_id, api_key_ref, hashed)
        if row is None:
            await _find(connection, tenant_id, api_key_ref)
            detail = "the key has two passwords already: send drop_first to end the first one"
            raise Conflict("rotation_under_way", detail)
        await _record(request, connection, "api_key.rotation_begun", row)
    shown = {"api_key_ref": api_key_ref, "api_key": row["api_key"], "password": password}
    return answer_with_secret(request, shown, "password")


async def _drop_first(request: web.Request, api_key_ref: UUID) -> web.Response:
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(queries.end_rotation, tenant_id, api_key_ref)
        if row is None:
            await _find(connection, tenant_id, api_key_ref)
            raise Conflict("no_rotation", "the key has one password: rotate it first")
        await _record(request, connection, "api_key.rotation_ended", row)
    return json_answer({"api_key_ref": api_key_ref, "api_key": row["api_key"]})


async def _find(connection: Connection, tenant_id: int, api_key_ref: UUID) -> None:
    """Raise NotFound unless the key exists."""
    if not await connection.fetchval(queries.has_api_key, tenant_id, api_key_ref):
        raise _unknown(str(api_key_ref))


def _unknown(named: str) -> NotFound:
    return NotFound("key_unknown", f"there is no key {named[:64]!r}")


async def _record(
    request: web.Request, connection: Connection, action: str, row: asyncpg.Record
) -> None:
    claims = caller(request)
    who, ref, named = who_asks(request, claims), row["api_key_ref"], {"api_key": row["api_key"]}
    await audit.record(connection, claims.tenant_id, who, action, ref, before=named)


ROUTES: Final[list[web.RouteDef]] = [
    *auth_routes("POST", "/auth/keys/generate", generate_key, reads=read_new_key),
    *auth_routes("GET", "/auth/keys/list", list_keys),
    *auth_routes("DELETE", "/auth/user/{key}", delete_key),
    *auth_routes("POST", "/auth/keys/{api_key_ref}/rotate", rotate_key, reads=read_rotation),
]
