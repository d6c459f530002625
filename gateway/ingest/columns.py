"""Good events of a request, read and judged many at a time, column by column.

What takes a call for every event elsewhere takes one for hundreds here: their keys are joined and
looked at as one text, their times by the minutes they lie in. The careful way, `parsing` and
`validation`, makes the same of them one by one; it has all events that are not plain, good or bad,
and it alone says what is wrong with one.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

import msgspec
from msgspec import Raw

from gateway.ingest.parsing import EventFields, decode_fields
from gateway.ingest.validation import AcceptedEvent
from gateway.tenant import Customer, Tenant
from schemas.additional_data import NAME_LENGTH_MAX, check_key, check_name, decode_data
from schemas.event_ref import key_digests, month_index
from schemas.usage_event import (
    ABSENT,
    EVENT_BYTES_MAX,
    FRACTIONS,
    RECORD_BYTES_MAX,
    SECONDS,
    UNREADABLE,
    parse_minute,
    read_quantity,
)

_encode_text: Final = msgspec.json.Encoder().encode

_MINUTE_MICROS: Final = 60 * 1_000_000

_QUANTITY_LENGTH_MAX: Final = 20
"""Digits, a sign and a point: no more before or behind it than any quantity may have."""

assert EVENT_BYTES_MAX + NAME_LENGTH_MAX + 256 < RECORD_BYTES_MAX, "a plain event's record fits"

_INTEGER_BOUND: Final = 1 << 63

_QUOTES_ALWAYS: Final = 14
"""Quotes of an event's four required keys and its three required texts."""
_QUOTES_OF_KEY: Final = 4
_QUOTES_OF_DATA: Final = 2


class NotPlain(Exception):
    """At least one of the events is not plain."""


class PlainEvents:
    """Accepts plain events of one tenant, as of now."""

    def __init__(self, tenant: Tenant, *, now_micros: int, ahead_max_micros: int) -> None:
        self._tenant = tenant
        self._latest = now_micros + ahead_max_micros
        self._earliest = tenant.earliest(now_micros)

    def accept(
        self, elements: Sequence[bytes], spare_keys: Sequence[str | None]
    ) -> list[AcceptedEvent]:
        """Accept events in JSON, all of them. spare_keys: for those that have no key of their own.

        Raises NotPlain.
        """
        if max(map(len, elements)) > EVENT_BYTES_MAX:
            raise NotPlain
        try:
            events = list(map(decode_fields, elements))
            customers = self._customers(events)
            months = self._months([event.timestamp for event in events])
            quantities, quotes_of_quantities = _read_quantities(events)
            data, quotes_of_data = _read_data(events)
            keys = [event.idempotency_key for event in events]
            quotes_of_keys = _QUOTES_OF_KEY * (len(keys) - keys.count(None))
            keys = [
                spare if own is None else own for own, spare in zip(keys, spare_keys, strict=True)
            ]
            keys_json = _write_keys(keys)
        except UNREADABLE as error:
            raise NotPlain from error
        quotes = quotes_of_quantities + quotes_of_data + quotes_of_keys
        if b"".join(elements).count(b'"') != quotes + _QUOTES_ALWAYS * len(events):
            raise NotPlain  # something is escaped, or comes twice
        tenant_ref = self._tenant.tenant_ref
        head = f'{{"v":1,"kind":"USAGE","tenant_ref":"{tenant_ref}","customer_ref":"'
        records = [
            f'{head}{event.customer_ref}","usage_product_ref":"{event.usage_product_ref}",'
            f'"timestamp":"{event.timestamp}","quantity":{quantity}{datum}{key}}}'.encode()
            for event, quantity, datum, key in zip(events, quantities, data, keys_json, strict=True)
        ]
        digests = key_digests(tenant_ref, [event.customer_ref for event in events], keys)
        return list(map(AcceptedEvent, customers, months, digests, records))

    def _customers(self, events: Sequence[EventFields]) -> list[Customer]:
        """Return who the events are of, if all that they name is known."""
        known = self._tenant.customers
        try:
            customers = [known[event.customer_ref] for event in events]
        except KeyError:
            raise NotPlain from None
        meters = {event.usage_product_ref for event in events}
        if not meters <= self._tenant.meters.keys() or not meters.isdisjoint(self._tenant.computed):
            raise NotPlain
        for event in events:
            if event.customer_name is not None or event.usage_product_name is not None:
                raise NotPlain
            if event.validations is not ABSENT:
                raise NotPlain
        return customers

    def _months(self, texts: Sequence[str]) -> list[int]:
        """Return the months of times that are in UTC, to the millisecond or second, and in range.

        Raises InvalidInput for a minute that is none.
        """
        if not {text[16:19] for text in texts} <= SECONDS.keys():
            raise NotPlain
        if not {text[19:] for text in texts} <= FRACTIONS.keys():
            raise NotPlain
        minutes = [text[:16] for text in texts]
        starts = {minute: parse_minute(minute) for minute in set(minutes)}
        if min(starts.values()) < self._earliest:
            raise NotPlain
        if max(starts.values()) + _MINUTE_MICROS > self._latest:
            raise NotPlain
        months = {minute: month_index(start) for minute, start in starts.items()}
        return [months[minute] for minute in minutes]


