"""What every management handler works with: the caller, the body, and a transaction of theirs.

The tenant comes from the token and nowhere else. Queries run as a role that sees that tenant's
rows alone, and name the tenant themselves as well.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web

from gateway.auth import audit
from gateway.auth.origin import SAFE_VERBS
from gateway.auth.requests import who_asks
from gateway.ingest import routes
from gateway.ingest.authentication import Claims
from gateway.limits import Limits
from gateway.manage.body import Body, parse_object
from gateway.manage.idempotency import KEY_HEADER, OUTER, answer_once
from gateway.openapi.operations import Operation, Reads, describe
from gateway.problems import http_problem
from runtime.postgres import Connection, Queries, tenant_transaction
from schemas.errors import InvalidInput, NotAllowed, NotFound
from schemas.event_ref import canonical_ref

POOL: Final = web.AppKey("pool", asyncpg.Pool)
LIMITS: Final = web.AppKey("limits", Limits)
CLAIMS: Final = "claims"
REQUEST_ID: Final = "request_id"
CHANGED: Final = "changed"
"""Set on a request once it has changed something."""

RETRY_AFTER_SECONDS: Final = 2
TRANSACTION_SECONDS_MAX: Final = 30
BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""Room for a picture, and for the longest contract there is."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

queries: Final = Queries.beside(__file__)


def routes_of(
    method: str,
    path: str,
    handler: Handler,
    scope: str | None,
    *,
    reads: Reads | None = None,
    asks: Reads | None = None,
    status: int = 200,
    media: tuple[str, ...] = ("application/json",),
    body: type | None = None,
    streams: tuple[str, ...] = (),
    keeps_key: bool = False,
) -> list[web.RouteDef]:
    """Route a path, with and without a slash at its end, to a handler for callers with a scope.

    scope: None for whoever is logged in. The rest is for the API's description: what reads the
    body, or the type of it, what reads the query, and the status and the form of the answer when
    all is well. streams: the forms of a body that the handler reads itself as it comes; it keeps
    the Idempotency-Key by itself, too. keeps_key: the handler does so though it reads no stream.
    """

    @wraps(handler)
    async def scoped(request: web.Request) -> web.StreamResponse:
        claims = caller(request)
        if scope is not None:
            claims.require(scope)
        rate = request.app[LIMITS].take_request(claims.tenant_id)
        if claims.is_session and method in SAFE_VERBS and str(scope).endswith(":write"):
            detail = "this changes something: send it with a token, or with a verb that says so"
            raise NotAllowed("session_not_enough", detail)
        has_key = method == "POST" and KEY_HEADER in request.headers
        is_repeatable = has_key and not (streams or keeps_key)
        answer = await (_handle_once(request, handler) if is_repeatable else handler(request))
        if CHANGED in request:
            await request.app[routes.INGEST].reference.hear_of_own_change()
        if not answer.prepared:
            answer.headers.update(rate)
        return answer

    is_post = method == "POST"
    said = Operation(
        scope, reads, body, asks=asks, status=status, media=media, is_repeatable=is_post
    )
    if streams:
        said = msgspec.structs.replace(said, body=bytes, body_media=streams)
    describe(scoped, said)
    return [web.route(method, path, scoped), web.route(method, path + "/", scoped)]


async def _handle_once(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Handle a request with an Idempotency-Key, all in one transaction with its answer."""
    body = await routes.read_body(request, BODY_BYTES_MAX)
    async with transaction(request) as (connection, tenant_id):
        request[OUTER] = connection
        return await answer_once(connection, tenant_id, request, body, handler)


def caller(request: web.Request) -> Claims:
    """Return who calls, as the token says."""
    claims = request[CLAIMS]
    assert isinstance(claims, Claims)
    return claims


@asynccontextmanager
async def transaction(request: web.Request) -> AsyncIterator[tuple[Connection, int]]:
    """Open a transaction of the caller's tenant, whose id comes with it.

    It is part of the one in which the request's answer is kept, where there is one. Raises
    TimeoutError when the database does not get it done in time.
    """
    tenant_id = caller(request).tenant_id
    outer: Connection | None = request.get(OUTER)
    if outer is not None:
        async with outer.transaction():
            yield outer, tenant_id
        return
    async with (
        asyncio.timeout(TRANSACTION_SECONDS_MAX),
        tenant_transaction(request.app[POOL], tenant_id) as connection,
    ):
        yield connection, tenant_id


async def note(
    request: web.Request,
    connection: Connection,
    action: str,
    subject: object,
    *,
    before: object = None,
    after: object = None,
) -> None:
    """Write what the caller does into the audit log: the last statement of its transaction.

    action: as `noun.verbed`. subject: its ref. before: as the API showed it. after: what was
    asked for.
    """
    claims = caller(request)
    who = who_asks(request, claims)
    request[CHANGED] = True
    await audit.record(
        connection, claims.tenant_id, who, action, subject, before=before, after=after
    )


async def name_of_caller(request: web.Request, connection: Connection) -> str:
    """Return who calls in a form that people know: the name of a key, or an admin's address."""
    claims = caller(request)
    caller_ref = UUID(claims.actor.rpartition(" ")[2])
    known = await connection.fetchval(queries.name_of_caller, claims.tenant_id, caller_ref)
    return known or claims.actor


def is_strict(request: web.Request) -> bool:
    """Tell whether unknown fields are refused everywhere: the client or its tenant wants it so."""
    tenants = request.app[routes.INGEST].reference.tenants
    settings = tenants[caller(request).tenant_id].settings
    return settings.refuses_unknown_fields or routes.prefers_strict(request)


async def read_body(request: web.Request, *, refuses_unknown: bool = False) -> Body:
    """Decode the request's body.

    Unknown fields are refused on routes of our own and where the client or its tenant wants it,
    elsewhere they become warnings. Raises InvalidInput when the body is no object.
    """
    values = parse_object(await routes.read_body(request, BODY_BYTES_MAX))
    if is_strict(request):
        return Body(values, unknown_code="unknown_field_strict")
    return Body(values, unknown_code="unknown_field" if refuses_unknown else None)


def read_query(request: web.Request, *, refuses_unknown: bool = False) -> Body:
    """Read the query's parameters like a body's fields; a repeated one is joined with commas."""
    names = dict.fromkeys(request.query)
    values = {name: ",".join(request.query.getall(name)) for name in names}
    return Body(values, unknown_code="unknown_field" if refuses_unknown else None)


def not_ready(request: web.Request, code: str, detail: str) -> web.Response:
    """Answer that something is not there yet, and when to ask again."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return routes.respond(http_problem(404, code, detail, request[REQUEST_ID], headers=headers))


def path_ref(request: web.Request, name: str) -> UUID:
    """Return a ref of the path. Raises NotFound when it is none: nothing has such a name."""
    text = request.match_info[name]
    try:
        return UUID(canonical_ref(text))
    except InvalidInput:
        raise NotFound("ref_malformed", f"there is nothing at {text[:64]!r}") from None
