"""`GET /openapi.json`, and Swagger UI at `/swagger/`, from the package alone."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from gateway.openapi.document import make_document
from gateway.openapi.operations import Operation, describe

FOLDER: Final = Path(__file__).parent / "swagger"
_TYPES: Final = {
    "index.html": "text/html",
    "start.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
_HEADERS: Final = {
    # The page runs its own two scripts and asks its own server; no other place is spoken to.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' "
    "'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


def routes_about(routes: Sequence[web.RouteDef]) -> list[web.RouteDef]:
    """Return the routes that describe others, and themselves."""

    async def openapi(_request: web.Request) -> web.Response:
        """Show this description."""
        return web.Response(body=document, content_type="application/json")

    async def to_swagger(_request: web.Request) -> web.Response:
        """Lead to the page."""
        return web.Response(status=301, headers={"Location": "/swagger/"})

    describe(swagger_page, Operation(media=("text/html",)))
    own = [web.get("/openapi.json", openapi), web.get("/swagger/", swagger_page)]
    document = msgspec.json.encode(make_document([*routes, *own]))
    return [
        *own,
        web.get("/swagger", to_swagger),
        web.get("/swagger/{file}", swagger_file),
    ]


async def swagger_page(request: web.Request) -> web.Response:
    """Show a page on which every route can be tried."""
    return _file(request, "index.html")


async def swagger_file(request: web.Request) -> web.Response:
    """Answer with a file of the page."""
    return _file(request, request.match_info["file"])


def _file(request: web.Request, name: str) -> web.Response:
    if name not in _TYPES:
        raise web.HTTPNotFound
    headers = dict(_HEADERS)
    packed = FOLDER / f"{name}.gz"
    if not packed.exists():
        content = (FOLDER / name).read_bytes()
    elif "gzip" in request.headers.get("Accept-Encoding", ""):
        content = packed.read_bytes()
        headers["Content-Encoding"] = "gzip"
    else:
        content = gzip.decompress(packed.read_bytes())
    return web.Response(body=content, content_type=_TYPES[name], headers=headers)
