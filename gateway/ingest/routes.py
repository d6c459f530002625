"""The ingest routes on aiohttp: they read the request and write the answer, nothing else."""

import asyncio
import re
from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from aiohttp import web

from gateway import metrics
from gateway.answer import Answer
from gateway.formats.mapping import FormatName
from gateway.in_flight import InFlight
from gateway.ingest.authentication import Authentication, Claims
from gateway.ingest.bulk_forms import BULK_MEDIA
from gateway.ingest.compression import decompress, too_large
from gateway.ingest.events import Ingest, Options
from gateway.ingest.parsing import EVENT_BODY_BYTES_MAX, EVENTS_BODY_BYTES_MAX, EventFields
from gateway.manage import values
from gateway.manage.body import Fields
from gateway.openapi.operations import Operation, describe
from schemas.errors import InvalidInput

INGEST: Final = web.AppKey("ingest", Ingest)
AUTHENTICATION: Final = web.AppKey("authentication", Authentication)
BODY_READ_SECONDS: Final = web.AppKey("body_read_seconds", float)
IN_FLIGHT: Final = web.AppKey("in_flight", InFlight)
HELD: Final = "held"
"""Bytes that a request holds of its tenant's budget."""


async def post_event(request: web.Request) -> web.Response:
    """POST /api/usage/event."""
    body = await read_body(request, EVENT_BODY_BYTES_MAX)
    answer = await request.app[INGEST].handle_event(body, _claims(request), options_of(request))
    return respond(answer)


async def post_events(request: web.Request) -> web.Response:
    """POST /api/usage/events: a JSON array, NDJSON, CSV or CloudEvents."""
    options = options_of(request)
    body = await read_body(request, EVENTS_BODY_BYTES_MAX)
    answer = await request.app[INGEST].handle_events(
        body, _claims(request), request["request_id"], options
    )
    response = respond(answer)
    if options.is_minimal:
        response.headers["Preference-Applied"] = "return=minimal"
    return response


def _claims(request: web.Request) -> Claims:
    claims: Claims = request["claims"]
    return claims


def options_of(request: web.Request) -> Options:
    """Read what the headers and the query ask for."""
    headers = request.headers
    key = headers.get("Idempotency-Key")
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if "Prefer" not in headers and not request.query_string:
        return Options(key=key, media_type=media_type)
    preferences = _preferences(headers.getall("Prefer", ()))
    return Options(
        is_strict=_STRICT in preferences,
        is_minimal="return=minimal" in preferences,
        is_atomic=bool(request.query_string) and _is_atomic(request.query.getall("atomic", ())),
        key=key,
        media_type=media_type,
        wait_seconds=_wait_seconds(preferences) if preferences else 0,
        form=_form(request) if request.query_string else None,
    )


def _form(request: web.Request) -> FormatName | None:
    """Read which format the events of a request are in; None for the API's own fields.

    Raises InvalidInput where several are named.
    """
    names, refs = (request.query.getall(name, ()) for name in ("format_name", "format_ref"))
    if len(names) > 1 or len(refs) > 1:
        raise InvalidInput("parameter_malformed", "must be one format", "/format_name")
    found = FormatName("".join(names) or None, "".join(refs) or None)
    return found if found.name or found.ref else None


def prefers_strict(request: web.Request) -> bool:
    """Tell whether the client wants fields that nobody knows to be refused."""
    return _STRICT in _preferences(request.headers.getall("Prefer", ()))


_STRICT: Final = "handling=strict"


def _preferences(headers: Sequence[str]) -> frozenset[str]:
    """Return what is preferred (RFC 7240), each as name=value in lower case."""
    parts = [part for header in headers for part in header.split(",")]
    return frozenset(
        part.partition(";")[0].replace(" ", "").replace('"', "").lower() for part in parts
    )


WAIT_SECONDS_MAX: Final = 30
"""The longest wait for an event's rating that `Prefer: wait` gets."""

_match_wait: Final = re.compile(r"wait=([0-9]{1,9})", re.ASCII).fullmatch


