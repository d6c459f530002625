"""A plain event that comes alone, read and judged in one go.

The careful way, `parsing` and `validation`, makes the same of it in three times the time. It has
all events that are not plain, good or bad, and it alone says what is wrong with one. What `columns`
is for many events, this is for one.
"""

from typing import Final

from gateway.ingest.parsing import EventFields, ParsedEvent, decode_fields
from gateway.ingest.validation import AcceptedEvent, accepted
from gateway.tenant import Tenant
from schemas.additional_data import check_key, read_additional_data
from schemas.usage_event import (
    ABSENT,
    EVENT_BYTES_MAX,
    FRACTIONS,
    SECONDS,
    UNREADABLE,
    check_time,
    parse_minute,
    read_quantity,
)

NotPlain: Final = (KeyError, *UNREADABLE)
"""What is raised on the way where something is unknown, unusual or wrong."""

_QUOTES_ALWAYS: Final = 14
"""Quotes of an event's four required keys and its three required texts."""
_QUOTES_OF_KEY: Final = 4
_QUOTES_OF_DATA: Final = 2
_QUOTES_OF_QUANTITY: Final = 2

_QUOTE: Final = ord('"')


def accept_plain(
    body: bytes, spare_key: str | None, tenant: Tenant, now_micros: int, ahead_max_micros: int
) -> tuple[ParsedEvent, AcceptedEvent] | None:
    """Read an event in JSON and accept it; None when it is not plain.

    spare_key: its idempotency key if it has none of its own.
    """
    if len(body) > EVENT_BYTES_MAX:
        return None
    try:
        fields = decode_fields(body)
        customer = tenant.customers[fields.customer_ref]  # where the refs are canonical
        tenant.meters[fields.usage_product_ref]
        if fields.usage_product_ref in tenant.computed:
            return None  # its formula judges the event, too
        event, quotes = _read(fields)
        if body.count(b'"') != quotes:
            return None  # something is escaped, or comes twice
        earliest = tenant.earliest(now_micros)
        check_time(event.occurred_at_micros, now_micros, ahead_max_micros, earliest=earliest)
        if event.idempotency_key is None and spare_key is not None:
            check_key(spare_key)
            event.idempotency_key = spare_key
        return event, accepted(event, customer, tenant)
    except NotPlain:
        return None


def _read(fields: EventFields) -> tuple[ParsedEvent, int]:
    """Read the fields; also count the quotes that they have when nothing in them is escaped.

    Raises one of NotPlain.
    """
    if (
        fields.customer_name is not None
        or fields.usage_product_name is not None
        or fields.validations is not ABSENT
    ):
        raise KeyError
    text = fields.timestamp
    at = parse_minute(text[:16]) + SECONDS[text[16:19]] + FRACTIONS[text[19:]]
    quantity = bytes(fields.quantity)
    quotes = _QUOTES_ALWAYS
    if quantity[0] == _QUOTE:
        quotes += _QUOTES_OF_QUANTITY
    key = fields.idempotency_key
    if key is not None:
        check_key(key)
        quotes += _QUOTES_OF_KEY
    data = None
    if fields.additional_report_data is not ABSENT:
        data = read_additional_data(fields.additional_report_data)
        quotes += _QUOTES_OF_DATA if data is None else _QUOTES_OF_DATA + data.count('"')
    event = ParsedEvent(
        text,
        at,
        fields.customer_ref,
        fields.usage_product_ref,
        quantity.decode(),
        read_quantity(quantity),
        data,
        None,
        key,
    )
    return event, quotes
