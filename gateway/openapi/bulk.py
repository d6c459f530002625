"""Many events in one body: every form that they may come in, with an example of each."""

from typing import Any, Final

import msgspec

from gateway.ingest.bulk_forms import CLOUDEVENT, CLOUDEVENTS
from gateway.ingest.parsing import EVENTS_BODY_BYTES_MAX, EVENTS_MAX
from schemas.usage_event import EVENT_BYTES_MAX

Schema = dict[str, Any]

_ABOUT: Final = (
    f"At most {EVENTS_MAX:,} events and {EVENTS_BODY_BYTES_MAX >> 20} MiB, counted after "
    f"decompression, and {EVENT_BYTES_MAX >> 10} KiB an event. A bad event is told of in "
    "`errors` and never sinks its neighbours."
)
_ELSE: Final = {"description": "Anything else is refused by itself, in `errors`."}
_EVENTS: Final = (
    {
        "timestamp": "2024-02-05T09:02:27.279Z",
        "customer_ref": "00000000-0000-4000-8000-000000000001",
        "usage_product_ref": "00000000-0000-4000-8000-000000000002",
        "quantity": 10,
        "idempotency_key": "order-4711",
    },
    {
        "timestamp": "2024-02-05T09:03:00Z",
        "customer_name": "Northwind",
        "usage_product_name": "Units",
        "quantity": "0.25",
        "idempotency_key": "order-4712",
    },
)
_LINES: Final = "".join(msgspec.json.encode(event).decode() + "\n" for event in _EVENTS)
_CSV: Final = (
    "timestamp,customer_ref,usage_product_name,quantity,additional_report_data.region\r\n"
    "2024-02-05T09:02:27.279Z,00000000-0000-4000-8000-000000000001,Units,10,eu\r\n"
)
_CLOUDEVENT: Final = {
    "specversion": "1.0",
    "id": "4711",
    "source": "/shop/eu",
    "type": "com.example.use",
    "time": "2024-02-05T09:02:27.279Z",
    "data": {
        "customer_ref": "00000000-0000-4000-8000-000000000001",
        "usage_product_ref": "00000000-0000-4000-8000-000000000002",
        "quantity": 10,
    },
}


def bulk_request(event: Schema, json_example: object) -> dict[str, Any]:
    """Return the description of a body of many events. event: the schema of one."""
    wrapped = _cloudevent(event)
    text = {"type": "string"}
    forms: dict[str, tuple[Schema, object]] = {
        "application/json": (_many(event), json_example),
        "application/x-ndjson": (text | {"description": "An event a line."}, _LINES),
        "text/csv": (
            text
            | {
                "description": "The first row names the fields; `additional_report_data.region` "
                "is a column of a key of its own. An empty cell is a field left out."
            },
            _CSV,
        ),
        CLOUDEVENT: ({"anyOf": [wrapped, _ELSE]}, _CLOUDEVENT),
        CLOUDEVENTS: (_many(wrapped), [_CLOUDEVENT]),
    }
    return {
        "required": True,
        "description": _ABOUT,
        "content": {
            media: {"schema": schema, "example": example}
            for media, (schema, example) in forms.items()
        },
    }


def _many(schema: Schema) -> Schema:
    return {"type": "array", "maxItems": EVENTS_MAX, "items": {"anyOf": [schema, _ELSE]}}


def _cloudevent(event: Schema) -> Schema:
    """Return the schema of a CloudEvent: source, U+001F and id are its key.

    Where the data has no timestamp it is `time`, where it names no customer `subject` is the ref.
    """
    plain = {name: value for name, value in event.items() if name != "required"}
    text = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text,
            "source": text,
            "type": text,
            "subject": {"type": "string", "format": "uuid"},
            "time": {"type": "string", "format": "date-time"},
            "data": plain,
        },
        "required": ["specversion", "id", "source", "type", "data"],
    }
