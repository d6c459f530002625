"""`/auth/admins`: the people who look after a tenant, over HTTP."""

from typing import Final

from aiohttp import web
from msgspec import Struct

from gateway.auth.admins import (
    Admin,
    add_admin,
    change_password,
    end_admin,
    find_admin,
    hold_admins,
    read_email,
    read_new_password,
    require_no_less,
)
from gateway.auth.claims import SCOPES
from gateway.auth.keys import read_password, read_scopes
from gateway.auth.requests import who_asks
from gateway.auth.routing import auth_routes
from gateway.auth.sql import queries
from gateway.ingest.routes import AUTHENTICATION
from gateway.manage.answers import json_answer
from gateway.manage.body import Fields
from gateway.manage.context import caller, read_body, transaction
from gateway.manage.idempotency import answer_with_secret
from runtime.passwords import generate_password
from schemas.errors import Conflict, InvalidInput, NotAllowed


class NewAdmin(Struct, frozen=True):
    """An admin as they are asked for; the password is None where it is to be made up."""

    email: str
    password: str | None
    scopes: tuple[str, ...]


def read_new_admin(fields: Fields) -> NewAdmin:
    """Read the body of `POST /auth/admins`."""
    return NewAdmin(
        email=fields.required(read_email, "email"),
        password=fields.optional(read_new_password, "password"),
        scopes=read_scopes(fields) or SCOPES,
    )


async def make_admin(request: web.Request) -> web.Response:
    """POST /auth/admins: a person who logs in; a password that is made up is shown once."""
    body = await read_body(request, refuses_unknown=True)
    admin = read_new_admin(body.fields)
    body.finish()
    claims = caller(request)
    if not claims.scopes.issuperset(admin.scopes):
        raise NotAllowed("scope_missing", "an admin can't be allowed more than you are")
    password = admin.password or generate_password()
    hashed = await request.app[AUTHENTICATION].logins.hash(password)
    async with transaction(request) as (connection, tenant_id):
        admin_ref = await add_admin(
            connection,
            tenant_id,
            who_asks(request, claims),
            email=admin.email,
            password_hash=hashed,
            scopes=admin.scopes,
        )
    shown = {"admin_ref": admin_ref, "email": admin.email, "scopes": admin.scopes}
    return answer_with_secret(request, shown | {"password": password}, "password")


async def list_admins(request: web.Request) -> web.Response:
    """GET /auth/admins: those who may log in, in the order they were made."""
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_admins, tenant_id)
    return json_answer([dict(row) for row in rows])


async def delete_admin(request: web.Request) -> web.Response:
    """DELETE /auth/admins/<admin_ref or e-mail>: they log in no more, and their sessions end."""
    claims = caller(request)
    who, named = who_asks(request, claims), request.match_info["admin"]
    async with transaction(request) as (connection, tenant_id):
        ended = await end_admin(connection, tenant_id, who, named, may=claims.scopes)
    return json_answer({"admin_ref": ended.admin_ref, "email": ended.email})


class NewPassword(Struct, frozen=True):
    """A password as it is asked for, None to make it up. current: the caller's own."""

    password: str | None
    current: str | None


def read_change(fields: Fields) -> NewPassword:
    """Read the body of `POST /auth/admins/<admin>/password`."""
    return NewPassword(
        password=fields.optional(read_new_password, "password"),
        current=fields.optional(read_password, "current_password"),
    )


async def set_password(request: web.Request) -> web.Response:
    """POST /auth/admins/<admin_ref, e-mail or me>/password: another one; all sessions end.

    One's own needs `current_password`; another's needs the scope `admin`. Left out, a password
    is made up and shown in this answer alone.
    """
    body = await read_body(request, refuses_unknown=True)
    change = read_change(body.fields)
    body.finish()
    found = await _find(request)
    await _check_right(request, found, change.current)
    password = change.password or generate_password()
    hashed = await request.app[AUTHENTICATION].logins.hash(password)
    async with transaction(request) as (connection, tenant_id):
        if found not in await hold_admins(connection, tenant_id):
            raise Conflict("admin_changed", "somebody else has changed this admin: try again")
        who = who_asks(request, caller(request))
        await change_password(connection, tenant_id, who, found, hashed)
    shown = {"admin_ref": found.admin_ref, "email": found.email, "password": password}
    return answer_with_secret(request, shown, "password")


def _own_ref(request: web.Request) -> str:
    """Return the ref of the admin who calls; empty for a key."""
    claims = caller(request)
    return claims.actor.removeprefix("admin ") if claims.is_session else ""


async def _find(request: web.Request) -> Admin:
    """Return the admin whom the path names. Raises NotFound."""
    named = request.match_info["admin"]
    async with transaction(request) as (connection, tenant_id):
        admins = await hold_admins(connection, tenant_id)
    return find_admin(admins, _own_ref(request) if named == "me" else named)


async def _check_right(request: web.Request, admin: Admin, current: str | None) -> None:
    """Raise unless the caller may change an admin's password, or knows their own."""
    if str(admin.admin_ref) != _own_ref(request):
        claims = caller(request)
        claims.require("admin")
        require_no_less(admin, claims.scopes)
        return
    if current is None:
        raise InvalidInput("required", "is needed to change your own", "/current_password")
    try:
        await request.app[AUTHENTICATION].logins.check(
            admin.email.lower(),
            [admin.password_hash],
            current,
            address=who_asks(request).address,
            tenant_id=caller(request).tenant_id,
        )
    except NotAllowed:
        raise InvalidInput("password_wrong", "is not your password", "/current_password") from None


ROUTES: Final[list[web.RouteDef]] = [
    *auth_routes("POST", "/auth/admins", make_admin, reads=read_new_admin),
    *auth_routes("GET", "/auth/admins", list_admins),
    *auth_routes("DELETE", "/auth/admins/{admin}", delete_admin),
    *auth_routes(
        "POST", "/auth/admins/{admin}/password", set_password, scope=None, reads=read_change
    ),
]
