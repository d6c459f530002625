"""One usage event: its grammar, and its record in the topic of usage events.

The gateway and the rater take exactly the same events, because both read them here. Reading is
strict and exact: unknown fields, duplicate keys, U+0000, naive times and strange numbers are
refused; numbers never pass through a binary float.

Good events take a short way through a typed decoder. What it refuses is read a second time, field
by field, so that the error names everything that is wrong and not just the first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw

from schemas.additional_data import (
    check_key,
    read_additional_data,
    refuse_duplicate_keys,
)
from schemas.errors import InvalidInput, InvalidUsageEvent, Problem
from schemas.event_ref import TIMESTAMP_MIN_MICROS, canonical_ref
from schemas.money import Quantity, parse_quantity

EVENT_BYTES_MAX: Final = 64 * 1024
"""The largest event that is taken, as its sender wrote it."""

RECORD_BYTES_MAX: Final = EVENT_BYTES_MAX + 1024
"""The largest record: an event with what the gateway writes around it."""

PROBLEMS_MAX: Final = 32
"""How many wrong fields of one event are named."""

TIME_AHEAD_MAX_MICROS: Final = 3_600 * 1_000_000
"""How far ahead of the clock an event may be stamped."""

_TIMESTAMP_LENGTH_MAX: Final = 48
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

ABSENT: Final = Raw(b"null")
"""Stands for a field that was left out."""

MALFORMED: Final = frozenset({"json_malformed", "json_too_deep", "json_duplicate_key"})
"""Codes of what is no readable JSON object at all; all others speak of a field."""


class UsageEvent(msgspec.Struct, frozen=True, gc=False):
    """One use of one meter by one customer, as read and checked.

    tenant_ref: None where the record leaves it out (installations with one tenant).
    customer_ref, usage_product_ref: canonical.
    occurred_at_micros: when it happened, microseconds since 1970 in UTC; picks the period.
    quantity: of the meter's unit; negative and zero are allowed.
    additional_data: the JSON object as sent, or None.
    idempotency_key: the client's own name of the event, unique for the customer, or None.
    """

    tenant_ref: str | None
    customer_ref: str
    usage_product_ref: str
    occurred_at_micros: int
    quantity: Quantity
    additional_data: str | None
    idempotency_key: str | None


class UsageRecord(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of a record as the typed decoder finds them."""

    v: int
    kind: str
    timestamp: str
    customer_ref: str
    usage_product_ref: str
    quantity: Raw
    tenant_ref: str | None = None
    additional_report_data: Raw = ABSENT
    idempotency_key: str | None = None


decode_fields: Final = msgspec.json.Decoder(UsageRecord).decode
"""Reads a record's fields without checking what they hold."""
_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_encode_text: Final = msgspec.json.Encoder().encode

QUOTES_ALWAYS: Final = 20
"""Quotes of a record's six required keys and its four required texts; the quantity has its own."""

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidInput)
"""What reading an event raises when it is bad."""


def decode_record(value: bytes) -> UsageEvent:
    """Read one record of the topic of usage events.

    Raises InvalidUsageEvent, which lists every wrong field with its pointer.
    """
    if len(value) > RECORD_BYTES_MAX:
        raise InvalidUsageEvent("event_too_large", f"must be at most {EVENT_BYTES_MAX} bytes")
    try:
        record = decode_fields(value)
        event, quotes = _read_record(record)
        if value.count(b'"') != quotes:
            refuse_duplicate_keys(value)
    except UNREADABLE as error:
        raise explain(value, _RECORD_READERS, _RECORD_REQUIRED) from error
    return event


def _read_record(record: UsageRecord) -> tuple[UsageEvent, int]:
    """Check a record's fields; also count the quotes it has when nothing in it is escaped."""
    if record.v != 1 or record.kind != "USAGE":
        raise InvalidInput("kind_unknown", "must be a USAGE record of version 1")
    quantity = bytes(record.quantity)
    quotes = QUOTES_ALWAYS + (2 if quantity[0] == _QUOTE else 0)
    tenant_ref = record.tenant_ref
    if tenant_ref is not None:
        tenant_ref = canonical_ref(tenant_ref)
        quotes += 4
    data = None
    if record.additional_report_data is not ABSENT:
        data = read_additional_data(record.additional_report_data)
        quotes += 2 + (data.count('"') if data is not None else 0)
    key = record.idempotency_key
    if key is not None:
        check_key(key)
        quotes += 4
    event = UsageEvent(
        tenant_ref,
        canonical_ref(record.customer_ref),
        canonical_ref(record.usage_product_ref),
        parse_timestamp(record.timestamp),
        read_quantity(quantity),
        data,
        key,
    )
    return event, quotes


