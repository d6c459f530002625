"""Refs that say where their row lives: the layout, the hashes and the digests behind them.

A ref is a UUIDv8. Its first 48 bits are a locator, the rest a digest of what it names:

    month 12 | shard key 31 | tenant 5 | version 4 | digest 12 | variant 2 | digest 62

month      months since 2000-01 in UTC; tables of events are partitioned by it
shard key  Kafka's murmur2 of the canonical customer_ref, sign bit cleared: it names the Kafka
           partition and leads the key of every growing table
tenant     a hash of the tenant
digest     BLAKE2b over length-prefixed fields, with a `person` for each kind of thing

Refs are plain `int` on hot paths and `uuid.UUID` at the edges; both compare alike.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from struct import unpack_from
from typing import Final, Literal
from uuid import UUID

from schemas.errors import InvalidInput

RefKind = Literal[
    "alert",
    "contract",
    "contract_product",
    "contract_line",
    "period",
    "charge",
    "document",
    "document_line",
]
"""What a derived ref may name; the word separates digests of different things."""

SHARD_KEY_MASK: Final = 0x7FFF_FFFF
MONTHS: Final = 1 << 12
"""Months that the layout can tell apart: 2000-01 to 2341-04."""

_MONTH_SHIFT: Final = 116
_SHARD_KEY_SHIFT: Final = 85
_TENANT_SHIFT: Final = 80
_TENANT_BITS: Final = 5
_DIGEST_BYTES: Final = 10
_DIGEST_MASK: Final = (1 << 76) - 1 & ~(0b11 << 62)
_VERSION_AND_VARIANT: Final = 8 << 76 | 0b10 << 62

_DAY_MICROS: Final = 24 * 3_600 * 1_000_000
_NEIGHBOUR_MICROS: Final = 3 * _DAY_MICROS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _month_start_micros(month: int) -> int:
    start = datetime(2000 + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return int((start - _EPOCH).total_seconds()) * 1_000_000


_MONTH_STARTS: Final = tuple(_month_start_micros(month) for month in range(MONTHS))

TIMESTAMP_MIN_MICROS: Final = _MONTH_STARTS[0]
"""2000-01-01T00:00:00Z, the first instant that a ref can name, in UTC microseconds."""

_match_ref: Final = re.compile(
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE
).fullmatch


@lru_cache(maxsize=1 << 18)
def canonical_ref(text: str) -> str:
    """Return a ref in lower case. Version and variant are not looked at.

    Raises InvalidInput `ref_malformed` unless it is 8-4-4-4-12 hexadecimal digits.
    """
    if _match_ref(text) is None:
        detail = "must be a ref of 8-4-4-4-12 hexadecimal digits"
        raise InvalidInput("ref_malformed", detail)
    return text.lower()


def ref_text(ref: int) -> str:
    """Write a ref as 8-4-4-4-12 lower-case hexadecimal digits."""
    digits = f"{ref:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def murmur2(data: bytes) -> int:
    """Hash as Kafka's default partitioners do: MurmurHash2 with Kafka's seed, unsigned 32 bits."""
    length = len(data)
    h = 0x9747B28C ^ length
    for k in unpack_from(f"<{length // 4}I", data):
        k = k * 0x5BD1E995 & 0xFFFF_FFFF  # noqa: PLW2901 - the hash's own name for its word
        k = (k ^ k >> 24) * 0x5BD1E995 & 0xFFFF_FFFF  # noqa: PLW2901
        h = h * 0x5BD1E995 & 0xFFFF_FFFF ^ k
    tail = data[length & ~3 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * 0x5BD1E995 & 0xFFFF_FFFF
    h = (h ^ h >> 13) * 0x5BD1E995 & 0xFFFF_FFFF
    return h ^ h >> 15


@lru_cache(maxsize=1 << 18)
def shard_key(customer_ref: str) -> int:
    """Return the 31 bits that place a customer. customer_ref: canonical (`canonical_ref`)."""
    return murmur2(customer_ref.encode("ascii")) & SHARD_KEY_MASK


def partition_of(shard_key: int, partitions: int) -> int:
    """Return the Kafka partition where a customer's events are, of so many partitions."""
    return shard_key % partitions


