"""Logging in and out: keys get a token, admins a session in a cookie."""

from typing import Final

from aiohttp import web
from msgspec import Struct

from gateway.auth.origin import (
    drop_session_cookie,
    refuse_other_sites,
    session_token,
    set_session_cookie,
)
from gateway.auth.requests import identify, who_asks
from gateway.ingest.routes import AUTHENTICATION, read_body
from gateway.manage.answers import json_answer
from gateway.manage.body import parse_object
from gateway.openapi.operations import Operation, describe
from schemas.errors import InvalidInput, Problem

BODY_BYTES_MAX: Final = 16 * 1024
_NO_STORE: Final = {"Cache-Control": "no-store"}


async def login(request: web.Request) -> web.Response:
    """POST /auth/login: a key and its password for a token, an admin's e-mail for a session."""
    fields = parse_object(await read_body(request, BODY_BYTES_MAX))
    if "email" in fields:
        return await _log_admin_in(request, fields)
    name = "api_key" if "api_key" in fields or "username" not in fields else "username"
    api_key, password = _texts(fields, name, "password")
    token = await request.app[AUTHENTICATION].login(api_key, password, who_asks(request))
    answer = json_answer(token)
    answer.headers.update(_NO_STORE)
    return answer


async def _log_admin_in(request: web.Request, fields: dict[str, object]) -> web.Response:
    """Begin a session; one that the client had so far ends with it."""
    refuse_other_sites(request)
    email, password = _texts(fields, "email", "password")
    token = await request.app[AUTHENTICATION].sessions.log_in(
        email, password, who_asks(request), replaced=session_token(request)
    )
    answer = json_answer({"email": email.strip()})
    answer.headers.update(_NO_STORE)
    set_session_cookie(request, answer, token)
    return answer


def _texts(fields: dict[str, object], *names: str) -> list[str]:
    """Return fields that have to be texts; an empty one is nobody's name or password."""
    found = [fields.get(name) for name in names]
    wrong = [
        Problem("type_string", "is needed, as a text", f"/{name}")
        for name, value in zip(names, found, strict=True)
        if type(value) is not str
    ]
    if wrong:
        raise InvalidInput.of(wrong)
    return [str(value) for value in found]


async def logout(request: web.Request) -> web.Response:
    """POST /auth/logout: the session or the token is worth nothing any more."""
    claims = await identify(request)
    authentication = request.app[AUTHENTICATION]
    answer = json_answer({"logged_out": True})
    if claims.is_session:
        await authentication.sessions.log_out(
            session_token(request) or "", claims, who_asks(request, claims)
        )
        drop_session_cookie(request, answer)
    else:
        await authentication.revoke(claims, who_asks(request, claims))
    return answer


class KeyLogin(Struct):
    """What an API key logs in with; an admin sends `email` instead of `api_key`."""

    api_key: str
    password: str


_FORMS: Final = ("application/json", "application/x-www-form-urlencoded")

describe(login, Operation(body=KeyLogin, body_media=_FORMS))
describe(logout, Operation())

ROUTES: Final[list[web.RouteDef]] = [
    web.post("/auth/login", login),
    web.post("/auth/login/", login),
    web.post("/auth/logout", logout),
    web.post("/auth/logout/", logout),
]
