"""CloudEvents 1.0 in JSON: `data` holds the fields of an event, the attributes the rest.

The key is source, U+001F, id. Where `data` has no timestamp it is `time`; where it names no
customer, `subject` is the ref. Other attributes and extensions are not looked at.
"""

from typing import Final

import msgspec
from msgspec import Raw

from schemas.additional_data import KEY_SEPARATOR, refuse_duplicate_keys
from schemas.errors import InvalidInput
from schemas.usage_event import ABSENT, EVENT_BYTES_MAX


class CloudEvent(msgspec.Struct):
    """The attributes that are read."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    data: Raw = ABSENT


_decode: Final = msgspec.json.Decoder(CloudEvent).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.encode


def read_cloudevent(raw: bytes) -> bytes | InvalidInput:
    """Return the usage event in a CloudEvent as JSON, or what is wrong with its attributes."""
    if len(raw) > EVENT_BYTES_MAX:
        return InvalidInput("event_too_large", f"must be at most {EVENT_BYTES_MAX} bytes")
    try:
        event = _decode(raw)
        refuse_duplicate_keys(raw)
        return _encode(_fields(event))
    except InvalidInput as error:
        return error
    except msgspec.ValidationError as error:
        return InvalidInput("cloudevent_malformed", f"is no CloudEvent: {error}"[:200])
    except RecursionError:
        return InvalidInput("json_too_deep", "has too many levels")
    except ValueError as error:
        return InvalidInput("json_malformed", f"must be JSON in UTF-8: {error}"[:200])


def _check_attributes(event: CloudEvent) -> None:
    if event.specversion != "1.0":
        raise InvalidInput("cloudevent_version", "must be 1.0", "/specversion")
    for name, value in (("id", event.id), ("source", event.source)):
        if not value or KEY_SEPARATOR in value:
            raise InvalidInput("cloudevent_malformed", "must be a text without U+001F", f"/{name}")
    media_type = (event.datacontenttype or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise InvalidInput("media_type_unsupported", "must be JSON", "/datacontenttype")
    if not bytes(event.data).startswith(b"{"):
        raise InvalidInput("type_object", "must be an object", "/data")


def _fields(event: CloudEvent) -> dict[str, Raw | str]:
    """Return the fields of the usage event. Raises InvalidInput."""
    _check_attributes(event)
    fields: dict[str, Raw | str] = {**_decode_object(event.data)}
    if "idempotency_key" in fields:
        detail = "must be left out: the key is source and id"
        raise InvalidInput("unknown_field", detail, "/data/idempotency_key")
    fields["idempotency_key"] = f"{event.source}{KEY_SEPARATOR}{event.id}"
    if event.time is not None:
        fields.setdefault("timestamp", event.time)
    if event.subject is not None and "customer_name" not in fields:
        fields.setdefault("customer_ref", event.subject)
    return fields
