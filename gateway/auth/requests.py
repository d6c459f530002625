"""Who sends a request, by its token or its session; what the handlers of this package share."""

from typing import Final

from aiohttp import web

from gateway.auth.audit import Who
from gateway.auth.claims import Claims
from gateway.auth.origin import SAFE_VERBS, client_address, refuse_other_sites, session_token
from gateway.ingest.routes import AUTHENTICATION

REQUEST_ID: Final = "request_id"


async def identify(request: web.Request) -> Claims:
    """Return who calls: the token of the Authorization header, without one the cookie's session.

    With a session, a call that may change something has to come from our own pages.
    Raises NotAllowed.
    """
    authentication = request.app[AUTHENTICATION]
    authorization = request.headers.get("Authorization")
    token = None if authorization is not None else session_token(request)
    if token is None:
        return await authentication.verify(authorization)
    if request.method not in SAFE_VERBS:
        refuse_other_sites(request)
    return await authentication.sessions.verify(token)


def who_asks(request: web.Request, claims: Claims | None = None) -> Who:
    """Return whom the audit log names. claims: None for somebody who is about to log in."""
    actor = "" if claims is None else claims.actor
    return Who(actor, client_address(request), request[REQUEST_ID])
