"""Routes of the API whose work is still to come: they say so, in a problem of their own."""

from aiohttp import web

from gateway.manage.context import routes_of
from schemas.errors import InvalidInput


async def not_yet(request: web.Request) -> web.Response:
    """Refuse a call of the API that is not supported yet."""
    raise InvalidInput("not_supported_yet", f"{request.method} {request.path} comes later")


ROUTES = [
    *routes_of(
        "POST", "/api/contracts/publish/{contract_ref}", not_yet, "billing:write", status=422
    ),
]