def encode_record(
    *,
    tenant_ref: str,
    customer_ref: str,
    usage_product_ref: str,
    timestamp: str,
    quantity: str,
    additional_data: str | None,
    idempotency_key: str | None,
) -> bytes:
    """Write one record of the topic of usage events, from what was read and checked.

    timestamp: as `parse_timestamp` takes it. quantity: JSON as `read_quantity` takes it.
    Both stay as they were sent; `decode_record` of the result gives the same event.
    """
    head = _record_head(tenant_ref, customer_ref, usage_product_ref)
    text = f'{head}{timestamp}","quantity":{quantity}'
    if additional_data is not None:
        text = f'{text},"additional_report_data":{additional_data}'
    if idempotency_key is not None:
        text = f'{text},"idempotency_key":{key_json(idempotency_key)}'
    return f"{text}}}".encode()


def key_json(idempotency_key: str) -> str:
    """Write an idempotency key, which has printable characters and U+001F, as JSON."""
    if '"' in idempotency_key or "\\" in idempotency_key or not idempotency_key.isprintable():
        return _encode_text(idempotency_key).decode()
    return f'"{idempotency_key}"'


@lru_cache(maxsize=1 << 16)
def _record_head(tenant_ref: str, customer_ref: str, usage_product_ref: str) -> str:
    return (
        f'{{"v":1,"kind":"USAGE","tenant_ref":"{tenant_ref}","customer_ref":"{customer_ref}",'
        f'"usage_product_ref":"{usage_product_ref}","timestamp":"'
    )


def check_time(
    occurred_at_micros: int,
    now_micros: int,
    ahead_max_micros: int = TIME_AHEAD_MAX_MICROS,
    *,
    earliest: int = TIMESTAMP_MIN_MICROS,
) -> None:
    """Refuse an event stamped too long ago, or too far ahead of the clock.

    now_micros: the gateway's clock, or the time at which the log took the record.
    earliest: the first instant of which events are taken, microseconds since 1970.
    Raises InvalidUsageEvent.
    """
    if occurred_at_micros < earliest:
        bound = _EPOCH + earliest * _MICROSECOND
        detail = f"must not be before {bound.isoformat().replace('+00:00', 'Z')}"
        if earliest > TIMESTAMP_MIN_MICROS:
            detail += ": earlier usage is not taken any more"
        raise InvalidUsageEvent("timestamp_too_old", detail, "/timestamp")
    if occurred_at_micros > now_micros + ahead_max_micros:
        detail = f"must be at most {ahead_max_micros // 1_000_000} seconds ahead of the clock"
        raise InvalidUsageEvent("timestamp_in_future", detail, "/timestamp")


def parse_timestamp(text: str) -> int:
    """Read an ISO 8601 time with an offset, such as 2024-02-05T09:02:27.279Z.

    Returns microseconds since 1970 in UTC; finer digits are cut off. Raises InvalidInput for a
    time without an offset, a leap second and whatever else is no instant.
    """
    second = SECONDS.get(text[16:19])
    fraction = FRACTIONS.get(text[19:])
    if second is None or fraction is None:
        return _parse_timestamp(text)
    return parse_minute(text[:16]) + second + fraction


SECONDS: Final = {f":{second:02}": second * 1_000_000 for second in range(60)}
FRACTIONS: Final = {f".{number:03}Z": number * 1_000 for number in range(1_000)} | {"Z": 0}
"""How most times end, in UTC and milliseconds or seconds, with their microseconds."""


@lru_cache(maxsize=1 << 12)
def parse_second(text: str) -> int:
    """Read a time without the fraction of its second, in UTC. KeyError where no second stands."""
    return parse_minute(text[:16]) + SECONDS[text[16:]]


@lru_cache(maxsize=1 << 12)
def parse_minute(text: str) -> int:
    """Read a time without its seconds, in UTC: events come many a minute."""
    return _parse_timestamp(f"{text}:00Z")


def _parse_timestamp(text: str) -> int:
    try:
        if text[10:11] not in _DATE_ENDS or len(text) > _TIMESTAMP_LENGTH_MAX:
            raise _timestamp_malformed()
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = _parse_lower_case(text)
    if moment.tzinfo is None:
        raise InvalidInput("timestamp_naive", "must have an offset from UTC, such as Z or +02:00")
    return (moment - _EPOCH) // _MICROSECOND


_DATE_ENDS: Final = frozenset("Tt ")


def _parse_lower_case(text: str) -> datetime:
    """Read a time whose Z is small, as RFC 3339 allows."""
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        raise _timestamp_malformed() from None


def _timestamp_malformed() -> InvalidInput:
    detail = "must be an ISO 8601 time, such as 2024-02-05T09:02:27.279Z"
    return InvalidInput("timestamp_malformed", detail)


_QUOTE: Final = ord('"')


def read_quantity(raw: bytes) -> Quantity:
    """Read a quantity from JSON, a number or a string that holds one. Raises InvalidInput."""
    return QUANTITIES[raw] if len(raw) <= COMMON_LENGTH_MAX else _read_quantity(raw)


