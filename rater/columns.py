"""Good records of uses, decoded many at a time, column by column. Pure.

What `decoding` does with a call for every record is done here for hundreds at once: their quotes
are counted together, their times are looked up by the second, and what the records of one sender
or one meter have in common is worked out once. The careful way makes the same of them one by one;
it has all records that are not plain, good or bad, and it alone says what is wrong with one.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from rater.arrivals import Arrival, Log, Record, origin_of
from schemas.additional_data import check_keys, read_additional_data
from schemas.event_ref import (
    TIMESTAMP_MIN_MICROS,
    canonical_ref,
    key_digest_begun,
    keyed_event_ref,
    keyed_event_refs,
    months_around,
    months_around_all,
    partition_of,
    place_digest,
    shard_key,
    tenant_bits,
    with_month,
)
from schemas.fingerprint import fingerprints
from schemas.money import Quantity
from schemas.usage_event import (
    ABSENT,
    COMMON_LENGTH_MAX,
    FRACTIONS,
    QUANTITIES,
    QUOTES_ALWAYS,
    RECORD_BYTES_MAX,
    TIME_AHEAD_MAX_MICROS,
    UNREADABLE,
    UsageEvent,
    UsageRecord,
    decode_fields,
    parse_second,
    parse_timestamp,
    read_quantity,
)

_SENDERS_MAX: Final = 1 << 16
_QUOTES_OF_FIELD: Final = 2
"""Quotes of a field's name, or around a text."""


class NotPlain(Exception):
    """At least one of the records is not plain."""


class _Sender(NamedTuple):
    """What the records that name a customer in the same words have in common.

    tenant_ref: as the record has it, in canonical form. stem: of refs, without month and digest.
    new_digest: makes a hash of `key_digest` that only lacks the key.
    """

    tenant_ref: str | None
    customer_ref: str
    place: int
    stem: int
    new_digest: Callable[[], blake2b]


class _Senders(dict[tuple[bytes | None, str, str | None], _Sender]):
    """Senders by the record's key and by customer and tenant as the record names them.

    Looking one up checks it: a wrong key or place, or no tenant, is not plain.
    """

    def __init__(self, log: Log, sole_tenant_ref: str | None) -> None:
        super().__init__()
        self._log = log
        self._sole_tenant_ref = sole_tenant_ref

    def __missing__(self, names: tuple[bytes | None, str, str | None]) -> _Sender:
        key, customer_ref, tenant_ref = names
        customer_ref = canonical_ref(customer_ref)
        named = None if tenant_ref is None else canonical_ref(tenant_ref)
        owner = named or self._sole_tenant_ref
        place = shard_key(customer_ref)
        is_home = partition_of(place, self._log.partitions) == self._log.partition
        if owner is None or key != customer_ref.encode() or not is_home:
            raise NotPlain
        stem = keyed_event_ref(0, place, tenant_bits(owner), 0)
        begun = key_digest_begun(owner, customer_ref)
        if len(self) >= _SENDERS_MAX:
            self.clear()
        sender = self[names] = _Sender(named, customer_ref, place, stem, begun.copy)
        return sender


@lru_cache(maxsize=64)
def _senders_of(log: Log, sole_tenant_ref: str | None) -> _Senders:
    return _Senders(log, sole_tenant_ref)


def decode_plain(records: Sequence[Record], log: Log, sole_tenant_ref: str | None) -> list[Arrival]:
    """Decode records of one partition, all of them uses. Raises NotPlain when one is not plain."""
    values = [record.value or b"" for record in records]
    if max(map(len, values)) > RECORD_BYTES_MAX:
        raise NotPlain
    try:
        fields = list(map(decode_fields, values))
        known = _senders_of(log, sole_tenant_ref)
        senders = [
            known[record.key, of.customer_ref, of.tenant_ref]
            for record, of in zip(records, fields, strict=True)
        ]
        events = _read_events(fields, senders, b"".join(values).count(b'"'))
    except UNREADABLE as error:
        raise NotPlain from error
    times = [record.timestamp for record in records]
    _check_times([event.occurred_at_micros for event in events], times)
    origins = [origin_of(record) if record.headers else None for record in records]
    digests = _digests(records, events, senders, origins, log)
    refs, aliases = _names(events, senders, digests)
    contents = fingerprints(
        [event.usage_product_ref for event in events],
        [event.quantity for event in events],
        [event.additional_data for event in events],
    )
    offsets = [record.offset for record in records]
    places = [sender.place for sender in senders]
    columns = (offsets, times, refs, aliases, places, contents, events, values, origins)
    return list(map(Arrival, *columns))


