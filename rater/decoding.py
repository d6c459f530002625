"""From the log's records to arrivals: read, checked, and named by their refs. Pure.

Nothing here depends on what the database holds, so that a poll is decoded while the one before it
is still being saved.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from rater.arrivals import (
    DETAIL_LENGTH_MAX,
    AmendmentArrival,
    Arrival,
    DeadLetter,
    Log,
    Poll,
    Record,
    origin_of,
)
from rater.columns import NotPlain, decode_plain
from schemas.amendment import AmendmentKind, decode_amendment, kind_of
from schemas.errors import InvalidUsageEvent
from schemas.event_ref import (
    key_digest,
    keyed_event_ref,
    months_around,
    partition_of,
    place_digest,
    shard_key,
    shard_key_of,
    tenant_bits,
    tenant_bits_of,
    with_month,
)
from schemas.fingerprint import fingerprint
from schemas.usage_event import check_time, decode_record

_DIGEST_BYTES: Final = 16
_STRETCH: Final = 500
"""Records decoded side by side."""
_PARTS: Final = 8
"""Into so many a stretch with a record that is not plain is cut; the smallest are of one record."""

_REASONS: Final = {
    "json_malformed": "INVALID_JSON",
    "json_too_deep": "INVALID_JSON",
    "json_duplicate_key": "INVALID_JSON",
    "kind_unknown": "UNSUPPORTED_KIND",
    "timestamp_too_old": "TIMESTAMP_OUT_OF_RANGE",
    "timestamp_in_future": "TIMESTAMP_OUT_OF_RANGE",
}


def decode(
    records: Sequence[Record], log: Log, first_offset: int, end: int, sole_tenant_ref: str | None
) -> Poll:
    """Decode what was read from `first_offset`. Records are in the order of the log.

    end: the offset up to which the log was read; behind the last record there is nothing readable.
    sole_tenant_ref: stands in where a record names no tenant, None where there are several.
    """
    poll = Poll(first_offset, max(first_offset, end), [], [], [])
    poll.skipped = _gaps([record.offset for record in records], first_offset, poll.next_offset)
    for start in range(0, len(records), _STRETCH):
        stretch = records[start : start + _STRETCH]
        _decode_stretch(poll, stretch, log, sole_tenant_ref)
    poll.retried = [arrival for arrival in poll.arrivals if arrival.origin is not None]
    if records:
        poll.last_offset = records[-1].offset
        poll.last_digest = record_digest(records[-1])
        poll.last_appended_at = records[-1].timestamp
    return poll


def _gaps(offsets: Sequence[int], first_offset: int, end: int) -> list[tuple[int, int]]:
    """Return the ranges without a record between `first_offset` and `end`."""
    if len(offsets) == end - first_offset:
        return []
    afters = [first_offset, *(offset + 1 for offset in offsets)]
    bounds = zip(afters, (*offsets, end), strict=True)
    return [(after, offset) for after, offset in bounds if after < offset]


def _decode_stretch(
    poll: Poll, records: Sequence[Record], log: Log, sole_tenant_ref: str | None
) -> None:
    """Decode records side by side, or in ever smaller parts around those that are not plain."""
    try:
        poll.arrivals += decode_plain(records, log, sole_tenant_ref)
    except NotPlain:
        size = len(records) // _PARTS
        if not size:
            for record in records:
                _decode_one(poll, record, log, sole_tenant_ref)
            return
        for start in range(0, len(records), size):
            _decode_stretch(poll, records[start : start + size], log, sole_tenant_ref)


def _decode_one(poll: Poll, record: Record, log: Log, sole_tenant_ref: str | None) -> None:
    """Decode a record by itself, as one near it is not plain."""
    try:
        poll.arrivals.append(decode_use(record, log, sole_tenant_ref))
    except InvalidUsageEvent as error:
        _decode_other(poll, record, log, sole_tenant_ref, error)


def record_digest(record: Record) -> bytes:
    """Digest a record with its place, so that another log in the same place is noticed."""
    digest = blake2b(digest_size=_DIGEST_BYTES, person=b"log_record")
    for part in (record.key, record.value):
        digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    digest.update(b"%d,%d" % (record.offset, record.timestamp))
    return digest.digest()


def decode_use(record: Record, log: Log, sole_tenant_ref: str | None) -> Arrival:
    """Decode a record that is a use. Raises InvalidUsageEvent when it is none."""
    if record.value is None:
        raise InvalidUsageEvent("json_malformed", "the record has no value")
    event = decode_record(record.value)
    instant, key = event.occurred_at_micros, event.idempotency_key
    check_time(instant, record.timestamp * 1_000)
    tenant_ref = event.tenant_ref or sole_tenant_ref
    place = _check_place(record, event.customer_ref, tenant_ref, log)
    assert tenant_ref is not None
    origin = origin_of(record) if record.headers else None
    digest = (
        place_digest(log.log_id, *(origin or (log.partition, record.offset)))
        if key is None
        else key_digest(tenant_ref, event.customer_ref, key)
    )
    month, neighbour = months_around(instant)
    ref = keyed_event_ref(month, place, tenant_bits(tenant_ref), digest)
    alias = 0 if neighbour is None or key is None else with_month(ref, neighbour)
    return Arrival(
        record.offset,
        record.timestamp,
        ref,
        alias,
        place,
        fingerprint(event),
        event,
        record.value,
        origin,
    )


def _check_place(record: Record, customer_ref: str, tenant_ref: str | None, log: Log) -> int:
    """Return where a customer's events are; refuse a record that is elsewhere, or nobody's."""
    place = shard_key(customer_ref)
    if record.key != customer_ref.encode() or partition_of(place, log.partitions) != log.partition:
        raise _wrong_partition(place, log)
    if tenant_ref is None:
        raise InvalidUsageEvent("unknown_tenant", "must name one of several tenants", "/tenant_ref")
    return place


def _decode_other(
    poll: Poll, record: Record, log: Log, sole_tenant_ref: str | None, error: InvalidUsageEvent
) -> None:
    """Decode a record that is no use: an amendment, or else a dead letter for what was wrong."""
    kind = None if record.value is None else kind_of(record.value)
    if kind is not None:
        try:
            poll.amendments.append(_amendment(record, kind, log, sole_tenant_ref))
        except InvalidUsageEvent as own_error:
            error = own_error
        else:
            return
    poll.dead.append(_dead_letter(record, error))


def _amendment(
    record: Record, kind: AmendmentKind, log: Log, sole_tenant_ref: str | None
) -> AmendmentArrival:
    value = record.value
    assert value is not None
    amendment = decode_amendment(value, kind)
    if amendment.occurred_at_micros is not None:
        check_time(amendment.occurred_at_micros, record.timestamp * 1_000)
    customer_ref = amendment.customer_ref
    tenant_ref = amendment.tenant_ref or sole_tenant_ref
    place = _check_place(record, customer_ref, tenant_ref, log)
    assert tenant_ref is not None
    key, ref = customer_ref.encode(), amendment.event_ref
    if (shard_key_of(ref), tenant_bits_of(ref)) != (place, tenant_bits(tenant_ref)):
        raise InvalidUsageEvent("wrong_customer", "is no event of this customer", "/event_ref")
    origin = origin_of(record) if record.headers else None
    return AmendmentArrival(record.offset, record.timestamp, amendment, key, value, origin)


def _wrong_partition(place: int, log: Log) -> InvalidUsageEvent:
    detail = (
        "the record's key must be the customer_ref in lower case, and stand in partition "
        f"{partition_of(place, log.partitions)} of {log.partitions}, which murmur2 gives"
    )
    return InvalidUsageEvent("wrong_partition", detail, "/customer_ref")


class _Named(msgspec.Struct):
    """What of a record says whose it is, whatever else is wrong with it."""

    tenant_ref: str | None = None


_decode_named: Final = msgspec.json.Decoder(_Named).decode


def _dead_letter(record: Record, error: InvalidUsageEvent) -> DeadLetter:
    reason = _REASONS.get(error.code, error.code.upper())
    detail = str(error).replace("\0", "\N{REPLACEMENT CHARACTER}")[:DETAIL_LENGTH_MAX]
    try:
        tenant_ref = _decode_named(record.value or b"").tenant_ref
    except (ValueError, RecursionError):  # the decoder's errors are ValueErrors
        tenant_ref = None
    return DeadLetter(
        record.offset,
        record.timestamp,
        reason,
        detail,
        record.key,
        record.value,
        None if tenant_ref is None else tenant_ref.lower(),
        origin_of(record),
    )