def _wait_seconds(preferences: Collection[str]) -> int:
    """Return how long the answer may wait, at most WAIT_SECONDS_MAX; 0 when nobody says so.

    A preference that can't be read is none (RFC 7240).
    """
    found = [int(match[1]) for match in map(_match_wait, preferences) if match is not None]
    return min(max(found, default=0), WAIT_SECONDS_MAX)


def _is_atomic(values: Sequence[str]) -> bool:
    """Read `?atomic`. Raises InvalidInput: nobody shall believe that it was understood."""
    if any(value not in ("true", "false") for value in values) or len(values) > 1:
        raise InvalidInput("parameter_malformed", "atomic must be true or false", "/atomic")
    return "true" in values


async def read_body(request: web.Request, bytes_max: int) -> bytes:
    """Read a request's body within its bounds of size and time.

    Its bytes count as in flight from before they come until `give_back`.
    Raises InvalidInput: `body_too_large`, `body_timeout`, `body_malformed`,
    `encoding_unsupported`. Raises TransientError when too much is in flight.
    """
    expected = _expected_bytes(request, bytes_max)
    if expected > bytes_max:
        raise too_large(bytes_max)
    _hold(request, expected)
    try:
        if request.content.is_eof():  # it is all here: no clock is needed
            body = await request.read()
        else:
            async with asyncio.timeout(request.app[BODY_READ_SECONDS]):
                body = await request.read()
    except TimeoutError:
        metrics.REQUESTS_TIMED_OUT.labels("body").inc()
        raise InvalidInput("body_timeout", "the body did not come in time") from None
    except web.HTTPRequestEntityTooLarge:
        raise too_large(bytes_max) from None
    except (web.RequestPayloadError, ValueError) as error:
        raise InvalidInput("body_malformed", "the body can't be read") from error
    if len(body) > bytes_max:
        raise too_large(bytes_max)
    if "Content-Encoding" not in request.headers:
        return body
    codings = ",".join(request.headers.getall("Content-Encoding"))
    opened = await decompress(body, codings.strip().lower(), bytes_max)
    _hold(request, len(opened))
    return opened


def _expected_bytes(request: web.Request, bytes_max: int) -> int:
    """Return how large a body may become: what its head says, else as large as it may be."""
    length = request.content_length
    if length is not None:
        return length
    return bytes_max if request.body_exists else 0


def _hold(request: web.Request, size: int) -> None:
    """Count at least so many bytes of a known tenant's request as in flight."""
    held = request[HELD]
    if size > held and "claims" in request:
        request.app[INGEST].budget.take(_claims(request).tenant_id, size - held)
        request[HELD] = size


def give_back(request: web.Request) -> None:
    """End the hold of a request's bytes: it is answered."""
    held = request[HELD]
    if held:
        request.app[INGEST].budget.give_back(_claims(request).tenant_id, held)


def respond(answer: Answer) -> web.Response:
    """Write an answer."""
    return web.Response(
        status=answer.status,
        body=answer.body,
        content_type=answer.content_type,
        headers=answer.headers or None,
    )


def read_bulk_query(fields: Fields) -> tuple[bool, str | None, UUID | None]:
    """Read whether all events of a request must be good, and the format that they are in."""
    is_atomic = fields.optional(values.choice("true", "false"), "atomic") == "true"
    name = fields.optional(values.name, "format_name")
    return is_atomic, name, fields.optional(values.ref, "format_ref")


_FORMS: Final = ("application/json", "application/x-www-form-urlencoded")

describe(post_event, Operation("usage:write", body=EventFields, status=202, body_media=_FORMS))
describe(
    post_events,
    Operation("usage:write", body=list, asks=read_bulk_query, status=202, body_media=BULK_MEDIA),
)

ROUTES: Final[list[web.RouteDef]] = [
    web.post("/api/usage/event", post_event),
    web.post("/api/usage/event/", post_event),
    web.post("/api/usage/events", post_events),
    web.post("/api/usage/events/", post_events),
]