def _read_events(
    fields: Sequence[UsageRecord], senders: Sequence[_Sender], quotes: int
) -> list[UsageEvent]:
    """Read what the records hold. quotes: how many all records have.

    Raises NotPlain, or what reading a bad event raises.
    """
    if {of.v for of in fields} != {1} or {of.kind for of in fields} != {"USAGE"}:
        raise NotPlain
    quantities = [bytes(of.quantity) for of in fields]
    keys = [of.idempotency_key for of in fields]
    given = [key for key in keys if key is not None]
    check_keys(given)
    data, quotes_of_data = _read_data(fields)
    tenants = [sender.tenant_ref for sender in senders]
    optional = len(given) + len(tenants) - tenants.count(None)
    expected = QUOTES_ALWAYS * len(fields) + b"".join(quantities).count(b'"') + quotes_of_data
    if quotes != expected + 2 * _QUOTES_OF_FIELD * optional:
        raise NotPlain  # something is escaped, or comes twice
    return list(
        map(
            UsageEvent,
            tenants,
            [sender.customer_ref for sender in senders],
            [canonical_ref(of.usage_product_ref) for of in fields],
            _read_times([of.timestamp for of in fields]),
            _read_quantities(quantities),
            data,
            keys,
        )
    )


def _read_quantities(raws: Sequence[bytes]) -> Iterable[Quantity]:
    """Read quantities, which mostly are short. Raises InvalidInput."""
    is_common = max(map(len, raws)) <= COMMON_LENGTH_MAX
    return map(QUANTITIES.__getitem__ if is_common else read_quantity, raws)


def _read_times(texts: Sequence[str]) -> list[int]:
    """Read times, which mostly are in UTC, to the second or millisecond."""
    try:
        return [parse_second(text[:19]) + FRACTIONS[text[19:]] for text in texts]
    except KeyError:
        return list(map(parse_timestamp, texts))


def _read_data(fields: Sequence[UsageRecord]) -> tuple[list[str | None], int]:
    """Read the additional data of each record; also count the quotes it has with its name."""
    raws = [of.additional_report_data for of in fields]
    data = [None if raw is ABSENT else read_additional_data(raw) for raw in raws]
    given = sum(raw is not ABSENT for raw in raws)
    quotes = sum(text.count('"') for text in data if text is not None)
    return data, given * _QUOTES_OF_FIELD + quotes


def _check_times(instants: Sequence[int], times: Sequence[int]) -> None:
    """Let pass what is neither too old nor from the future of its own record."""
    if min(instants) < TIMESTAMP_MIN_MICROS:
        raise NotPlain
    if max(instants) > min(times) * 1_000 + TIME_AHEAD_MAX_MICROS:
        latest = [time * 1_000 + TIME_AHEAD_MAX_MICROS for time in times]
        if any(map(int.__gt__, instants, latest)):
            raise NotPlain


def _digests(
    records: Sequence[Record],
    events: Sequence[UsageEvent],
    senders: Sequence[_Sender],
    origins: Sequence[tuple[int, int] | None],
    log: Log,
) -> list[int]:
    """Return what names each event: the digest of its key, or of its first place in the log."""
    digests = []
    from_bytes = int.from_bytes
    keys = [event.idempotency_key for event in events]
    for key, new_digest in zip(keys, [sender.new_digest for sender in senders], strict=True):
        if key is None:
            digests.append(0)
            continue
        length = len(key) if key.isascii() else len(key.encode())
        digest = new_digest()
        digest.update(f"{length}:{key}".encode())
        digests.append(from_bytes(digest.digest(), "big"))
    if None in keys:
        for index, (key, origin) in enumerate(zip(keys, origins, strict=True)):
            if key is None:
                place = origin or (log.partition, records[index].offset)
                digests[index] = place_digest(log.log_id, *place)
    return digests


def _names(
    events: Sequence[UsageEvent], senders: Sequence[_Sender], digests: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return the ref of each event, and its alias."""
    instants = [event.occurred_at_micros for event in events]
    aliases = [0] * len(events)
    stems = [sender.stem for sender in senders]
    first, last = months_around(min(instants)), months_around(max(instants))
    if first == last and first[1] is None:  # so is every instant between them
        return keyed_event_refs([first[0]] * len(events), stems, digests), aliases
    months = months_around_all(instants)
    refs = keyed_event_refs([month for month, _ in months], stems, digests)
    if {neighbour for _, neighbour in set(months)} != {None}:
        for index, (_, neighbour) in enumerate(months):
            if neighbour is not None and events[index].idempotency_key is not None:
                aliases[index] = with_month(refs[index], neighbour)
    return refs, aliases
