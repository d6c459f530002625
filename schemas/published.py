"""The JSON Schema of the topic of usage events, made from the type that decodes its records.

What a type can't say (the grammar of a quantity, the bounds of a timestamp) is written here once,
for the topic's schema and for the description of the HTTP API.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from schemas.amendment import (
    CHANGEABLE,
    MADE_BY_LENGTH_MAX,
    NOTE_LENGTH_MAX,
    DeleteRecord,
    UpdateRecord,
)
from schemas.topics import USAGE_EVENTS
from schemas.usage_event import EVENT_BYTES_MAX, UsageRecord

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_REF: Final = {
    "type": "string",
    "pattern": "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
}

Fields = Mapping[str, Mapping[str, Any]]

EVENT_FIELDS: Final[Fields] = {
    "timestamp": {
        "type": "string",
        "format": "date-time",
        "description": "When it happened, with an offset from UTC; picks the billing period. "
        "From 2000-01-01 to an hour ahead of the clock.",
        "examples": ["2026-10-15T12:00:00Z"],
    },
    "customer_ref": _REF | {"description": "Who used it."},
    "usage_product_ref": _REF | {"description": "What was used: the meter."},
    "quantity": {
        "type": ["number", "string"],
        "description": "How much, exact: at most 38 digits, 18 of them after the point. Negative "
        "and zero are allowed. As text where a producer's JSON library would round.",
        "examples": ["12.5", 10],
    },
    "additional_report_data": {
        "type": ["object", "null"],
        "description": "Free keys: extra columns of the usage report.",
    },
    "idempotency_key": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": 255,
        "description": "The producer's own id of this event, unique for the customer: it is "
        "billed once, however often it is sent.",
        "examples": ["order-4711"],
    },
}
"""What each field of an event must be, over HTTP as in a record."""

AMENDMENT_FIELDS: Final[Fields] = {
    "event_ref": _REF | {"description": "The event, by the ref that its sender was answered."},
    **{
        name: {**EVENT_FIELDS[name], "description": description}
        for name, description in {
            "timestamp": "When it happened after all; left out, it stays.",
            "quantity": "How much it was after all; left out, it stays.",
            "additional_report_data": "Takes the place of all that was there, null of nothing "
            "more; left out, it stays.",
        }.items()
    },
    "note": {
        "type": ["string", "null"],
        "maxLength": NOTE_LENGTH_MAX,
        "description": "Why, for people; it is kept with the event.",
        "examples": ["the meter was read twice"],
    },
}
"""What each field of an amendment must be, over HTTP as in a record."""

_RECORD_FIELDS: Final[Fields] = {
    "v": {"const": 1, "description": "The version of this schema."},
    "tenant_ref": {
        "anyOf": [_REF, {"type": "null"}],
        "description": "Whose customer it is; needed where the installation has several tenants.",
    },
    "customer_ref": EVENT_FIELDS["customer_ref"],
    "by": {
        "type": ["string", "null"],
        "maxLength": MADE_BY_LENGTH_MAX,
        "description": "Who asks for it; it is kept with the event.",
    },
}


def object_schema(decoded: type[msgspec.Struct], fields: Fields) -> dict[str, Any]:
    """Return the JSON Schema of what a type decodes. fields: what each of its fields must be."""
    known = msgspec.structs.fields(decoded)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.encode_name: dict(fields[field.encode_name]) for field in known},
        "required": [field.encode_name for field in known if field.required],
    }
    if decoded.__struct_config__.forbid_unknown_fields:
        schema["additionalProperties"] = False
    return schema


def usage_events_schema() -> dict[str, Any]:
    """Return the JSON Schema of the records of `usage.events.v1`, one for each kind of them."""
    amendment = {**_RECORD_FIELDS, **AMENDMENT_FIELDS}
    return {
        "$schema": DIALECT,
        "title": USAGE_EVENTS,
        "description": "One use of one meter by one customer, or a change to it. The record's key "
        "is the customer_ref in lower case; its partition is Kafka's murmur2 of the key. At most "
        f"{EVENT_BYTES_MAX} bytes.",
        "oneOf": [
            _record_schema("USAGE", "a use", UsageRecord, {**_RECORD_FIELDS, **EVENT_FIELDS}),
            _record_schema("UPDATE", "a change of one event", UpdateRecord, amendment)
            | {"anyOf": [{"required": [name]} for name in CHANGEABLE]},
            _record_schema("DELETE", "that an event is to count no more", DeleteRecord, amendment),
        ],
    }


def _record_schema(
    kind: str, meaning: str, decoded: type[msgspec.Struct], fields: Fields
) -> dict[str, Any]:
    said = {"const": kind, "description": f"What the record says: {meaning}."}
    return {"title": kind, **object_schema(decoded, {**fields, "kind": said})}
