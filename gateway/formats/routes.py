"""The routes that take events in a tenant's own fields."""

from typing import Final

from aiohttp import web

from gateway.formats.sending import handle_formatted, read_formatted_fields
from gateway.ingest.parsing import EVENT_BODY_BYTES_MAX
from gateway.ingest.routes import INGEST, options_of, read_body, respond
from gateway.manage.context import caller
from gateway.openapi.operations import Operation, describe


async def post_formatted_event(request: web.Request) -> web.Response:
    """POST /api/usage/event/formatted."""
    body = await read_body(request, EVENT_BODY_BYTES_MAX)
    claims, options = caller(request), options_of(request)
    return respond(await handle_formatted(request.app[INGEST], body, claims, options))


_FORMS: Final = ("application/json", "application/x-www-form-urlencoded")

describe(
    post_formatted_event,
    Operation("usage:write", reads=read_formatted_fields, status=202, body_media=_FORMS),
)

ROUTES: Final[list[web.RouteDef]] = [
    web.post("/api/usage/event/formatted", post_formatted_event),
    web.post("/api/usage/event/formatted/", post_formatted_event),
]