@lru_cache(maxsize=1 << 12)
def tenant_bits(tenant_ref: str) -> int:
    """Return the 5 bits of a tenant. tenant_ref: canonical."""
    digest = blake2b(tenant_ref.encode("ascii"), digest_size=1, person=b"tenant").digest()
    return digest[0] >> 8 - _TENANT_BITS


def month_index(occurred_at_micros: int) -> int:
    """Return the month of an instant: months since 2000-01, in UTC.

    occurred_at_micros: microseconds since 1970 in UTC, within 2000-01-01 and 2341-05-01.
    """
    assert occurred_at_micros >= TIMESTAMP_MIN_MICROS
    return _month_of_day(occurred_at_micros // _DAY_MICROS)


@lru_cache(maxsize=1 << 12)
def _month_of_day(day: int) -> int:
    """Return the month of a day since 1970: months begin with a day."""
    return bisect_right(_MONTH_STARTS, day * _DAY_MICROS) - 1


def neighbour_month(occurred_at_micros: int) -> int | None:
    """Return the other month under which a keyed event of that instant may be known already.

    It is the month on the other side of a bound at most 3 days away; None away from bounds. No
    month is so short that both of its bounds are near.
    """
    month = month_index(occurred_at_micros)
    if occurred_at_micros - _MONTH_STARTS[month] <= _NEIGHBOUR_MICROS:
        return month - 1 if month else None
    following = month + 1
    if following < MONTHS and _MONTH_STARTS[following] - occurred_at_micros <= _NEIGHBOUR_MICROS:
        return following
    return None


def months_around(occurred_at_micros: int) -> tuple[int, int | None]:
    """Return `month_index` and `neighbour_month` of an instant."""
    # Closeness is a matter of whole days, but for one instant at each of its ends.
    if occurred_at_micros % _DAY_MICROS:
        return _months_around_day(occurred_at_micros // _DAY_MICROS)
    return month_index(occurred_at_micros), neighbour_month(occurred_at_micros)


def months_around_all(instants: Sequence[int]) -> list[tuple[int, int | None]]:
    """Return `months_around` of many instants."""
    months = {day: _months_around_day(day) for day in {each // _DAY_MICROS for each in instants}}
    return [
        months[instant // _DAY_MICROS] if instant % _DAY_MICROS else months_around(instant)
        for instant in instants
    ]


@lru_cache(maxsize=1 << 12)
def _months_around_day(day: int) -> tuple[int, int | None]:
    """Return the months of every instant of a day but its first."""
    instant = day * _DAY_MICROS + 1
    return month_index(instant), neighbour_month(instant)


def month_of(ref: int) -> int:
    """Return the month in which a ref lives."""
    return ref >> _MONTH_SHIFT


def shard_key_of(ref: int) -> int:
    """Return the customer's 31 bits of a ref."""
    return ref >> _SHARD_KEY_SHIFT & SHARD_KEY_MASK


def tenant_bits_of(ref: int) -> int:
    """Return the tenant's 5 bits of a ref."""
    return ref >> _TENANT_SHIFT & (1 << _TENANT_BITS) - 1


def month_bounds(month: int) -> tuple[UUID, UUID]:
    """Return the bounds of all refs of a month, the upper one exclusive."""
    assert 0 <= month < MONTHS - 1, "the last month has no upper bound among UUIDs"
    return UUID(int=month << _MONTH_SHIFT), UUID(int=(month + 1) << _MONTH_SHIFT)


def with_month(ref: int, month: int) -> int:
    """Return the ref that the same thing would have in another month."""
    return ref & (1 << _MONTH_SHIFT) - 1 | month << _MONTH_SHIFT


def keyed_event_ref(month: int, shard_key: int, tenant_bits: int, digest: int) -> int:
    """Put the parts of a ref together. digest: of `key_digest` or `place_digest`.

    The digest's low 76 bits lie where they are in the ref; 2 of them make room for the variant.
    """
    return (
        (month << 36 | shard_key << 5 | tenant_bits) << _TENANT_SHIFT
        | digest & _DIGEST_MASK
        | _VERSION_AND_VARIANT
    )


def keyed_event_refs(
    months: Sequence[int], stems: Sequence[int], digests: Sequence[int]
) -> list[int]:
    """Return `keyed_event_ref` of many events. stems: that of no month and no digest."""
    heads = {month: month << _MONTH_SHIFT for month in set(months)}
    return [
        heads[month] | stem | digest & _DIGEST_MASK
        for month, stem, digest in zip(months, stems, digests, strict=True)
    ]


def keyed_event_ref_text(month: int, shard_key: int, tenant_bits: int, digest: int) -> str:
    """Write the ref that `keyed_event_ref` puts together, in half the time.

    The locator's digits are the same for all events of a customer and month.
    """
    tail = (digest & _DIGEST_MASK | _VERSION_AND_VARIANT).to_bytes(_DIGEST_BYTES, "big")
    digits = tail.hex("-", 6)
    return f"{_locator_text(month, shard_key, tenant_bits)}-{digits[:4]}-{digits[4:]}"


@lru_cache(maxsize=1 << 16)
def _locator_text(month: int, shard_key: int, tenant_bits: int) -> str:
    return ref_text(keyed_event_ref(month, shard_key, tenant_bits, 0))[:13]


def with_digest(ref: int, digest: int) -> int:
    """Return the ref of another thing of the same month, customer and tenant."""
    return keyed_event_ref(month_of(ref), shard_key_of(ref), tenant_bits_of(ref), digest)


def key_digest(tenant_ref: str, customer_ref: str, idempotency_key: str) -> int:
    """Return the bits that name an event by its client's own key; refs are canonical."""
    key = idempotency_key.encode()
    digest = _new_key_digest()
    digest.update(_key_digest_prefix(tenant_ref, customer_ref) + b"%d:" % len(key) + key)
    return int.from_bytes(digest.digest(), "big")


def key_digest_begun(tenant_ref: str, customer_ref: str) -> blake2b:
    """Return the hash of `key_digest` that still lacks the key with its length in front."""
    digest = _new_key_digest()
    digest.update(_key_digest_prefix(tenant_ref, customer_ref))
    return digest


def key_digests(
    tenant_ref: str, customer_refs: Sequence[str], idempotency_keys: Sequence[str | None]
) -> list[int | None]:
    """Return `key_digest` of many events of a tenant, None where there is no key."""
    new, from_bytes = _new_key_digest, int.from_bytes
    tenant = _length_prefixed((tenant_ref,)).decode()
    found: list[int | None] = []
    for customer_ref, key in zip(customer_refs, idempotency_keys, strict=True):
        if key is None:
            found.append(None)
            continue
        length = len(key) if key.isascii() else len(key.encode())
        digest = new()
        digest.update(f"{tenant}{len(customer_ref)}:{customer_ref}{length}:{key}".encode())
        found.append(from_bytes(digest.digest(), "big"))
    return found


#: A copy of a hash that was set up once costs half of setting one up.
_new_key_digest: Final = blake2b(digest_size=_DIGEST_BYTES, person=b"event_key").copy
_new_place_digest: Final = blake2b(digest_size=_DIGEST_BYTES, person=b"event_place").copy


@lru_cache(maxsize=1 << 16)
def _key_digest_prefix(tenant_ref: str, customer_ref: str) -> bytes:
    return _length_prefixed((tenant_ref, customer_ref))


def place_digest(log_id: str, partition: int, offset: int) -> int:
    """Return the bits that name an event without a key by its place in the log."""
    digest = _new_place_digest()
    digest.update(b"%d:%b%d,%d" % (len(log_id), log_id.encode(), partition, offset))
    return int.from_bytes(digest.digest(), "big")


def derived_ref(
    kind: RefKind, month: int, shard_key: int, tenant_bits: int, *fields: str | int
) -> UUID:
    """Return the ref of what is made of events: the same layout, a digest over kind and fields.

    The same arguments give the same ref for ever: a replay makes the same refs.
    """
    data = _length_prefixed(fields)
    digest = blake2b(data, digest_size=_DIGEST_BYTES, person=kind.encode("ascii")).digest()
    bits = int.from_bytes(digest, "big")
    return UUID(int=keyed_event_ref(month, shard_key, tenant_bits, bits))


def _length_prefixed(fields: tuple[str | int, ...]) -> bytes:
    """Join fields so that no two different lists give the same bytes."""
    encoded = [str(field).encode() for field in fields]
    return b"".join(b"%d:%b" % (len(field), field) for field in encoded)
