"""Routes beside the API proper, under `/auth`: the caller is asked for first, the rest is the same.

Limits, `Idempotency-Key` and the description come from `routes_of`.
"""

from functools import wraps

from aiohttp import web

from gateway.auth.requests import identify
from gateway.manage.context import CLAIMS, Handler, routes_of
from gateway.openapi.operations import Reads, describe, operation_of


def auth_routes(
    method: str,
    path: str,
    handler: Handler,
    *,
    scope: str | None = "admin",
    reads: Reads | None = None,
    asks: Reads | None = None,
) -> list[web.RouteDef]:
    """Route a path to a handler for callers with a scope; None: for whoever is logged in."""
    return [
        web.route(route.method, route.path, _identified(route.handler))
        for route in routes_of(method, path, handler, scope, reads=reads, asks=asks)
    ]


def _identified(handler: Handler) -> Handler:
    @wraps(handler)
    async def identified(request: web.Request) -> web.StreamResponse:
        request[CLAIMS] = await identify(request)
        return await handler(request)

    describe(identified, operation_of(handler))
    return identified
