"""Changes an event that was sent, by new values in a tenant's own fields."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web
from msgspec import Raw

from gateway.formats.mapping import FormatName, Mapper, find_format, within
from gateway.formats.reading import object_json
from gateway.formats.sending import read_fields, read_form, source_of
from gateway.ingest.amending import Change, parse_update
from gateway.ingest.parsing import EVENT_BODY_BYTES_MAX, object_of_text
from gateway.ingest.routes import INGEST, read_body
from gateway.manage import values
from gateway.manage.amendments import change_event, find_event_soon
from gateway.manage.body import Fields
from gateway.manage.context import caller, is_strict, routes_of
from gateway.names import folded
from schemas.amendment import CHANGEABLE, check_note
from schemas.errors import InvalidInput, NotFound, Problem
from schemas.event_ref import canonical_ref
from schemas.formats_definition import default_format
from schemas.formats_source import Source
from schemas.usage_event import read_text

EVENT: Final = "event"
_EVENT_AT: Final = "/event"
_KNOWN: Final = ("event_ref", "format_name", "format_ref", EVENT, "note")
_IDENTITY: Final = ("customer_ref", "customer_name", "usage_product_ref", "usage_product_name")


class Update(msgspec.Struct, frozen=True):
    """What an event shall be changed by. warnings: what is strange about the request."""

    event_ref: UUID
    form: FormatName
    source: Source
    note: Raw | None
    warnings: list[Problem]


async def update_formatted_event(request: web.Request) -> web.Response:
    """POST /api/usage/event/formatted/update: change an event by its own fields.

    Fields that are left out stay; without any, the event is answered as it is.
    """
    body = await read_body(request, EVENT_BODY_BYTES_MAX)
    update = read_update(body, is_strict=is_strict(request))
    reference = request.app[INGEST].reference
    tenant = reference.tenants[caller(request).tenant_id]
    known = await find_format(reference, tenant, update.form)
    mapper = Mapper(known.rules or default_format(), tenant)
    made = await mapper.change(update.source, reference)
    if made.problems:
        raise InvalidInput.of(within(_EVENT_AT, made.problems))
    event = await find_event_soon(request, update.event_ref)
    try:
        check_identity(made.fields, event)
        change = change_of(made.fields, update)
        return await change_event(request, event, change, update.warnings)
    except InvalidInput as error:
        raise InvalidInput.of(within(_EVENT_AT, mapper.blame(error.problems))) from None


def read_update(body: bytes, *, is_strict: bool) -> Update:
    """Read a request: JSON or a form. Raises InvalidInput; NotFound for a ref that is none."""
    fields, warnings = read_fields(body, _KNOWN, is_strict=is_strict)
    missing = [name for name in ("event_ref", EVENT) if name not in fields]
    if missing:
        raise InvalidInput.of([Problem("required", "is missing", f"/{name}") for name in missing])
    try:
        event_ref = UUID(canonical_ref(read_text(fields["event_ref"])))
    except InvalidInput:
        raise NotFound("event_unknown", "there is no event with such an event_ref") from None
    note = fields.get("note")
    if note is not None:
        check_note_text(note)
    source = source_of(object_of_text(fields[EVENT]))
    return Update(event_ref, read_form(fields), source, note, warnings)


def check_note_text(note: Raw) -> None:
    """Refuse what is no note. Raises InvalidInput."""
    try:
        check_note(read_text(note))
    except InvalidInput as error:
        raise InvalidInput(error.code, error.detail, "/note") from None


def check_identity(made: dict[str, Raw], event: asyncpg.Record) -> None:
    """Refuse to make an event another customer's, or of another meter. Raises InvalidInput."""
    sent = {name: folded(read_text(made[name])) for name in _IDENTITY if name in made}
    problems = [
        Problem("event_differs", "an event keeps it: delete this one and send another", f"/{name}")
        for name, text in sent.items()
        if text and text != folded(str(event[name]))
    ]
    if problems:
        raise InvalidInput.of(problems)


def change_of(made: dict[str, Raw], update: Update) -> Change:
    """Return the change that new fields amount to; an empty one where nothing changes."""
    fields: dict[str, Any] = {name: made[name] for name in CHANGEABLE if name in made}
    if not fields:
        return Change()
    fields["event_ref"] = str(update.event_ref)
    if update.note is not None:
        fields["note"] = update.note
    _, change, _ = parse_update(msgspec.json.encode(fields), is_strict=True)
    return change


def read_update_fields(fields: Fields) -> None:
    """Ask for what the route reads, for the API's description."""
    fields.required(values.ref, "event_ref")
    fields.optional(values.name, "format_name")
    fields.optional(values.ref, "format_ref")
    fields.required(object_json, EVENT)
    fields.optional(values.text, "note")


ROUTES: Sequence[web.RouteDef] = routes_of(
    "POST",
    "/api/usage/event/formatted/update",
    update_formatted_event,
    "usage:write",
    reads=read_update_fields,
    status=202,
)
