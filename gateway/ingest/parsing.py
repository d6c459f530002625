"""From a request's bytes to events with typed fields, exact and in one pass where all is well.

A good event is decoded strictly. One that is refused is looked at again: a lenient route forgives
what its clients are known to send (forms, unknown fields, an object as JSON text), and whatever is
still wrong is named field by field.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

import msgspec
from msgspec import Raw

from gateway.ingest.forms import form_to_json, is_json
from schemas.additional_data import check_key, read_additional_data, refuse_duplicate_keys
from schemas.errors import InvalidInput, InvalidUsageEvent, Problem
from schemas.event_ref import canonical_ref
from schemas.money import Quantity
from schemas.usage_event import (
    ABSENT,
    EVENT_BYTES_MAX,
    EVENT_READERS,
    EVENT_REQUIRED,
    UNREADABLE,
    Reader,
    explain,
    optional,
    parse_timestamp,
    pointer_to,
    read_quantity,
    read_text,
    unknown_field,
)

EVENTS_MAX: Final = 10_000
"""Events of one request."""

EVENT_BODY_BYTES_MAX: Final = 2 * EVENT_BYTES_MAX
"""The body of the route for one event: a form spells many bytes with three."""

EVENTS_BODY_BYTES_MAX: Final = 10 * 1024 * 1024
"""The body of the route for many events, after decompression."""


class ParsedEvent(msgspec.Struct, gc=False):
    """An event as its sender wrote it, with what was read from it.

    timestamp: as sent. occurred_at_micros: the same in UTC microseconds since 1970.
    customer_ref, usage_product_ref: empty when only a name was sent.
    quantity_json: as sent, JSON. quantity: the same as a number.
    additional_data, validations: JSON text as sent, or None.
    """

    timestamp: str
    occurred_at_micros: int
    customer_ref: str
    usage_product_ref: str
    quantity_json: str
    quantity: Quantity
    additional_data: str | None
    validations: str | None
    idempotency_key: str | None
    customer_name: str | None = None
    usage_product_name: str | None = None


class EventFields(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of an event as the strict decoder finds them."""

    timestamp: str
    customer_ref: str
    usage_product_ref: str
    quantity: Raw
    additional_report_data: Raw = ABSENT
    idempotency_key: str | None = None
    customer_name: str | None = None
    usage_product_name: str | None = None
    validations: Raw = ABSENT


class _Validations(msgspec.Struct, forbid_unknown_fields=True):
    """What a client wants to be true of the document that the event is billed on."""

    currency: str | None = None
    entity_ref: str | None = None


decode_fields: Final = msgspec.json.Decoder(EventFields).decode
_decode_array: Final = msgspec.json.Decoder(list[Raw]).decode


@cache
def _long_array_decoder() -> Callable[[bytes], msgspec.Struct]:
    """Return the decoder of an array that can't have too many elements.

    One of millions is refused before it is a list. Made when the first body is that long: so many
    fields cost 50 ms and 3 MiB.
    """
    fields = [(f"element_{n}", Raw, None) for n in range(EVENTS_MAX)]
    long_array = msgspec.defstruct(
        "_LongArray", fields, array_like=True, forbid_unknown_fields=True, gc=False
    )
    return msgspec.json.Decoder(long_array).decode


_TOO_LONG: Final = "at most length"
"""What the decoder says of one that is too long."""

_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
decode_validations: Final = msgspec.json.Decoder(_Validations).decode

_QUOTE: Final = ord('"')
_QUOTES_ALWAYS: Final = 14
"""Quotes of an event's four required keys and its three required texts."""
_QUOTES_QUOTED: Final = _QUOTES_ALWAYS + 2
"""The same for a quantity that is a text."""


def parse_event(raw: bytes) -> ParsedEvent:
    """Read one event strictly.

    Raises InvalidUsageEvent, which lists every wrong field with its pointer.
    """
    if len(raw) > EVENT_BYTES_MAX:
        raise InvalidUsageEvent("event_too_large", f"must be at most {EVENT_BYTES_MAX} bytes")
    try:
        event, quotes = _read(decode_fields(raw))
        if raw.count(b'"') != quotes:
            refuse_duplicate_keys(raw)
    except UNREADABLE as error:
        named = _parse_named(raw)
        if named is None:
            raise explain(raw, _READERS, EVENT_REQUIRED) from error
        return named
    return event


def _parse_named(raw: bytes) -> ParsedEvent | None:
    """Read an event that has a name where it has no ref; None when it is none of those.

    Raises InvalidUsageEvent for one that is wrong otherwise.
    """
    try:
        fields = _decode_object(raw)
        refuse_duplicate_keys(raw)
    except UNREADABLE:
        return None
    named = [
        ref
        for ref, name in _NAME_OF.items()
        if bytes(fields.get(ref, ABSENT)) in _EMPTY
        and bytes(fields.get(name, ABSENT)) not in _EMPTY
    ]
    if not named:
        return None
    filled = msgspec.json.encode(fields | dict.fromkeys(named, _STAND_IN))
    try:
        event, _ = _read(decode_fields(filled))
    except UNREADABLE as error:
        raise explain(filled, _READERS, EVENT_REQUIRED) from error
    for ref in named:
        setattr(event, ref, "")
    return event


