"""Takes one event in a tenant's own fields: made by its format, it goes the way of all others."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from gateway.answer import Answer
from gateway.formats.mapping import FormatName, Mapper, find_mapper, told, within
from gateway.formats.reading import sample
from gateway.ingest.authentication import Claims
from gateway.ingest.events import Ingest, Options
from gateway.ingest.forms import form_to_json, is_json
from gateway.ingest.parsing import object_of_text
from gateway.manage import values
from gateway.manage.body import Fields
from schemas.additional_data import refuse_duplicate_keys
from schemas.errors import InvalidInput, Problem
from schemas.event_ref import canonical_ref
from schemas.formats_source import Source, read_source
from schemas.usage_event import pointer_to, read_text, unknown_field

EVENT: Final = "event"
_EVENT_AT: Final = pointer_to(EVENT)
_KNOWN: Final = ("format_name", "format_ref", EVENT)

_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_problems: Final = msgspec.json.Decoder(list[Problem]).decode
_NONE: Final = Raw(b"[]")


class Formatted(msgspec.Struct, frozen=True):
    """An event in a tenant's own fields. warnings: what is strange about the request around it."""

    form: FormatName
    event: Raw
    warnings: list[Problem]


async def handle_formatted(ingest: Ingest, body: bytes, claims: Claims, options: Options) -> Answer:
    """Take one event as `Ingest.handle_event` does. Raises what it raises."""
    tenant = ingest.enter(claims, 0)
    is_strict = options.is_strict or tenant.settings.refuses_unknown_fields
    sent = read_formatted(body, is_strict=is_strict)
    if not source_of(sent.event).fields:
        raise InvalidInput("required", "has no fields", _EVENT_AT)
    mapper = await find_mapper(ingest.reference, tenant, sent.form)
    try:
        event = bytes(sent.event)
        if mapper is not None:
            event = (await mapper.make(event, ingest.reference)).event()
    except InvalidInput as error:
        raise InvalidInput.of(within(_EVENT_AT, error.problems)) from None
    try:
        answer = await ingest.handle_event(event, claims, options)
    except InvalidInput as error:
        raise InvalidInput.of(within(_EVENT_AT, told(mapper, error.problems))) from None
    return _with_warnings(answer, mapper, sent.warnings)


def read_formatted(body: bytes, *, is_strict: bool) -> Formatted:
    """Read a request, JSON or a form. is_strict: unknown fields are refused.

    Raises InvalidInput.
    """
    fields, warnings = read_fields(body, _KNOWN, is_strict=is_strict)
    if EVENT not in fields:
        raise InvalidInput("required", "is missing", _EVENT_AT)
    return Formatted(read_form(fields), object_of_text(fields[EVENT]), warnings)


def read_fields(
    body: bytes, known: Sequence[str], *, is_strict: bool
) -> tuple[dict[str, Raw], list[Problem]]:
    """Read the fields of a request, those that are null left out, and warnings of unknown ones."""
    try:
        text = body if is_json(body) else form_to_json(body)
        fields = _decode_object(text)
        refuse_duplicate_keys(text)
    except InvalidInput:
        raise
    except RecursionError:
        raise InvalidInput("json_too_deep", "has too many levels") from None
    except ValueError as error:  # the decoders' errors are ValueErrors
        raise InvalidInput("json_malformed", f"must be a JSON object: {error}"[:200]) from None
    code = "unknown_field_strict" if is_strict else "unknown_field"
    warnings = [
        Problem(code, unknown_field(name, known), pointer_to(name))
        for name in fields
        if name not in known
    ]
    if is_strict and warnings:
        raise InvalidInput.of(warnings)
    return {name: raw for name, raw in fields.items() if bytes(raw) not in _EMPTY}, warnings


_EMPTY: Final = (b"null", b'""')


def read_form(fields: dict[str, Raw]) -> FormatName:
    """Read which format is meant. Raises InvalidInput."""
    if "format_ref" not in fields and "format_name" not in fields:
        raise InvalidInput("required", "is missing: name the format", "/format_name")
    found: dict[str, str] = {}
    for name in ("format_name", "format_ref"):
        if name in fields:
            found[name] = _checked(name, fields[name])
    return FormatName(found.get("format_name"), found.get("format_ref"))


def _checked(name: str, raw: Raw) -> str:
    try:
        text = read_text(raw)
        return canonical_ref(text) if name == "format_ref" else text
    except InvalidInput as error:
        raise InvalidInput(error.code, error.detail, pointer_to(name)) from None


def source_of(event: Raw) -> Source:
    """Read the event of a request. Raises InvalidInput."""
    try:
        return read_source(bytes(event))
    except InvalidInput as error:
        raise InvalidInput.of(within(_EVENT_AT, error.problems)) from None


def _with_warnings(answer: Answer, mapper: Mapper | None, others: Sequence[Problem]) -> Answer:
    """Have an answer's warnings point into the request, and add others."""
    if not others and b'"warnings":' not in answer.body:
        return answer
    fields = _decode_object(answer.body)
    inner = told(mapper, _decode_problems(fields.get("warnings", _NONE)))
    warnings = [*others, *within(_EVENT_AT, inner)]
    body = msgspec.json.encode({**fields, "warnings": warnings} if warnings else fields)
    return msgspec.structs.replace(answer, body=body)


def read_formatted_fields(fields: Fields) -> None:
    """Ask for what `POST /api/usage/event/formatted` reads, for the API's description."""
    fields.optional(values.name, "format_name")
    fields.optional(values.ref, "format_ref")
    fields.required(sample, EVENT)
