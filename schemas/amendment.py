"""One amendment of a usage event: its grammar and its record in the topic of usage events.

An amendment changes or deletes one event that the same topic has already, or will have. It is read
as strictly as a use is, by the same readers; it is rare, so it is read the plain way.
"""

from collections.abc import Mapping
from typing import Final, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType

from schemas.additional_data import read_additional_data, refuse_duplicate_keys
from schemas.errors import InvalidInput, InvalidUsageEvent
from schemas.event_ref import canonical_ref
from schemas.money import Quantity
from schemas.usage_event import (
    EVENT_BYTES_MAX,
    EVENT_READERS,
    RECORD_BYTES_MAX,
    UNREADABLE,
    Reader,
    explain,
    optional,
    parse_timestamp,
    read_quantity,
    read_text,
    read_version,
)

AmendmentKind = Literal["UPDATE", "DELETE"]

NOTE_LENGTH_MAX: Final = 1_000
"""Characters of what a person says about an amendment."""

MADE_BY_LENGTH_MAX: Final = 255
"""Characters of the name of who asked for it."""

CHANGEABLE: Final = ("timestamp", "quantity", "additional_report_data")
"""What an update may change: at least one of them; what it leaves out stays."""


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to change or delete one event, as read and checked.

    tenant_ref: None where the record leaves it out (installations with one tenant).
    customer_ref: canonical. event_ref: the event's own, or the one it would have a month off.
    occurred_at_micros, quantity: None where they stay.
    replaces_data: whether additional_data (None: there is none any more) takes the old one's place.
    note, made_by: what is said about it, and who asked for it.
    """

    kind: AmendmentKind
    tenant_ref: str | None
    customer_ref: str
    event_ref: int
    occurred_at_micros: int | None = None
    quantity: Quantity | None = None
    replaces_data: bool = False
    additional_data: str | None = None
    note: str | None = None
    made_by: str | None = None


class DeleteRecord(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields of a DELETE record as the typed decoder finds them."""

    v: int
    kind: str
    customer_ref: str
    event_ref: str
    tenant_ref: str | None = None
    note: str | None = None
    by: str | None = None


class UpdateRecord(DeleteRecord, forbid_unknown_fields=True, kw_only=True):
    """The fields of an UPDATE record as the typed decoder finds them."""

    timestamp: str | UnsetType = UNSET
    quantity: Raw | UnsetType = UNSET
    additional_report_data: Raw | UnsetType = UNSET


class _Kind(msgspec.Struct):
    kind: str


_decode_kind: Final = msgspec.json.Decoder(_Kind).decode
_decode_update: Final = msgspec.json.Decoder(UpdateRecord).decode
_decode_delete: Final = msgspec.json.Decoder(DeleteRecord).decode
_encode: Final = msgspec.json.Encoder().encode


def kind_of(value: bytes) -> AmendmentKind | None:
    """Return which amendment a record says it is; None for whatever else it is."""
    try:
        kind = _decode_kind(value).kind
    except (ValueError, RecursionError):  # the decoder's errors are ValueErrors
        return None
    return kind if kind in {"UPDATE", "DELETE"} else None  # type: ignore[return-value]


def decode_amendment(value: bytes, kind: AmendmentKind) -> Amendment:
    """Read one record of the topic that says it is an amendment of this kind.

    Raises InvalidUsageEvent, which lists every wrong field with its pointer.
    """
    if len(value) > RECORD_BYTES_MAX:
        raise InvalidUsageEvent("event_too_large", f"must be at most {EVENT_BYTES_MAX} bytes")
    try:
        refuse_duplicate_keys(value)
        amendment = _read_update(value) if kind == "UPDATE" else _read_delete(value)
    except UNREADABLE as error:
        raise explain(value, _RECORD_READERS[kind], _RECORD_REQUIRED) from error
    if kind == "UPDATE" and not _changes_something(amendment):
        raise nothing_to_change()
    return amendment


def _read_update(value: bytes) -> Amendment:
    record = _decode_update(value)
    delete = _of_delete(record)
    occurred_at = quantity = data = None
    if record.timestamp is not UNSET:
        occurred_at = parse_timestamp(record.timestamp)
    if record.quantity is not UNSET:
        quantity = read_quantity(bytes(record.quantity))
    if record.additional_report_data is not UNSET:
        data = read_additional_data(record.additional_report_data)
    return msgspec.structs.replace(
        delete,
        kind="UPDATE",
        occurred_at_micros=occurred_at,
        quantity=quantity,
        replaces_data=record.additional_report_data is not UNSET,
        additional_data=data,
    )


