"""`Idempotency-Key`: a request that is repeated is done once and answered as before.

The answer is kept in the transaction of what the request did: both exist, or neither. What was
refused did nothing, so it is not kept: the next request with its key is a first one.

What is kept opens nothing. A password is in the first answer alone, in a repeat it is null; and
the fingerprint of a request that may carry one holds the caller's own token or session, which is
not kept anywhere, so that nobody can try passwords against it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from http import HTTPStatus
from typing import Final

from aiohttp import web

from gateway.auth.origin import session_token
from gateway.manage.answers import json_answer
from runtime.postgres import Connection, Queries
from schemas.errors import Conflict, InvalidInput, Problem

KEY_HEADER: Final = "Idempotency-Key"
OUTER: Final = "outer_transaction"
"""Where a request holds the transaction in which its answer will be kept."""

_KEPT: Final = "kept_body"

_is_key: Final = re.compile(r"[ -~]{1,255}").fullmatch

queries: Final = Queries.beside(__file__, "idempotency.sql")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def read_key(request: web.Request) -> str:
    """Return the key of a request that has one. Raises InvalidInput."""
    key = request.headers[KEY_HEADER]
    if not _is_key(key):
        detail = f"the header {KEY_HEADER} must have 1 to 255 printable characters"
        raise InvalidInput("idempotency_key_malformed", detail)
    return key


async def answer_once(
    connection: Connection, tenant_id: int, request: web.Request, body: bytes, handler: Handler
) -> web.StreamResponse:
    """Return the answer that is kept under the request's key, else handle it and keep the answer.

    connection: in the transaction that holds the answer, and what the handler does, together.
    Raises Conflict while the same request is under way, InvalidInput when the key was used for
    another one.
    """
    key = read_key(request)
    if not await connection.fetchval(queries.lock_key, tenant_id, key):
        detail = "a request with this Idempotency-Key is under way"
        raise Conflict("idempotency_key_in_use", detail)
    fingerprint = _fingerprint(request, body)
    kept = await connection.fetchrow(queries.find_answer, tenant_id, key)
    if kept is not None:
        if kept["fingerprint"] != fingerprint:
            detail = "this Idempotency-Key was used for another request"
            if _may_hold_password(request):
                detail += ", or in another session"
            raise InvalidInput("idempotency_key_reused", detail)
        return web.Response(
            status=kept["status"],
            body=kept["body"],
            content_type=kept["content_type"],
            headers={"Idempotent-Replayed": "true"},
        )
    answer = await handler(request)
    if answer.status < HTTPStatus.BAD_REQUEST:
        assert isinstance(answer, web.Response)
        assert isinstance(answer.body, bytes)
        content = (answer.status, answer.content_type, request.get(_KEPT, answer.body))
        await connection.execute(queries.forget_answers, tenant_id)
        await connection.execute(queries.keep_answer, tenant_id, key, fingerprint, *content)
    return answer


def answer_with_secret(
    request: web.Request,
    payload: Mapping[str, object],
    secret: str,
    *,
    warnings: Sequence[Problem] = (),
) -> web.Response:
    """Answer with something that is shown this once. secret: the member that holds it."""
    answer = json_answer(payload, warnings=warnings)
    answer.headers["Cache-Control"] = "no-store"
    request[_KEPT] = json_answer({**payload, secret: None}, warnings=warnings).body
    return answer


def _may_hold_password(request: web.Request) -> bool:
    return request.path.startswith("/auth/")


def _fingerprint(request: web.Request, body: bytes) -> bytes:
    head = f"{request.method} {request.path_qs.rstrip('/')}\n"
    if _may_hold_password(request):
        head += f"{request.headers.get('Authorization') or session_token(request)}\n"
    return sha256(head.encode("utf-8", "surrogateescape") + body).digest()
