"""The HTTP application: every module's routes behind one middleware.

Each request gets an id, everything under /api a version and a caller, and whatever a handler
raises becomes a problem document.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import asyncpg
from aiohttp import web

from gateway.answer import Answer
from gateway.auth import admin_routes, audit_routes, block_routes, keys
from gateway.auth import routes as auth_routes
from gateway.auth.origin import TRUSTED_PROXIES
from gateway.auth.requests import identify
from gateway.formats import routes as format_routes
from gateway.in_flight import STRANGERS, UNVERIFIED, InFlight
from gateway.ingest import routes as ingest_routes
from gateway.ingest.authentication import Authentication
from gateway.ingest.events import Ingest
from gateway.ingest.parsing import EVENTS_BODY_BYTES_MAX
from gateway.ingest.routes import (
    AUTHENTICATION,
    BODY_READ_SECONDS,
    HELD,
    IN_FLIGHT,
    INGEST,
    give_back,
    respond,
)
from gateway.limits import Limits
from gateway.manage import hosted_page, hosted_usage
from gateway.manage import routes as manage_routes
from gateway.manage.context import CLAIMS, LIMITS, POOL, REQUEST_ID
from gateway.manage.document_links import LINKS, Links
from gateway.openapi.operations import Operation, describe
from gateway.openapi.routes import routes_about
from gateway.problems import http_problem
from gateway.refusals import SERVER, refusal, request_id_of
from gateway.uploads.bounds import BOUNDS, Bounds
from runtime.health import Check, livez, readyz
from runtime.health import metrics as metrics_page
from schemas.errors import InvalidInput

VERSION: Final = "V0"
"""The API's version, which every request under /api names in its header `Version`."""

PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Answered however much is in flight: this is when somebody has to look."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(
    *,
    pool: asyncpg.Pool,
    authentication: Authentication,
    ingest: Ingest,
    limits: Limits,
    in_flight: InFlight,
    body_read_seconds: float,
    trusted_proxies: int,
    uploads: Bounds,
    links: Links,
    checks: Mapping[str, Check],
) -> web.Application:
    """Join the routes into an application. checks: what /readyz asks."""
    app = web.Application(middlewares=[edge], client_max_size=EVENTS_BODY_BYTES_MAX)
    app[POOL] = pool
    app[AUTHENTICATION] = authentication
    app[INGEST] = ingest
    app[BODY_READ_SECONDS] = body_read_seconds
    app[TRUSTED_PROXIES] = trusted_proxies
    app[LIMITS] = limits
    app[IN_FLIGHT] = in_flight
    app[BOUNDS] = uploads
    app[LINKS] = links
    app.cleanup_ctx.append(links.running)
    app.add_routes(all_routes(checks))
    return app


def all_routes(checks: Mapping[str, Check]) -> list[web.RouteDef]:
    """Return every route; what is listed here is in the API's description.

    checks: what /readyz asks.
    """
    describe(livez, Operation(media=("text/plain",)))
    describe(metrics_page, Operation(media=("text/plain",)))
    routes = [
        *auth_routes.ROUTES,
        *keys.ROUTES,
        *admin_routes.ROUTES,
        *block_routes.ROUTES,
        *audit_routes.ROUTES,
        *ingest_routes.ROUTES,
        *format_routes.ROUTES,
        *manage_routes.ROUTES,
        *hosted_page.ROUTES,
        *hosted_usage.ROUTES,
        web.get("/livez", livez),
        web.get("/readyz", readyz(checks)),
        web.get("/metrics", metrics_page),
    ]
    return [*routes, *routes_about(routes)]


@web.middleware
async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give a request its id and its caller; turn what is raised into an answer."""
    request_id = request_id_of(request.headers.get("X-Request-Id"))
    request[REQUEST_ID] = request_id
    request[HELD] = 0
    app = request.app
    in_flight = app[IN_FLIGHT]
    party: int | None = None
    try:
        if request.path.startswith("/api/"):
            _check_version(request)
            claims = app[AUTHENTICATION].recall(request.headers.get("Authorization"))
            if claims is None:
                party = in_flight.move(None, UNVERIFIED)
                claims = await identify(request)
            request[CLAIMS] = claims
            party = in_flight.move(party, claims.tenant_id)
        elif request.path not in PROBES:
            party = in_flight.move(None, STRANGERS)
        response = await handler(request)
    except Exception as error:
        refusal = respond(_answer_to(error, request, request_id))
        if not request.content.is_eof() or request.content.exception() is not None:
            refusal.force_close()  # what is left of the body can't be told from a next request
        response = refusal
    finally:
        in_flight.move(party, None)
        give_back(request)
    response.headers["X-Request-Id"] = request_id
    response.headers["Server"] = SERVER
    return response


def _check_version(request: web.Request) -> None:
    if request.headers.get("Version") != VERSION:
        detail = f"the header Version is needed; supported: {VERSION}"
        raise InvalidInput("version_unsupported", detail)


def _answer_to(error: Exception, request: web.Request, request_id: str) -> Answer:
    """Translate an error, the router's own among them."""
    if isinstance(error, web.HTTPException):
        code = (error.reason or "error").lower().replace(" ", "_")
        return http_problem(
            error.status, code, _DETAILS.get(error.status, error.reason), request_id,
            headers={name: error.headers[name] for name in ("Allow",) if name in error.headers},
        )  # fmt: skip
    return refusal(error, request_id, request.method, request.path)


_DETAILS: Final = {404: "there is nothing at this path", 405: "this path has other methods"}