def _read_delete(value: bytes) -> Amendment:
    return _of_delete(_decode_delete(value))


def _of_delete(record: DeleteRecord) -> Amendment:
    """Check the fields that both kinds have."""
    if record.v != 1:
        raise InvalidInput("version_unknown", "must be 1")
    if record.note is not None:
        check_note(record.note)
    if record.by is not None:
        check_made_by(record.by)
    return Amendment(
        kind="DELETE",
        tenant_ref=None if record.tenant_ref is None else canonical_ref(record.tenant_ref),
        customer_ref=canonical_ref(record.customer_ref),
        event_ref=UUID(canonical_ref(record.event_ref)).int,
        note=record.note,
        made_by=record.by,
    )


def _changes_something(amendment: Amendment) -> bool:
    return (
        amendment.occurred_at_micros is not None
        or amendment.quantity is not None
        or amendment.replaces_data
    )


def nothing_to_change() -> InvalidUsageEvent:
    """Return the error of an update that changes nothing."""
    detail = f"must have at least one of {', '.join(CHANGEABLE)}"
    return InvalidUsageEvent("nothing_to_change", detail)


def encode_amendment(
    *,
    kind: AmendmentKind,
    tenant_ref: str,
    customer_ref: str,
    event_ref: str,
    timestamp: str | None = None,
    quantity: str | None = None,
    additional_data: str | None = None,
    note: str | None = None,
    made_by: str | None = None,
) -> bytes:
    """Write one record of the topic of usage events, from what was read and checked.

    Refs are canonical. timestamp: as `parse_timestamp` takes it. quantity: JSON as `read_quantity`
    takes it. additional_data: a JSON object, or "null" to empty it. What is None is left out: it
    stays as it is. `decode_amendment` of the result gives the same amendment.
    """
    fields: dict[str, object] = {
        "v": 1,
        "kind": kind,
        "tenant_ref": tenant_ref,
        "customer_ref": customer_ref,
        "event_ref": event_ref,
        "timestamp": timestamp,
        "quantity": None if quantity is None else Raw(quantity.encode()),
        "additional_report_data": None
        if additional_data is None
        else Raw(additional_data.encode()),
        "note": note,
        "by": made_by,
    }
    return _encode({name: value for name, value in fields.items() if value is not None})


def check_note(text: str) -> None:
    """Refuse a note that is too long or has U+0000. Raises InvalidInput."""
    _check_text(text, NOTE_LENGTH_MAX)


def check_made_by(text: str) -> None:
    """Refuse a name that is too long or has U+0000. Raises InvalidInput."""
    _check_text(text, MADE_BY_LENGTH_MAX)


def _check_text(text: str, length_max: int) -> None:
    if len(text) > length_max:
        raise InvalidInput("text_too_long", f"must have at most {length_max:,} characters")
    if "\0" in text:
        raise InvalidInput("null_character", "must not contain U+0000")


UPDATE_READERS: Final[Mapping[str, Reader]] = {
    "event_ref": lambda raw: canonical_ref(read_text(raw)),
    **{name: EVENT_READERS[name] for name in CHANGEABLE},
    "note": optional(lambda raw: check_note(read_text(raw))),
}
"""What each field of an update must be, over HTTP as in a record."""

_DELETE_RECORD_READERS: Final[Mapping[str, Reader]] = {
    "v": read_version,
    "kind": read_text,
    "tenant_ref": optional(lambda raw: canonical_ref(read_text(raw))),
    "customer_ref": EVENT_READERS["customer_ref"],
    "event_ref": UPDATE_READERS["event_ref"],
    "note": UPDATE_READERS["note"],
    "by": optional(lambda raw: check_made_by(read_text(raw))),
}
_RECORD_READERS: Final[Mapping[AmendmentKind, Mapping[str, Reader]]] = {
    "UPDATE": {**_DELETE_RECORD_READERS, **UPDATE_READERS},
    "DELETE": _DELETE_RECORD_READERS,
}
_RECORD_REQUIRED: Final = ("v", "kind", "customer_ref", "event_ref")