def _read_quantity(raw: bytes) -> Quantity:
    if raw[0] == _QUOTE:
        raw = _decode_text(raw).encode() if b"\\" in raw else raw[1:-1]
    return parse_quantity(raw)


class _Quantities(dict[bytes, Quantity]):
    """Short numbers as they were read: they come again and again. Looking one up reads it."""

    def __missing__(self, raw: bytes) -> Quantity:
        quantity = _read_quantity(raw)
        if len(self) >= QUANTITIES_MAX:
            self.clear()
        self[raw] = quantity
        return quantity


COMMON_LENGTH_MAX: Final = 10
QUANTITIES_MAX: Final = 1 << 17
QUANTITIES: Final[Mapping[bytes, Quantity]] = _Quantities()
"""`read_quantity` of numbers of up to COMMON_LENGTH_MAX bytes. Raises InvalidInput, as it does."""


Reader = Callable[[Raw], object]
"""Reads one field on its own; raises InvalidInput or a decoder's error."""


def read_text(raw: Raw) -> str:
    """Read a JSON string. Raises InvalidInput when it is something else."""
    try:
        return _decode_text(raw)
    except msgspec.ValidationError:
        raise InvalidInput("type_string", "must be a string") from None


def optional(reader: Reader) -> Reader:
    """Return a reader that takes null, too."""
    return lambda raw: None if bytes(raw) == b"null" else reader(raw)


def read_version(raw: Raw) -> None:
    """Refuse a record of another version. Raises InvalidInput."""
    if bytes(raw) != b"1":
        raise InvalidInput("version_unknown", "must be 1")


def _read_kind(raw: Raw) -> None:
    if read_text(raw) != "USAGE":
        raise InvalidInput("kind_unknown", 'must be "USAGE"')


EVENT_READERS: Final[Mapping[str, Reader]] = {
    "timestamp": lambda raw: parse_timestamp(read_text(raw)),
    "customer_ref": lambda raw: canonical_ref(read_text(raw)),
    "usage_product_ref": lambda raw: canonical_ref(read_text(raw)),
    "quantity": lambda raw: read_quantity(bytes(raw)),
    "additional_report_data": read_additional_data,
    "idempotency_key": optional(lambda raw: check_key(read_text(raw))),
}
"""What each field of an event must be, over HTTP as in a record."""

EVENT_REQUIRED: Final = ("timestamp", "customer_ref", "usage_product_ref", "quantity")

_RECORD_READERS: Final[Mapping[str, Reader]] = {
    "v": read_version,
    "kind": _read_kind,
    "tenant_ref": optional(lambda raw: canonical_ref(read_text(raw))),
    **EVENT_READERS,
}
_RECORD_REQUIRED: Final = ("v", "kind", *EVENT_REQUIRED)


def explain(
    data: bytes, readers: Mapping[str, Reader], required: Sequence[str]
) -> InvalidUsageEvent:
    """Return the error that names everything wrong with an event which was refused as a whole."""
    try:
        fields = _decode_object(data)
        refuse_duplicate_keys(data)
    except InvalidInput as error:
        return InvalidUsageEvent.of(error.problems)
    except msgspec.ValidationError:
        return InvalidUsageEvent("type_object", "must be a JSON object")
    except RecursionError:
        return InvalidUsageEvent("json_too_deep", "has too many levels")
    except ValueError as error:  # the decoders' errors are ValueErrors
        return InvalidUsageEvent("json_malformed", f"must be JSON in UTF-8: {error}"[:200])
    missing = [
        Problem("required", "is missing", pointer_to(name))
        for name in required
        if name not in fields
    ]
    wrong = [_problem_of(name, raw, readers) for name, raw in fields.items()]
    problems = missing + [problem for problem in wrong if problem is not None]
    if not problems:
        return InvalidUsageEvent("event_malformed", "can't be read")
    return InvalidUsageEvent.of(problems[:PROBLEMS_MAX])


def _problem_of(name: str, raw: Raw, readers: Mapping[str, Reader]) -> Problem | None:
    """Return what is wrong with one field, None when it is good."""
    pointer = pointer_to(name)
    reader = readers.get(name)
    if reader is None:
        return Problem("unknown_field", unknown_field(name, readers), pointer)
    try:
        reader(raw)
    except InvalidInput as error:
        return Problem(error.code, error.detail, pointer)
    except (ValueError, RecursionError):
        return Problem("value_malformed", "can't be read", pointer)
    return None


def pointer_to(name: str) -> str:
    """Return the JSON Pointer of a field of the outermost object."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def unknown_field(name: str, known: Iterable[str]) -> str:
    """Say that a field is unknown, and which known one was probably meant."""
    nearest = get_close_matches(name[:64], list(known), n=1)
    return f"is unknown; did you mean {nearest[0]!r}?" if nearest else "is unknown"