def _write_keys(keys: Sequence[str | None]) -> list[str]:
    """Write each key as a field of its record. Raises InvalidInput for one that may not be."""
    given = [key for key in keys if key is not None]
    text = "".join(given)
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        lengths = set(map(len, given))
        if lengths and not 0 < min(lengths) <= max(lengths) <= NAME_LENGTH_MAX:
            raise NotPlain
        return ["" if key is None else f',"idempotency_key":"{key}"' for key in keys]
    for key in given:
        check_key(key)
    return [
        "" if key is None else f',"idempotency_key":{_encode_text(key).decode()}' for key in keys
    ]


def _read_quantities(events: Sequence[EventFields]) -> tuple[list[str], int]:
    """Return the quantities as they are written; also count their quotes.

    Raises InvalidInput for a text that is no quantity.
    """
    quantities = [bytes(event.quantity) for event in events]
    numbers = b"".join(quantities)
    quoted = numbers.count(b'"')
    if quoted:
        texts = [quantity for quantity in quantities if quantity.startswith(b'"')]
        for text in texts:
            read_quantity(text)
        numbers = b"".join(quantity for quantity in quantities if not quantity.startswith(b'"'))
    if numbers and not numbers.replace(b".", b"").replace(b"-", b"").isdigit():
        raise NotPlain
    if max(map(len, quantities)) > _QUANTITY_LENGTH_MAX:
        raise NotPlain
    return [quantity.decode() for quantity in quantities], quoted


def _read_data(events: Sequence[EventFields]) -> tuple[list[str], int]:
    """Return each event's additional data as a field of its record; also count their quotes.

    Lets flat objects pass. Raises a decoder's error, or InvalidInput, for what can't be read.
    """
    raws = [event.additional_report_data for event in events]
    texts = ["" if raw is ABSENT else bytes(raw).decode() for raw in raws]
    given = [text for text in texts if text]
    if not given:
        return texts, 0
    text = ",".join(given)
    objects = [each for each in decode_data(f"[{text}]") if each is not None]
    if not set(map(type, objects)) <= {dict}:
        raise NotPlain
    quotes = text.count('"')
    if quotes != _quotes_of(objects):
        raise NotPlain
    fields = [
        f',"additional_report_data":{text}' if text and text != "null" else "" for text in texts
    ]
    return fields, quotes + _QUOTES_OF_DATA * len(given)


def _quotes_of(objects: Sequence[Mapping[str, object]]) -> int:
    """Check flat objects; return the quotes that they have when nothing in them is escaped."""
    for name in set(chain.from_iterable(objects)):
        check_name(name)
    values = list(chain.from_iterable(each.values() for each in objects))
    texts = [value for value in values if type(value) is str]
    if not set(map(type, values)) <= _PLAIN_TYPES or "\0" in "".join(texts):
        raise NotPlain
    integers = [value for value in values if type(value) is int]
    if integers and not (min(integers) >= -_INTEGER_BOUND and max(integers) < _INTEGER_BOUND):
        raise NotPlain
    return 2 * (sum(map(len, objects)) + len(texts))


_PLAIN_TYPES: Final = frozenset({str, int, bool, type(None), Raw})
"""A fraction is kept Raw."""