_NAME_OF: Final = {"customer_ref": "customer_name", "usage_product_ref": "usage_product_name"}
_STAND_IN: Final = "00000000-0000-0000-0000-000000000000"
"""Lets the strict reader read the rest."""


def _read(fields: EventFields) -> tuple[ParsedEvent, int]:
    """Check the fields; also count the quotes they have when nothing in them is escaped."""
    quantity = bytes(fields.quantity)
    quotes = _QUOTES_QUOTED if quantity[0] == _QUOTE else _QUOTES_ALWAYS
    key = fields.idempotency_key
    if key is not None:
        check_key(key)
        quotes += 4
    event = ParsedEvent(
        fields.timestamp,
        parse_timestamp(fields.timestamp),
        canonical_ref(fields.customer_ref),
        canonical_ref(fields.usage_product_ref),
        quantity.decode(),
        read_quantity(quantity),
        None,
        None,
        key,
    )
    if fields.additional_report_data is not ABSENT:
        data = event.additional_data = read_additional_data(fields.additional_report_data)
        quotes += 2 if data is None else 2 + data.count('"')
    if fields.customer_name is not None:
        event.customer_name = fields.customer_name
        quotes += 4
    if fields.usage_product_name is not None:
        event.usage_product_name = fields.usage_product_name
        quotes += 4
    if fields.validations is not ABSENT:
        validations = event.validations = _read_validations(fields.validations)
        quotes += 2 if validations is None else 2 + validations.count('"')
    return event, quotes


def _read_validations(raw: Raw) -> str | None:
    """Check the shape of an event's validations and return their JSON text as sent."""
    text = bytes(raw).decode()
    if text == "null":
        return None
    try:
        validations = decode_validations(text)
    except msgspec.ValidationError:
        detail = "must be an object of texts, with currency or entity_ref"
        raise InvalidInput("validations_malformed", detail) from None
    refuse_duplicate_keys(text)
    if validations.entity_ref:
        canonical_ref(validations.entity_ref)
    return text


_READERS: Final[Mapping[str, Reader]] = {
    **EVENT_READERS,
    "customer_name": optional(read_text),
    "usage_product_name": optional(read_text),
    "validations": _read_validations,
}

EVENT_FIELDS: Final = tuple(_READERS)
"""The names of an event's fields."""


def parse_single(body: bytes, *, is_strict: bool) -> tuple[ParsedEvent, list[Problem]]:
    """Read the body of the route for one event: JSON or a form; also return warnings.

    is_strict: unknown fields are refused and not just warned of.
    Raises InvalidInput, see `parse_event`.
    """
    if is_json(body):
        try:
            return parse_event(body), []
        except InvalidUsageEvent as error:
            if error.code in _FINAL and not error.pointer:
                raise
    else:
        body = form_to_json(body)
    body, warnings = _forgive(body)
    if is_strict and warnings:
        raise InvalidInput("unknown_field_strict", warnings[0].detail, warnings[0].pointer)
    return parse_event(body), warnings


_FINAL: Final = frozenset(
    {"json_malformed", "json_too_deep", "json_duplicate_key", "type_object", "event_too_large"}
)
"""Codes that no leniency helps with, when they speak of the whole event."""


def _forgive(body: bytes) -> tuple[bytes, list[Problem]]:
    """Rewrite an object as the strict reader takes it; unknown fields become warnings."""
    known: dict[str, Raw] = {}
    warnings: list[Problem] = []
    for name, raw in _decode_object(body).items():
        if name not in _READERS:
            detail = unknown_field(name, _READERS)
            warnings.append(Problem("unknown_field", detail, pointer_to(name)))
        elif not (name in _REFS and bytes(raw) in _EMPTY):
            known[name] = object_of_text(raw) if name in _OBJECTS else raw
    return msgspec.json.encode(known), warnings


_REFS: Final = frozenset({"customer_ref", "usage_product_ref"})
_OBJECTS: Final = frozenset({"additional_report_data", "validations"})
_EMPTY: Final = frozenset({b"null", b'""'})


def object_of_text(raw: Raw) -> Raw:
    """Unwrap an object that came as JSON text inside JSON."""
    if not bytes(raw).startswith(b'"'):
        return raw
    text = read_text(raw).encode()
    try:
        _decode_object(text)
    except (ValueError, RecursionError):
        return raw  # the strict reader says what is wrong with it
    return Raw(text)


def split_array(body: bytes) -> list[Raw]:
    """Split a JSON array into its elements, unread.

    Raises InvalidInput: `json_malformed`, `json_too_deep`, `too_many_events`.
    """
    try:
        if body.count(b",") < EVENTS_MAX:
            return _decode_array(body)
        elements = msgspec.structs.astuple(_long_array_decoder()(body))
    except RecursionError:
        raise InvalidInput("json_too_deep", "has too many levels") from None
    except ValueError as error:  # the decoder's errors are ValueErrors
        if _TOO_LONG in str(error):
            detail = f"must have at most {EVENTS_MAX} events"
            raise InvalidInput("too_many_events", detail) from None
        detail = f"must be a JSON array of events: {error}"[:200]
        raise InvalidInput("json_malformed", detail) from None
    return [element for element in elements if element is not None]
